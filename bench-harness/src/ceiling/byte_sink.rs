//! The byte sink: counts octets and answers by count, with the engine's own texts. It looks at none of the octets, but to sum
//! them where that is asked for, as a ringmx does that is told to.
//!
//! It is told how many octets the client's exchanges have: those at the beginning of a connection, those that are repeated,
//! and the one that is left when the client shuts its side.

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
        unit: options.unit.render(settings),
        ending: options.ending.render(settings),
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
    /// These replies …
    pub replies: Vec<Reply>,
    /// … so many times.
    pub times: u64,
}

impl Answer {
    fn render(&self, settings: &Settings) -> Rendered {
        let once: Vec<u8> = self.replies.iter().flat_map(|reply| reply.line(settings)).copied().collect();
        let ends = self.replies.iter().filter(|reply| **reply == Reply::Discarded).count() as u64;
        Rendered { octets: self.octets, replies: once.repeat(self.times as usize), messages: ends * self.times }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.replies.iter().map(|reply| reply.name()).collect();
        write!(f, "{}={}*{}", self.octets, self.times, names.join(","))
    }
}

impl FromStr for Answer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is not OCTETS=[TIMES*]REPLY,REPLY…, such as 135008=32*MailOk,RcptOk,Discarded");
        let (octets, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (times, names) = rest.split_once('*').unwrap_or(("1", rest));
        let named = |name: &str| Reply::ALL.iter().find(|reply| reply.name() == name).copied();
        let replies = names.split(',').map(named).collect::<Option<_>>().ok_or_else(wrong)?;
        let octets = octets.parse().ok().filter(|octets| *octets > 0).ok_or_else(wrong)?;
        let times = times.parse().ok().filter(|times| (1..=10_000).contains(times)).ok_or_else(wrong)?;
        Ok(Self { octets, replies, times })
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
    unit: Rendered,
    ending: Rendered,
    sums: bool,
    tally: Tally,
}

/// Of a connection.
#[derive(Default)]
struct State {
    /// Exchanges of the opening that are done.
    opened: usize,
    /// Octets that are not answered yet.
    unanswered: u64,
    /// CRC32C of all octets, where that is asked for.
    checksum: u32,
}

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
            let next = self.opening.get(state.opened).unwrap_or(&self.unit);
            if state.unanswered < next.octets {
                return Then::GoOn;
            }
            state.unanswered -= next.octets;
            state.opened += usize::from(state.opened < self.opening.len());
            self.tally.messages += next.messages;
            output.extend_from_slice(&next.replies);
        }
    }

    fn hear_end(&mut self, state: &mut State, output: &mut Vec<u8>) {
        self.tally.checksum_sum = self.tally.checksum_sum.wrapping_add(state.checksum.into());
        if state.unanswered != self.ending.octets {
            self.tally.mismatches += 1;
            return;
        }
        self.tally.messages += self.ending.messages;
        output.extend_from_slice(&self.ending.replies);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(octets: u64, replies: &str, messages: u64) -> Rendered {
        Rendered { octets, replies: replies.into(), messages }
    }

    #[test]
    fn answers_come_by_count_however_the_octets_come() {
        for size in [1, 3, 7, 100] {
            let mut sink = ByteSink {
                greeting: Vec::new(),
                opening: vec![rendered(3, "a", 0), rendered(2, "b", 0)],
                unit: rendered(5, "c", 2),
                ending: rendered(4, "d", 1),
                sums: true,
                tally: Tally::default(),
            };
            let (mut state, mut output) = (State::default(), Vec::new());
            for piece in [0; 3 + 2 + 3 * 5 + 4].chunks(size) {
                sink.hear(&mut state, piece, &mut output);
            }
            sink.hear_end(&mut state, &mut output);
            assert_eq!(output, b"abcccd", "pieces of {size}");
            let checksum_sum = crc32c::crc32c(&[0; 24]).into();
            assert_eq!(sink.tally, Tally { messages: 7, octets: 24, checksum_sum, ..Tally::default() });
        }
    }

    #[test]
    fn answers_are_read_as_they_are_written() {
        let answer: Answer = "135008=32*MailOk,RcptOk,Discarded".parse().unwrap();
        assert_eq!(answer.replies, [Reply::MailOk, Reply::RcptOk, Reply::Discarded]);
        assert_eq!(answer.to_string().parse(), Ok(answer));
        assert_eq!("6=Bye".parse::<Answer>().unwrap().times, 1);
        for wrong in ["", "6", "6=", "6=Hello", "0=Bye", "6=0*Bye", "x=Bye", "6=99999*Bye"] {
            assert!(wrong.parse::<Answer>().unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
