//! Who a peer is: PROXY headers and XCLIENT.

use std::net::SocketAddr;
use std::sync::mpsc;

use super::*;
use crate::protocol::proxy::{Origin, write_v2};
use crate::smtp::settings::Dialect;

const HEADER: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 5000 25\r\n";

fn behind_a_proxy(trusted: &[&str]) -> House {
    let scope = Scope { proxy_timeout_ms: Some(limits::PROXY_MS), ..scope(Arc::new(AcceptAll)) };
    House::trusting(trusted.iter().map(|block| block.parse().unwrap()).collect(), scope, 100, 16, 4096)
}

impl House {
    /// The peers of the open sessions.
    fn peers(&mut self) -> Vec<Option<SocketAddr>> {
        let (reply, page) = mpsc::channel();
        self.tell(Control::List { from: 0, reply });
        page.recv().unwrap().sessions.into_iter().map(|session| session.peer).collect()
    }
}

fn address(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

/// CONFORMANCE T201, T204: however it is cut, the header is eaten to the octet.
#[test]
fn a_header_tells_who_the_peer_is() {
    let mut v2 = Vec::new();
    let origin =
        Origin::V6 { source: "[2001:db8::7]:5000".parse().unwrap(), destination: "[2001:db8::1]:25".parse().unwrap() };
    write_v2(&origin, &[], true, &mut v2).unwrap();
    let headers = [(HEADER.as_bytes(), address("192.0.2.7:5000")), (&v2[..], address("[2001:db8::7]:5000"))];
    for (header, peer) in headers {
        for cut in 0..header.len() {
            let mut house = behind_a_proxy(&[]);
            let client = house.connect();
            assert_eq!(house.hear(client), "");
            house.network.send(client, &header[..cut]);
            assert_eq!(house.hear(client), "", "{cut}");
            house.network.send(client, &header[cut..]);
            assert_eq!(house.codes(client, ""), [220], "{cut}");
            assert_eq!(house.peers(), [peer]);
            assert_eq!(house.codes(client, "EHLO c.test\r\nQUIT\r\n"), [250, 221]);
            house.network.end(client);
            house.is_clean(16);
        }
    }
}

/// CONFORMANCE T202, T204: a header that names nobody leaves the peer as it is.
#[test]
fn a_header_may_name_nobody() {
    let mut local = Vec::new();
    write_v2(&Origin::Local, &[], false, &mut local).unwrap();
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN junk ff 1 2\r\n", &local] {
        let (mut direct, mut house) = (House::new(), behind_a_proxy(&[]));
        direct.connect();
        let client = house.connect();
        house.network.send(client, header);
        assert_eq!(house.codes(client, ""), [220]);
        assert_eq!(house.peers(), direct.peers());
    }
}

/// CONFORMANCE T207: what stands behind the header is the client's.
#[test]
fn what_stands_behind_the_header_is_the_sessions() {
    let mut house = behind_a_proxy(&[]);
    let client = house.connect();
    let text = format!("{HEADER}EHLO c.test\r\n{MESSAGE}");
    assert_eq!(house.codes(client, &text), [220, 250, 250, 250, 354]);
    assert_eq!(house.codes(client, "x\r\n.\r\nQUIT\r\n"), [250, 221]);
    house.network.end(client);
    house.is_clean(16);

    let mut scope = Scope { proxy_timeout_ms: Some(limits::PROXY_MS), ..scope(Arc::new(AcceptAll)) };
    scope.timeouts.greet_pause_ms = 1000;
    let mut house = House::with(scope, 100, 16, 4096);
    let early = house.connect();
    assert_eq!(house.codes(early, &format!("{HEADER}EHLO c.test\r\n")), [554]);
    assert!(house.network.sees_end(early));
}

/// CONFORMANCE T208, T210: what is no header, or a second one.
#[test]
fn what_is_no_header_closes_the_connection_unheard() {
    for text in ["EHLO c.test\r\n", "PROXY TCP4 1.2.3.4\r\n", "\r\nx", "PROXY  UNKNOWN\r\n"] {
        let mut house = behind_a_proxy(&[]);
        let client = house.connect();
        assert_eq!(house.say(client, text), "", "{text:?}");
        assert!(house.network.sees_end(client), "{text:?}");
        assert_eq!(house.counters.proxy_headers_refused.get(), 1);
        house.network.end(client);
        house.is_clean(16);
    }
    let mut house = behind_a_proxy(&[]);
    let client = house.connect();
    assert_eq!(house.codes(client, &format!("{HEADER}{HEADER}")), [220, 500]);
    let mut direct = House::new();
    let client = direct.connect();
    assert_eq!(direct.codes(client, HEADER), [220, 500]);
}

