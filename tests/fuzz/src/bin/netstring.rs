//! QMQP's package of netstrings comes to the same however it is cut; what is read was announced, and nothing is read twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::protocol::netstring;
use ringmx::protocol::qmqp::reader::{Event, Reader};
use ringmx_fuzz::{header, pieces};

const MOST: u64 = 1 << 20;

/// What came: content, sender and recipients; and how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Package {
    announced: Option<u64>,
    content: Vec<u8>,
    addresses: Vec<Vec<u8>>,
    end: Option<String>,
}

fn read(octets: &[u8], how: u8) -> Package {
    let mut reader = Reader::new(MOST);
    let mut package = Package::default();
    for piece in pieces(octets, how) {
        let mut rest = piece;
        loop {
            match reader.next(&mut rest) {
                Ok(None) => break,
                Ok(Some(Event::Message(octets))) => package.announced = Some(octets),
                Ok(Some(Event::Content(piece))) => package.content.extend_from_slice(piece),
                Ok(Some(Event::MessageEnd)) => assert_eq!(package.announced, Some(package.content.len() as u64)),
                Ok(Some(Event::Sender(address) | Event::Recipient(address))) => {
                    package.addresses.push(address.to_vec());
                }
                Ok(Some(Event::End)) => {
                    package.end = Some("whole".to_owned());
                    return package;
                }
                Err(error) => {
                    package.end = Some(format!("{error:?}"));
                    return package;
                }
            }
        }
        assert!(rest.is_empty(), "more is wanted while there is more");
    }
    package
}

/// As it would be sent.
fn written(package: &Package) -> Vec<u8> {
    let (mut inner, mut outer) = (Vec::new(), Vec::new());
    netstring::write(&package.content, &mut inner);
    package.addresses.iter().for_each(|address| netstring::write(address, &mut inner));
    netstring::write(&inner, &mut outer);
    outer
}

fuzz_target!(|input: &[u8]| {
    let ([how], octets) = header::<1>(input);
    let whole = read(octets, 0);
    assert_eq!(read(octets, how), whole);
    if whole.end.as_deref() == Some("whole") {
        let written = written(&whole);
        assert!(octets.starts_with(&written));
    }
    // Any octets can be a package's content, and its addresses.
    let (content, rest) = octets.split_at(octets.len() / 2);
    let addresses = rest.chunks(100).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let sent = Package { announced: Some(content.len() as u64), content: content.to_vec(), addresses, end: None };
    let read = read(&written(&sent), how);
    if sent.addresses.is_empty() {
        assert!(read.end.is_some_and(|end| end != "whole"), "a sender is missing");
    } else {
        assert_eq!((read.content, read.addresses, read.end.as_deref()), (sent.content, sent.addresses, Some("whole")));
    }
});
