//! Typed values from TOML's values, one reader for each type.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::de::DeValue;

use super::error::{Mistake, shown};
use super::plan::DeliveryLog;
use super::vocabulary::{FILE_MODE_MOST, REFUSALS, Words};
use super::{hostname, suggestion};
use crate::policy::recipients::{Action, BadPattern, Pattern};
use crate::sink::maildir::options::{PathTemplate, PathTemplateError};
use crate::smtp::extension::{Extension, Extensions};

/// Why a value that this build lacks is refused: one phrase for keys and words alike.
pub(super) const LACKING: &str = "is known but not part of this build yet";

/// A text.
pub(super) fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Mistake> {
    value.as_str().ok_or_else(|| mistyped(value, "a text in quotes is wanted"))
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Mistake> {
    value.as_bool().ok_or_else(|| mistyped(value, "true or false is wanted, without quotes"))
}

/// A whole number in a range; `unit` says of what.
pub(super) fn number<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
    unit: &str,
) -> impl Fn(&DeValue<'_>) -> Result<T, Mistake> {
    move |value| {
        let Some(integer) = value.as_integer() else {
            return Err(mistyped(value, format!("{} is wanted", number_wanted(&range, unit))));
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        in_range(number.ok_or_else(|| integer.to_string()), &range, unit)
    }
}

/// A power of two in a range.
pub(super) fn power_of_two(range: RangeInclusive<u64>, unit: &str) -> impl Fn(&DeValue<'_>) -> Result<u64, Mistake> {
    let number = number::<u64>(range.clone(), unit);
    move |value| {
        let number = number(value)?;
        if number.is_power_of_two() {
            return Ok(number);
        }
        let near = [number.next_power_of_two() / 2, number.next_power_of_two()].map(|near| near.to_string());
        let near: Vec<String> =
            near.into_iter().filter(|near| near.parse().is_ok_and(|near| range.contains(&near))).collect();
        Err(Mistake::new(format!("{number} is no power of two"), format!("{} is near", near.join(" or "))))
    }
}

/// A number that is already read, or its text when it is beyond all numbers, held against a range.
pub(super) fn in_range<T: TryFrom<u64>>(
    number: Result<u64, String>,
    range: &RangeInclusive<u64>,
    unit: &str,
) -> Result<T, Mistake> {
    let fitting =
        number.as_ref().ok().filter(|number| range.contains(number)).and_then(|number| T::try_from(*number).ok());
    fitting.ok_or_else(|| {
        let written = number.map_or_else(|text| text, |number| number.to_string());
        Mistake::new(format!("{written} is out of range"), format!("{} is wanted", number_wanted(range, unit)))
    })
}

/// A whole number in a range, or 0 for no limit; `why` says where the range begins.
pub(super) fn number_or_none<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
    unit: &str,
    why: &str,
) -> impl Fn(&DeValue<'_>) -> Result<T, Mistake> {
    let none = number(0..=0, unit);
    let some = number(range, unit);
    move |value| {
        let either = none(value).or_else(|_| some(value));
        either.map_err(|Mistake { wrong, right }| Mistake { wrong, right: format!("0 (no limit) or {right}: {why}") })
    }
}

/// A word of a list.
pub(super) fn word<T: Copy>(words: &Words<T>) -> impl Fn(&DeValue<'_>) -> Result<T, Mistake> {
    move |value| {
        let has = || listed(words.has.iter().map(|(word, _)| *word), "or");
        let Some(written) = value.as_str() else {
            return Err(mistyped(value, format!("{} is wanted", has())));
        };
        if let Some((_, meaning)) = words.has.iter().find(|(word, _)| *word == written) {
            return Ok(*meaning);
        }
        if words.lacks.contains(&written) {
            return Err(lacking(&shown(written), &has()));
        }
        let candidates = words.has.iter().map(|(word, _)| *word).chain(words.lacks.iter().copied());
        Err(unknown(written, candidates, &has()))
    }
}

/// The keyword of a service extension, in any case.
pub(super) fn extension(value: &DeValue<'_>) -> Result<Extension, Mistake> {
    let written = text(value)?;
    let has = listed(Extensions::unconditional().iter().map(Extension::keyword), "and");
    match Extension::from_keyword(written) {
        Some(extension) if Extensions::unconditional().has(extension) => Ok(extension),
        Some(Extension::Xclient) => Err(Mistake::new(
            format!("{} is not for everyone", shown(Extension::Xclient.keyword())),
            "the key \"xclient\" lists the peers to which it is offered",
        )),
        Some(extension) => Err(lacking(&shown(extension.keyword()), &has)),
        None => Err(unknown(written, Extension::ALL.map(Extension::keyword), &has)),
    }
}

