//! Scripted faults for a sink: refusals by odds at a decision point, and delays.

use std::fmt;
use std::str::FromStr;

use crate::policy::decision::{Asked, Decision, Policy};
use crate::smtp::reply::Reply;
use crate::smtp::session::{Outcome, Point};

/// Where a script can refuse: the points that every session of a sink comes to. XCLIENT needs a peer that is trusted with it,
/// AUTH needs users.
const POINTS: [Point; 6] = [Point::Connect, Point::Hello, Point::Mail, Point::Rcpt, Point::Data, Point::EndOfData];

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
        let points = || POINTS.map(Point::name).join(", ");
        let point = match Point::from_name(point) {
            Some(known) if POINTS.contains(&known) => known,
            Some(known) => {
                let why = format!("no session of a sink comes to the point '{}' in this build", known.name());
                return Err(fail(format!("{why} (there are {})", points())));
            }
            None => return Err(fail(format!("'{point}' is no decision point (there are {})", points()))),
        };
        let percent = odds
            .strip_suffix('%')
            .and_then(|number| number.parse::<f64>().ok())
            .filter(|percent| (0.0..=100.0).contains(percent))
            .ok_or_else(|| fail(format!("'{odds}' is not a percentage from 0% to 100%")))?;
        let reply = match code.parse().ok().and_then(Reply::scripted) {
            Some(reply) if points_of(reply).contains(&point) => reply,
            Some(reply) => {
                let at = points_of(reply).iter().map(|point| point.name()).collect::<Vec<_>>().join(" or ");
                let why = format!("{} belongs at {at} only (RFC 7504), not at {}", reply.code(), point.name());
                return Err(fail(format!("{why}, where there are {}", codes_at(point))));
            }
            None => {
                let why = format!("'{code}' is not one of the codes at {}", point.name());
                return Err(fail(format!("{why}: {}", codes_at(point))));
            }
        };
        Ok(Self { point, percent, reply })
    }
}

/// Where a reply can stand. RFC 7504: 521 is a greeting (§2); 556 is about a domain that takes no mail (§3).
fn points_of(reply: Reply) -> &'static [Point] {
    match reply.code() {
        521 => &[Point::Connect],
        556 => &[Point::Mail, Point::Rcpt],
        _ => &POINTS,
    }
}

/// The codes with which a script can refuse at this point.
fn codes_at(point: Point) -> String {
    let replies = (400..600).filter_map(Reply::scripted).filter(|reply| points_of(*reply).contains(&point));
    replies.map(|reply| reply.code().to_string()).collect::<Vec<_>>().join(" ")
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
        for right in ["connect 1% 521", "mail 1% 556", "rcpt 1% 556", "end 1.5% 554"] {
            assert_eq!(right.parse::<Refusal>().unwrap().to_string(), right);
        }
    }

    #[test]
    fn a_wrong_refusal_is_told_what_would_be_right() {
        for (wrong, why) in [
            ("rcpt 451", "it has 2 words"),
            ("recipient 5% 451", "'recipient' is no decision point (there are connect, hello, mail, rcpt, data, end)"),
            (
                "auth 5% 451",
                "no session of a sink comes to the point 'auth' in this build (there are connect, hello, mail, rcpt, \
                 data, end)",
            ),
            (
                "xclient 5% 451",
                "no session of a sink comes to the point 'xclient' in this build (there are connect, hello, mail, rcpt, \
                 data, end)",
            ),
            ("rcpt 5 451", "'5' is not a percentage from 0% to 100%"),
            ("rcpt 101% 451", "'101%' is not a percentage from 0% to 100%"),
            ("rcpt NaN% 451", "'NaN%' is not a percentage from 0% to 100%"),
            ("rcpt 5% 250", "'250' is not one of the codes at rcpt: 421 450 451 452 550 552 553 554 556"),
            ("end 5% no", "'no' is not one of the codes at end: 421 450 451 452 550 552 553 554"),
            (
                "rcpt 5% 521",
                "521 belongs at connect only (RFC 7504), not at rcpt, where there are 421 450 451 452 550 552 553 554 556",
            ),
            (
                "connect 5% 556",
                "556 belongs at mail or rcpt only (RFC 7504), not at connect, where there are 421 450 451 452 521 550 552 \
                 553 554",
            ),
        ] {
            let error = wrong.parse::<Refusal>().unwrap_err().to_string();
            let wanted =
                format!("'{wrong}' is not a refusal: {why}; wanted 'POINT ODDS% CODE', for example 'rcpt 5% 451'");
            assert_eq!(error, wanted);
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
