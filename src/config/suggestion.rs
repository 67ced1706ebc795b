//! What was meant by a word that is not known.

/// The candidate that was most likely meant, if one is near enough to be worth naming.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = normal(word);
    let near = (word.len() / 3).max(1);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let normal = normal(candidate);
            // A name without its unit, or with one too many, is the same name however long the rest is.
            let extended = word.len().min(normal.len()) >= 4
                && (normal.starts_with(word.as_slice()) || word.starts_with(normal.as_slice()));
            let distance = match word.len().abs_diff(normal.len()) {
                _ if extended => 1,
                difference if difference > near => return None,
                _ => distance(&word, &normal),
            };
            (distance <= near).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// In the spelling of this configuration: other programs write `-`, or capitals.
fn normal(word: &str) -> Vec<char> {
    word.chars().map(|character| if character == '-' { '_' } else { character.to_ascii_lowercase() }).collect()
}

/// How many characters must be inserted, deleted, replaced or swapped with their neighbour to make `a` of `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    // Three rows of the table of distances between beginnings: the one in work, and the two above it.
    let mut above_that = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let replaced = above[j] + usize::from(a[i] != b[j]);
            row[j + 1] = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                row[j + 1] = row[j + 1].min(above_that[j - 1] + 1);
            }
        }
        above_that = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_named_when_it_is_near() {
        let words = ["hostname", "shards", "bind", "reuse_port", "message_size_bytes", "idle_timeout_s", "errors"];
        for (written, meant) in [
            ("hostnam", Some("hostname")),
            ("host_name", Some("hostname")),
            ("HostName", Some("hostname")),
            ("reuse-port", Some("reuse_port")),
            ("message_size", Some("message_size_bytes")),
            ("idle_timeout", Some("idle_timeout_s")),
            ("idle_timeout_ms", Some("idle_timeout_s")),
            ("sahrds", Some("shards")),
            ("bnid", Some("bind")),
            ("binds", Some("bind")),
            ("error", Some("errors")),
            ("x", None),
            ("", None),
            ("port", None),
            ("something", None),
        ] {
            assert_eq!(nearest(written, words), meant, "{written}");
        }
    }

    #[test]
    fn distances() {
        for (a, b, wanted) in
            [("", "", 0), ("", "abc", 3), ("abc", "abc", 0), ("abc", "acb", 1), ("ab", "b", 1), ("abc", "xyz", 3)]
        {
            let [a, b] = [a, b].map(|word| word.chars().collect::<Vec<_>>());
            assert_eq!((distance(&a, &b), distance(&b, &a)), (wanted, wanted), "{a:?} {b:?}");
        }
    }
}
