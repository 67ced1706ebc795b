//! The octets of a BDAT chunk: exactly as many as were announced, whatever they are (RFC 3030 §2).

/// Counts down the octets of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkDecoder {
    remaining_octets: u64,
}

impl ChunkDecoder {
    /// Awaits as many octets as BDAT announced.
    pub fn new(octets: u64) -> Self {
        Self { remaining_octets: octets }
    }

    /// Takes what belongs to the chunk from the front of `input`.
    pub fn take<'i>(&mut self, input: &mut &'i [u8]) -> &'i [u8] {
        let octets = usize::try_from(self.remaining_octets).map_or(input.len(), |most| most.min(input.len()));
        let (piece, rest) = input.split_at(octets);
        self.remaining_octets -= octets as u64;
        *input = rest;
        piece
    }

    /// Whether all octets have come.
    pub fn is_done(self) -> bool {
        self.remaining_octets == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_was_announced_and_no_more() {
        let mut chunk = ChunkDecoder::new(5);
        let mut input: &[u8] = b"hel";
        assert_eq!(chunk.take(&mut input), b"hel");
        assert!(input.is_empty() && !chunk.is_done());
        let mut input: &[u8] = b"loQUIT";
        assert_eq!(chunk.take(&mut input), b"lo");
        assert_eq!(input, b"QUIT");
        assert!(chunk.is_done());
        assert_eq!(chunk.take(&mut input), b"");
    }
}
