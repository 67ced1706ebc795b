//! What a client shows in AUTH: base64 (RFC 4648 §4) by hand, and PLAIN (RFC 4616).

/// Decodes; padding is wanted.
pub fn base64(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut octets = Vec::new();
    for (index, quad) in text.chunks(4).enumerate() {
        let is_last = (index + 1) * 4 == text.len();
        let padding = match quad {
            [_, _, b'=', b'='] if is_last => 2,
            [_, _, _, b'='] if is_last => 1,
            _ => 0,
        };
        let mut bits = 0_u32;
        for letter in &quad[..4 - padding] {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * padding;
        let three = bits.to_be_bytes();
        let (kept, cut) = three[1..].split_at(3 - padding);
        // RFC 4648 §3.5: bits behind the last octet are zero.
        if cut.iter().any(|octet| *octet != 0) {
            return None;
        }
        octets.extend_from_slice(kept);
    }
    Some(octets)
}

/// `[authzid] NUL authcid NUL passwd`; RFC 4616 §2: the last two have an octet at least.
pub fn plain(message: &[u8]) -> Option<[Vec<u8>; 3]> {
    let parts: Vec<&[u8]> = message.split(|octet| *octet == 0).collect();
    let [authorization, authentication, password] = parts[..] else { return None };
    let is_full = !authentication.is_empty() && !password.is_empty();
    is_full.then(|| [authorization.to_vec(), authentication.to_vec(), password.to_vec()])
}
