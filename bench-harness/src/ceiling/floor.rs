//! The floor: looks at the first octets of each receive and answers by rote. Right only for clients that never pipeline, and
//! that write whole commands: what one command for each round trip costs when nothing is parsed.

use super::responder::{Rote, Then};
use super::serving::{self, Tally};
use crate::arguments::CeilingArguments;
use crate::failure::Failure;

/// Serves as the floor; counts octets of content, without the line that ends it.
pub fn serve(options: &CeilingArguments) -> Result<(), Failure> {
    serving::serve(options, |_| Floor::default(), |floor| floor.tally)
}

#[derive(Default)]
struct Floor {
    tally: Tally,
}

/// Whether a client is within mail data, and how that ended so far.
#[derive(Default)]
enum State {
    #[default]
    Commands,
    Data {
        octets: u64,
        last: [u8; 5],
    },
}

const END: [u8; 5] = *b"\r\n.\r\n";
/// As if the command line of DATA were the line before.
const BEGIN: [u8; 5] = *b"\0\0\0\r\n";

impl Rote for Floor {
    type State = State;

    fn greet(&mut self, output: &mut Vec<u8>) {
        self.tally.connections += 1;
        output.extend_from_slice(b"220 floor ESMTP\r\n");
    }

    fn hear(&mut self, state: &mut State, octets: &[u8], output: &mut Vec<u8>) -> Then {
        match state {
            State::Commands => match octets[0].to_ascii_lowercase() {
                b'd' => {
                    *state = State::Data { octets: 0, last: BEGIN };
                    output.extend_from_slice(b"354 go on\r\n");
                }
                b'q' => {
                    output.extend_from_slice(b"221 bye\r\n");
                    return Then::Close;
                }
                _ => output.extend_from_slice(b"250 ok\r\n"),
            },
            State::Data { octets: before, last } => {
                *before += octets.len() as u64;
                keep_last(last, octets);
                if *last == END {
                    self.tally.messages += 1;
                    self.tally.octets += *before - 3;
                    *state = State::Commands;
                    output.extend_from_slice(b"250 ok\r\n");
                }
            }
        }
        Then::GoOn
    }
}

/// The last five octets heard.
fn keep_last(last: &mut [u8; 5], octets: &[u8]) {
    match octets.last_chunk() {
        Some(five) => *last = *five,
        None => {
            last.rotate_left(octets.len());
            last[5 - octets.len()..].copy_from_slice(octets);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_seen_however_the_octets_come() {
        for pieces in [&["hello\r\n.\r\n"][..], &["hello\r\n", ".\r\n"], &["hello\r", "\n", ".", "\r", "\n"]] {
            let (mut floor, mut state, mut output) = (Floor::default(), State::default(), Vec::new());
            floor.hear(&mut state, b"DATA\r\n", &mut output);
            pieces.iter().for_each(|piece| {
                floor.hear(&mut state, piece.as_bytes(), &mut output);
            });
            assert_eq!(output, b"354 go on\r\n250 ok\r\n", "{pieces:?}");
            assert_eq!((floor.tally.messages, floor.tally.octets), (1, 7), "{pieces:?}");
        }
    }

    #[test]
    fn an_empty_message_ends_with_its_first_line() {
        let (mut floor, mut state, mut output) = (Floor::default(), State::default(), Vec::new());
        floor.hear(&mut state, b"data\r\n", &mut output);
        floor.hear(&mut state, b".\r\n", &mut output);
        assert_eq!((floor.tally.messages, floor.tally.octets), (1, 0));
        assert_eq!(floor.hear(&mut state, b"QUIT\r\n", &mut output), Then::Close);
    }
}
