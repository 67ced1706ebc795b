//! Vectors made by hand from proxy-protocol.txt; and for all headers: written and read again, cut anywhere, spoilt.

use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::limits::{PROXY_UNIQUE_ID_OCTETS, PROXY_V1_OCTETS, PROXY_V2_OCTETS};

const SIGNATURE: [u8; 12] = [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A];

/// 192.0.2.7:5000 to 198.51.100.1:25.
const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x13, 0x88, 0, 25];

fn v4() -> Origin<'static> {
    let (source, destination) = ("192.0.2.7:5000".parse().unwrap(), "198.51.100.1:25".parse().unwrap());
    Origin::V4 { source, destination }
}

fn v6() -> Origin<'static> {
    let (source, destination) = ("[2001:db8::7]:5000".parse().unwrap(), "[2001:db8::1]:25".parse().unwrap());
    Origin::V6 { source, destination }
}

fn v2(version_command: u8, family: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let length = (body.len() as u16).to_be_bytes();
    [&SIGNATURE, [version_command, family].as_slice(), &length, &body].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [[kind].as_slice(), &(value.len() as u16).to_be_bytes(), value].concat()
}

type Read<'a> = Result<Option<(Origin<'a>, Vec<Tlv<'a>>)>, ProxyError>;

/// The header in one piece of input, and what is left of that.
fn take<'a>(preamble: &'a mut Preamble, input: &'a [u8]) -> (Read<'a>, &'a [u8]) {
    let mut rest = input;
    let header = preamble.take(&mut rest);
    (header.map(|header| header.map(|header| (header.origin, header.tlvs.collect()))), rest)
}

#[track_caller]
fn expect(input: &[u8], origin: Origin<'_>, tlvs: &[Tlv<'_>]) {
    let mut preamble = Preamble::default();
    let input = [input, b"EHLO x.test\r\n"].concat();
    let (read, rest) = take(&mut preamble, &input);
    assert_eq!(read, Ok(Some((origin, tlvs.to_vec()))), "{}", input.escape_ascii());
    assert_eq!(rest, b"EHLO x.test\r\n");
    assert_eq!(preamble.carry.capacity(), 0, "a whole header is not copied");
}

/// In one piece, which is left as it was; and octet for octet.
#[track_caller]
fn expect_error(input: &[u8], error: ProxyError) {
    let mut preamble = Preamble::default();
    assert_eq!(take(&mut preamble, input), (Err(error), input), "{}", input.escape_ascii());
    let mut preamble = Preamble::default();
    let found = input.iter().find_map(|octet| preamble.take(&mut std::slice::from_ref(octet)).err());
    assert_eq!(found, Some(error), "{}", input.escape_ascii());
}

