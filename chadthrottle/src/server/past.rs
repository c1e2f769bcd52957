//! What was carried in each of the last seconds, for screens that open later.
//!
//! Only sums are kept, of the machine and of each user: processes come and go, and of thousands a history would need more
//! memory than the engine.

use std::collections::{BTreeMap, VecDeque};

use super::access::Standing;
use crate::{
    model::{Both, Snapshot},
    protocol::History,
};

/// Seconds that are kept: a quarter of an hour.
const SECONDS: usize = 15 * 60;

/// Users of a second that are kept, those that carry most.
const USERS: usize = 64;

/// The last seconds, oldest first.
#[derive(Debug, Default)]
pub struct Past {
    seconds: VecDeque<Second>,
    /// The second that has not passed yet: so much of it has.
    passed: f64,
    /// Bytes in it, of each user who carried something.
    bytes: BTreeMap<u32, Both<f64>>,
    /// The last sample that is in it.
    sequence: u64,
}

/// Bytes that passed in a second, of all users and of each.
#[derive(Debug)]
struct Second {
    all: Both<u64>,
    users: Vec<(u32, Both<u64>)>,
}

impl Past {
    /// Adds a sample: its mean stands in each second that it covers, since nobody knows more of them.
    pub fn add(&mut self, snapshot: &Snapshot) {
        self.sequence = snapshot.sequence;
        let mut rates: BTreeMap<u32, Both<f64>> = BTreeMap::new();
        for process in &snapshot.processes {
            let own = process.traffic.map(|traffic| traffic.bytes_per_s);
            if own != Both::default() {
                *rates.entry(process.uid).or_default() += own;
            }
        }
        // Whatever is longer would fall out again.
        let mut left = snapshot.interval.as_secs_f64().min(SECONDS as f64 + 1.0);
        while left > 0.0 {
            let part = left.min(1.0 - self.passed);
            for (uid, rates) in &rates {
                *self.bytes.entry(*uid).or_default() += rates.map(|rate| rate * part);
            }
            left -= part;
            self.passed += part;
            // Parts of a second do not add up to it exactly.
            if self.passed > 1.0 - 1e-6 {
                self.passed = 0.0;
                self.end_second();
            }
        }
    }

    fn end_second(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let sum = |sum: Both<f64>, bytes: &Both<f64>| sum + *bytes;
        let all = bytes.values().fold(Both::default(), sum);
        let whole = |bytes: Both<f64>| bytes.map(|bytes| bytes.round() as u64);
        let mut users: Vec<_> = bytes
            .into_iter()
            .map(|(uid, bytes)| (uid, whole(bytes)))
            .collect();
        users.sort_by_key(|(_, bytes)| std::cmp::Reverse(bytes.down.saturating_add(bytes.up)));
        users.truncate(USERS);
        users.shrink_to_fit();
        if self.seconds.len() == SECONDS {
            self.seconds.pop_front();
        }
        let all = whole(all);
        self.seconds.push_back(Second { all, users });
    }

    /// What that user sees of it: what the samples of those seconds showed in all.
    pub fn seen_by(&self, uid: u32, standing: Standing) -> History {
        let of = |second: &Second| match standing {
            Standing::All => second.all,
            Standing::Other(_) => {
                let own = second.users.iter().find(|(user, _)| *user == uid);
                own.map(|(_, bytes)| *bytes).unwrap_or_default()
            }
        };
        History {
            sequence: self.sequence,
            seconds: self.seconds.iter().map(of).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        config::Others,
        model::{ProcessSample, testing},
    };

    fn sample(sequence: u64, millis: u64, rates: &[(u32, f64)]) -> Snapshot {
        let process = |(uid, rate): &(u32, f64)| {
            let mut process = ProcessSample {
                uid: *uid,
                ..testing::process(7)
            };
            process.traffic.down.bytes_per_s = *rate;
            process.traffic.up.bytes_per_s = 0.0;
            process
        };
        Snapshot {
            sequence,
            interval: Duration::from_millis(millis),
            processes: rates.iter().map(process).collect(),
            ..Snapshot::default()
        }
    }

    fn downs(past: &Past, uid: u32, standing: Standing) -> Vec<u64> {
        let history = past.seen_by(uid, standing);
        history.seconds.iter().map(|both| both.down).collect()
    }

    #[test]
    fn samples_of_any_length_become_seconds() {
        let mut past = Past::default();
        // The first has no rates.
        past.add(&sample(1, 0, &[(0, 0.0)]));
        past.add(&sample(2, 3_000, &[(0, 100.0)]));
        for sequence in 3..13 {
            past.add(&sample(sequence, 100, &[(0, 50.0)]));
        }
        past.add(&sample(13, 500, &[(0, 10.0)]));
        past.add(&sample(14, 1_000, &[(0, 30.0)]));
        let expected = [100, 100, 100, 50, 5 + 15];
        assert_eq!(downs(&past, 0, Standing::All), expected);
        assert_eq!(past.seen_by(0, Standing::All).sequence, 14);
        // A machine that slept.
        past.add(&sample(15, 10_000_000, &[(0, 1.0)]));
        assert_eq!(downs(&past, 0, Standing::All), [1; SECONDS]);
    }

    #[test]
    fn others_see_their_own_and_the_memory_is_bounded() {
        let mut past = Past::default();
        past.add(&sample(1, 1_000, &[(0, 7.0), (1000, 2.0), (1000, 3.0)]));
        past.add(&sample(2, 1_000, &[(0, 7.0)]));
        let own = Standing::Other(Others::Own);
        assert_eq!(downs(&past, 1000, own), [5, 0]);
        assert_eq!(downs(&past, 1001, own), [0, 0]);
        assert_eq!(downs(&past, 1000, Standing::All), [12, 7]);
        let many: Vec<_> = (0..100).map(|uid| (uid, f64::from(uid))).collect();
        past.add(&sample(3, 1_000, &many));
        assert_eq!(past.seconds[2].users.len(), USERS);
        assert_eq!(downs(&past, 99, own), [0, 0, 99]);
        assert_eq!(downs(&past, 99, Standing::All), [12, 7, 4_950]);
    }
}
