//! The scan with AVX-512BW: a window is one register, and a comparison is a mask.

use std::arch::x86_64::{
    __m512i, _mm512_cmpeq_epi8_mask, _mm512_loadu_si512, _mm512_mask_min_epu8, _mm512_min_epu8, _mm512_movepi8_mask,
    _mm512_or_si512, _mm512_set1_epi8, _mm512_setzero_si512, _mm512_testn_epi8_mask, _mm512_xor_si512,
};

use super::{CR, Classify, DOT, Found, LF, Masks, NUL, WINDOW, bare};

/// Proof that this machine has AVX-512BW: [`Avx512::detect`] is the only place that makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx512(());

/// Windows of a group.
const WINDOWS: usize = 4;

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")).then_some(Self(()))
    }

    #[inline]
    pub(super) fn scan(self, octets: &[u8]) -> Found {
        // SAFETY: `self` proves that this machine has AVX-512F and AVX-512BW.
        unsafe { scan(self, octets) }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn scan(avx512: Avx512, octets: &[u8]) -> Found {
    super::scan(avx512, octets)
}

impl Classify for Avx512 {
    const SINGLE: usize = 2 * WINDOW - 1;
    const JUDGED: usize = WINDOWS * (WINDOW - 1);

    type Union = __m512i;

    #[inline(always)]
    fn nothing(self) -> __m512i {
        // SAFETY: `self` proves that this machine has AVX-512F.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn eight_bit(self, union: __m512i) -> bool {
        // SAFETY: `self` proves that this machine has AVX-512BW.
        unsafe { _mm512_movepi8_mask(union) != 0 }
    }

    #[inline(always)]
    fn quiet(self, group: &[u8], union: &mut __m512i) -> bool {
        // SAFETY: `self` proves that this machine has AVX-512F and AVX-512BW.
        unsafe { quiet(group, union) }
    }

    #[inline(always)]
    fn masks(self, window: &[u8; WINDOW]) -> Masks {
        // SAFETY: `self` proves that this machine has AVX-512F and AVX-512BW.
        unsafe { masks(window) }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn quiet(group: &[u8], union: &mut __m512i) -> bool {
    let mut all = *union;
    let mut stops = 0;
    // Zero where there is a NUL or, behind an LF, a dot. Two, because one would be a chain of eight minima.
    let mut least = [_mm512_set1_epi8(-1); 2];
    for index in 0..WINDOWS {
        let start = index * (WINDOW - 1);
        let window = load(group[start..].first_chunk().expect("a group has its windows"));
        let next = load(group[start + 1..].first_chunk().expect("a group has an octet behind its windows"));
        let lf = equal(window, LF);
        stops |= bare(equal(window, CR), lf);
        let not_dot = _mm512_xor_si512(next, _mm512_set1_epi8(DOT as i8));
        let least = &mut least[index % 2];
        *least = _mm512_min_epu8(*least, window);
        *least = _mm512_mask_min_epu8(*least, lf, *least, not_dot);
        all = _mm512_or_si512(all, window);
    }
    let least = _mm512_min_epu8(least[0], least[1]);
    let quiet = (stops & !1) | _mm512_testn_epi8_mask(least, least) == 0;
    if quiet {
        *union = all;
    }
    quiet
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn masks(window: &[u8; WINDOW]) -> Masks {
    let window = load(window);
    Masks {
        cr: equal(window, CR),
        lf: equal(window, LF),
        dot: equal(window, DOT),
        nul: equal(window, NUL),
        eight_bit: _mm512_movepi8_mask(window),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn equal(window: __m512i, octet: u8) -> u64 {
    _mm512_cmpeq_epi8_mask(window, _mm512_set1_epi8(octet as i8))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(window: &[u8; WINDOW]) -> __m512i {
    // SAFETY: the 64 octets that are read are those of `window`; the load needs no alignment.
    unsafe { _mm512_loadu_si512(window.as_ptr().cast()) }
}
