//! A list of recipients, one on each line, and a path behind an empty one: patterns are read back as they are written, a look-up
//! comes to one answer, and no entry of a whole domain takes what may be an address elsewhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::mail::address::Path;
use ringmx::mail::envelope::Route;
use ringmx::policy::recipients::{Action, Pattern, Recipients};
use ringmx::smtp::command::parse_rcpt;
use ringmx::smtp::extension::Extensions;
use ringmx::smtp::session::Outcome;
use ringmx::smtp::settings::AddressSyntax;

fuzz_target!(|input: &[u8]| {
    let Some(cut) = input.windows(2).position(|pair| pair == b"\n\n") else { return };
    let Ok(list) = str::from_utf8(&input[..cut]) else { return };
    let mut recipients = Recipients::new("mx.test", Route(0));
    let mut is_narrow = true;
    for line in list.lines() {
        let (action, text) = match line.split_at_checked(1) {
            Some(("-", text)) => (Action::RefuseUnknown, text),
            _ => (Action::Take, line),
        };
        let Ok(pattern) = text.parse::<Pattern>() else { continue };
        let again: Pattern = pattern.to_string().parse().expect("it was read once");
        assert_eq!(again.to_string(), pattern.to_string());
        is_narrow &= action != Action::Take || !(text.contains('@') || text == "ALL");
        // One that can never match is not taken, and changes nothing.
        let _ = recipients.add(&pattern, action);
    }
    let argument = [b"TO:", &input[cut + 2..]].concat();
    let Ok(rcpt) = parse_rcpt(&argument, AddressSyntax::Loose, Extensions::all(), true) else { return };
    let path = rcpt.forward_path;
    let answer = recipients.answer(path);
    assert_eq!(recipients.answer(path), answer);
    if let (Path::Mailbox(mailbox), true) = (path, is_narrow) {
        let is_elsewhere = mailbox.local_part.iter().any(|octet| matches!(octet, b'%' | b'!' | b'@'));
        assert!(!is_elsewhere || matches!(answer, Outcome::Refuse(_)), "{path:?}: {answer:?}");
    }
});
