//! The scan with AVX2: a window is two registers, and a mask is put together from two halves.

use std::arch::x86_64::{
    __m256i, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8,
    _mm256_or_si256, _mm256_set1_epi8, _mm256_setzero_si256,
};

use super::{CR, Classify, DOT, Found, LF, Masks, NUL, WINDOW, bare};

/// Proof that this machine has AVX2: [`Avx2::detect`] is the only place that makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx2(());

/// Windows of a group.
const WINDOWS: usize = 4;

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    #[inline]
    pub(super) fn scan(self, octets: &[u8]) -> Found {
        // SAFETY: `self` proves that this machine has AVX2.
        unsafe { scan(self, octets) }
    }
}

#[target_feature(enable = "avx2")]
fn scan(avx2: Avx2, octets: &[u8]) -> Found {
    super::scan(avx2, octets)
}

impl Classify for Avx2 {
    const SINGLE: usize = 2 * WINDOW - 1;
    const JUDGED: usize = WINDOWS * (WINDOW - 1);

    type Union = __m256i;

    #[inline(always)]
    fn nothing(self) -> __m256i {
        // SAFETY: `self` proves that this machine has AVX2.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    fn eight_bit(self, union: __m256i) -> bool {
        // SAFETY: `self` proves that this machine has AVX2.
        unsafe { _mm256_movemask_epi8(union) != 0 }
    }

    #[inline(always)]
    fn quiet(self, group: &[u8], union: &mut __m256i) -> bool {
        // SAFETY: `self` proves that this machine has AVX2.
        unsafe { quiet(group, union) }
    }

    #[inline(always)]
    fn masks(self, window: &[u8; WINDOW]) -> Masks {
        // SAFETY: `self` proves that this machine has AVX2.
        unsafe { masks(window) }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn quiet(group: &[u8], union: &mut __m256i) -> bool {
    let mut all = *union;
    let mut stops = 0;
    let mut dots = _mm256_setzero_si256();
    let mut least = _mm256_set1_epi8(-1);
    for index in 0..WINDOWS {
        let start = index * (WINDOW - 1);
        let window = load(group[start..].first_chunk().expect("a group has its windows"));
        let next = load(group[start + 1..].first_chunk().expect("a group has an octet behind its windows"));
        let (lf, dot) = (equal(window, LF), equal(next, DOT));
        stops |= bare(mask(equal(window, CR)), mask(lf));
        for half in 0..2 {
            dots = _mm256_or_si256(dots, _mm256_and_si256(lf[half], dot[half]));
            least = _mm256_min_epu8(least, window[half]);
            all = _mm256_or_si256(all, window[half]);
        }
    }
    let nul_or_dot = _mm256_or_si256(dots, _mm256_cmpeq_epi8(least, _mm256_setzero_si256()));
    let quiet = (stops & !1) | u64::from(_mm256_movemask_epi8(nul_or_dot) as u32) == 0;
    if quiet {
        *union = all;
    }
    quiet
}

#[inline]
#[target_feature(enable = "avx2")]
fn masks(window: &[u8; WINDOW]) -> Masks {
    let window = load(window);
    Masks {
        cr: mask(equal(window, CR)),
        lf: mask(equal(window, LF)),
        dot: mask(equal(window, DOT)),
        nul: mask(equal(window, NUL)),
        eight_bit: mask(window),
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn equal([low, high]: [__m256i; 2], octet: u8) -> [__m256i; 2] {
    let octet = _mm256_set1_epi8(octet as i8);
    [_mm256_cmpeq_epi8(low, octet), _mm256_cmpeq_epi8(high, octet)]
}

/// The highest bits of the octets.
#[inline]
#[target_feature(enable = "avx2")]
fn mask([low, high]: [__m256i; 2]) -> u64 {
    u64::from(_mm256_movemask_epi8(low) as u32) | u64::from(_mm256_movemask_epi8(high) as u32) << 32
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(window: &[u8; WINDOW]) -> [__m256i; 2] {
    let (low, high) = window.split_at(WINDOW / 2);
    [load_half(low.first_chunk().expect("half a window")), load_half(high.first_chunk().expect("half a window"))]
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_half(half: &[u8; WINDOW / 2]) -> __m256i {
    // SAFETY: the 32 octets that are read are those of `half`; the load needs no alignment.
    unsafe { _mm256_loadu_si256(half.as_ptr().cast()) }
}
