//! The byte sink: counts octets and answers by count, with the engine's own texts. It looks at none of the octets, but to sum
//! them where that is asked for, as a ringmx does that is told to.
//!
//! It is told how many octets there are of everything that a client says before it waits: at the beginning of a connection,
//! then in turn for each message. QUIT alone can come at any time between messages, and is looked for where it may stand.

use std::fmt;
use std::str::FromStr;

use ringmx::smtp::reply::Reply;
use ringmx::smtp::settings::Settings;

use super::responder::{Rote, Then};
use super::serving::{self, Tally};
use crate::arguments::ByteSinkArguments;
use crate::failure::Failure;

/// Serves as the byte sink; counts all octets received.
pub fn serve(options: &ByteSinkArguments) -> Result<(), Failure> {
    let make = |settings: &Settings| ByteSink {
        greeting: Reply::Greeting.line(settings).to_vec(),
        opening: options.opening.iter().map(|answer| answer.render(settings)).collect(),
        units: options.units.iter().map(|answer| answer.render(settings)).collect(),
        bye: Reply::Bye.line(settings).to_vec(),
        sums: options.checksum,
        tally: Tally::default(),
    };
    serving::serve(&options.ceiling, make, |sink| sink.tally)
}

/// How many octets are answered with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Octets of the client.
    pub octets: u64,
    /// The replies to them.
    pub replies: Vec<Reply>,
}

impl Answer {
    fn render(&self, settings: &Settings) -> Rendered {
        let replies = self.replies.iter().flat_map(|reply| reply.line(settings)).copied().collect();
        let messages = self.replies.iter().filter(|reply| **reply == Reply::Discarded).count() as u64;
        Rendered { octets: self.octets, replies, messages }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.replies.iter().map(|reply| reply.name()).collect();
        write!(f, "{}={}", self.octets, names.join(","))
    }
}

impl FromStr for Answer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not OCTETS=REPLY,REPLY…, such as 4209=MailOk,RcptOk,Discarded");
        let (octets, names) = text.split_once('=').ok_or_else(wrong)?;
        let named = |name: &str| Reply::ALL.iter().find(|reply| reply.name() == name).copied();
        let replies = names.split(',').map(named).collect::<Option<_>>().ok_or_else(wrong)?;
        let octets = octets.parse().ok().filter(|octets| *octets > 0).ok_or_else(wrong)?;
        Ok(Self { octets, replies })
    }
}

struct Rendered {
    octets: u64,
    replies: Vec<u8>,
    messages: u64,
}

struct ByteSink {
    greeting: Vec<u8>,
    opening: Vec<Rendered>,
    /// Of one message; then they begin anew.
    units: Vec<Rendered>,
    bye: Vec<u8>,
    sums: bool,
    tally: Tally,
}

/// Of a connection.
#[derive(Default)]
struct State {
    /// What was answered of the opening and of the units.
    opened: usize,
    unit: usize,
    /// Octets that are not answered yet.
    unanswered: u64,
    /// CRC32C of all octets, where that is asked for.
    checksum: u32,
}

const QUIT: &[u8] = b"QUIT\r\n";

impl Rote for ByteSink {
    type State = State;

    fn greet(&mut self, output: &mut Vec<u8>) {
        self.tally.connections += 1;
        output.extend_from_slice(&self.greeting);
    }

    fn hear(&mut self, state: &mut State, octets: &[u8], output: &mut Vec<u8>) -> Then {
        self.tally.octets += octets.len() as u64;
        state.unanswered += octets.len() as u64;
        if self.sums {
            state.checksum = crc32c::crc32c_append(state.checksum, octets);
        }
        loop {
            let next = self.opening.get(state.opened).unwrap_or(&self.units[state.unit]);
            if state.unanswered < next.octets {
                break;
            }
            state.unanswered -= next.octets;
            match state.opened < self.opening.len() {
                true => state.opened += 1,
                false => state.unit = (state.unit + 1) % self.units.len(),
            }
            self.tally.messages += next.messages;
            output.extend_from_slice(&next.replies);
        }
        // So few octets are left of a receive by chance too, but then they are others.
        if state.unanswered == QUIT.len() as u64 && state.is_between_messages() && ends_with_quit(octets) {
            state.unanswered = 0;
            self.tally.checksum_sum = self.tally.checksum_sum.wrapping_add(state.checksum.into());
            output.extend_from_slice(&self.bye);
            return Then::Close;
        }
        Then::GoOn
    }

    /// A client that says no QUIT is not the one that this was told of.
    fn hear_end(&mut self, _: &mut State, _: &mut Vec<u8>) {
        self.tally.mismatches += 1;
    }
}

impl State {
    fn is_between_messages(&self) -> bool {
        self.unit == 0
    }
}

/// As far as these octets go: what came before them is gone.
fn ends_with_quit(octets: &[u8]) -> bool {
    octets.ends_with(QUIT) || QUIT.ends_with(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(octets: u64, replies: &str, messages: u64) -> Rendered {
        Rendered { octets, replies: replies.into(), messages }
    }

    fn sink() -> ByteSink {
        ByteSink {
            greeting: Vec::new(),
            opening: vec![rendered(3, "a", 0), rendered(2, "b", 0)],
            units: vec![rendered(8, "c", 0), rendered(9, "d", 1)],
            bye: b"e".to_vec(),
            sums: true,
            tally: Tally::default(),
        }
    }

    #[test]
    fn answers_come_by_count_however_the_octets_come() {
        let said = [vec![0; 3 + 2 + 3 * (8 + 9)], QUIT.to_vec()].concat();
        for size in [1, 3, 7, 100] {
            let (mut sink, mut state, mut output) = (sink(), State::default(), Vec::new());
            let ends: Vec<Then> = said.chunks(size).map(|piece| sink.hear(&mut state, piece, &mut output)).collect();
            assert_eq!(output, b"abcdcdcde", "pieces of {size}");
            let checksum_sum = crc32c::crc32c(&said).into();
            let (messages, octets) = (3, said.len() as u64);
            assert_eq!(sink.tally, Tally { messages, octets, checksum_sum, ..Tally::default() });
            let (last, others) = ends.split_last().unwrap();
            assert!(*last == Then::Close && others.iter().all(|then| *then == Then::GoOn), "pieces of {size}");
        }
    }

    #[test]
    fn as_many_octets_of_something_else_are_no_quit() {
        let (mut sink, mut state, mut output) = (sink(), State::default(), Vec::new());
        assert_eq!(sink.hear(&mut state, &[0; 5 + 17 + 6], &mut output), Then::GoOn);
        // Within a message nothing is looked at.
        assert_eq!(sink.hear(&mut state, &[&[0; 2], QUIT].concat(), &mut output), Then::GoOn);
        sink.hear_end(&mut state, &mut output);
        assert_eq!((sink.tally.messages, sink.tally.mismatches, &output[..]), (1, 1, &b"abcdc"[..]));
    }

    #[test]
    fn answers_are_read_as_they_are_written() {
        let answer: Answer = "4209=MailOk,RcptOk,Discarded".parse().unwrap();
        assert_eq!(answer.replies, [Reply::MailOk, Reply::RcptOk, Reply::Discarded]);
        assert_eq!(answer.to_string().parse(), Ok(answer));
        for wrong in ["", "6", "6=", "6=Hello", "0=Bye", "6=2*Bye", "x=Bye"] {
            assert!(wrong.parse::<Answer>().unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
