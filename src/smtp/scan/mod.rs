//! Finds, in mail data, the next octet that is not ordinary: a bare CR or LF, a dot or a NUL at the start of a line.
//!
//! **Idea.** Windows of 64 octets become bit masks: `(CR << 1) ^ LF` has a bit where either is bare, and
//! `(dot | NUL) & (LF << 1)` has one where a line starts with either. Groups of windows are only asked whether there is
//! any such bit, and whether there is a NUL at all; the windows of a group that says yes are then judged exactly.
//! Octets above 127 are noticed in the same pass.
//!
//! **Invariants.** Every octet before the place found is ordinary. Nothing behind it is reported, not even as a mark:
//! it may be commands. A scan reads at most a group behind the place where it ends.
//!
//! **Why this way.** Windows overlap by one octet (64 read, 63 judged), so no carry passes from mask to mask, and a dot
//! is compared one octet further on, where it falls on its LF. GB/s for 64 KiB of mail text, EPYC Zen 5, AVX-512 and
//! AVX2; `memmem` of CRLF-dot has 65 to 106 there; this way has 114 and 68. Others:
//! * aligned windows with carries: 67 (LLVM makes `shrd` of them) and 39; three loads one octet apart, no masks: 69 and
//!   60, the loads that cross cache lines are the limit; two loads, four comparisons: 56 (AVX2); windows of 32: 53 to
//!   63 (AVX2);
//! * the dot as a third mask: 95 and 61; NUL as a mask, with three loads: 54 (AVX-512);
//! * two windows in a group: 107 and 62; six: 118 and 69, not worth the longer group; eight: 119.
//!
//! **Does not** know what a line that is not ordinary means: that is `smtp::data`.
#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod classes;
mod portable;
#[cfg(test)]
pub(super) mod scalar;

const CR: u8 = b'\r';
const LF: u8 = b'\n';
const DOT: u8 = b'.';
const NUL: u8 = 0;

/// Octets in a window: one for each bit of a mask.
const WINDOW: usize = 64;

/// The scan, bound to an instruction set of the machine that it runs on.
///
/// ```
/// use ringmx::smtp::scan::Scanner;
/// let found = Scanner::fastest().scan(b"a line\r\n.and one with a dot\r\n");
/// assert_eq!(found.ordinary, 8);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanner(Kind);

/// The instruction sets. A variant with a proof exists only where the machine has that set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    Portable,
}

/// What [`Scanner::scan`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// How many octets from the start are ordinary.
    pub ordinary: usize,
    /// Whether a NUL is among them.
    pub nul: bool,
    /// Whether an octet above 127 is among them.
    pub eight_bit: bool,
}

impl Scanner {
    /// The fastest scan that this machine has. Costs a load of a cached answer.
    pub fn fastest() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(avx512) = avx512::Avx512::detect() {
                return Self(Kind::Avx512(avx512));
            }
            if let Some(avx2) = avx2::Avx2::detect() {
                return Self(Kind::Avx2(avx2));
            }
        }
        Self(Kind::Portable)
    }

    /// Every scan that this machine has, the fastest first; tests and benchmarks go through them all.
    pub fn available() -> impl Iterator<Item = Self> {
        let kinds = [
            #[cfg(target_arch = "x86_64")]
            avx512::Avx512::detect().map(Kind::Avx512),
            #[cfg(target_arch = "x86_64")]
            avx2::Avx2::detect().map(Kind::Avx2),
            Some(Kind::Portable),
        ];
        kinds.into_iter().flatten().map(Self)
    }

    /// The name of the instruction set.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            Kind::Portable => "portable",
        }
    }

    /// Counts the ordinary octets at the start of `octets`.
    ///
    /// The first octet counts as ordinary, the caller has judged it; it is the context of the second. An octet is not
    /// ordinary, and ends the count, when it is
    /// * an LF that no CR precedes,
    /// * any octet but LF behind a CR (so the bare CR itself is counted, and is the last that is),
    /// * a dot or a NUL behind an LF.
    ///
    /// A CR that is the last octet of `octets` is ordinary so far.
    #[inline]
    pub fn scan(self, octets: &[u8]) -> Found {
        if octets.len() < WINDOW { self.scan_short(octets) } else { self.scan_windows(octets) }
    }

    /// Fills a window up with octets that are ordinary and leave no mark. COST: copies less than a window.
    #[inline(never)]
    fn scan_short(self, octets: &[u8]) -> Found {
        let mut window = [b' '; WINDOW];
        window[..octets.len()].copy_from_slice(octets);
        let found = self.scan_windows(&window);
        Found { ordinary: found.ordinary.min(octets.len()), ..found }
    }

    #[inline]
    fn scan_windows(self, octets: &[u8]) -> Found {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(avx512) => avx512.scan(octets),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(avx2) => avx2.scan(octets),
            Kind::Portable => scan(portable::Portable, octets),
        }
    }
}

