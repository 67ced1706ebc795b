//! Who mail is from and to: addresses that a seed decides, in domains by weight.

use ringmx::mail::address::{Mailbox, Path};
use ringmx::smtp::command::RcptCommand;

use super::random::Random;

/// A domain, and how often it is taken in relation to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Its weight.
    pub weight: u32,
}

/// Reads `example.test` or `example.test=3`.
pub fn parse_domain(text: &str) -> Result<Domain, String> {
    let (name, weight) = text.split_once('=').unwrap_or((text, "1"));
    let weight = weight.parse().ok().filter(|weight| *weight > 0);
    match weight {
        Some(weight) if ringmx::smtp::client::Name::parse(name).is_ok() => Ok(Domain { name: name.to_owned(), weight }),
        _ => Err(format!("'{text}' is no domain with a weight, such as example.test=3")),
    }
}

/// See the module. Every local-part is another one, so that any run of them are different recipients.
#[derive(Clone, Debug)]
pub struct People {
    domains: Vec<Domain>,
    local_parts: Vec<String>,
    /// Which domain each is in.
    homes: Vec<usize>,
}

impl People {
    /// So many, in these domains.
    pub fn new(seed: u64, count: usize, domains: &[Domain]) -> Self {
        let mut random = Random::of(seed, u64::MAX);
        let sum = domains.iter().map(|domain| u64::from(domain.weight)).sum();
        let mut draw = || {
            let mut left = random.below(sum);
            let home = domains.iter().position(|domain| {
                let is_it = left < u64::from(domain.weight);
                left = left.wrapping_sub(u64::from(domain.weight));
                is_it
            });
            home.unwrap_or(0)
        };
        Self {
            homes: (0..count).map(|_| draw()).collect(),
            local_parts: (0..count).map(|number| format!("user{number:06}")).collect(),
            domains: domains.to_vec(),
        }
    }

    fn mailbox(&self, number: usize) -> Mailbox<'_> {
        Mailbox {
            local_part: self.local_parts[number].as_bytes(),
            domain: self.domains[self.homes[number]].name.as_bytes(),
        }
    }

    /// Everybody, as recipients.
    pub fn recipients(&self) -> Vec<RcptCommand<'_>> {
        let recipient =
            |number| RcptCommand { forward_path: Path::Mailbox(self.mailbox(number)), parameters: Default::default() };
        (0..self.homes.len()).map(recipient).collect()
    }

    /// Everybody, as senders.
    pub fn senders(&self) -> Vec<Mailbox<'_>> {
        (0..self.homes.len()).map(|number| self.mailbox(number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_have_their_weights() {
        let domains = ["a.test=3", "b.test"].map(|text| parse_domain(text).unwrap());
        let people = People::new(1, 10_000, &domains);
        let recipients = people.recipients();
        let of_a = people.senders().iter().filter(|mailbox| mailbox.domain == b"a.test").count();
        assert!((7_200..7_800).contains(&of_a), "{of_a}");
        let different: std::collections::BTreeSet<String> =
            recipients.iter().map(|recipient| format!("{:?}", recipient.forward_path)).collect();
        assert_eq!(different.len(), 10_000);
        for wrong in ["", "a b", "a.test=", "a.test=0", "a.test=x"] {
            assert!(parse_domain(wrong).unwrap_err().contains("example.test=3"), "{wrong}");
        }
    }
}
