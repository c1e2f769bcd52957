//! Levers: what makes TCP connections of limited processes slower without refusing their packets.
//!
//! The policer in the kernel holds every limit, of every protocol, and wastes what it refuses. So above it
//! each TCP connection has a lever in each direction: uploads are paced, downloads get a smaller window. The
//! kernel programs set them (`levers` in chadthrottle-ebpf). User space decides one number per limit and
//! direction, the fair rate ([`fair_rate`]), and has a pass go over all sockets where a limit begins, changes
//! or ends ([`crate::backends::throttle::passes`]).

mod crowd;
pub mod fair_rate;
mod shrinking;
#[cfg(test)]
mod sim;
pub mod tuning;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use chadthrottle_common::{
    abi::Rule,
    policer::{Bucket, LEAST_ALLOWANCE, ns_per_byte},
};

use crate::{
    backends::throttle::passes::Passes,
    model::{Ability, Connections, Limit},
    process::namespaces,
    reversal::{Heir, ShrinkWindow},
    units::Rate,
};
use crowd::{Count, NewOnes};
use fair_rate::{FairRate, Look, at};
use shrinking::Shrinking;
use tuning::{FREQUENT_PASS_INTERVAL, MOST_DOWN, MOST_UP, PASS_INTERVAL, TUNING};

/// Limits above this, in bytes a second, are the policer's alone: what the kernel programs set has 32 bits.
const FASTEST: u64 = 4_000_000_000;

/// What works with the loaded programs; `root` is `/proc`.
pub fn ability(passes: Option<&Passes>, root: &Path) -> Ability {
    Ability {
        levers: passes.is_some(),
        hears_of_packets: passes.is_some_and(Passes::hear_of_packets),
        shrinking: passes.is_some() && ShrinkWindow::exists(root),
    }
}

/// The levers of all limits.
#[derive(Debug)]
pub struct Levers {
    /// `None`: this kernel has none, and the policer alone holds limits.
    passes: Option<Passes>,
    heir: Arc<dyn Heir>,
    shrinking: Shrinking,
    /// `/proc`
    root: PathBuf,
    ability: Ability,
    /// Whether levers may be set; `None`: nobody has asked yet.
    allowed: Option<bool>,
    /// Whether those of an engine before still are: what a socket was by itself can only be seen without.
    wait: bool,
    /// By rule index.
    held: HashMap<u32, Held>,
    passed: Option<Instant>,
}

/// What is kept of one limit.
#[derive(Debug, Default)]
struct Held {
    down: FairRate,
    up: FairRate,
    count: Count,
    new: NewOnes,
}

impl Levers {
    /// Over the loaded programs. `root` is `/proc`.
    pub fn new(passes: Option<Passes>, heir: Arc<dyn Heir>, root: &Path) -> Self {
        Self {
            ability: ability(passes.as_ref(), root),
            passes,
            shrinking: Shrinking::new(root),
            heir,
            root: root.to_owned(),
            allowed: None,
            wait: false,
            held: HashMap::new(),
            passed: None,
        }
    }

    /// Sets none until [`Levers::go`].
    pub fn wait(&mut self) {
        self.wait = true;
    }

    /// Whether it sets none yet.
    pub fn are_waiting(&self) -> bool {
        self.wait
    }

    /// Sets them from now on, for limits that begin.
    pub fn go(&mut self) {
        self.wait = false;
    }

    /// What this kernel can do.
    pub fn ability(&self) -> Ability {
        self.ability
    }

    /// How many connections use a good part of what they may.
    pub fn connections(&self, rule: u32) -> Connections {
        self.held
            .get(&rule)
            .map_or_else(Connections::default, |held| held.count.connections())
    }

    /// Whether levers may be set: the kernel has them, and somebody would put them back if we were killed.
    fn are_allowed(&mut self) -> bool {
        if self.wait {
            return false;
        }
        if let Some(allowed) = self.allowed {
            return allowed;
        }
        let allowed = match &self.passes {
            None => false,
            Some(passes) => match self.heir.inherit(passes.put_back()) {
                Ok(()) => {
                    passes.allow();
                    true
                }
                Err(reason) => {
                    log::warn!("limits hold by refusing packets only: {reason}");
                    false
                }
            },
        };
        // A guard that could not be started may be the next time.
        if allowed || self.passes.is_none() {
            self.allowed = Some(allowed);
        }
        allowed
    }