/// CONFORMANCE T201, T207.
#[test]
fn a_line_names_who_is_passed_on() {
    let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 25\r\n";
    expect(line, v4(), &[]);
    let mut preamble = Preamble::default();
    let header = preamble.take(&mut line.as_slice()).unwrap().unwrap();
    assert_eq!(header.source(), Some(Endpoint::Inet("192.0.2.7:5000".parse().unwrap())));
    assert_eq!(header.destination(), Some(Endpoint::Inet("198.51.100.1:25".parse().unwrap())));
    let ends = ("0.0.0.0:0".parse().unwrap(), "255.255.255.255:65535".parse().unwrap());
    expect(b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", Origin::V4 { source: ends.0, destination: ends.1 }, &[]);
}

/// CONFORMANCE T202.
#[test]
fn a_line_names_ipv6_or_nobody() {
    expect(b"PROXY TCP6 2001:db8::7 2001:DB8:0000:0:0:0:0:1 5000 25\r\n", v6(), &[]);
    let mapped = ("[::ffff:192.0.2.7]:1".parse().unwrap(), "[::]:2".parse().unwrap());
    expect(b"PROXY TCP6 ::ffff:192.0.2.7 :: 1 2\r\n", Origin::V6 { source: mapped.0, destination: mapped.1 }, &[]);
    let longest = format!("PROXY UNKNOWN {0} {0} 65535 65535\r\n", ["ffff"; 8].join(":"));
    assert_eq!(longest.len(), PROXY_V1_OCTETS);
    let lines: [&[u8]; 5] = [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN \r\n",
        b"PROXY UNKNOWN junk  \0\xFF\r 1\r\n",
        b"PROXY UNKNOWN 192.0.2.7 198.51.100.1 5000 25\r\n",
        longest.as_bytes(),
    ];
    for line in lines {
        expect(line, Origin::Unknown, &[]);
        let mut preamble = Preamble::default();
        let header = preamble.take(&mut &line[..]).unwrap().unwrap();
        assert_eq!((header.source(), header.destination()), (None, None));
    }
}

#[test]
fn a_line_that_is_not_of_the_grammar_is_refused() {
    use ProxyError::{Address, BareNewline, Fields, LineTooLong, Port, Protocol};
    let rows: &[(&str, ProxyError)] = &[
        ("PROXY TCP5 192.0.2.7 198.51.100.1 5000 25\r\n", Protocol),
        ("PROXY tcp4 192.0.2.7 198.51.100.1 5000 25\r\n", Protocol),
        ("PROXY UNKNOWNS\r\n", Protocol),
        ("PROXY unknown\r\n", Protocol),
        ("PROXY  TCP4 192.0.2.7 198.51.100.1 5000 25\r\n", Protocol),
        ("PROXY \r\n", Protocol),
        ("PROXY TCP4\r\n", Fields),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 5000\r\n", Fields),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 5000 \r\n", Fields),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 5000 25 \r\n", Fields),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 5000 25 1\r\n", Fields),
        ("PROXY TCP4  192.0.2.7 198.51.100.1 5000 25\r\n", Fields),
        ("PROXY TCP4\t192.0.2.7 198.51.100.1 5000 25\r\n", Protocol),
        ("PROXY TCP4 192.0.2.7 198.51.100.1\t5000 25\r\n", Fields),
        ("PROXY TCP4 192.0.2.007 198.51.100.1 5000 25\r\n", Address),
        ("PROXY TCP4 192.0.2 198.51.100.1 5000 25\r\n", Address),
        ("PROXY TCP4 192.0.2.256 198.51.100.1 5000 25\r\n", Address),
        ("PROXY TCP4 2001:db8::7 2001:db8::1 5000 25\r\n", Address),
        ("PROXY TCP6 192.0.2.7 198.51.100.1 5000 25\r\n", Address),
        ("PROXY TCP6 2001:db8::7 198.51.100.1 5000 25\r\n", Address),
        ("PROXY TCP6 [::1] ::1 5000 25\r\n", Address),
        ("PROXY TCP6 fe80::1%1 ::1 5000 25\r\n", Address),
        ("PROXY TCP6 1::2::3 ::1 5000 25\r\n", Address),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 05000 25\r\n", Port),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 00 25\r\n", Port),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 5000 65536\r\n", Port),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 +500 25\r\n", Port),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n", Port),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 5000 25\r\r\n", Port),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 5000 25\n", BareNewline),
        ("PROXY UNKNOWN a\nb\r\n", BareNewline),
        ("PROXY \n", BareNewline),
    ];
    for (line, error) in rows {
        expect_error(line.as_bytes(), *error);
    }
    let long = format!("PROXY UNKNOWN {}", "x".repeat(PROXY_V1_OCTETS - 15));
    assert_eq!(Preamble::default().take(&mut long.as_bytes()), Ok(None));
    expect_error(format!("{long}x").as_bytes(), LineTooLong);
    expect_error(format!("{long}\r\n").as_bytes(), LineTooLong);
}

/// CONFORMANCE T208's other side: a client without a proxy is not made to wait.
#[test]
fn what_is_no_header_is_refused_at_its_first_octet() {
    for (awaited, wrong) in [
        (b"".as_slice(), b"E".as_slice()),
        (b"", b"p"),
        (b"", b"\n"),
        (b"", b"\0"),
        (b"P", b"R0"),
        (b"PROXY", b"\r"),
        (b"PROXY", b"\t"),
        (b"\r\n", b"E"),
        (&SIGNATURE[..11], b"\r"),
    ] {
        let mut preamble = Preamble::default();
        assert_eq!(preamble.take(&mut &awaited[..]), Ok(None));
        let mut input = wrong;
        assert_eq!(preamble.take(&mut input), Err(ProxyError::NotProxy), "{}", wrong.escape_ascii());
        assert_eq!(input, wrong);
        expect_error(&[awaited, wrong].concat(), ProxyError::NotProxy);
    }
}

