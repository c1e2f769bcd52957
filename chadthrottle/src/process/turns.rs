//! Whose turn it is to be read again, though nothing tells that it has changed.

use std::time::{Duration, Instant};

/// Rounds in which every process has one turn.
#[derive(Debug)]
pub struct Turns {
    /// A process has its turn in one of so many.
    of: u32,
    /// The next one is after so long at the earliest.
    last_for: Duration,
    now: u32,
    since: Option<Instant>,
}

impl Turns {
    /// A turn in each refresh, as only that shows who has called exec.
    pub const EXEC_IS_NOT_TOLD: Self = Self {
        of: 16,
        last_for: Duration::ZERO,
        now: 0,
        since: None,
    };
    /// Only what changes without exec is left to find, and looks that come faster for new processes need not look for it:
    /// one in about a second.
    pub const EXEC_IS_TOLD: Self = Self {
        of: 64,
        last_for: Duration::from_millis(900),
        now: 0,
        since: None,
    };

    /// Whether the next processes have their turn at that moment.
    pub fn is_next(&mut self, now: Instant) -> bool {
        if self.since.is_some_and(|since| now - since < self.last_for) {
            return false;
        }
        self.now = self.now.wrapping_add(1);
        self.since = Some(now);
        true
    }

    /// Whether it is that one's turn.
    pub fn is_of(&self, pid: u32) -> bool {
        pid.wrapping_add(self.now).is_multiple_of(self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_has_its_turn_once_in_a_round_however_often_looks_come() {
        let (start, at) = (Instant::now(), Duration::from_millis);
        let mut turns = Turns::EXEC_IS_TOLD;
        // Ten looks a second, for a minute and a bit.
        let mut had = [0; 200];
        for look in 0..640 {
            if turns.is_next(start + at(100) * look) {
                let of_them = (0..).zip(&mut had).filter(|(pid, _)| turns.is_of(*pid));
                of_them.for_each(|(_, turns)| *turns += 1);
            }
        }
        assert!(had.iter().all(|turns| (1..=2).contains(turns)), "{had:?}");
        let mut turns = Turns::EXEC_IS_NOT_TOLD;
        let looks = 0..16;
        let of_one = looks.filter(|look| turns.is_next(start + at(*look)) && turns.is_of(7));
        assert_eq!(of_one.count(), 1);
    }
}
