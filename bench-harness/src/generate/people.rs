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

/// Octets of a local-part.
const LOCAL_PART_OCTETS: usize = "user000000".len();

/// See the module. Every local-part is another one, so that any run of them are different recipients; their numbers are
/// shuffled, so that neighbours have nothing in common.
#[derive(Clone, Debug)]
pub struct People {
    domains: Vec<Domain>,
    /// One behind the other: whom chance picks is rarely near the processor, and should take little room.
    local_parts: String,
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
        let homes: Vec<usize> = (0..count).map(|_| draw()).collect();
        let mut numbers: Vec<usize> = (0..count).collect();
        for left in (1..count).rev() {
            numbers.swap(left, random.below(left as u64 + 1) as usize);
        }
        let local_parts: String = numbers.iter().map(|number| format!("user{number:06}")).collect();
        assert_eq!(local_parts.len(), count * LOCAL_PART_OCTETS, "a million is the most");
        Self { domains: domains.to_vec(), local_parts, homes }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.homes.len()
    }

    fn mailbox(&self, number: usize) -> Mailbox<'_> {
        let at = number * LOCAL_PART_OCTETS;
        Mailbox {
            local_part: &self.local_parts.as_bytes()[at..at + LOCAL_PART_OCTETS],
            domain: self.domains[self.homes[number]].name.as_bytes(),
        }
    }

    /// Everybody, as recipients. Behind the last stand the first ones again, so that from each place on there are `most` different
    /// ones in a row: a row at a random place is drawn without putting back, and costs nothing to find.
    pub fn recipients(&self, most: u32) -> Vec<RcptCommand<'_>> {
        let recipient =
            |number| RcptCommand { forward_path: Path::Mailbox(self.mailbox(number)), parameters: Default::default() };
        let again = (most as usize).saturating_sub(1).min(self.len());
        (0..self.len()).chain(0..again).map(recipient).collect()
    }

    /// By the number in a local-part, where its owner stands among the recipients.
    pub fn places(&self) -> Box<[u32]> {
        let mut places = vec![0; self.len()];
        for (place, local_part) in self.local_parts.as_bytes().chunks(LOCAL_PART_OCTETS).enumerate() {
            let digits = local_part.iter().filter(|octet| octet.is_ascii_digit());
            places[digits.fold(0, |sum, digit| 10 * sum + usize::from(digit - b'0'))] = place as u32;
        }
        places.into()
    }

    /// Everybody, as senders.
    pub fn senders(&self) -> Vec<Mailbox<'_>> {
        (0..self.homes.len()).map(|number| self.mailbox(number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn senders_of(people: &People) -> Vec<&[u8]> {
        people.senders().iter().map(|mailbox| mailbox.local_part).collect()
    }

    #[test]
    fn domains_have_their_weights() {
        let domains = ["a.test=3", "b.test"].map(|text| parse_domain(text).unwrap());
        let people = People::new(1, 10_000, &domains);
        let recipients = people.recipients(1);
        let of_a = people.senders().iter().filter(|mailbox| mailbox.domain == b"a.test").count();
        assert!((7_200..7_800).contains(&of_a), "{of_a}");
        let different: std::collections::BTreeSet<String> =
            recipients.iter().map(|recipient| format!("{:?}", recipient.forward_path)).collect();
        assert_eq!(different.len(), 10_000);
        let places = people.places();
        let is_at_its_place =
            |number: usize| senders_of(&people)[places[number] as usize] == format!("user{number:06}").as_bytes();
        assert!((0..10_000).step_by(777).all(is_at_its_place));
        // Neighbours have nothing in common, and there is no gap at the end.
        let senders = people.senders();
        let are_in_order = senders.windows(2).filter(|pair| pair[0].local_part < pair[1].local_part).count();
        assert!((4_500..5_500).contains(&are_in_order), "{are_in_order}");
        let rows = people.recipients(50);
        assert_eq!(rows.len(), 10_049);
        assert!(rows[..10_000] == recipients && rows[10_000..] == recipients[..49]);
        for wrong in ["", "a b", "a.test=", "a.test=0", "a.test=x"] {
            assert!(parse_domain(wrong).unwrap_err().contains("example.test=3"), "{wrong}");
        }
    }
}
