//! A server that relays to a sink, and does something to what it relays.

use super::server::{Answer, Message, OK, Server, Upstream};

/// Each message goes through `deed`, which hands it on or not, and says what is answered.
pub fn relay(sink: &str, mut deed: impl FnMut(&mut Upstream, usize, &Message) -> Answer + Send + 'static) -> Server {
    let address = sink.to_owned();
    let mut upstream = None;
    Server::start(move |number, message: &Message| {
        // The sink listens before the first message is sent.
        let upstream = upstream.get_or_insert_with(|| Upstream::connect(&address));
        deed(upstream, number, message)
    })
}

/// All is handed on, but for every hundredth message, to which something happens.
pub fn relay_but(sink: &str, mut crime: impl FnMut(&mut Upstream, &Message) + Send + 'static) -> Server {
    relay(sink, move |upstream, number, message| {
        match number % 100 {
            99 => crime(upstream, message),
            _ => upstream.send(message),
        }
        OK
    })
}

/// The same message with other content.
pub fn with_content(message: &Message, change: impl FnOnce(String) -> String) -> Message {
    let text = String::from_utf8(message.content.clone()).unwrap();
    Message { content: change(text).into_bytes(), ..message.clone() }
}

/// For one of its recipients, counted from 0.
pub fn only_for(message: &Message, recipient: usize) -> Message {
    let envelope = vec![message.envelope[0].clone(), message.envelope[1 + recipient].clone()];
    Message { envelope, ..message.clone() }
}
