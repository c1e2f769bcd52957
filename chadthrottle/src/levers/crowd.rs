//! How many TCP connections share a limit, as the kernel programs count them.

use chadthrottle_common::{
    abi::Crowd, connection::epoch, sys::Shared, tuning::crowd::LONGEST_NEW_NS,
};

use super::tuning::INTERVAL;
use crate::model::Connections;

fn counted(crowd: &Crowd, epoch: u64) -> Connections {
    let parity = usize::from(epoch % 2 == 1);
    let count = |counters: &[Shared; 2]| counters.get(parity).map_or(0, Shared::get);
    Connections {
        down: count(&crowd.down),
        up: count(&crowd.up),
        pausing: count(&crowd.pausing),
    }
}

/// How many looks a connection is new for.
const LOOKS: usize = (LONGEST_NEW_NS / INTERVAL.as_nanos() as u64) as usize;

/// The connections that are new, from look to look.
#[derive(Debug, Default)]
pub struct NewOnes {
    /// How many came between two looks, and are to be forgotten, the latest first.
    came: [u64; LOOKS],
}

impl NewOnes {
    /// Takes those away that are not new any more.
    pub fn forget(&mut self, counter: &Shared) {
        let known: u64 = self.came.iter().sum();
        let [.., oldest] = self.came;
        let came = counter.get().saturating_sub(known);
        self.came.rotate_right(1);
        self.came[0] = came;
        // Wrapping: the kernel programs may add at the same time.
        counter.add(oldest.wrapping_neg());
    }
}

/// The count of a limit, from epoch to epoch.
#[derive(Debug, Default)]
pub struct Count {
    epoch: u64,
    /// In the epoch that is over.
    last: Connections,
    latest: Connections,
}

impl Count {
    /// As last taken.
    pub fn connections(&self) -> Connections {
        self.latest
    }

    /// Takes it, at `now` (nanoseconds, monotonic).
    pub fn take(&mut self, crowd: &Crowd, now: u64) -> Connections {
        let this = epoch(now);
        if this != self.epoch {
            self.last = if this == self.epoch + 1 {
                counted(crowd, self.epoch)
            } else {
                Connections::default()
            };
            // It counts the next one.
            let parity = usize::from(this.is_multiple_of(2));
            for counters in [&crowd.down, &crowd.up, &crowd.pausing] {
                if let Some(counter) = counters.get(parity) {
                    counter.set(0);
                }
            }
            self.epoch = this;
        }
        self.latest = counted(crowd, this).max(self.last);
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chadthrottle_common::connection::EPOCH_NS;

    #[test]
    fn a_connection_is_new_for_a_few_looks() {
        let (mut new, counter) = (NewOnes::default(), Shared::new(0));
        counter.add(3);
        let mut seen = Vec::new();
        for look in 0..LOOKS + 4 {
            new.forget(&counter);
            seen.push(counter.get());
            if look == 1 {
                counter.add(2);
            }
        }
        assert_eq!(seen[..3], [3, 3, 5]);
        assert_eq!(seen[LOOKS - 1..], [5, 2, 2, 0, 0]);
    }

    #[test]
    fn counts_of_the_last_epoch_hold_until_this_one_has_as_many() {
        let (mut count, crowd) = (Count::default(), Crowd::default());
        let at = |epochs: u64| 100 * EPOCH_NS + epochs * EPOCH_NS;
        count.take(&crowd, at(0));
        crowd.down[0].add(8);
        assert_eq!(count.take(&crowd, at(0)).down, 8);
        assert_eq!(count.take(&crowd, at(1)).down, 8, "none yet in this one");
        crowd.down[1].add(9);
        assert_eq!(count.take(&crowd, at(1)).down, 9);
        assert_eq!(count.take(&crowd, at(2)).down, 9);
        assert_eq!(count.take(&crowd, at(3)).down, 0, "nobody for a whole one");
        crowd.up[1].add(5);
        assert_eq!(count.take(&crowd, at(9)).up, 5);
    }
}