/// CONFORMANCE T204.
#[test]
fn a_binary_header_names_who_is_passed_on() {
    expect(&v2(0x21, 0x11, &[&V4]), v4(), &[]);
    let mut address = [0_u8; 36];
    address[..4].copy_from_slice(&[0x20, 0x01, 0x0D, 0xB8]);
    address[15] = 7;
    address[16..20].copy_from_slice(&[0x20, 0x01, 0x0D, 0xB8]);
    address[31] = 1;
    address[32..].copy_from_slice(&V4[8..]);
    expect(&v2(0x21, 0x21, &[&address]), v6(), &[]);
    // More octets than the addresses have are TLVs.
    expect(&v2(0x21, 0x11, &[&V4, &tlv(0x02, b"x.test")]), v4(), &[Tlv::Authority("x.test")]);
}

#[test]
fn a_binary_header_names_paths() {
    let field = |path: &[u8]| [path, &vec![0; 108 - path.len()]].concat();
    let full = [b'p'; 108];
    let rows: [(Vec<u8>, &[u8]); 5] = [
        (field(b"/run/proxy"), b"/run/proxy"),
        (field(b"\0abstract\0name"), b"\0abstract\0name"),
        (field(b""), b""),
        (full.to_vec(), &full),
        (field(b"/run/x\0left over"), b"/run/x"),
    ];
    for (field, path) in &rows {
        let destination = &rows[0];
        let origin = Origin::Unix { source: path, destination: destination.1 };
        expect(&v2(0x21, 0x31, &[field, &destination.0]), origin, &[]);
        let mut preamble = Preamble::default();
        let octets = v2(0x21, 0x31, &[field, &destination.0]);
        let header = preamble.take(&mut octets.as_slice()).unwrap().unwrap();
        assert_eq!(header.source(), Some(Endpoint::Unix(path)));
    }
}

/// CONFORMANCE T204. Of a header that names nobody, what follows is skipped unread.
#[test]
fn a_binary_header_can_name_nobody() {
    let junk = [0xFF; 40];
    for body in [b"".as_slice(), &V4, &junk] {
        expect(&v2(0x20, 0x00, &[body]), Origin::Local, &[]);
        // The family of LOCAL is to be ignored.
        expect(&v2(0x20, 0xFF, &[body]), Origin::Local, &[]);
        expect(&v2(0x20, 0x11, &[body]), Origin::Local, &[]);
        for family in [0x00, 0x01, 0x02, 0x10, 0x20, 0x30, 0x12, 0x22, 0x32] {
            expect(&v2(0x21, family, &[body]), Origin::Unknown, &[]);
        }
    }
}

#[test]
fn a_binary_header_that_is_not_of_the_format_is_refused() {
    use ProxyError::{Command, Family, TooLong, TooShort, Version};
    for version in [0x01, 0x11, 0x31, 0xF1] {
        expect_error(&v2(version, 0x11, &[&V4]), Version(version >> 4));
    }
    for command in [0x22, 0x2F] {
        expect_error(&v2(command, 0x11, &[&V4]), Command(command & 0x0F));
    }
    for family in [0x13, 0x1F, 0x41, 0x40, 0xF1, 0x03] {
        expect_error(&v2(0x21, family, &[&V4]), Family(family));
    }
    expect_error(&v2(0x21, 0x11, &[]), TooShort(0));
    expect_error(&v2(0x21, 0x11, &[&V4[..11]]), TooShort(11));
    expect_error(&v2(0x21, 0x21, &[&[0; 35]]), TooShort(35));
    expect_error(&v2(0x21, 0x31, &[&[0; 215]]), TooShort(215));
    // It is refused before it has come.
    let most = PROXY_V2_OCTETS - 16;
    expect_error(&v2(0x20, 0x00, &[&vec![0; most + 1]])[..16], TooLong(most as u16 + 1));
    expect_error(&v2(0x21, 0x11, &[&[0; 65535]])[..16], TooLong(65535));
    expect(&v2(0x20, 0x00, &[&vec![0; most]]), Origin::Local, &[]);
}

