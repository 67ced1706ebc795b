//! One client sends all messages that it can to a server with two listeners and two sinks, and all that it sent is looked for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::messages::{self, Message};
use super::proxy::Proxy;
use super::readers;
use super::transcript::{self, Sent};
use crate::process::directory::Directory;
use crate::process::maildir::{self, Kept, Told};
use crate::process::server::Server;

pub const HOST: &str = "mx.example.net";
pub const HELLO: &str = "client.test";
pub const SENDER: &str = "s@client.test";

/// Each message has two recipients, of which one's mail is kept with CRLF and the other's with LF. One listener promises that
/// mail is delivered and keeps bare newlines; the other promises that it is in memory and makes them whole.
const CONFIGURATION: &str = "\
    [server]\nhostname = 'mx.example.net'\nshards = 2\nsink_threads = 2\ndata_dir = 'data'\n\
    [listener.memory]\nkind = 'public'\nbind = '127.0.0.1:0'\ndurability = 'memory'\nbare_newline = 'normalize'\n\
    recipients = ['crlf.test', 'lf.test']\nsink = 'crlf'\n\
    [[listener.memory.route]]\nrecipients = ['lf.test']\nsink = 'lf'\n\
    [listener.delivered]\nkind = 'public'\nbind = '127.0.0.1:0'\ndurability = 'delivered'\nbare_newline = 'preserve'\n\
    recipients = ['crlf.test', 'lf.test']\nsink = 'crlf'\n\
    [[listener.delivered.route]]\nrecipients = ['lf.test']\nsink = 'lf'\n\
    [sink.crlf]\nkind = 'maildir'\npath = 'crlf'\nline_ends = 'crlf'\n\
    [sink.lf]\nkind = 'maildir'\npath = 'lf'\nline_ends = 'lf'\n";

/// The listeners; the first makes bare newlines whole.
pub const LISTENERS: [&str; 2] = ["memory", "delivered"];

/// A message for a client: the file, and where it is to go.
#[derive(Clone, Debug)]
pub struct Given {
    pub place: SocketAddr,
    /// Its recipients.
    pub to: [String; 2],
    pub path: PathBuf,
}

impl Given {
    /// `PORT PATH RECIPIENT RECIPIENT`, for scripts.
    pub fn line(&self) -> String {
        format!("{} {} {} {}\n", self.place.port(), self.path.display(), self.to[0], self.to[1])
    }
}

/// What is known of a client.
pub trait Client {
    /// Whether it can send the message at all; why not is said where it is decided.
    fn takes(&self, message: &Message) -> bool;

    /// Sends all of them.
    fn send(&self, given: &[Given], directory: &Path);

    /// Checks what it sent of a message (with transparency, up to the line that ends it) against what it was given.
    fn check(&self, message: &Message, wire: &[u8]);
}

/// What the server kept: by sink, by id.
#[derive(Debug)]
pub struct Maildirs {
    pub crlf: BTreeMap<String, Kept>,
    pub lf: BTreeMap<String, Kept>,
}

impl Maildirs {
    #[track_caller]
    pub fn of(directory: &Path) -> Self {
        let [crlf, lf] = ["crlf", "lf"].map(|sink| maildir::new_mail(&maildir(directory, sink)));
        Self { crlf, lf }
    }
}

pub fn server() -> Server {
    Server::serve(CONFIGURATION, LISTENERS.len())
}

/// The maildir of a sink.
pub fn maildir(directory: &Path, sink: &str) -> PathBuf {
    directory.join("data").join(sink)
}