/// What an instruction set does for [`scan`]. The methods are inlined into an entry point that is compiled for that
/// set.
trait Classify: Copy {
    /// For how many octets single windows come before the first group, so that text with a stop in each line does not
    /// pay for a group in each.
    const SINGLE: usize;
    /// How many octets one call of [`Self::quiet`] judges. It reads one more on each side.
    const JUDGED: usize;

    /// Octets OR-ed together, of which only the highest bit matters.
    type Union: Copy;

    /// The union of no octets.
    fn nothing(self) -> Self::Union;

    /// Whether the union has an octet above 127.
    fn eight_bit(self, union: Self::Union) -> bool;

    /// Whether `group[1..=JUDGED]` are ordinary and without NUL. The answer may be no without a reason, never yes. If
    /// it is yes, the octets join the union.
    fn quiet(self, group: &[u8], union: &mut Self::Union) -> bool;

    /// The exact masks of a window.
    fn masks(self, window: &[u8; WINDOW]) -> Masks;
}

/// Where, in a window, the octets of each class are: bit n is octet n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Masks {
    cr: u64,
    lf: u64,
    dot: u64,
    nul: u64,
    eight_bit: u64,
}

impl Masks {
    /// The octets that are not ordinary.
    #[inline(always)]
    fn stops(self) -> u64 {
        (bare(self.cr, self.lf) & !1) | ((self.dot | self.nul) & (self.lf << 1))
    }
}

/// The LF without a CR before, and the octets that should have been the LF of a CR. Bit 0 says nothing: what precedes
/// it is not in the window.
#[inline(always)]
fn bare(cr: u64, lf: u64) -> u64 {
    (cr << 1) ^ lf
}