#[test]
fn each_tlv_is_read() {
    let ssl = [
        [0x07, 0, 0, 0, 0].as_slice(),
        &tlv(0x21, b"TLSv1.3"),
        &tlv(0x22, "é.test".as_bytes()),
        &tlv(0x23, b"TLS_AES_128_GCM_SHA256"),
        &tlv(0x24, b"RSA-SHA256"),
        &tlv(0x2F, b"\xFF"),
        &tlv(0x25, b"RSA2048"),
    ]
    .concat();
    let identity = [0xAA; PROXY_UNIQUE_ID_OCTETS];
    let body = [
        tlv(0x04, &[]),
        tlv(0x01, b"smtp"),
        tlv(0x02, "é.test".as_bytes()),
        tlv(0x05, &identity),
        tlv(0x20, &ssl),
        tlv(0x20, &[0, 0, 0, 0, 1]),
        tlv(0x30, b"blue"),
        tlv(0xEA, b"\x01vpce-1"),
        tlv(0xE0, b""),
        tlv(0x04, &[0; 30]),
    ];
    let expected = [
        Tlv::Alpn(b"smtp"),
        Tlv::Authority("é.test"),
        Tlv::UniqueId(&identity),
        Tlv::Ssl(Ssl {
            client: Ssl::CLIENT_SSL | Ssl::CLIENT_CERT_CONN | Ssl::CLIENT_CERT_SESS,
            verify: 0,
            version: Some("TLSv1.3"),
            common_name: Some("é.test"),
            cipher: Some("TLS_AES_128_GCM_SHA256"),
            signature_algorithm: Some("RSA-SHA256"),
            key_algorithm: Some("RSA2048"),
        }),
        Tlv::Ssl(Ssl { verify: 1, ..Ssl::default() }),
        Tlv::Netns("blue"),
        Tlv::Other { kind: 0xEA, value: b"\x01vpce-1" },
        Tlv::Other { kind: 0xE0, value: b"" },
    ];
    expect(&v2(0x21, 0x11, &[&V4, &body.concat()]), v4(), &expected);
    let verified = |client, verify| Ssl { client, verify, ..Ssl::default() }.is_verified();
    assert!(verified(7, 0) && verified(5, 0) && verified(3, 0));
    assert!(!verified(1, 0) && !verified(7, 1));
}

#[test]
fn a_tlv_that_is_not_of_its_form_is_refused() {
    use ProxyError::{TlvCut, TlvValue};
    let with = |tlvs: &[u8]| v2(0x21, 0x11, &[&V4, tlvs]);
    for cut in [b"\xE1".as_slice(), b"\xE1\0", b"\xE1\0\x01", b"\xE1\0\x02x", b"\xE1\xFF\xFFx", b"\x04\0\0\xE1\0\x05"] {
        expect_error(&with(cut), TlvCut(0xE1));
    }
    let cut_part = [[1, 0, 0, 0, 0].as_slice(), b"\x21\0\x05TLS"].concat();
    expect_error(&with(&tlv(0x20, &cut_part)), TlvCut(0x21));
    for (kind, value) in [
        (0x02, b"\xFF".as_slice()),
        (0x03, b"\0\0\0"),
        (0x03, b"\0\0\0\0\0"),
        (0x05, &[0; PROXY_UNIQUE_ID_OCTETS + 1]),
        (0x20, &[0; 4]),
        (0x20, &[]),
        (0x30, "é".as_bytes()),
    ] {
        expect_error(&with(&tlv(kind, value)), TlvValue(kind));
    }
    let part = |kind, value: &[u8]| tlv(0x20, &[[1, 0, 0, 0, 0].as_slice(), &tlv(kind, value)].concat());
    for kind in [0x21, 0x23, 0x24, 0x25] {
        expect_error(&with(&part(kind, "é".as_bytes())), TlvValue(kind));
    }
    expect_error(&with(&part(0x22, b"\xFF")), TlvValue(0x22));
    let twice = [[1, 0, 0, 0, 0].as_slice(), &tlv(0x22, b"a"), &tlv(0x22, b"b")].concat();
    expect_error(&with(&tlv(0x20, &twice)), TlvValue(0x22));
}

/// Bit for bit, by RFC 3385's reflected polynomial.
fn naive_checksum(octets: &[u8]) -> u32 {
    !octets.iter().fold(!0, |sum, octet| {
        (0..8).fold(sum ^ u32::from(*octet), |sum, _| (sum >> 1) ^ if sum & 1 == 1 { 0x82F6_3B78 } else { 0 })
    })
}

