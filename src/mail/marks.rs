//! What the octets of a message's content are marked with, whoever looked at them.

/// What was noticed in the content of a message. A mark once set stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// An LF without a CR before it.
    pub bare_lf: bool,
    /// A CR without an LF behind it.
    pub bare_cr: bool,
    /// A NUL.
    pub nul: bool,
    /// An octet above 127.
    pub eight_bit: bool,
    /// A line that some other server could take for the end of data: it is one dot, and it is not the end of data.
    ///
    /// Precisely: split the data behind each CRLF, each bare CR and each bare LF; some line with its line end, but for
    /// NULs, is one dot, and the line is not the exact dot between exact CRLFs. The line end may be of any of the three
    /// kinds, and so may the one before. Spaces, other controls, two dots, and a dot with its highest bit set make a
    /// line that is plain data.
    pub false_end: bool,
}

impl Marks {
    /// As bits, which [`Self::from_bits`] reads back.
    pub const fn bits(self) -> u8 {
        self.bare_lf as u8
            | (self.bare_cr as u8) << 1
            | (self.nul as u8) << 2
            | (self.eight_bit as u8) << 3
            | (self.false_end as u8) << 4
    }

    /// The marks that [`Self::bits`] was asked of; bits that mean nothing are ignored.
    pub const fn from_bits(bits: u8) -> Self {
        Self {
            bare_lf: bits & 1 != 0,
            bare_cr: bits & 1 << 1 != 0,
            nul: bits & 1 << 2 != 0,
            eight_bit: bits & 1 << 3 != 0,
            false_end: bits & 1 << 4 != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_has_a_bit() {
        for bits in 0..1 << 5 {
            assert_eq!(Marks::from_bits(bits).bits(), bits);
        }
        assert_eq!(Marks::from_bits(0xE0), Marks::default());
    }
}
