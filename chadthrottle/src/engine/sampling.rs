//! One sample: counters of all slots, put together with the names of all processes.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use chadthrottle_common::{
    abi::{MAX_HEIRS, MAX_PROCESSES, ProcessSlot, Totals},
    ownership::RuleId,
};

use super::{Engine, membership};
use crate::{
    backends::throttle::{
        ThrottleBackend, download::linux::ebpf::EbpfDownload, upload::linux::ebpf::EbpfUpload,
    },
    model::{
        Both, Carried, Direction, LimitId, LimitSample, ProcessKey, ProcessSample, Snapshot,
        Traffic, Unmatched,
    },
    process::ProcessInfo,
    sys::memory,
};

/// How long an ended process is still shown, and how long its sockets must have been silent
/// before its slot is given to somebody else: connections outlive their process for a moment.
const LINGER: Duration = Duration::from_secs(5);

/// Every so many samples what thousands of processes have left behind goes back to the system.
const TRIM_EVERY: u64 = 32;

/// What is kept from one sample to the next.
#[derive(Debug, Default)]
pub struct Sampling {
    sequence: u64,
    previous: Option<Instant>,
    /// Bytes at the last sample, passed and refused.
    last: HashMap<ProcessKey, Carried>,
    ended: BTreeMap<ProcessKey, Ended>,
    /// Loopback bytes of slots that have been given back.
    released_loopback: Both<u64>,
    slots_exhausted: u64,
    heirs_exhausted: u64,
}

/// A process with sockets that has ended.
#[derive(Debug)]
struct Ended {
    info: ProcessInfo,
    /// When it ended, or when its sockets last carried something.
    quiet_since: Instant,
}

impl Ended {
    /// Whether its slot may be given to somebody else: its sockets, silent since the last look or not, have
    /// been so for long enough.
    fn is_over(&mut self, is_silent: bool, now: Instant) -> bool {
        if !is_silent {
            self.quiet_since = now;
        }
        now - self.quiet_since >= LINGER
    }
}

impl Sampling {
    /// Keeps processes that have just ended.
    pub fn ended(&mut self, processes: Vec<ProcessInfo>) {
        let quiet_since = Instant::now();
        let ended = processes
            .into_iter()
            .map(|info| (info.key, Ended { info, quiet_since }));
        self.ended.extend(ended);
    }

    /// Processes that have just ended.
    pub fn ended_processes(&self) -> impl Iterator<Item = &ProcessInfo> {
        self.ended.values().map(|ended| &ended.info)
    }
}

impl Engine {
    /// Takes a sample. What could not be read is in its warnings.
    pub fn sample(&mut self) -> Snapshot {
        let mut warnings = Vec::new();
        self.throttle.flush_program_log();
        let now = Instant::now();
        let interval = self
            .sampling
            .previous
            .map_or(Duration::ZERO, |previous| now - previous);
        self.sampling.previous = Some(now);
        self.sampling.sequence += 1;

        // The slots first: a process that is in a slot and then not in the table has ended.
        self.scan_slots();
        let totals = self.throttle.maps.totals().unwrap_or_else(|error| {
            warnings.push(format!("reading the totals: {error}"));
            Totals::default()
        });
        let unattributed = totals.ingress.bytes + totals.egress.bytes;
        for result in [self.refresh_processes(), self.reconcile(unattributed)] {
            if let Err(error) = result {
                warnings.push(error.to_string());
            }
        }
        if self.watches_for_processes() {
            self.watch();
        }
        let heirs = self.collect_garbage();
        self.look_for_unseen();
        if self.sampling.sequence.is_multiple_of(TRIM_EVERY) {
            memory::release_free_heap();
        }
        if totals.slots_exhausted > self.sampling.slots_exhausted {
            warnings.push(format!(
                "all {MAX_PROCESSES} slots are in use, or a user's share of them: what processes \
                 beyond that carry is counted as unattributed"
            ));
        }
        self.sampling.slots_exhausted = totals.slots_exhausted;
        if totals.heirs_exhausted > self.sampling.heirs_exhausted {
            warnings.push(format!(
                "more than {MAX_HEIRS} children of limited processes live without a socket: those \
                 that their parents leave behind may be unlimited"
            ));
        }
        self.sampling.heirs_exhausted = totals.heirs_exhausted;

        let loopback = self.loopback(&totals);
        let mut processes = self.sample_processes(now, interval);
        for process in processes.iter_mut().filter(|it| it.limit.is_none()) {
            let rule = heirs.get(&process.key);
            process.limit = rule.and_then(|rule| self.limits.get(*rule));
        }
        processes.retain(|process| !self.is_out_of_sight(process));
        Snapshot {
            sequence: self.sampling.sequence,
            interval,
            limits: self.sample_limits(&processes),
            origins: Vec::new(),
            rules: Vec::new(),
            profiles: Vec::new(),
            profile: None,
            rules_changed: false,
            ruled: self.ruled.limits().collect(),
            carried_by_rule: self.tally.carried(),
            unmatched: self.sample_unmatched(),
            processes,
            unattributed: Both {
                down: totals.ingress.bytes,
                up: totals.egress.bytes,
            },
            loopback,
            warnings,
        }
    }

