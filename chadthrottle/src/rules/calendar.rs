//! When a rule is on: days and hours of local time.

use std::{fmt, str::FromStr};

use jiff::{
    ZonedDateTime,
    civil::{Date, Time, Weekday},
    tz::TimeZone,
};

/// Periods, in any of which it is on. Without any it always is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calendar(Vec<Period>);

/// Some hours of some days of each week. It goes by the clock on the wall: where that is put forward over its
/// beginning, it begins when the clock goes on, and where an hour comes twice, its end is the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Period {
    /// On which it begins, by days from Monday.
    days: [bool; 7],
    from: Time,
    /// Of the next day where it is not later than `from`.
    to: Time,
    /// As it is written.
    text: String,
}

/// Why a period could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a time. Write 'Mon-Fri 08:00-18:00', 'Sat,Sun' or '22:00-06:00'")]
pub struct CalendarError(String);

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Calendar {
    /// Adds a period, as it is written in a file.
    ///
    /// # Errors
    /// Where it is none.
    pub fn add(&mut self, text: &str) -> Result<(), CalendarError> {
        self.0.push(text.parse()?);
        Ok(())
    }

    /// Whether it is without periods: always on.
    pub fn is_always(&self) -> bool {
        self.0.is_empty()
    }

    /// The periods, as they are written.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|period| period.text.as_str())
    }

    /// Whether it is on then.
    pub fn is_on(&self, now: &ZonedDateTime) -> bool {
        self.0.is_empty()
            || self
                .0
                .iter()
                .flat_map(|period| period.around(now))
                .any(|(from, to)| from <= *now && *now < to)
    }

    /// When it begins or ends next; `None` where it never does.
    pub fn next_change(&self, now: &ZonedDateTime) -> Option<ZonedDateTime> {
        self.0
            .iter()
            .flat_map(|period| period.around(now))
            .flat_map(|(from, to)| [from, to])
            .filter(|change| change > now)
            .min()
    }
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().collect::<Vec<_>>().join(", "))
    }
}

impl Period {
    /// When it begins and ends, from the day before until a week later.
    fn around(&self, now: &ZonedDateTime) -> impl Iterator<Item = (ZonedDateTime, ZonedDateTime)> {
        let yesterday = now.date().yesterday().ok();
        let dates = std::iter::successors(yesterday, |date| date.tomorrow().ok()).take(9);
        let zone = now.time_zone().clone();
        dates.filter_map(move |date| self.on(date, &zone))
    }

    /// When it begins on that day, and ends; `None` where it does not.
    fn on(&self, date: Date, zone: &TimeZone) -> Option<(ZonedDateTime, ZonedDateTime)> {
        let day = usize::try_from(date.weekday().to_monday_zero_offset()).ok()?;
        if !*self.days.get(day)? {
            return None;
        }
        let last = if self.to > self.from {
            date
        } else {
            date.tomorrow().ok()?
        };
        // What the clock leaves out is an hour later, and of what comes twice it is the first time.
        let from = date
            .to_datetime(self.from)
            .to_zoned_datetime(zone.clone())
            .ok()?;
        let to = last
            .to_datetime(self.to)
            .to_zoned_datetime(zone.clone())
            .ok()?;
        Some((from, to))
    }
}

impl FromStr for Period {
    type Err = CalendarError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            let shown = text.chars().take(60).flat_map(char::escape_debug);
            CalendarError(shown.collect())
        };
        let mut words = text.split_whitespace();
        let (first, second) = (words.next().ok_or_else(wrong)?, words.next());
        if words.next().is_some() {
            return Err(wrong());
        }
        let begins_with_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        let (days, hours) = match second {
            Some(hours) => (days(first).ok_or_else(wrong)?, Some(hours)),
            None if begins_with_digit(first) => ([true; 7], Some(first)),
            None => (days(first).ok_or_else(wrong)?, None),
        };
        let (from, to) = match hours {
            Some(hours) => {
                let (from, to) = hours.split_once('-').ok_or_else(wrong)?;
                (time(from).ok_or_else(wrong)?, end(to).ok_or_else(wrong)?)
            }
            None => (Time::midnight(), Time::midnight()),
        };
        Ok(Self {
            days,
            from,
            to,
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
        })
    }
}

