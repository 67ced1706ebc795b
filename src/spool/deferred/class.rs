//! The classes of mail that a sink does not have yet: each is a log of its own, a directory of the sink's.

use std::fmt;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// It is tried again after so many seconds.
    Retry(u32),
    /// The operator wants it to be tried at once. It comes through the inbox.
    Replay,
    /// The operator holds it.
    Held,
    /// Delivering it went wrong too often: it may be its fault.
    Quarantined,
    /// It was refused for good, or waited too long.
    Dead,
}

impl Class {
    /// The operator released it: it is tried at once, with its history behind it.
    pub const RELEASED: Self = Self::Retry(0);
    /// Those that wait for the operator.
    pub const ASIDE: [Self; 3] = [Self::Held, Self::Quarantined, Self::Dead];
    const NAMED: [Self; 4] = [Self::Replay, Self::Held, Self::Quarantined, Self::Dead];

    /// Whether its mail waits for the operator.
    pub fn is_aside(self) -> bool {
        !matches!(self, Self::Retry(_) | Self::Replay)
    }

    /// The class whose directory has this name.
    pub fn of_name(name: &str) -> Option<Self> {
        let named = Self::NAMED.into_iter().find(|class| class.to_string() == name);
        named.or_else(|| name.parse().ok().map(Self::Retry).filter(|class| class.to_string() == name))
    }

    /// A number for each, which says what it is.
    pub fn number(self) -> u64 {
        match self {
            Self::Retry(seconds) => u64::from(seconds),
            Self::Held => 1 << 32,
            Self::Quarantined => 2 << 32,
            Self::Dead => 3 << 32,
            Self::Replay => 4 << 32,
        }
    }

    /// The class of a number.
    pub fn of_number(number: u64) -> Option<Self> {
        let named = Self::NAMED.into_iter().find(|class| class.number() == number);
        named.or_else(|| u32::try_from(number).ok().map(Self::Retry))
    }
}

/// As its directory is called.
impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(seconds) => write!(f, "{seconds}"),
            Self::Replay => f.write_str("replay"),
            Self::Held => f.write_str("held"),
            Self::Quarantined => f.write_str("quarantined"),
            Self::Dead => f.write_str("dead"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_and_a_number_of_its_own() {
        let all = [0, 300, 600, u32::MAX].map(Class::Retry).into_iter().chain(Class::NAMED);
        for class in all {
            assert_eq!(Class::of_name(&class.to_string()), Some(class));
            assert_eq!(Class::of_number(class.number()), Some(class));
        }
        for other in ["", "0300", "+300", "-1", "4294967296", "300 ", "Held", "spare", "inbox", "damaged", "cursors"] {
            assert_eq!(Class::of_name(other), None, "{other}");
        }
        assert_eq!(Class::of_number(5 << 32), None);
    }
}
