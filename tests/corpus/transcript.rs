//! What a recording says was sent, read by the rules of RFC 5321 and as simply as can be.

use super::proxy::Recording;
use crate::process::maildir::id_in_reply;

/// One message as it was on the wire.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    pub from: String,
    pub to: Vec<String>,
    /// Mail data with its transparency, up to the line that ends it.
    pub wire: Vec<u8>,
    /// The id in the 250.
    pub id: String,
}

/// The messages of one connection. Each command and each message must have been accepted.
#[track_caller]
pub fn messages(recording: &Recording) -> Vec<Sent> {
    let mut replies = replies(&recording.server).into_iter();
    let mut reply = |said: &str, code: &str| {
        let reply = replies.next().unwrap_or_else(|| panic!("no reply to {said:?}"));
        assert!(reply.starts_with(code), "{said:?} was answered with {reply:?}");
        reply
    };
    let (mut rest, mut sent, mut messages) = (&recording.client[..], Sent::default(), Vec::new());
    reply("the connection", "220");
    while !rest.is_empty() {
        let end = find(rest, b"\r\n").unwrap_or_else(|| panic!("a command line was cut: {:?}", text(rest)));
        let line = text(&rest[..end]);
        rest = &rest[end + 2..];
        let upper = line.to_ascii_uppercase();
        reply(&line, if upper == "DATA" { "354" } else { "2" });
        if upper.starts_with("MAIL FROM:") {
            sent = Sent { from: path(&line), ..Sent::default() };
        } else if upper.starts_with("RCPT TO:") {
            sent.to.push(path(&line));
        } else if upper == "DATA" {
            // The CRLF of the command line is the first of CRLF.CRLF.
            let end = if rest.starts_with(b".\r\n") { Some(0) } else { find(rest, b"\r\n.\r\n").map(|at| at + 2) };
            let end = end.expect("mail data ended");
            sent.wire = rest[..end].to_vec();
            rest = &rest[end + 3..];
            let reply = reply("mail data", "250 2.0.0");
            sent.id = id_in_reply(&reply).unwrap_or_else(|| panic!("no id in {reply:?}")).to_owned();
            messages.push(std::mem::take(&mut sent));
        }
    }
    messages
}

/// Mail data without its transparency.
pub fn content(wire: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(wire.len());
    let mut rest = wire;
    while !rest.is_empty() {
        let end = find(rest, b"\r\n").map_or(rest.len(), |at| at + 2);
        content.extend_from_slice(rest[..end].strip_prefix(b".").unwrap_or(&rest[..end]));
        rest = &rest[end..];
    }
    content
}

/// Content with a CRLF for each CR and each LF that stands alone.
pub fn normalized(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len());
    for (at, octet) in content.iter().enumerate() {
        match octet {
            b'\n' if at == 0 || content[at - 1] != b'\r' => out.extend_from_slice(b"\r\n"),
            b'\r' if content.get(at + 1) != Some(&b'\n') => out.extend_from_slice(b"\r\n"),
            other => out.push(*other),
        }
    }
    out
}

/// Content with LF for each CRLF.
pub fn with_lf(content: &[u8]) -> Vec<u8> {
    let is_dropped = |at: usize| content[at] == b'\r' && content.get(at + 1) == Some(&b'\n');
    (0..content.len()).filter(|at| !is_dropped(*at)).map(|at| content[at]).collect()
}

pub fn find(octets: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(octets, what)
}

fn replies(server: &[u8]) -> Vec<String> {
    let mut replies = vec![String::new()];
    for line in text(server).split_inclusive("\r\n") {
        let last = replies.last_mut().expect("there is one");
        last.push_str(line);
        if line.as_bytes().get(3) != Some(&b'-') {
            replies.push(String::new());
        }
    }
    replies.pop();
    replies
}

fn path(line: &str) -> String {
    let (begin, end) = (line.find('<').expect(line), line.rfind('>').expect(line));
    line[begin + 1..end].to_owned()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
