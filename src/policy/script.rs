//! Scripted faults for a sink: refusals by odds at a decision point, and delays.

use std::fmt;
use std::str::FromStr;

use crate::policy::decision::{Asked, Decision, Policy};
use crate::smtp::reply::Reply;
use crate::smtp::session::{Outcome, Point};

/// Refuses a share of what is asked at one point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refusal {
    /// Where.
    pub point: Point,
    /// How often, from 0 to 100.
    pub percent: f64,
    /// With what.
    pub reply: Reply,
}

/// Why a refusal could not be read from text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a refusal: {why}; wanted 'POINT ODDS% CODE', for example 'rcpt 5% 451'")]
pub struct BadRefusal {
    text: String,
    why: String,
}

impl FromStr for Refusal {
    type Err = BadRefusal;

    fn from_str(text: &str) -> Result<Self, BadRefusal> {
        let fail = |why: String| BadRefusal { text: text.to_owned(), why };
        let words: Vec<&str> = text.split_whitespace().collect();
        let [point, odds, code] = words[..] else {
            return Err(fail(format!("it has {} words", words.len())));
        };
        let point = Point::from_name(point).ok_or_else(|| {
            fail(format!("'{point}' is no decision point (there are {})", Point::ALL.map(Point::name).join(", ")))
        })?;
        let percent = odds
            .strip_suffix('%')
            .and_then(|number| number.parse::<f64>().ok())
            .filter(|percent| (0.0..=100.0).contains(percent))
            .ok_or_else(|| fail(format!("'{odds}' is not a percentage from 0% to 100%")))?;
        let reply = code
            .parse()
            .ok()
            .and_then(Reply::scripted)
            .ok_or_else(|| fail(format!("'{code}' is not one of the codes 421 450 451 452 550 552 553 554")))?;
        Ok(Self { point, percent, reply })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}% {}", self.point.name(), self.percent, self.reply.code())
    }
}

/// Refuses and delays as scripted; what no rule refuses is accepted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// Tried in order; the first that applies decides.
    pub refusals: Vec<Refusal>,
    /// Before each answer at the end of mail data, in ms.
    pub delay_ms: u64,
}

impl Policy for Script {
    fn decide(&self, asked: &Asked<'_>) -> Decision {
        let point = asked.question.point();
        let mut random = asked.random;
        let mut outcome = Outcome::Accept;
        for refusal in self.refusals.iter().filter(|refusal| refusal.point == point) {
            // One draw for each rule, so that two rules of 50 % at one point refuse three quarters.
            random = random.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31) ^ 0xD1B5_4A32_D192_ED03;
            let drawn = (random >> 11) as f64 / (1_u64 << 53) as f64;
            if drawn * 100.0 < refusal.percent {
                outcome = Outcome::Refuse(refusal.reply);
                break;
            }
        }
        match (point, self.delay_ms) {
            (Point::EndOfData, delay_ms @ 1..) => Decision::After { delay_ms, outcome },
            _ => Decision::Now(outcome),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::decision::Ticket;
    use crate::smtp::session::Question;

    fn asked(random: u64) -> Asked<'static> {
        let ticket = Ticket { shard: 0, slot: 0, generation: 0, question: 0 };
        Asked { question: Question::Data, ticket, random }
    }

    #[test]
    fn refusals_are_read_and_written_alike() {
        let refusal: Refusal = "rcpt 5% 451".parse().unwrap();
        assert_eq!(refusal, Refusal { point: Point::Rcpt, percent: 5.0, reply: Reply::Scripted451 });
        assert_eq!(refusal.to_string(), "rcpt 5% 451");
        for (wrong, said) in [
            ("rcpt 451", "2 words"),
            ("recipient 5% 451", "no decision point"),
            ("rcpt 5 451", "percentage"),
            ("rcpt 101% 451", "percentage"),
            ("rcpt 5% 250", "codes"),
        ] {
            let error = wrong.parse::<Refusal>().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn odds_are_kept() {
        let script = Script { refusals: vec!["data 25% 451".parse().unwrap()], delay_ms: 0 };
        let refused = (0..100_000_u64)
            .filter(|seed| {
                let random = seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ seed.rotate_left(17);
                script.decide(&asked(random)) != Decision::Now(Outcome::Accept)
            })
            .count();
        assert!((24_000..26_000).contains(&refused), "{refused}");
    }
}