    /// Whether the programs see nothing of a process, and never have: it is outside of the cgroup that they are attached
    /// to, with neither traffic nor a limit of the time before it left that.
    fn is_out_of_sight(&self, process: &ProcessSample) -> bool {
        let carried = Direction::ALL.into_iter().any(|direction| {
            let traffic = process.traffic[direction];
            traffic.bytes + traffic.dropped_bytes + process.loopback[direction] > 0
        });
        process.limit.is_none()
            && !carried
            && membership::is_outside(self.attached_to.as_ref(), &process.cgroup)
    }

    fn sample_limits(&self, processes: &[ProcessSample]) -> Vec<LimitSample> {
        let mut limits: BTreeMap<LimitId, LimitSample> = self
            .limits
            .iter()
            .map(|(id, limit, targets)| {
                let sample = LimitSample {
                    id,
                    limit,
                    children: targets.children,
                    open_ended: !targets.selectors.is_empty(),
                    members: 0,
                    traffic: Both::default(),
                    connections: self.levers.connections(id.0),
                    unseen_bytes: self.unseen.of(id.0),
                };
                (id, sample)
            })
            .collect();
        for process in processes {
            if let Some(limit) = process.limit.and_then(|(id, _)| limits.get_mut(&id)) {
                limit.members += usize::from(!process.ended);
                limit.traffic += process.traffic;
            }
        }
        limits.into_values().collect()
    }

    /// Gives a process that has ended the name that the kernel has noted: it has become another
    /// program after it was last read, and what was read is that of its parent.
    pub(super) fn name_by_slot(&self, info: &mut ProcessInfo) {
        let slot = self.slots.get(info.key);
        let slot = slot.and_then(|slot| self.throttle.maps.slots.get(slot as usize));
        let name = slot.map(noted_name).filter(|name| !name.is_empty());
        if let Some(name) = name {
            info.name = name.into();
            info.exe = "".into();
            info.command = "".into();
        }
    }

    fn sample_unmatched(&self) -> Vec<Unmatched> {
        let of_each = self.limits.iter().map(|(id, _, targets)| {
            let words = self.without_match(targets);
            words.into_iter().map(move |words| Unmatched { id, words })
        });
        of_each.flatten().collect()
    }

    /// Finds slots that the kernel has given out.
    pub(super) fn scan_slots(&mut self) {
        let processes = &self.processes;
        self.slots.scan(&self.throttle.maps.slots, |pid| {
            Some(processes.get(pid)?.key.start_ticks)
        });
    }

    fn sample_processes(&mut self, now: Instant, interval: Duration) -> Vec<ProcessSample> {
        let mut samples: BTreeMap<ProcessKey, ProcessSample> = self
            .processes
            .iter()
            .map(|info| (info.key, blank(info, false)))
            .collect();
        let mut released = Vec::new();
        let current = self.processes.is_current();
        for (key, index) in self.slots.iter() {
            let Some(slot) = self.throttle.maps.slots.get(index as usize) else {
                continue;
            };
            // Once: what passes between two looks at a counter would be in two intervals.
            let meters = Both {
                down: EbpfDownload::meter(slot),
                up: EbpfUpload::meter(slot),
            };
            let carried = Carried {
                passed: meters.map(|meter| meter.bytes.count()),
                dropped: meters.map(|meter| meter.dropped_bytes.get()),
            };
            let before = self.sampling.last.insert(key, carried);
            // A slot that is new to us started from zero.
            let before = before.unwrap_or_default();
            if !samples.contains_key(&key) && self.is_alive(key) {
                // The look at all processes has missed it, or has not come back.
                samples.insert(key, blank(&unseen(key, slot), false));
            }
            let sample = samples.entry(key).or_insert_with(|| {
                let ended = self.sampling.ended.entry(key).or_insert_with(|| Ended {
                    info: unseen(key, slot),
                    quiet_since: now,
                });
                if ended.is_over(before == carried, now) && current {
                    released.push(key);
                }
                blank(&ended.info, true)
            });
            let rule = RuleId::from_word(slot.ingress.rule.get()).index;
            sample.limit = self.limits.get(rule);
            let of_rule = match rule {
                // It may have become another program, which no look has shown yet.
                0 => self.ruled.wanted.get(&key).map(|group| &group.rule),
                rule => self.limits.rule_of(rule),
            };
            self.tally.count(key, carried.passed, of_rule);
            sample.sockets = self.attribution.sockets(key);
            sample.traffic = traffic(before, carried, interval);
            sample.loopback = meters.map(|meter| meter.loopback_bytes.count());
        }
        for key in released {
            self.release(key);
            samples.remove(&key);
        }
        let slots = &self.slots;
        self.sampling
            .ended
            .retain(|key, _| slots.get(*key).is_some());
        samples.into_values().collect()
    }

