//! A rehearsal: what a connection of a load writes before it waits, and for which replies. It is the generator's own session
//! that speaks, to nobody; so whoever answers by count is told what will come, and not what somebody has reckoned.

use ringmx::config::{Plan as EnginePlan, SinkOptions};
use ringmx::reactor::io::Time;
use ringmx::smtp::client::{Awaited, Session};
use ringmx::smtp::reply::Reply;
use ringmx::smtp::settings::Settings;

use super::content::{self, Maker};
use super::plan::Plan;
use super::supply::{Due, Supply};
use super::talk::{Begin, Ear, Start, Talk};
use super::tally::Tally;
use crate::ceiling::byte_sink::Answer;
use crate::failure::Failure;

/// Messages that are compared, by number: the same length whichever thread sends them.
const NUMBERS: [u64; 5] = [0, 1, 2, 999, 123_456_789];

/// What is said before the first message, and for each message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    pub opening: Vec<Answer>,
    pub units: Vec<Answer>,
}

/// Goes through a load with the replies of the engine's own blackhole.
pub fn rehearse(plan: &Plan) -> Result<Script, Failure> {
    let bind = "127.0.0.1:0".parse().map_err(|_| Failure::System("loopback has no address".to_owned()))?;
    let sink = EnginePlan::sink(SinkOptions { binds: vec![bind], shards: 1, ..SinkOptions::default() })
        .map_err(|errors| Failure::System(errors.to_string()))?;
    let settings = &sink.listeners()[0].scope().settings;
    let pool = content::pool(plan.seed);
    let (senders, recipients) = (plan.senders.senders(), plan.people.recipients(plan.recipients_most()));
    let mut stage = Stage {
        settings,
        maker: Maker::new(plan, pool, &senders, &recipients),
        talk: Talk::new(Session::new(plan.terms.clone().into(), false), None, plan.terms.pipelining, Time(0)),
        tally: Tally::new(),
        supply: Supply::new(0, 1, None, false),
    };
    stage.maker.look_at_clock();
    stage.hear(Reply::Greeting);
    let opening = stage.until_idle()?;
    let units = stage.message(NUMBERS[0])?;
    for number in NUMBERS {
        if stage.message(number)? != units {
            let text = "the byte sink answers by count, and these messages are not of one length";
            return Err(Failure::Usage(text.to_owned()));
        }
    }
    Ok(Script { opening, units })
}

struct Stage<'p> {
    settings: &'p Settings,
    maker: Maker<'p>,
    talk: Talk<'p>,
    tally: Tally,
    supply: Supply,
}

impl Stage<'_> {
    fn message(&mut self, number: u64) -> Result<Vec<Answer>, Failure> {
        let due = Due { number, tries: 0 };
        let start = Start { due, intended: Time(0), now: Time(0), is_measured: false };
        let maker = &mut self.maker;
        self.supply.take(due);
        match self.talk.begin(start, |header| maker.make(number, header), &mut self.tally) {
            Begin::Begun => self.until_idle(),
            other => Err(Failure::Usage(format!("the blackhole does not take such a message: {other:?}"))),
        }
    }

    /// What is written until nothing is waited for.
    fn until_idle(&mut self) -> Result<Vec<Answer>, Failure> {
        let mut answers: Vec<Answer> = Vec::new();
        loop {
            let octets = self.write();
            if octets > 0 {
                answers.push(Answer { octets, replies: Vec::new() });
            }
            let Some(awaited) = self.talk.session.awaits() else { return Ok(answers) };
            let reply = reply_to(awaited)?;
            self.hear(reply);
            match answers.last_mut() {
                Some(answer) => answer.replies.push(reply),
                None => return Err(Failure::System("a reply was awaited and nothing was asked".to_owned())),
            }
        }
    }

    /// Octets that are written before a reply is needed.
    fn write(&mut self) -> u64 {
        let mut octets = 0;
        loop {
            octets += self.talk.out.len() as u64;
            self.talk.out.clear();
            self.talk.transmit(Time(0), false);
            if self.talk.out.is_empty() {
                return octets;
            }
        }
    }

    fn hear(&mut self, reply: Reply) {
        let mut ear =
            Ear { now: Time(0), tally: &mut self.tally, supply: &mut self.supply, ledger: None, witness: None };
        self.talk.hear(reply.line(self.settings), &mut ear);
    }
}

fn reply_to(awaited: Awaited) -> Result<Reply, Failure> {
    Ok(match awaited {
        Awaited::Hello => Reply::Ehlo,
        Awaited::Mail => Reply::MailOk,
        Awaited::Rcpt => Reply::RcptOk,
        Awaited::Data => Reply::StartMail,
        Awaited::Block | Awaited::Reset => Reply::Ok,
        Awaited::EndOfData => Reply::Discarded,
        other => return Err(Failure::System(format!("nobody answers {other:?} by count"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::load::Load;

    fn script(words: &str) -> Result<Script, Failure> {
        Load::new(words).script()
    }

    fn replies(answers: &[Answer]) -> Vec<String> {
        answers.iter().map(|answer| answer.to_string().split_once('=').unwrap().1.to_owned()).collect()
    }

    #[test]
    fn what_is_waited_for_depends_on_the_load() {
        let chunks = script("--depth 32 --bdat --size 4096").unwrap();
        assert_eq!(chunks.opening, ["20=Ehlo".parse().unwrap()]);
        assert_eq!(replies(&chunks.units), ["MailOk,RcptOk,Discarded"]);
        let data = script("--depth 2 --recipients 2").unwrap();
        assert_eq!(replies(&data.units), ["MailOk,RcptOk,RcptOk,StartMail", "Discarded"]);
        assert_eq!(data.units[1].octets, 4096 + 3);
        let each = script("--no-pipelining").unwrap();
        assert_eq!(replies(&each.units), ["MailOk", "RcptOk", "StartMail", "Discarded"]);
        assert_eq!(script("--chunk 1000").unwrap().units[0].replies.len(), 2 + 5);
    }

    #[test]
    fn large_messages_are_counted_to_the_end() {
        assert_eq!(script("--size 10m").unwrap().units[1].octets, (10 << 20) + 3);
        let chunk = script("--size 10m --bdat").unwrap().units[0].octets;
        assert!((10 << 20..(10 << 20) + 300).contains(&chunk), "{chunk}");
    }

    #[test]
    fn messages_of_several_lengths_cannot_be_answered_by_count() {
        for words in ["--size 1k-8k", "--recipients 1-3"] {
            assert!(matches!(script(words), Err(Failure::Usage(_))), "{words}");
        }
    }
}
