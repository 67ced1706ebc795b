//! Times as messages show them: RFC 5322 §3.3 `date-time`, in UTC; and as logs do: RFC 3339.
//!
//! *Why this way*: seconds to a date of the Gregorian calendar is twenty lines, and the tests walk through every day up to
//! the last. A crate for it would bring parsing, zones and errors that nothing here asks for.
//!
//! *Does not* know clocks or time zones.

use std::fmt;

use crate::limits;

/// A point in time that is shown as `Thu, 01 Jan 1970 00:00:00 +0000`, in 31 octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DateTime {
    seconds: u64,
}

/// Day names from the one of 1 January 1970 on.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// From March on, and so that a leap day is the last day of its year.
const MONTHS: [&str; 12] = ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];
/// Days of such a year before each of its months.
const DAYS_BEFORE: [u32; 12] = [0, 31, 61, 92, 122, 153, 184, 214, 245, 275, 306, 337];
/// The first of [`MONTHS`] that belongs to the next year of the calendar.
const JANUARY: usize = 10;

/// From 1 March 1600, with which 400 years begin that repeat, to 1 January 1970.
const DAYS_BEFORE_1970: u32 = 135_080;
const DAYS_OF_400_YEARS: u32 = 146_097;
/// Without a leap day at their end, which one century of four has.
const DAYS_OF_100_YEARS: u32 = 36_524;
const DAYS_OF_4_YEARS: u32 = 1_461;
const DAYS_OF_A_YEAR: u32 = 365;
const SECONDS_OF_A_DAY: u64 = 86_400;

impl DateTime {
    /// From seconds since 1 January 1970 without leap seconds. A time behind the year 9999 is that year's last second.
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        Self { seconds: if seconds < limits::TIME_S { seconds } else { limits::TIME_S } }
    }

    /// Year, place of the month in [`MONTHS`], day of the month from 1.
    fn date(self) -> (u32, usize, u32) {
        let days = u32::try_from(self.seconds / SECONDS_OF_A_DAY).expect("the time is bounded") + DAYS_BEFORE_1970;
        let (cycles, days) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
        // The last of four centuries, and the last of four years, may be one day longer than its share.
        let centuries = (days / DAYS_OF_100_YEARS).min(3);
        let days = days - centuries * DAYS_OF_100_YEARS;
        let (leaps, days) = (days / DAYS_OF_4_YEARS, days % DAYS_OF_4_YEARS);
        let years = (days / DAYS_OF_A_YEAR).min(3);
        let days = days - years * DAYS_OF_A_YEAR;
        let month = DAYS_BEFORE.iter().rposition(|before| *before <= days).expect("the first is 0");
        let year = 1600 + 400 * cycles + 100 * centuries + 4 * leaps + years + u32::from(month >= JANUARY);
        (year, month, days - DAYS_BEFORE[month] + 1)
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let weekday = WEEKDAYS[(self.seconds / SECONDS_OF_A_DAY % 7) as usize];
        let second = self.seconds % SECONDS_OF_A_DAY;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{weekday}, {day:02} {} {year:04} {hour:02}:{minute:02}:{second:02} +0000", MONTHS[month])
    }
}

/// A point in time that is shown as `1970-01-01T00:00:00.000Z` (RFC 3339), in 24 octets: as text these sort as the times do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    second: DateTime,
    millisecond: u16,
}

impl Timestamp {
    /// From milliseconds since 1 January 1970 without leap seconds; see [`DateTime::from_unix_seconds`].
    pub const fn from_unix_milliseconds(milliseconds: u64) -> Self {
        let second = DateTime::from_unix_seconds(milliseconds / 1000);
        Self { second, millisecond: (milliseconds % 1000) as u16 }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.second.date();
        let month = (month + 2) % 12 + 1;
        let second = self.second.seconds % SECONDS_OF_A_DAY;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", self.millisecond)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(seconds: u64) -> String {
        DateTime::from_unix_seconds(seconds).to_string()
    }

    /// What date(1) of GNU says.
    #[test]
    fn known_times_are_shown() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (68_169_599, "Mon, 28 Feb 1972 23:59:59 +0000"),
            (68_169_600, "Tue, 29 Feb 1972 00:00:00 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_136_214_245, "Mon, 02 Jan 2006 15:04:05 +0000"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 +0000"),
            (4_294_967_296, "Sun, 07 Feb 2106 06:28:16 +0000"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 +0000"),
            (253_402_300_800, "Fri, 31 Dec 9999 23:59:59 +0000"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 +0000"),
        ] {
            assert_eq!(text(seconds), expected, "{seconds}");
        }
    }

    /// What date(1) of GNU says.
    #[test]
    fn timestamps_are_shown() {
        for (milliseconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_007, "2000-02-29T00:00:00.007Z"),
            (1_136_214_245_999, "2006-01-02T15:04:05.999Z"),
            (1_795_260_000_123, "2026-11-21T11:20:00.123Z"),
            (4_107_542_400_010, "2100-03-01T00:00:00.010Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::from_unix_milliseconds(milliseconds).to_string(), expected);
        }
    }

    /// The calendar is walked through day by day by its rule, from January on, and not by shares of 400 years.
    #[test]
    fn every_day_follows_the_one_before() {
        let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let mut days = 0;
        for year in 1970..=9999 {
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            for (index, name) in names.iter().enumerate() {
                let last = match index {
                    1 if is_leap => 29,
                    1 => 28,
                    3 | 5 | 8 | 10 => 30,
                    _ => 31,
                };
                for day in 1..=last {
                    let (found_year, month, found_day) = DateTime::from_unix_seconds(days * 86_400).date();
                    assert_eq!((found_year, MONTHS[month], found_day), (year, *name, day), "day {days}");
                    days += 1;
                }
            }
        }
        assert_eq!(days * 86_400 - 1, limits::TIME_S);
    }

    #[test]
    fn every_second_of_a_day_follows_the_one_before() {
        let mut seconds = 20_000 * 86_400;
        for hour in 0..24 {
            for minute in 0..60 {
                for second in 0..60 {
                    assert_eq!(text(seconds)[17..], format!("{hour:02}:{minute:02}:{second:02} +0000"));
                    seconds += 1;
                }
            }
        }
    }
}
