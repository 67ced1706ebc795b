//! A path that is read stands in the line octet for octet, is read again from what was read, and is taken by loose syntax
//! where strict takes it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::limits;
use ringmx::mail::address::{Mailbox, Path};
use ringmx::smtp::command::parse_mail;
use ringmx::smtp::extension::Extensions;
use ringmx::smtp::path::is_domain_or_literal;
use ringmx::smtp::settings::AddressSyntax;
use ringmx_fuzz::is_one_line;

fn read(text: &[u8], syntax: AddressSyntax, then: impl FnOnce(Path<'_>)) -> bool {
    let argument = [b"FROM:", text].concat();
    let read = parse_mail(&argument, syntax, Extensions::all());
    read.map(|mail| then(mail.reverse_path)).is_ok()
}

fn written(path: Path<'_>) -> Vec<u8> {
    match path {
        Path::Null => b"<>".to_vec(),
        Path::Local(local_part) => [b"<", local_part, b">"].concat(),
        Path::Mailbox(Mailbox { local_part, domain }) => [b"<", local_part, b"@", domain, b">"].concat(),
    }
}

fuzz_target!(|text: &[u8]| {
    for syntax in [AddressSyntax::Strict, AddressSyntax::Loose] {
        let is_loose = syntax == AddressSyntax::Loose;
        read(text, syntax, |path| {
            let written = written(path);
            let inside = &written[1..written.len() - 1];
            assert!(inside.is_empty() || text.windows(inside.len()).any(|window| window == inside));
            assert!(is_one_line(&written));
            let most = if is_loose { limits::PATH_OCTETS_LOOSE } else { limits::PATH_OCTETS };
            assert!(written.len() <= most);
            if let Path::Mailbox(Mailbox { domain, .. }) = path
                && domain.is_ascii()
            {
                assert!(is_domain_or_literal(domain, is_loose), "{}", domain.escape_ascii());
            }
            // Without ASCII alone it takes the parameter too.
            let again = if written.is_ascii() { written } else { [&written, &b" SMTPUTF8"[..]].concat() };
            assert!(read(&again, syntax, |other| assert_eq!(other, path)), "{}", again.escape_ascii());
            assert!(is_loose || read(text, AddressSyntax::Loose, |other| assert_eq!(other, path)));
        });
    }
});