/// CONFORMANCE T209.
#[test]
fn a_header_has_its_time() {
    let mut house = behind_a_proxy(&[]);
    let client = house.connect();
    assert_eq!(house.say(client, "PROXY TCP4"), "");
    house.pass_ms(limits::PROXY_MS - limits::WHEEL_TICK_MS);
    assert_eq!(house.network.open_sockets(), 1);
    house.pass_ms(2 * limits::WHEEL_TICK_MS);
    assert_eq!(house.counters.timeouts.get(), 1);
    house.is_clean(16);
}

/// CONFORMANCE T211, T212, T215: trust goes by whom the header names, and XCLIENT names another.
#[test]
fn trusted_peers_speak_for_others() {
    let mut house = behind_a_proxy(&["192.0.2.0/24"]);
    let trusted = house.connect();
    house.say(trusted, HEADER);
    assert!(house.say(trusted, "EHLO c.test\r\n").contains("250 XCLIENT NAME ADDR"));
    let text = "XCLIENT ADDR=198.51.100.9 PORT=77\r\nEHLO c.test\r\nXCLIENT ADDR=IPV6:2001:db8::1\r\n";
    assert_eq!(house.codes(trusted, text), [220, 250, 220]);
    assert_eq!(house.peers(), [address("[2001:db8::1]:0")]);
    assert_eq!(
        house.codes(trusted, "XCLIENT ADDR=x\r\nXCLIENT ADDR=[UNAVAILABLE]\r\nXCLIENT PORT=5\r\n"),
        [501, 220, 220]
    );
    assert_eq!(house.peers(), [None]);

    let other = house.connect();
    house.say(other, "PROXY TCP4 203.0.113.1 198.51.100.1 5000 25\r\n");
    assert_eq!(house.codes(other, "XCLIENT ADDR=192.0.2.9\r\n"), [550]);
    assert!(!house.say(other, "EHLO c.test\r\n").contains("XCLIENT"));
}

/// Where only some are served, who speaks for others speaks for those alone.
#[test]
fn nobody_speaks_for_a_peer_that_is_not_served() {
    let shape = GroupShape { buffer_octets: 4096, buffers: 16 };
    let scope = Scope { proxy_timeout_ms: Some(limits::PROXY_MS), ..scope(Arc::new(AcceptAll)) };
    let scopes = Scopes::new(scope, vec!["192.0.2.7/32".parse().unwrap()]);
    let scopes = scopes.serving(vec!["203.0.113.0/24".parse().unwrap()]);
    let mut house = House::among(Neighbours::none(), scopes, 100, shape);
    let client = house.connect();
    let text = format!("{HEADER}EHLO c.test\r\nXCLIENT ADDR=198.51.100.9\r\nNOOP\r\n");
    assert_eq!(house.codes(client, &text), [220, 250, 554, 250]);
    assert_eq!(house.peers(), [address("192.0.2.7:5000")]);
    assert_eq!(house.codes(client, "XCLIENT ADDR=203.0.113.9\r\n"), [220]);
    assert_eq!(house.peers(), [address("203.0.113.9:0")]);
    let stranger = house.connect();
    assert_eq!(house.codes(stranger, "PROXY TCP4 198.51.100.9 198.51.100.1 5000 25\r\n"), [554]);
}

/// RFC 2033: more replies than fit at once are given as the client reads.
#[test]
fn replies_for_many_recipients_wait_for_room() {
    const RECIPIENTS: usize = 5000;
    let scope = scope(Arc::new(AcceptAll));
    let terms =
        Terms { dialect: Dialect::Lmtp, recipients_per_message: RECIPIENTS as u32, ..scope.settings.terms().clone() };
    let mut house = House::with(Scope { settings: Settings::new(terms), ..scope }, 100, 16, 4096);
    let client = house.connect();
    assert_eq!(house.codes(client, "LHLO c.test\r\nMAIL FROM:<>\r\n"), [220, 250, 250]);
    for _ in 0..RECIPIENTS / 50 {
        assert_eq!(house.codes(client, &"RCPT TO:<a@ok.test>\r\n".repeat(50)), [250; 50]);
    }
    house.network.set_window(client, 10_000);
    let mut replies = house.say(client, "BDAT 0 LAST\r\nNOOP\r\nQUIT\r\n");
    assert!(codes(&replies).len() < RECIPIENTS);
    assert!(house.shard.desk.pressure.octets() <= 2 * limits::OUTPUT_OCTETS as u64);
    for _ in 0..RECIPIENTS {
        replies += &house.hear(client);
        if house.network.sees_end(client) {
            break;
        }
    }
    assert_eq!(codes(&replies), [vec![250; RECIPIENTS + 1], vec![221]].concat());
    house.network.end(client);
    house.is_clean(16);
}