/// A pattern of recipients.
pub(super) fn pattern(value: &DeValue<'_>) -> Result<Pattern, Mistake> {
    let written = value.as_str().ok_or_else(|| {
        let right = "a pattern in quotes is wanted, such as \"example.net\", or a table: { match = \"no@example.net\", \
                     refuse = 550 }";
        mistyped(value, right)
    })?;
    written.parse().map_err(|bad: BadPattern| Mistake::new(format!("{} {}", shown(written), bad.wrong), bad.right))
}

/// The reply code with which recipients are refused.
pub(super) fn refusal(value: &DeValue<'_>) -> Result<Action, Mistake> {
    let right = "550 (no such recipient), 556 (the domain takes no mail) or 450 (not now) is wanted";
    let Some(integer) = value.as_integer() else { return Err(mistyped(value, right)) };
    let code = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
    let known = REFUSALS.into_iter().find(|(known, _)| code == Some(*known)).map(|(_, action)| action);
    known.ok_or_else(|| Mistake::new(format!("{integer} is no code with which a recipient is refused here"), right))
}

/// Where the maildirs of a sink lie.
pub(super) fn path_template(value: &DeValue<'_>) -> Result<PathTemplate, Mistake> {
    let written = text(value)?;
    written.parse().map_err(|error: PathTemplateError| {
        let error = error.to_string();
        let (wrong, right) = error.split_once("; ").unwrap_or((&error, "another path is wanted"));
        Mistake::new(format!("{} {wrong}", shown(written)), right)
    })
}

/// The path of a file or directory.
pub(super) fn path(value: &DeValue<'_>) -> Result<PathBuf, Mistake> {
    let written = text(value)?;
    let wrong = match written {
        "" => "the path is empty".to_owned(),
        _ if written.contains('\0') => format!("{} has a NUL in it; a path cannot", shown(written)),
        _ => return Ok(written.into()),
    };
    Err(Mistake::new(wrong, "the path of a file or directory is wanted, absolute or relative"))
}

/// Where deliveries are logged.
pub(super) fn deliveries(value: &DeValue<'_>) -> Result<DeliveryLog, Mistake> {
    match path(value)? {
        path if path.as_os_str() == "stderr" => Ok(DeliveryLog::Stderr),
        path if path.as_os_str() == "none" => Ok(DeliveryLog::None),
        path => Ok(DeliveryLog::File(path)),
    }
}

/// The name of this server.
pub(super) fn hostname(value: &DeValue<'_>) -> Result<String, Mistake> {
    let written = text(value)?;
    hostname::check(written).map(|()| written.to_owned())
}

/// The text of a greeting. Whether it is short enough depends on the host name before it.
pub(super) fn banner(value: &DeValue<'_>) -> Result<String, Mistake> {
    let written = text(value)?;
    let wrong = match written.chars().find(|character| !(' '..='~').contains(character)) {
        Some(character) => format!("{} has {character:?} in it", shown(written)),
        None if written.trim().is_empty() => "the text is empty".into(),
        None => return Ok(written.to_owned()),
    };
    Err(Mistake::new(wrong, "printable ASCII is wanted, such as \"ESMTP test sink\""))
}

/// Permission bits, written in octal as `chmod` takes them.
pub(super) fn file_mode(value: &DeValue<'_>) -> Result<u32, Mistake> {
    let right = "octal digits in quotes are wanted, such as \"0660\"";
    let written = value.as_str().ok_or_else(|| mistyped(value, right))?;
    let digits = !written.is_empty() && written.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let mode = if digits { u32::from_str_radix(written, 8).ok() } else { None };
    mode.filter(|mode| *mode <= FILE_MODE_MOST)
        .ok_or_else(|| Mistake::new(format!("{} is no file mode up to 0777", shown(written)), right))
}

/// A value of the wrong type.
pub(super) fn mistyped(value: &DeValue<'_>, right: impl Into<String>) -> Mistake {
    let article = if value.is_integer() || value.is_array() { "an" } else { "a" };
    let written = match value {
        DeValue::String(text) => format!("the text {}", shown(text)),
        DeValue::Integer(integer) => format!("the number {integer}"),
        DeValue::Float(float) => format!("the fraction {float}"),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => format!("{article} {}", value.type_str()),
    };
    Mistake::new(format!("{written} cannot stand here"), right)
}

