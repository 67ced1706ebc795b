//! What a command line is read with: where its end is, and which octets of it are letters and digits, hyphens, and dots,
//! of which nearly every address is made.
//!
//! **Idea.** 32 octets become a bit mask for each class, so that a reader steps from one special octet to the next by bits.
//!
//! **Why this way.** SSE2 is part of x86-64: there is nothing to detect and nothing to call, which for so short a text costs
//! as much as the classes themselves. Other machines make the masks of words of eight octets.

/// Where, in the first 64 octets of a text, those of each class are: bit n is octet n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// ASCII letters and digits.
    pub alphanumeric: u64,
    /// Hyphens.
    pub hyphen: u64,
    /// Dots.
    pub dot: u64,
}

/// Octets that are classified at once. A shorter text has no classes.
const BLOCK: usize = 16;

impl Classes {
    /// Octets of a text that are looked at, at most.
    pub const OCTETS: usize = u64::BITS as usize;
    /// Octets by which [`Self::extend`] goes on.
    pub const STEP: usize = 2 * BLOCK;

    /// Adds those of the octets from `start` to `start + STEP`, or to the end of the text. Octets not added are of no class.
    ///
    /// `None`, and nothing added, when the text has less than sixteen octets, or `start` is behind [`Self::OCTETS`].
    #[inline(always)]
    pub fn extend(&mut self, text: &[u8], start: usize) -> Option<()> {
        if start + Self::STEP > Self::OCTETS {
            return None;
        }
        // Blocks overlap where the text ends.
        let last = text.len().checked_sub(BLOCK)?;
        for start in [start.min(last), (start + BLOCK).min(last)] {
            let [alphanumeric, hyphen, dot] = classify(text[start..].first_chunk()?);
            self.alphanumeric |= u64::from(alphanumeric) << start;
            self.hyphen |= u64::from(hyphen) << start;
            self.dot |= u64::from(dot) << start;
        }
        Some(())
    }
}

/// Where the first LF is.
///
/// COST: to take a line of 56 octets out of the input is 75 instructions with this, 109 with the SSE2 way of `memchr`, and 138
/// with that which it chooses, with AVX2: both are made for longer texts.
#[inline(always)]
pub fn find_newline(text: &[u8]) -> Option<usize> {
    const TWO: usize = 2 * BLOCK;
    let mut start = 0;
    // BOUND: each turn looks at 32 octets, or is the last.
    while let Some(blocks) = text.get(start..).and_then(<[u8]>::first_chunk::<TWO>) {
        let newlines = newlines(blocks);
        if newlines != 0 {
            return Some(start + newlines.trailing_zeros() as usize);
        }
        start += TWO;
    }
    match text.last_chunk::<TWO>() {
        // The octets that were looked at already are no LF.
        Some(blocks) => {
            let newlines = newlines(blocks);
            (newlines != 0).then(|| text.len() - TWO + newlines.trailing_zeros() as usize)
        }
        None => memchr::memchr(b'\n', text),
    }
}

#[inline(always)]
fn newlines(blocks: &[u8; 2 * BLOCK]) -> u32 {
    let [first, second] = blocks.as_chunks().0 else { unreachable!("there are two blocks") };
    u32::from(equal(first, b'\n')) | u32::from(equal(second, b'\n')) << BLOCK
}

/// The mask of the octets that are this one.
#[inline(always)]
fn equal(block: &[u8; BLOCK], octet: u8) -> u16 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is part of x86-64.
    return unsafe { sse2::equal(block, octet) };
    #[cfg(not(target_arch = "x86_64"))]
    words::equal(block, octet)
}