/// The algorithm: groups while they are quiet, single windows to find the place. The octets fill at least a window.
#[inline(always)]
fn scan<C: Classify>(classify: C, octets: &[u8]) -> Found {
    debug_assert!(octets.len() >= WINDOW);
    let mut found = Found { ordinary: 1, nul: octets[0] == NUL, eight_bit: octets[0] > 127 };
    let mut union = classify.nothing();
    let mut exact_until = C::SINGLE;
    // BOUND: each turn judges at least one octet more.
    loop {
        while found.ordinary < exact_until.min(octets.len()) {
            // The last window ends with the octets; what it shares with the one before is known to be ordinary.
            let start = (found.ordinary - 1).min(octets.len() - WINDOW);
            let window = octets[start..].first_chunk().expect("a window ends before the octets do");
            let masks = classify.masks(window);
            let ordinary = masks.stops().trailing_zeros() as usize;
            let counted = if ordinary < WINDOW { (1 << ordinary) - 1 } else { u64::MAX };
            found.nul |= masks.nul & counted != 0;
            found.eight_bit |= masks.eight_bit & counted != 0;
            found.ordinary = start + ordinary;
            if ordinary < WINDOW {
                found.eight_bit |= classify.eight_bit(union);
                return found;
            }
        }
        let mut rest = &octets[found.ordinary - 1..];
        while let Some(group) = rest.get(..C::JUDGED + 2)
            && classify.quiet(group, &mut union)
        {
            rest = &rest[C::JUDGED..];
        }
        found.ordinary = octets.len() - rest.len() + 1;
        exact_until = found.ordinary + C::JUDGED;
        if found.ordinary == octets.len() {
            found.eight_bit |= classify.eight_bit(union);
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Octets that are ordinary, in lines of `width` with their CRLF.
    fn text(size: usize, width: usize) -> Vec<u8> {
        (0..size)
            .map(|index| match index % width {
                column if column + 2 == width => CR,
                column if column + 1 == width => LF,
                column => b"a.b c"[column % 5],
            })
            .collect()
    }

    #[track_caller]
    fn check(octets: &[u8]) {
        let scalar::Scanned { ordinary, nul, eight_bit } = scalar::scan(octets);
        for scanner in Scanner::available() {
            let found = scanner.scan(octets);
            assert_eq!(found, Found { ordinary, nul, eight_bit }, "{} {}", scanner.name(), octets.escape_ascii());
        }
    }

    #[test]
    fn seeds() {
        let seeds: [(&[u8], usize); 20] = [
            (b"", 0),
            (b"a", 1),
            (b"\r", 1),
            (b"\n", 1),
            (b".", 1),
            (b"a\r\nb", 4),
            (b"a\r\n\r\n", 5),
            (b"a\r\n.", 3),
            (b"a\r\n\0", 3),
            (b"a\r\n\x80", 4),
            (b"a\r\n a", 5),
            (b"a\nb", 1),
            (b"a\r", 2),
            (b"a\rb", 2),
            (b"a\r\r\n", 2),
            (b"\n.", 1),
            (b"\n\n", 1),
            (b"\r\n", 2),
            (b"\0\0.", 3),
            (b"a.\0.\xAE\x8D\x8A", 7),
        ];
        for (octets, ordinary) in seeds {
            for scanner in Scanner::available() {
                assert_eq!(scanner.scan(octets).ordinary, ordinary, "{} {}", scanner.name(), octets.escape_ascii());
            }
            check(octets);
        }
    }

    /// Each stop, and each mark, at each offset of windows and groups, in texts of many sizes.
    #[test]
    fn one_oddity_anywhere() {
        const ODDITIES: [&[u8]; 10] =
            [b"\n", b"\r", b"\r\n.", b"\r\n\0", b"\0", b"\x80", b"\xFF", b"\r\r\n", b"\n\r\n", b"\r\n.\r\n"];
        for size in [3, 63, 64, 65, 127, 253, 254, 317, 322, 700] {
            for width in [7, 76, 2000] {
                let ordinary = text(size, width);
                check(&ordinary);
                for oddity in ODDITIES {
                    for offset in 0..size {
                        let mut octets = ordinary.clone();
                        let size = oddity.len().min(size - offset);
                        octets[offset..offset + size].copy_from_slice(&oddity[..size]);
                        check(&octets);
                    }
                }
            }
        }
    }

    fn odd_octet() -> impl Strategy<Value = u8> {
        prop::sample::select(b"\r\n.\0a\x80\x8A\x8D\xAE\xFF".to_vec())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn same_as_the_oracle(
            size in 0..900_usize,
            width in 3..100_usize,
            odd in prop::collection::vec((0..900_usize, odd_octet()), 0..4),
        ) {
            let mut octets = text(size, width);
            for (offset, octet) in odd {
                if let Some(place) = octets.get_mut(offset) {
                    *place = octet;
                }
            }
            for start in [0, 1, 2, 63, 64].into_iter().filter(|&start| start <= size) {
                check(&octets[start..]);
            }
        }
    }
}