/// `Mon`, `Mon-Fri`, `Sat-Mon`, `Mon,Wed-Fri`.
fn days(text: &str) -> Option<[bool; 7]> {
    let mut all = [false; 7];
    let day = |name: &str| {
        let name = name.to_lowercase();
        DAYS.iter().position(|day| *day == name)
    };
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        loop {
            *all.get_mut(at)? = true;
            if at == last {
                break;
            }
            at = (at + 1) % DAYS.len();
        }
    }
    Some(all)
}

/// `HH:MM`.
fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        let is_number = digits.contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
        is_number.then(|| text.parse().ok())?
    };
    Time::new(number(hour, 1..=2)?, number(minute, 2..=2)?, 0, 0).ok()
}

/// The same, or the end of a day.
fn end(text: &str) -> Option<Time> {
    if text == "24:00" {
        return Some(Time::midnight());
    }
    time(text)
}

/// The names are those of jiff's days, in its order.
const _: () = assert!(Weekday::Monday as u8 + 6 == Weekday::Sunday as u8);

#[cfg(test)]
mod tests {
    use super::*;

    const BERLIN: &str = "Europe/Berlin";

    fn calendar(periods: &[&str]) -> Calendar {
        let mut calendar = Calendar::default();
        for period in periods {
            calendar.add(period).unwrap();
        }
        calendar
    }

    fn at(text: &str) -> ZonedDateTime {
        format!("{text}[{BERLIN}]").parse().unwrap()
    }

    #[test]
    fn days_and_hours_with_both_ends() {
        // 2026-11-27 is a Friday.
        for (periods, moment, expected) in [
            (&[][..], "2026-11-27T03:00", true),
            (&["Mon-Fri 08:00-18:00"], "2026-11-27T08:00", true),
            (&["Mon-Fri 08:00-18:00"], "2026-11-27T07:59:59", false),
            (&["Mon-Fri 08:00-18:00"], "2026-11-27T17:59:59", true),
            (&["Mon-Fri 08:00-18:00"], "2026-11-27T18:00", false),
            (&["Mon-Fri 08:00-18:00"], "2026-11-28T12:00", false),
            (&["mon,WED,fri"], "2026-11-27T00:00", true),
            (&["mon,WED,fri"], "2026-11-26T23:59:59", false),
            (&["Sat-Mon 8:00-9:00"], "2026-11-29T08:30", true),
            (&["Sat-Mon 8:00-9:00"], "2026-11-30T08:30", true),
            (&["Sat-Mon 8:00-9:00"], "2026-12-01T08:30", false),
            // Across midnight it belongs to the day on which it begins.
            (&["Fri 22:00-06:00"], "2026-11-28T05:59", true),
            (&["Fri 22:00-06:00"], "2026-11-28T06:00", false),
            (&["Fri 22:00-06:00"], "2026-11-27T05:00", false),
            (&["22:00-06:00"], "2026-11-27T05:00", true),
            (&["Fri 20:00-24:00"], "2026-11-27T23:59:59", true),
            (&["Fri 20:00-24:00"], "2026-11-28T00:00", false),
            // A day and a night long.
            (&["Fri 08:00-08:00"], "2026-11-28T07:59", true),
            (
                &["Mon 01:00-02:00", "Fri 03:00-04:00"],
                "2026-11-27T03:30",
                true,
            ),
            // A leap day, which is a Tuesday.
            (&["Tue"], "2028-02-29T12:00", true),
            (&["Tue 23:00-01:00"], "2028-03-01T00:30", true),
        ] {
            assert_eq!(
                calendar(periods).is_on(&at(moment)),
                expected,
                "{periods:?} {moment}"
            );
        }
    }