#[test]
fn a_checksum_is_verified_over_the_whole_header() {
    assert_eq!(naive_checksum(b"123456789"), 0xE306_9283);
    let field = tlv(0x03, &[0; 4]);
    for (before, behind) in [(vec![], tlv(0x02, b"x.test")), (tlv(0x02, b"x.test"), vec![])] {
        let mut header = v2(0x21, 0x11, &[&V4, &before, &field, &behind]);
        let at = 16 + V4.len() + before.len() + 3;
        let checksum = naive_checksum(&header).to_be_bytes();
        expect_error(&header, ProxyError::Checksum);
        header[at..at + 4].copy_from_slice(&checksum);
        expect(&header, v4(), &[Tlv::Authority("x.test")]);
        // An address, a port, the checksum itself, the last octet.
        for wrong in [16, 27, at, header.len() - 1] {
            let mut header = header.clone();
            header[wrong] ^= 1;
            expect_error(&header, ProxyError::Checksum);
        }
    }
    expect_error(&v2(0x21, 0x11, &[&V4, &field, &field]), ProxyError::Checksum);
}

#[test]
fn only_what_can_be_read_is_written() {
    let mut out = b"before".to_vec();
    let mut error = |origin, tlvs: &[Tlv<'_>]| {
        let error = write_v2(&origin, tlvs, true, &mut out).unwrap_err();
        assert_eq!(out, b"before");
        error
    };
    let unix = Origin::Unix { source: &[b'p'; 109], destination: b"" };
    assert_eq!(error(unix, &[]), WriteError::Path(109));
    assert_eq!(error(v4(), &[Tlv::UniqueId(&[0; 129])]), WriteError::Refused(ProxyError::TlvValue(0x05)));
    assert_eq!(error(v4(), &[Tlv::Netns("é")]), WriteError::Refused(ProxyError::TlvValue(0x30)));
    let long = vec![b'x'; 70_000];
    let octets = 16 + 12 + 3 + long.len() + 7;
    assert_eq!(error(v4(), &[Tlv::Alpn(&long)]), WriteError::TooLong(octets));
    let most = &long[..PROXY_V2_OCTETS - 16 - 12 - 3 - 7];
    assert_eq!(write_v2(&v4(), &[Tlv::Alpn(most)], true, &mut out), Ok(()));
    assert_eq!(out.len(), b"before".len() + PROXY_V2_OCTETS);
}

/// CONFORMANCE T210: what follows a header is not looked at.
#[test]
fn a_second_header_is_left_in_the_input() {
    let line = b"PROXY UNKNOWN\r\n";
    let twice = line.repeat(2);
    for cut in 0..line.len() {
        let mut preamble = Preamble::default();
        assert_eq!(preamble.take(&mut &twice[..cut]), Ok(None), "{cut}");
        let (read, rest) = take(&mut preamble, &twice[cut..]);
        assert_eq!((read, rest), (Ok(Some((Origin::Unknown, vec![]))), line.as_slice()), "{cut}");
    }
}

fn inet_origins() -> impl Strategy<Value = Origin<'static>> {
    let v6 = |(address, port)| SocketAddrV6::new(address, port, 0, 0);
    prop_oneof![
        any::<(SocketAddrV4, SocketAddrV4)>().prop_map(|(source, destination)| Origin::V4 { source, destination }),
        (any::<(std::net::Ipv6Addr, u16)>(), any::<(std::net::Ipv6Addr, u16)>())
            .prop_map(move |(source, destination)| Origin::V6 { source: v6(source), destination: v6(destination) }),
    ]
}

/// Values that outlive a test case: proptest's strategies own nothing that could be lent.
fn kept(octets: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = &'static [u8]> {
    // What is kept here is no leak to those who look for leaks.
    static KEPT: Mutex<Vec<&'static [u8]>> = Mutex::new(Vec::new());
    octets.prop_map(|octets| {
        let octets = &*octets.leak();
        KEPT.lock().unwrap().push(octets);
        octets
    })
}

fn origins() -> impl Strategy<Value = Origin<'static>> {
    let path = || kept(prop::collection::vec(1..=255_u8, 0..=108));
    prop_oneof![
        1 => Just(Origin::Local),
        1 => Just(Origin::Unknown),
        3 => inet_origins(),
        1 => (path(), path()).prop_map(|(source, destination)| Origin::Unix { source, destination }),
    ]
}