/// Words or keys in a row: `"a", "b" or "c"`.
pub(super) fn listed<'w>(words: impl IntoIterator<Item = &'w str>, conjunction: &str) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("{word:?}")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} {conjunction} {last}", rest.join(", ")),
        None => String::new(),
    }
}

fn number_wanted(range: &RangeInclusive<u64>, unit: &str) -> String {
    format!("a whole number of {unit} from {} to {}", range.start(), range.end())
}

fn lacking(written: &str, has: &str) -> Mistake {
    Mistake::new(format!("{written} {LACKING}"), format!("this build has {has}"))
}

fn unknown<'c>(written: &str, candidates: impl IntoIterator<Item = &'c str>, has: &str) -> Mistake {
    let right = match suggestion::nearest(written, candidates) {
        Some(meant) => format!("did you mean {meant:?}? This build has {has}"),
        None => format!("this build has {has}"),
    };
    Mistake::new(format!("{} is not known", shown(written)), right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::vocabulary;

    /// Reads one value, and gives the mistake as printed.
    fn read<T>(reader: impl Fn(&DeValue<'_>) -> Result<T, Mistake>, toml: &str) -> Result<T, String> {
        reader(DeValue::parse(toml).unwrap().get_ref()).map_err(|mistake| mistake.to_string())
    }

    #[test]
    fn numbers_are_held_against_their_range() {
        let reader = number::<u16>(10..=70_000, "octets");
        for (toml, value) in [("10", 10), ("0xff", 255), ("0o17", 15), ("1_000", 1000), ("+65535", 65535)] {
            assert_eq!(read(&reader, toml), Ok(value), "{toml}");
        }
        for (toml, wrong) in [
            ("9", "9 is out of range"),
            ("-10", "-10 is out of range"),
            ("65536", "65536 is out of range"),
            ("70001", "70001 is out of range"),
            ("99999999999999999999999", "99999999999999999999999 is out of range"),
            ("1.5", "the fraction 1.5 cannot stand here"),
            ("\"10\"", "the text \"10\" cannot stand here"),
            ("true", "true cannot stand here"),
            ("[1]", "an array cannot stand here"),
            ("{ a = 1 }", "a table cannot stand here"),
            ("1979-05-27", "a datetime cannot stand here"),
        ] {
            let right = "a whole number of octets from 10 to 70000 is wanted";
            assert_eq!(read(&reader, toml), Err(format!("{wrong}; {right}")), "{toml}");
        }
    }

    #[test]
    fn numbers_with_a_least_have_0_for_no_limit() {
        let reader = number_or_none::<u16>(100..=70_000, "fields", "so the RFC");
        assert_eq!([read(&reader, "0"), read(&reader, "100"), read(&reader, "0xffff")], [Ok(0), Ok(100), Ok(65535)]);
        for (toml, wrong) in [
            ("99", "99 is out of range"),
            ("1", "1 is out of range"),
            ("-1", "-1 is out of range"),
            ("65536", "65536 is out of range"),
            ("false", "false cannot stand here"),
        ] {
            let right = "0 (no limit) or a whole number of fields from 100 to 70000 is wanted: so the RFC";
            assert_eq!(read(&reader, toml), Err(format!("{wrong}; {right}")), "{toml}");
        }
    }

    #[test]
    fn words_that_are_lacking_or_misspelled_are_told_so() {
        let reader = word(&vocabulary::PROTOCOL);
        assert_eq!(read(&reader, "\"lmtp\""), Ok(super::super::Protocol::Lmtp));
        let has = "\"smtp\" or \"lmtp\"";
        for (toml, said) in [
            ("\"qmqp\"", format!("\"qmqp\" is known but not part of this build yet; this build has {has}")),
            ("\"smpt\"", format!("\"smpt\" is not known; did you mean \"smtp\"? This build has {has}")),
            ("\"Qmqp\"", format!("\"Qmqp\" is not known; did you mean \"qmqp\"? This build has {has}")),
            ("\"x\"", format!("\"x\" is not known; this build has {has}")),
            ("1", format!("the number 1 cannot stand here; {has} is wanted")),
        ] {
            assert_eq!(read(&reader, toml), Err(said), "{toml}");
        }
        let reader = word(&vocabulary::BARE_NEWLINE);
        assert_eq!(
            read(&reader, "false").unwrap_err(),
            "false cannot stand here; \"normalize\", \"preserve\" or \"reject\" is wanted"
        );
    }

    #[test]
    fn extensions_are_read_in_any_case() {
        assert_eq!(read(extension, "\"chunking\""), Ok(Extension::Chunking));
        for (toml, said) in [
            ("\"starttls\"", "\"STARTTLS\" is known but not part of this build yet; this build has \"PIPELINING\", "),
            ("\"xclient\"", "\"XCLIENT\" is not for everyone; the key \"xclient\" lists the peers to which"),
            ("\"CHUNKNG\"", "\"CHUNKNG\" is not known; did you mean \"CHUNKING\"? This build has \"PIPELINING\", "),
            ("\"X\"", "\"X\" is not known; this build has \"PIPELINING\", "),
            ("5", "the number 5 cannot stand here; a text in quotes"),
        ] {
            let mistake = read(extension, toml).unwrap_err();
            assert!(mistake.starts_with(said), "{mistake}");
        }
    }

    #[test]
    fn patterns_and_refusals_are_told_what_would_be_right() {
        assert_eq!(read(pattern, "'OK.test'").map(|pattern| pattern.to_string()), Ok("ok.test".into()));
        for (toml, said) in [
            ("'*@ok.test'", "\"*@ok.test\" has no local-part; all at a domain is the domain alone: \"ok.test\""),
            (
                "5",
                "the number 5 cannot stand here; a pattern in quotes is wanted, such as \"example.net\", or a table: ",
            ),
        ] {
            let mistake = read(pattern, toml).unwrap_err();
            assert!(mistake.starts_with(said), "{mistake}");
        }
        assert_eq!(["550", "556", "450"].map(|toml| read(refusal, toml)), REFUSALS.map(|(_, action)| Ok(action)));
        let right = "550 (no such recipient), 556 (the domain takes no mail) or 450 (not now) is wanted";
        for (toml, wrong) in [
            ("551", "551 is no code with which a recipient is refused here"),
            ("-550", "-550 is no code with which a recipient is refused here"),
            ("\"550\"", "the text \"550\" cannot stand here"),
        ] {
            assert_eq!(read(refusal, toml), Err(format!("{wrong}; {right}")), "{toml}");
        }
    }

    #[test]
    fn paths_are_told_what_would_be_right() {
        assert_eq!(read(path, "'a/b'"), Ok("a/b".into()));
        for (toml, said) in [("''", "the path is empty; "), ("\"a\\u0000\"", "\"a\\0\" has a NUL in it; ")] {
            let mistake = read(path, toml).unwrap_err();
            assert!(mistake.starts_with(said), "{mistake}");
        }
        assert_eq!(read(path_template, "'mail/{local}'").map(|path| path.to_string()), Ok("mail/{local}".into()));
        assert_eq!(
            read(path_template, "'mail/{user}'").unwrap_err(),
            "\"mail/{user}\" has \"{user}\", which stands for nothing; {domain} and {local} are known, and a brace of the \
             path itself is doubled"
        );
        for (toml, wanted) in [
            ("'stderr'", DeliveryLog::Stderr),
            ("'none'", DeliveryLog::None),
            ("'./none'", DeliveryLog::File("./none".into())),
        ] {
            assert_eq!(read(deliveries, toml), Ok(wanted), "{toml}");
        }
    }

    #[test]
    fn banners_are_printable() {
        assert_eq!(read(banner, "\"ESMTP ~\""), Ok("ESMTP ~".into()));
        for (toml, said) in [
            ("\"\"", "empty"),
            ("\"  \"", "empty"),
            ("\"a\\r\\nb\"", "'\\r'"),
            ("\"a\\tb\"", "'\\t'"),
            ("\"é\"", "'é'"),
            ("\"\\u007f\"", "'\\u{7f}'"),
        ] {
            let mistake = read(banner, toml).unwrap_err();
            assert!(mistake.contains(said), "{toml}: {mistake}");
        }
    }

    #[test]
    fn file_modes_are_octal_texts() {
        for (toml, mode) in [("\"0660\"", 0o660), ("\"660\"", 0o660), ("\"0777\"", 0o777), ("\"0\"", 0)] {
            assert_eq!(read(file_mode, toml), Ok(mode), "{toml}");
        }
        for toml in ["\"\"", "\"0888\"", "\"1777\"", "\"+660\"", "\"rw-rw----\"", "660", "0o660", "\"77777777777777\""]
        {
            let mistake = read(file_mode, toml).unwrap_err();
            assert!(mistake.ends_with("octal digits in quotes are wanted, such as \"0660\""), "{toml}: {mistake}");
        }
    }
}