    fn release(&mut self, key: ProcessKey) {
        let index = self.slots.get(key);
        if let Some(index) = index {
            self.member_released(index);
        }
        if let Some(slot) = index.and_then(|index| self.throttle.maps.slots.get(index as usize)) {
            self.sampling.released_loopback.down += slot.ingress.loopback_bytes.count();
            self.sampling.released_loopback.up += slot.egress.loopback_bytes.count();
        }
        self.slots.release(&mut self.throttle.maps, key);
        self.sampling.last.remove(&key);
        self.sampling.ended.remove(&key);
        self.tally.forget(key);
        self.attribution.forget(key);
    }

    fn loopback(&self, totals: &Totals) -> Both<u64> {
        let mut sum = self.sampling.released_loopback;
        sum.down += totals.ingress.loopback_bytes;
        sum.up += totals.egress.loopback_bytes;
        for (_, index) in self.slots.iter() {
            if let Some(slot) = self.throttle.maps.slots.get(index as usize) {
                sum.down += slot.ingress.loopback_bytes.count();
                sum.up += slot.egress.loopback_bytes.count();
            }
        }
        sum
    }
}

fn blank(info: &ProcessInfo, ended: bool) -> ProcessSample {
    ProcessSample {
        key: info.key,
        parent: info.parent,
        name: info.name.clone(),
        exe: info.exe.clone(),
        command: info.command.clone(),
        uid: info.uid,
        user: info.user.clone(),
        cgroup: info.cgroup.clone(),
        sockets: 0,
        traffic: Both::default(),
        loopback: Both::default(),
        limit: None,
        ended,
    }
}

/// The name that the kernel has noted of a process.
fn noted_name(slot: &ProcessSlot) -> String {
    let [head, tail] = &slot.identity.name;
    let bytes: Vec<u8> = [head.get(), tail.get()]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A process that ended before anybody saw it in /proc.
fn unseen(key: ProcessKey, slot: &ProcessSlot) -> ProcessInfo {
    ProcessInfo {
        key,
        parent: 0,
        name: noted_name(slot).into(),
        exe: "".into(),
        command: "".into(),
        uid: 0,
        user: "".into(),
        gid: 0,
        cgroup: "".into(),
        container: "".into(),
    }
}

/// What a process has carried, and at which rates since it had carried what it had `before`.
fn traffic(before: Carried, now: Carried, interval: Duration) -> Both<Traffic> {
    let seconds = interval.as_secs_f64();
    let rate = |before: u64, now: u64| {
        let grown = now.saturating_sub(before) as f64;
        if seconds > 0.0 { grown / seconds } else { 0.0 }
    };
    Both::from_fn(|direction| {
        let (bytes, dropped_bytes) = (now.passed[direction], now.dropped[direction]);
        Traffic {
            bytes_per_s: rate(before.passed[direction], bytes),
            bytes,
            dropped_bytes,
            dropped_bytes_per_s: rate(before.dropped[direction], dropped_bytes),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_all_intervals_add_up_to_what_was_carried() {
        let counted = |bytes| Carried {
            passed: Both {
                down: bytes,
                up: 2 * bytes,
            },
            dropped: Both { down: 0, up: bytes },
        };
        let interval = Duration::from_millis(500);
        let mut before = Carried::default();
        let mut sums = Both::<f64>::default();
        for bytes in [0, 1_000, 1_000, 2_500] {
            let traffic = traffic(before, counted(bytes), interval);
            before = counted(bytes);
            sums += traffic.map(|traffic| traffic.bytes_per_s * 0.5);
            assert_eq!(traffic.down.bytes, bytes);
        }
        assert_eq!((sums.down, sums.up), (2_500.0, 5_000.0));
    }

    #[test]
    fn a_process_that_has_ended_keeps_its_slot_until_its_sockets_are_silent() {
        let key = ProcessKey {
            pid: 7,
            start_ticks: 100,
        };
        let start = Instant::now();
        let mut ended = Ended {
            info: unseen(key, &ProcessSlot::default()),
            quiet_since: start,
        };
        for (seconds, is_silent, is_over) in [
            (1, true, false),
            (4, false, false),
            (8, true, false),
            (9, true, true),
            (10, false, false),
            (15, true, true),
        ] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(ended.is_over(is_silent, now), is_over, "{seconds} s");
        }
    }

    #[test]
    fn before_any_time_has_passed_there_is_no_rate() {
        let carried = Carried {
            passed: Both { down: 7, up: 7 },
            ..Carried::default()
        };
        let traffic = traffic(Carried::default(), carried, Duration::ZERO);
        assert_eq!(traffic.down.bytes_per_s, 0.0);
    }
}