/// The masks of alphanumeric octets, hyphens and dots.
#[inline(always)]
fn classify(block: &[u8; BLOCK]) -> [u16; 3] {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is part of x86-64.
    return unsafe { sse2::classify(block) };
    #[cfg(not(target_arch = "x86_64"))]
    words::classify(block)
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi8, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8, _mm_setzero_si128, _mm_subs_epu8,
    };

    use super::BLOCK;

    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn equal(block: &[u8; BLOCK], octet: u8) -> u16 {
        mask(_mm_cmpeq_epi8(load(block), each(octet)))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn classify(block: &[u8; BLOCK]) -> [u16; 3] {
        let octets = load(block);
        let letters = outside(_mm_or_si128(octets, each(0x20)), b'a', b'z');
        let digits = outside(octets, b'0', b'9');
        let alphanumeric = _mm_min_epu8(letters, digits);
        [
            mask(_mm_cmpeq_epi8(alphanumeric, _mm_setzero_si128())),
            mask(_mm_cmpeq_epi8(octets, each(b'-'))),
            mask(_mm_cmpeq_epi8(octets, each(b'.'))),
        ]
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn load(block: &[u8; BLOCK]) -> __m128i {
        // SAFETY: the sixteen octets that are read are those of `block`; the load needs no alignment.
        unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
    }

    /// Zero where the octet is one of those from `first` to `last`.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn outside(octets: __m128i, first: u8, last: u8) -> __m128i {
        _mm_subs_epu8(_mm_add_epi8(octets, each(first.wrapping_neg())), each(last - first))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn each(octet: u8) -> __m128i {
        _mm_set1_epi8(octet as i8)
    }

    /// The highest bits of the octets.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn mask(octets: __m128i) -> u16 {
        _mm_movemask_epi8(octets) as u16
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod words {
    //! With words of eight octets, for any machine.

    use super::BLOCK;

    const WORD: usize = size_of::<u64>();

    const fn each(octet: u8) -> u64 {
        u64::from_ne_bytes([octet; WORD])
    }

    const HIGH: u64 = each(0x80);

    #[inline(always)]
    pub(super) fn classify(block: &[u8; BLOCK]) -> [u16; 3] {
        [
            mask(block, |word| within(word | each(0x20), b'a', b'z') | within(word, b'0', b'9')),
            equal(block, b'-'),
            equal(block, b'.'),
        ]
    }

    /// The octet is below 128.
    #[inline(always)]
    pub(super) fn equal(block: &[u8; BLOCK], octet: u8) -> u16 {
        mask(block, |word| within(word, octet, octet))
    }

    /// The highest bits of the octets that `classify` makes of each word, as a mask.
    #[inline(always)]
    fn mask(block: &[u8; BLOCK], classify: impl Fn(u64) -> u64) -> u16 {
        let words = block.as_chunks().0.iter().enumerate();
        words.fold(0, |mask, (index, word)| mask | gather(classify(u64::from_le_bytes(*word))) << (index * WORD))
    }

    /// Sets the highest bit of each octet that is between the two, which are below 128; no carry passes between octets.
    #[inline(always)]
    fn within(word: u64, first: u8, last: u8) -> u64 {
        let seven_bits = word & !HIGH;
        (seven_bits + each(0x80 - first)) & !(seven_bits + each(0x80 - 1 - last)) & !word & HIGH
    }

    /// The highest bits of the octets.
    #[inline(always)]
    fn gather(word: u64) -> u16 {
        // Moves bit 8n to bit 56 + n: the products meet in no other bit above 55.
        ((word >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u16
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The oracle.
    fn obvious(block: &[u8; BLOCK]) -> [u16; 3] {
        let mask = |is: fn(u8) -> bool| {
            block.iter().enumerate().fold(0, |mask, (index, octet)| mask | u16::from(is(*octet)) << index)
        };
        [mask(|octet| octet.is_ascii_alphanumeric()), mask(|octet| octet == b'-'), mask(|octet| octet == b'.')]
    }

    #[test]
    fn each_octet_has_its_class_wherever_it_stands() {
        for octet in 0..=255 {
            for other in [0, b'\n', b'a', b'-', b'.', b'@', 0x80, 0xFF] {
                for place in 0..BLOCK {
                    let mut block = [other; BLOCK];
                    block[place] = octet;
                    assert_eq!(classify(&block), obvious(&block), "{octet} among {other}");
                    assert_eq!(words::classify(&block), obvious(&block), "{octet} among {other}");
                    let newlines = (0..BLOCK).filter(|at| block[*at] == b'\n').fold(0, |mask, at| mask | 1 << at);
                    assert_eq!([equal(&block, b'\n'), words::equal(&block, b'\n')], [newlines; 2]);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn all_ways_say_the_same(block: [u8; BLOCK]) {
            prop_assert_eq!(classify(&block), obvious(&block));
            prop_assert_eq!(words::classify(&block), obvious(&block));
        }

        #[test]
        fn the_first_newline_is_found(size in 0..120_usize, newlines in prop::collection::vec(0..120_usize, 0..3)) {
            let mut text = vec![b'\r'; size];
            newlines.into_iter().filter(|at| *at < size).for_each(|at| text[at] = b'\n');
            prop_assert_eq!(find_newline(&text), text.iter().position(|octet| *octet == b'\n'));
        }

        #[test]
        fn steps_cover_the_text_to_its_end_or_to_the_last_bit(text in prop::collection::vec(any::<u8>(), 0..90)) {
            let mut classes = Classes::default();
            let steps = [0, 32, 64].map(|start| classes.extend(&text, start).is_some());
            prop_assert_eq!(steps, [text.len() >= BLOCK, text.len() >= BLOCK, false]);
            for (index, octet) in text.iter().enumerate().take(Classes::OCTETS).filter(|_| steps[0]) {
                let has = |mask: u64| mask >> index & 1 == 1;
                prop_assert_eq!(has(classes.alphanumeric), octet.is_ascii_alphanumeric());
                prop_assert_eq!((has(classes.hyphen), has(classes.dot)), (*octet == b'-', *octet == b'.'));
            }
            let of_text = 1_u64.checked_shl(text.len() as u32).map_or(u64::MAX, |bit| bit - 1);
            prop_assert_eq!((classes.alphanumeric | classes.hyphen | classes.dot) & !of_text, 0);
        }
    }
}