fn tlvs() -> impl Strategy<Value = Vec<Tlv<'static>>> {
    let value = || kept(prop::collection::vec(any::<u8>(), 0..40));
    let text = || kept("[ -~]{0,20}".prop_map(String::into_bytes)).prop_map(|text| std::str::from_utf8(text).unwrap());
    let part = || prop::option::of(text());
    let ssl = (any::<u8>(), any::<u32>(), part(), part(), part(), part(), part()).prop_map(
        |(client, verify, version, common_name, cipher, signature_algorithm, key_algorithm)| {
            Tlv::Ssl(Ssl { client, verify, version, common_name, cipher, signature_algorithm, key_algorithm })
        },
    );
    prop::collection::vec(
        prop_oneof![
            value().prop_map(Tlv::Alpn),
            text().prop_map(Tlv::Authority),
            value().prop_map(Tlv::UniqueId),
            ssl,
            text().prop_map(Tlv::Netns),
            (0x31..=255_u8, value()).prop_map(|(kind, value)| Tlv::Other { kind, value }),
        ],
        0..6,
    )
}

/// Feeds the pieces between the cuts: what was read of the first whole header, and how many octets were taken.
fn feed(input: &[u8], cuts: &[prop::sample::Index]) -> (Result<Option<String>, ProxyError>, usize) {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).chain([input.len()]).collect();
    ends.sort_unstable();
    let (mut preamble, mut taken) = (Preamble::default(), 0);
    for end in ends {
        let mut piece = &input[taken..end];
        let read = preamble.take(&mut piece).map(|header| header.map(|header| text(header.origin, header.tlvs)));
        taken = end - piece.len();
        match read {
            Ok(None) => assert_eq!(taken, end, "it took all before it asked for more"),
            Ok(Some(_)) | Err(_) => return (read, taken),
        }
    }
    (Ok(None), taken)
}

fn text<'a>(origin: Origin<'_>, tlvs: impl IntoIterator<Item = Tlv<'a>>) -> String {
    format!("{origin:?} {:?}", tlvs.into_iter().collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn a_line_is_read_as_it_was_written_however_it_is_cut(
        origin in origins(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut octets = Vec::new();
        write_v1(&origin, &mut octets);
        let header_octets = octets.len();
        octets.extend_from_slice(b"EHLO x.test\r\n");
        let expected = match origin {
            Origin::V4 { .. } | Origin::V6 { .. } => origin,
            Origin::Local | Origin::Unknown | Origin::Unix { .. } => Origin::Unknown,
        };
        prop_assert_eq!(feed(&octets, &cuts), (Ok(Some(text(expected, []))), header_octets));
    }

    #[test]
    fn a_binary_header_is_read_as_it_was_written_however_it_is_cut(
        origin in origins(),
        tlvs in tlvs(),
        with_checksum in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut octets = Vec::new();
        prop_assert_eq!(write_v2(&origin, &tlvs, with_checksum, &mut octets), Ok(()));
        let header_octets = octets.len();
        octets.extend_from_slice(b"EHLO x.test\r\n");
        let names_nobody = matches!(origin, Origin::Local | Origin::Unknown);
        let expected = text(origin, if names_nobody { vec![] } else { tlvs });
        prop_assert_eq!(feed(&octets, &cuts), (Ok(Some(expected)), header_octets));
    }

    #[test]
    fn a_spoilt_header_has_one_outcome_however_it_is_cut(
        origin in origins(),
        tlvs in tlvs(),
        kind in 0..3_u8,
        spoilt in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut octets = Vec::new();
        match kind {
            0 => write_v1(&origin, &mut octets),
            _ => prop_assert_eq!(write_v2(&origin, &tlvs, kind == 1, &mut octets), Ok(())),
        }
        let header_octets = octets.len();
        octets.extend_from_slice(b"EHLO x.test\r\n");
        for (at, octet) in spoilt {
            // The beginning is spoilt more often than the rest.
            let within = if octet % 2 == 0 { header_octets.min(20) } else { header_octets };
            octets[at.index(within)] = octet;
        }
        let (expected, taken) = feed(&octets, &[]);
        let (read, taken_in_pieces) = feed(&octets, &cuts);
        prop_assert_eq!(&read, &expected);
        if read.is_ok() {
            prop_assert_eq!(taken_in_pieces, taken);
        }
    }

    #[test]
    fn no_octets_bring_it_down(
        signature in prop::sample::select(vec![b"".as_slice(), b"PROXY ", b"PROXY TCP4 ", &SIGNATURE]),
        octets in prop::collection::vec(any::<u8>(), 0..300),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let octets = [signature, &octets].concat();
        prop_assert_eq!(feed(&octets, &cuts).0, feed(&octets, &[]).0);
    }
}