    #[test]
    fn both_changes_of_summer_time() {
        // On 2026-03-29 at 02:00 it is 03:00, and on 2026-10-25 the hour from 02:00 comes twice.
        for (period, moment, expected) in [
            // Its beginning is left out: it begins when the clock goes on, by as much later.
            ("02:30-05:00", "2026-03-29T03:29:59+02:00", false),
            ("02:30-05:00", "2026-03-29T03:30:00+02:00", true),
            ("01:00-03:00", "2026-03-29T01:59:59+01:00", true),
            ("01:00-03:00", "2026-03-29T03:00:00+02:00", false),
            ("22:00-06:00", "2026-03-29T05:59:59+02:00", true),
            ("22:00-06:00", "2026-03-29T06:00:00+02:00", false),
            // Once, where it comes twice.
            ("02:15-02:45", "2026-10-25T02:30:00+02:00", true),
            ("02:15-02:45", "2026-10-25T02:30:00+01:00", false),
            ("01:00-03:00", "2026-10-25T02:30:00+02:00", true),
            ("01:00-03:00", "2026-10-25T02:30:00+01:00", true),
            ("01:00-03:00", "2026-10-25T03:00:00+01:00", false),
            ("02:30-04:00", "2026-10-25T02:15:00+01:00", true),
        ] {
            assert_eq!(
                calendar(&[period]).is_on(&at(moment)),
                expected,
                "{period} {moment}"
            );
        }
    }

    #[test]
    fn the_next_change_is_the_next_beginning_or_end() {
        for (periods, moment, expected) in [
            (&[][..], "2026-11-27T03:00", None),
            (
                &["Mon-Fri 08:00-18:00"],
                "2026-11-27T03:00",
                Some("2026-11-27T08:00"),
            ),
            (
                &["Mon-Fri 08:00-18:00"],
                "2026-11-27T08:00",
                Some("2026-11-27T18:00"),
            ),
            (
                &["Mon-Fri 08:00-18:00"],
                "2026-11-27T18:00",
                Some("2026-11-30T08:00"),
            ),
            (
                &["Fri 08:00-09:00"],
                "2026-11-27T09:00",
                Some("2026-12-04T08:00"),
            ),
            (
                &["02:30-05:00"],
                "2026-03-29T01:00",
                Some("2026-03-29T03:30"),
            ),
            (
                &["Sat", "Fri 22:00-23:00"],
                "2026-11-27T22:30",
                Some("2026-11-27T23:00"),
            ),
        ] {
            let next = calendar(periods).next_change(&at(moment));
            assert_eq!(next, expected.map(at), "{periods:?} {moment}");
        }
        // Between two changes nothing changes.
        let calendar = calendar(&["Mon-Fri 08:00-18:00", "Sat 22:00-06:00"]);
        let mut now = at("2026-10-20T00:00");
        for _ in 0..60 {
            let next = calendar.next_change(&now).unwrap();
            let before = next.checked_sub(jiff::Span::new().seconds(1)).unwrap();
            assert_eq!(
                calendar.is_on(&now),
                calendar.is_on(&before),
                "{now} to {next}"
            );
            assert_ne!(calendar.is_on(&before), calendar.is_on(&next), "{next}");
            now = next;
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "8",
            "8:00",
            "08:00-",
            "Mon-",
            "Mon 08:00",
            "Mon-Fri 08:00-25:00",
            "Mon 8:0-9:00",
            "24:00-01:00",
            "Fri 08:00-18:00 x",
            "Montag",
            "Mon,,Tue",
            "-",
            "08:00-18:00 Mon",
        ] {
            let error = text.parse::<Period>().unwrap_err().to_string();
            assert!(error.contains("Mon-Fri 08:00-18:00"), "{error}");
        }
    }
}
