//! Changes of the rules that clients have made, for as long as they may be taken back.

use std::{collections::VecDeque, time::SystemTime};

use crate::rules::edit::Change;

/// So many are remembered, of all clients together.
const MOST: usize = 400;

/// And texts of so many bytes.
const MOST_BYTES: usize = 8 << 20;

/// The latest changes.
#[derive(Debug)]
pub struct Changes {
    /// With their numbers, the oldest first.
    made: VecDeque<(u64, Change)>,
    /// Number of the latest.
    last: u64,
}

impl Default for Changes {
    /// None. Numbers go on from the time in milliseconds, so that one of another engine is not taken for one of this.
    fn default() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_millis();
        Self {
            made: VecDeque::new(),
            last: u64::try_from(now).unwrap_or_default(),
        }
    }
}

impl Changes {
    /// Remembers one, and gives its number.
    pub fn remember(&mut self, mut change: Change) -> u64 {
        // Who changes a file several times has most of its texts twice.
        if let Some((_, before)) = self.made.back()
            && before.after == change.before
        {
            change.before = before.after.clone();
        }
        self.last += 1;
        self.made.push_back((self.last, change));
        while self.made.len() > MOST || self.bytes() > MOST_BYTES && self.made.len() > 1 {
            self.made.pop_front();
        }
        self.last
    }

    /// The change of that number, if it is remembered.
    pub fn get(&self, number: u64) -> Option<Change> {
        let mut made = self.made.iter();
        let (_, change) = made.find(|(it, _)| *it == number)?;
        Some(change.clone())
    }

    /// It is taken back.
    pub fn forget(&mut self, number: u64) {
        self.made.retain(|(it, _)| *it != number);
    }

    fn bytes(&self) -> usize {
        self.made.iter().map(|(_, change)| change.after.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::edit::Edit;

    #[test]
    fn the_latest_are_remembered_within_bounds() {
        let change = |bytes: usize| Change {
            edit: Edit::Profile { name: None },
            before: "".into(),
            after: "x".repeat(bytes).into(),
        };
        let mut changes = Changes::default();
        let first = changes.remember(change(1));
        let second = changes.remember(change(2));
        assert_eq!(changes.get(first), Some(change(1)));
        changes.forget(first);
        assert_eq!(
            (changes.get(first), changes.get(second)),
            (None, Some(change(2)))
        );
        // One that is too long for all others is still there itself.
        let long = changes.remember(change(MOST_BYTES + 1));
        assert_eq!(changes.get(second), None);
        assert!(changes.get(long).is_some());
        let numbers: Vec<u64> = (0..=MOST).map(|_| changes.remember(change(1))).collect();
        assert_eq!(changes.get(numbers[0]), None);
        assert!(changes.get(numbers[1]).is_some());
    }
}