/// All of it. Messages go to the two listeners by turns, and `shift` says to which the first goes, so that clients with
/// different ones send each message to both.
pub fn round_trip(client: &dyn Client, shift: usize) {
    let all = messages::all();
    let mut server = server();
    let mut proxies = LISTENERS.map(|listener| Some(Proxy::to(server.address_of(listener))));
    let directory = server.directory.path().to_owned();
    let taken: Vec<usize> = (0..all.len()).filter(|number| client.takes(&all[*number])).collect();
    // What a client cannot send is the exception.
    assert!(taken.len() * 100 >= all.len() * 95, "{} of {}", taken.len(), all.len());
    let given = |number: &usize| Given {
        place: proxies[(number + shift) % 2].as_ref().expect("it runs").address,
        to: ["crlf", "lf"].map(|sink| format!("m{number}@{sink}.test")),
        path: server.directory.write(&format!("{number}.eml"), &all[*number].octets),
    };
    let given: Vec<Given> = taken.iter().map(given).collect();
    client.send(&given, &directory);

    let mut sent = BTreeMap::new();
    for (place, proxy) in proxies.iter_mut().enumerate() {
        for recording in proxy.take().expect("it is finished once").finish() {
            for message in transcript::messages(&recording) {
                let number = number(&message);
                assert_eq!((number + shift) % 2, place, "it was sent where it was to go");
                let twice = sent.insert(number, message);
                assert!(twice.is_none(), "{twice:?}");
            }
        }
    }
    assert_eq!(sent.keys().copied().collect::<Vec<_>>(), taken, "each was sent, once");

    let directory = std::mem::replace(&mut server.directory, Directory::new());
    let stats = server.stop();
    let counted = taken.len() as u64;
    assert_eq!(stats.mail(), (counted, 2 * counted));
    let kept = Maildirs::of(directory.path());
    for (sink, kept) in [("crlf", &kept.crlf), ("lf", &kept.lf)] {
        assert_eq!(kept.len(), taken.len(), "{sink}");
        assert_eq!(stats.of_sink(sink, "delivered"), counted);
        assert!(maildir::files(&maildir(directory.path(), sink).join("tmp")).is_empty());
    }
    let mut contents = BTreeMap::new();
    for (number, sent) in &sent {
        client.check(&all[*number], &sent.wire);
        let content = transcript::content(&sent.wire);
        let makes_whole = (number + shift).is_multiple_of(2);
        let content = if makes_whole { transcript::normalized(&content) } else { content };
        check(&all[*number], sent, &content, &kept);
        contents.insert(sent.id.clone(), content);
    }
    readers::all_see(directory.path(), &contents);
}

/// The number of a message is in its recipients.
fn number(sent: &Sent) -> usize {
    let number = sent.to[0].strip_prefix('m').and_then(|to| to.split('@').next()).expect("it names the message");
    number.parse().expect("it is a number")
}

/// What was sent lies in both maildirs.
#[track_caller]
pub fn check(message: &Message, sent: &Sent, content: &[u8], kept: &Maildirs) {
    let lf = transcript::with_lf(content);
    for (place, (kept, content, line_end)) in
        [(&kept.crlf, content, "\r\n"), (&kept.lf, &lf, "\n")].into_iter().enumerate()
    {
        let kept = kept.get(&sent.id).unwrap_or_else(|| panic!("{} has no file {}", message.name, sent.id));
        let told = Told {
            from: &sent.from,
            delivered_to: &[&sent.to[place]],
            only: None,
            hello: HELLO,
            peer: "[127.0.0.1]",
            by: HOST,
            with: "ESMTP",
        };
        assert_eq!(kept.name().2, HOST);
        same(&message.name, kept.content(&told, line_end), content);
    }
}

/// Two texts of which the place of the first difference matters, and not megabytes.
#[track_caller]
pub fn same(name: &str, found: &[u8], wanted: &[u8]) {
    if found != wanted {
        let at = found.iter().zip(wanted).take_while(|(found, wanted)| found == wanted).count();
        let around = |octets: &[u8]| {
            let around = &octets[at.saturating_sub(60).min(octets.len())..(at + 60).min(octets.len())];
            format!("{} octets, there {:?}", octets.len(), String::from_utf8_lossy(around))
        };
        panic!("{name}: differs at octet {at}:\nfound  {}\nwanted {}", around(found), around(wanted));
    }
}
