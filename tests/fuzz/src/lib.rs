//! What the fuzz targets share: how they read their input, how they cut it, and the session that they run.
//!
//! An input is a header of a fixed size, which says under what conditions, and then octets as they come over the network. So
//! what is in a corpus can be read, a dictionary fits, and a seed is an excerpt of a dialogue with zeros before it.

pub mod session;

/// The naive way of `scan` and `data`, which their unit tests use too.
#[path = "../../../src/smtp/scan/scalar.rs"]
pub mod scalar;

#[path = "../../common/host.rs"]
mod host;

/// Cuts the header off; what is missing is zero.
pub fn header<const OCTETS: usize>(input: &[u8]) -> ([u8; OCTETS], &[u8]) {
    let mut header = [0; OCTETS];
    let (front, rest) = input.split_at(input.len().min(OCTETS));
    header[..front.len()].copy_from_slice(front);
    (header, rest)
}

/// Cuts octets into pieces, none empty: 0 not at all, 1 into single octets, others at places that follow from the number.
pub fn pieces(octets: &[u8], how: u8) -> Vec<&[u8]> {
    let mut state = u32::from(how).wrapping_mul(0x9E37_79B9);
    let mut rest = octets;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        // Mostly short, sometimes longer than a window of the scan.
        state = state.wrapping_mul(0x0019_660D).wrapping_add(0x3C6E_F35F);
        let size = match how {
            0 => rest.len(),
            1 => 1,
            _ => 1 + (state >> 16) as usize % (1 << (1 + (state >> 8) % 8)),
        };
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// Whether an address or the value of a parameter can be written into a line without ending it.
pub fn is_one_line(octets: &[u8]) -> bool {
    !octets.iter().any(|octet| *octet < 0x20 || *octet == 0x7F)
}
