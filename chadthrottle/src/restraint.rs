//! Restraint of the log: what fails twenty times a second, as a note on a full disk, is not said
//! twenty times a second.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// So many lines from one place in our source …
const LINES: u64 = 20;

/// … in that time.
const PERIOD: Duration = Duration::from_secs(60);

/// A place in our source: file and line.
type Place = (Option<&'static str>, Option<u32>);

/// How much each place has said.
#[derive(Debug, Default)]
pub struct Restraint(Mutex<HashMap<Place, Said>>);

#[derive(Debug)]
struct Said {
    since: Instant,
    lines: u64,
}

impl Restraint {
    /// Whether a line from that place is to be written: with how many were not, since the last one
    /// that was.
    pub fn admit(&self, place: Place, now: Instant) -> Option<u64> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said = places.entry(place).or_insert(Said {
            since: now,
            lines: 0,
        });
        let mut held_back = 0;
        if now.saturating_duration_since(said.since) >= PERIOD {
            held_back = said.lines.saturating_sub(LINES);
            *said = Said {
                since: now,
                lines: 0,
            };
        }
        said.lines += 1;
        (said.lines <= LINES).then_some(held_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_says_much_is_held_back_and_others_are_not() {
        let restraint = Restraint::default();
        let start = Instant::now();
        let [loud, quiet] = [(Some("a.rs"), Some(1)), (Some("a.rs"), Some(2))];
        let written = (0..1_200)
            .filter_map(|n| restraint.admit(loud, start + n * Duration::from_millis(50)))
            .count();
        assert_eq!(written, 20);
        assert_eq!(restraint.admit(quiet, start), Some(0));
        assert_eq!(restraint.admit(loud, start + PERIOD), Some(1_180));
        assert_eq!(restraint.admit(loud, start + PERIOD), Some(0));
    }
}
