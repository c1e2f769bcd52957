//! How often samples are taken: as often as the one who wants them most often.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::engine::Commands;

/// How many want samples at which interval.
#[derive(Debug, Default)]
pub struct Intervals(Mutex<BTreeMap<Duration, usize>>);

/// Somebody who wants samples. Dropping it ends that.
#[derive(Debug)]
pub struct Wanted<'a> {
    intervals: &'a Intervals,
    interval: Duration,
    engine: &'a Commands,
}

impl Intervals {
    /// Has samples taken at that interval, or a shorter one.
    pub fn want<'a>(&'a self, interval: Duration, engine: &'a Commands) -> Wanted<'a> {
        self.change(engine, |wanted| *wanted.entry(interval).or_default() += 1);
        Wanted {
            intervals: self,
            interval,
            engine,
        }
    }

    fn change(&self, engine: &Commands, change: impl FnOnce(&mut BTreeMap<Duration, usize>)) {
        let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shortest = |wanted: &BTreeMap<Duration, usize>| wanted.keys().next().copied();
        let before = shortest(&wanted);
        change(&mut wanted);
        if let Some(interval) = shortest(&wanted).filter(|now| Some(*now) != before) {
            engine.set_interval(interval);
        }
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.intervals.change(self.engine, |wanted| {
            if let Some(count) = wanted.get_mut(&self.interval) {
                *count -= 1;
                if *count == 0 {
                    wanted.remove(&self.interval);
                }
            }
        });
    }
}