    /// A limit begins, or changes from `before`, for processes of these ids: their connections are held from now
    /// on.
    pub fn begin(
        &mut self,
        index: u32,
        rule: &Rule,
        limit: &Limit,
        before: Option<Limit>,
        members: &[u32],
    ) {
        if !self.are_allowed() {
            return;
        }
        // What it was known of before has no meaning for another limit.
        let count = self.held.remove(&index).unwrap_or_default().count;
        let held = Held {
            count,
            ..Held::default()
        };
        self.held.insert(index, held);
        self.follow(index, rule, limit);
        let namespaces = namespaces::of(&self.root, members);
        let offered = before.and_then(|before| before.down);
        if limit
            .down
            .is_some_and(|down| offered.is_none_or(|offered| down < offered))
        {
            self.shrinking.begin(&namespaces, &*self.heir);
        }
        if let Some(passes) = &self.passes {
            passes.hold(namespaces);
        }
    }

    /// Moves the fair rates of a limit.
    pub fn follow(&mut self, index: u32, rule: &Rule, limit: &Limit) {
        let Some(held) = self.held.get_mut(&index) else {
            return;
        };
        let now_ns = crate::sys::clock::now_ns();
        let connections = held.count.take(&rule.crowd, now_ns);
        let fair =
            |state: &mut FairRate, bucket: &Bucket, rate: Option<Rate>, connections, most| {
                let limit = rate
                    .map(Rate::bytes_per_second)
                    .filter(|rate| (1..=FASTEST).contains(rate))?;
                let credit = bucket.credit(now_ns);
                let look = Look {
                    limit: limit as f64,
                    most,
                    credit,
                    connections,
                };
                Some((state.follow(look, &TUNING), credit))
            };
        let down = fair(
            &mut held.down,
            &rule.ingress,
            limit.down,
            connections.down,
            MOST_DOWN,
        );
        let (window, gate) = down.map_or((0, 0), |(rate, credit)| {
            let window = rate * at(tuning::WINDOW, credit);
            let gate = rate * at(tuning::GATE, credit);
            (window as u64, ns_per_byte(gate as u64))
        });
        rule.ingress.gate_ns_per_byte.set(gate);
        rule.ingress.fair_rate.set(window);
        let up = fair(
            &mut held.up,
            &rule.egress,
            limit.up,
            connections.up,
            MOST_UP,
        );
        let pace = up.map_or(0, |(rate, credit)| (rate * at(tuning::PACE, credit)) as u64);
        rule.egress.fair_rate.set(pace);
        // What TCP hands over at once each in its turn, so that none waits for a timer because others did.
        let aggregates = rule.egress.cost_ns(LEAST_ALLOWANCE) * connections.up.max(1);
        rule.egress
            .tolerance_ns
            .set(aggregates.max(rule.egress.burst_ns.get()));
        rule.crowd
            .known
            .set(connections.down.max(connections.up).max(1));
        held.new.forget(&rule.crowd.new);
        log::trace!("rule {index}: {connections:?}, down {down:?}, up {up:?}");
    }

    /// What is due from time to time, while some process has a limit: of these ids.
    pub fn maintain(&mut self, members: impl Iterator<Item = u32>) {
        self.shrinking.settle(&*self.heir);
        let (Some(true), Some(passes)) = (self.allowed, &self.passes) else {
            return;
        };
        let interval = if passes.hear_of_packets() {
            PASS_INTERVAL
        } else {
            FREQUENT_PASS_INTERVAL
        };
        let now = Instant::now();
        if self.passed.is_some_and(|passed| now - passed < interval) {
            return;
        }
        self.passed = Some(now);
        let (root, members) = (&self.root, members);
        passes.hold_soon(|| namespaces::of(root, &members.collect::<Vec<_>>()));
    }

    /// A limit has ended: sockets that it alone has held are put back, wherever they are.
    pub fn end(&mut self, indexes: &[u32]) {
        for index in indexes {
            self.held.remove(index);
        }
        if self.held.is_empty() {
            self.shrinking.end(&*self.heir);
        }
        if let (Some(true), Some(passes)) = (self.allowed, &self.passes) {
            passes.hold(namespaces::all(&self.root));
        }
    }

    /// All limits have ended: every socket of the machine is put back.
    pub fn end_all(&mut self) {
        self.held.clear();
        self.shrinking.end(&*self.heir);
        if let (Some(true), Some(passes)) = (self.allowed, &self.passes) {
            passes.put_all_back(namespaces::all(&self.root));
        }
    }
}
