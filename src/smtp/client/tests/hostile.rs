//! Servers that say anything: the client neither panics nor goes on for ever, reports every transaction once, and does the
//! same for every split of what it hears.

use proptest::prelude::*;

use super::*;

const DEPTH: u32 = 4;

/// Hears the stream in pieces, with messages to send as long as there is room. Whatever a client does, it does behind an
/// event, so that it does not depend on the pieces.
fn run<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, drafts: &[Draft], terms: Terms) -> (Vec<String>, Vec<u8>) {
    let mut client = Client::new(terms);
    let (mut heard, mut begun) = (Vec::new(), 0_usize);
    let mut turn = |client: &mut Client, input: &mut &[u8]| {
        let event = client.session.handle_input(input, &mut client.out);
        let is_waiting = matches!(event, Event::NeedInput | Event::Closed);
        heard.extend(words(&event));
        if begun > 0 {
            client.go_on(&drafts[(begun - 1) % drafts.len()], b".a\nb");
        }
        while begun < 40 && client.begin(&drafts[begun % drafts.len()]).is_ok() {
            begun += 1;
            client.go_on(&drafts[(begun - 1) % drafts.len()], b".a\nb");
        }
        assert!(client.session.machine.entries.len() <= 2 * DEPTH as usize + 1, "memory is bounded");
        is_waiting
    };
    for mut piece in pieces {
        // BOUND: each event takes a reply, or reports one of the transactions; each is of an octet at least.
        let mut turns = 2 * piece.len() + 3 * DEPTH as usize + 4;
        while !turn(&mut client, &mut piece) {
            turns -= 1;
            assert!(turns > 0, "a server that says so much is not heard so often");
        }
        // What is written for what was heard may have ended a transaction.
        while !turn(&mut client, &mut b"".as_slice()) {}
    }
    client.session.handle_end();
    while !turn(&mut client, &mut b"".as_slice()) {}
    let ends: Vec<usize> = heard
        .iter()
        .filter(|text| {
            text.contains('{') || ["refused at", "Abandoned", "Lost", "Undecided"].iter().any(|end| text.contains(end))
        })
        .map(|text| text.split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(ends, (0..begun).collect::<Vec<_>>(), "each transaction has one end, in order: {heard:?}");
    assert_eq!((client.session.in_flight(), client.session.is_closed()), (0, true));
    (heard, client.out)
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let likely = vec![
        "250 ok\r\n",
        "250 2.1.5 ok\r\n",
        "250-a\r\n250 b\r\n",
        "354 go\r\n",
        "550 5.1.1 no\r\n",
        "450 4.2.0 x\r\n",
    ];
    let unlikely = vec![
        "220 again\r\n",
        "421 4.3.2 bye\r\n",
        "334 \r\n",
        "120 wait\r\n",
        "999 x\r\n",
        "250",
        "-",
        "\r\n",
        "\0",
        "\n",
        "503\n",
        "250-a\r\n251 b\r\n",
        "252 x\r\n",
        "521 x\r\n",
        "235 x\r\n",
        "5\u{fc}0 x\r\n",
    ];
    let reply = prop_oneof![30 => prop::sample::select(likely), 1 => prop::sample::select(unlikely)];
    let opening = prop_oneof![
        8 => Just("220 x\r\n250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n"),
        4 => Just("220 x\r\n250-x\r\n250 CHUNKING\r\n"),
        2 => Just("220 x\r\n502 x\r\n250 x\r\n"),
        1 => Just(""),
    ];
    (opening, prop::collection::vec(reply, 0..60))
        .prop_map(|(opening, replies)| (opening.to_owned() + &replies.concat()).into_bytes())
}

fn draft() -> impl Strategy<Value = Draft> {
    let transfers = vec![Transfer::None, Transfer::Data, chunks(4), Transfer::Chunks { octets: 4, chunk_octets: 3 }];
    (prop::sample::select(transfers), any::<bool>(), 1..3_usize).prop_map(|(transfer, all, recipients)| Draft {
        rule: if all { Recipients::All } else { Recipients::Any },
        ..Draft::new(&["a@ok.test", "b@ok.test"][..recipients], transfer)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn events_and_commands_are_the_same_for_every_split(
        stream in stream(),
        drafts in prop::collection::vec(draft(), 1..4),
        is_lmtp in any::<bool>(),
        resets_between in any::<bool>(),
        sizes in prop::collection::vec(1..12_usize, 1..6),
    ) {
        let terms = || Terms { depth: DEPTH, resets_between, ..if is_lmtp { lmtp() } else { smtp() } };
        let mut pieces = Vec::new();
        let mut rest = stream.as_slice();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        prop_assert_eq!(run(pieces, &drafts, terms()), run([stream.as_slice()], &drafts, terms()));
    }

    #[test]
    fn any_octets_are_survived(octets in prop::collection::vec(any::<u8>(), 0..300), draft in draft()) {
        run([b"220 x\r\n250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n".as_slice(), &octets], &[draft], smtp());
    }
}

/// What a server says without end costs a bounded time for each octet, and no memory.
#[test]
fn what_never_ends_is_cut_off() {
    for endless in ["250 ", "250-x\r\n", "2"] {
        let mut client = Client::smtp(&["PIPELINING"]);
        client.send(&Draft::new(&["a@ok.test"], Transfer::Data), b"");
        let mut heard = Vec::new();
        let mut octets = 0;
        while !client.session.is_closed() {
            let text = if endless == "250 " && octets > 0 { "x" } else { endless };
            octets += text.len();
            assert!(octets <= limits::CLIENT_REPLY_OCTETS, "{endless:?}");
            heard.extend(client.hear(text));
        }
        assert!(heard[0].starts_with("fault Reply("), "{heard:?}");
        assert_eq!(heard[1], "0 Lost");
    }
}
