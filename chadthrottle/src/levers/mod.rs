//! Levers: what makes a TCP connection of a limited process slower without refusing its packets.
//!
//! The policer in the kernel holds every limit, of every protocol, and wastes what it refuses. So
//! above it, each TCP flow has a lever in each direction where one takes it: uploads are paced,
//! downloads get a smaller window. Several times a second user space looks at the flows, shares
//! the limit between them by need, and sets their levers; connections that are made between two
//! looks start with one from the kernel program (`chadthrottle-ebpf`'s `levers`). A download that is
//! too fast with the smallest window has a gate in the kernel besides (`gates`).
//!
//! Architecture invariant: levers are choices per flow and direction, all made in [`Lever::of`]. A
//! new one, say a real queue, is a variant there, and what [`Levers`] does with it.

mod ability;
mod download;
mod flow;
mod gates;
mod held;
mod options;
mod pacing;
mod retract;
mod share;
mod turns;
mod undo;
mod upload;
mod window;

use std::{
    collections::{HashMap, HashSet},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub use ability::Ability;
pub use gates::Gates;
pub use options::{Heir, Options, restore};
pub use retract::ShrinkWindow;
pub use undo::{Undoing, Withhold};

use crate::{
    engine::{BothWays, Limit},
    sys::clock::now_ns,
    units::Rate,
};
use flow::{Flow, Half};
use held::Held;
use options::Which;
use retract::Retraction;

/// Limits above this, in bytes a second, are the policer's alone: what the kernel program sets
/// has 32 bits.
const FASTEST: u64 = 4_000_000_000;

/// What holds one direction of a flow, with the policer beneath.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lever {
    /// `SO_MAX_PACING_RATE`.
    Pacing,
    /// `TCP_WINDOW_CLAMP`.
    Window,
    /// Nothing else.
    Policer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Down,
    Up,
}

impl Direction {
    fn rate(self, limit: &Limit) -> Option<Rate> {
        match self {
            Self::Down => limit.down,
            Self::Up => limit.up,
        }
    }

    fn half(self, flow: &mut Flow) -> &mut Half {
        match self {
            Self::Down => &mut flow.down,
            Self::Up => &mut flow.up,
        }
    }
}

impl Lever {
    /// The lever for a direction of a flow.
    fn of(direction: Direction, flow: &Flow, limit: &Limit, ability: Ability) -> Self {
        if flow.is_in(limit.scope) {
            Self::under(direction, limit, ability)
        } else {
            Self::Policer
        }
    }

    /// The lever for that direction of every TCP flow that the limit covers.
    fn under(direction: Direction, limit: &Limit, ability: Ability) -> Self {
        let rate = direction.rate(limit).map(Rate::bytes_per_second);
        match direction {
            _ if rate.is_none_or(|rate| rate > FASTEST) => Self::Policer,
            Direction::Up if ability.pacing => Self::Pacing,
            Direction::Down if ability.window => Self::Window,
            _ => Self::Policer,
        }
    }
}

/// The levers of all limits.
#[derive(Debug)]
pub struct Levers {
    options: Options,
    gates: Gates,
    retraction: Retraction,
    undoing: Undoing,
    root: PathBuf,
    ability: Ability,
    /// Whether options may be set; `None`: nobody has asked yet.
    allowed: Option<bool>,
    /// By rule index.
    held: HashMap<u32, Held>,
}

/// A limit at one look.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// The limit.
    pub limit: Limit,
    /// Ids of the processes that share it.
    pub members: &'a [u32],
    /// Whether a socket is a member's: it may hold others' too.
    pub owns: &'a dyn Fn(&OwnedFd) -> bool,
    /// Of the ingress bucket, as from [`chadthrottle_common::policer::Bucket::credit`].
    pub down_credit: f64,
    /// Of the egress bucket.
    pub up_credit: f64,
    /// The monotonic clock, in nanoseconds.
    pub now_ns: u64,
}

/// How many flows carry something, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActiveFlows {
    /// Download.
    pub down: usize,
    /// Upload.
    pub up: usize,
    /// Downloads that a gate has pause.
    pub gated: usize,
    /// Downloads that have a gate.
    pub gates: usize,
}

impl Levers {
    /// Over the notes of the loaded programs. `root` is `/proc`.
    pub fn new(options: Options, gates: Gates, undoing: Undoing, root: &Path) -> Self {
        let ability = Ability {
            flight: options.sets_flights(),
            ..Ability::of_this_kernel()
        };
        Self {
            options,
            gates,
            retraction: Retraction::new(root),
            undoing,
            root: root.to_owned(),
            ability,
            allowed: None,
            held: HashMap::new(),
        }
    }

    /// What this kernel can do.
    pub fn ability(&self) -> Ability {
        self.ability
    }

    /// How many flows under a limit carried something at the last look.
    pub fn active(&self, rule: u32) -> ActiveFlows {
        self.held.get(&rule).map(Held::active).unwrap_or_default()
    }

    /// What the kernel program may hold new connections to, in bytes a second; 0: they have no
    /// lever in that direction.
    pub fn starting_rates(&mut self, limit: &Limit) -> BothWays {
        let allowed = self.are_allowed();
        let rate = |direction: Direction| {
            let lever = Lever::under(direction, limit, self.ability);
            let rate = direction
                .rate(limit)
                .filter(|_| allowed && lever != Lever::Policer);
            rate.map_or(0, Rate::bytes_per_second)
        };
        BothWays {
            down_bytes: rate(Direction::Down),
            up_bytes: rate(Direction::Up),
        }
    }

    /// Whether options may be set: somebody would put them back if we were killed.
    fn are_allowed(&mut self) -> bool {
        let options = &self.options;
        *self.allowed.get_or_insert_with(|| match options.appoint() {
            Ok(()) => true,
            Err(reason) => {
                log::warn!("limits hold by refusing packets only: {reason}");
                false
            }
        })
    }

    /// Looks at the flows under a limit and sets their levers.
    pub fn hold(&mut self, rule: u32, look: Look<'_>) -> ActiveFlows {
        if !self.are_allowed() {
            return ActiveFlows::default();
        }
        self.retraction.settle();
        let started = Instant::now();
        let mut held = self.held.remove(&rule).unwrap_or_default();
        if held.rests(&look) {
            let active = held.active();
            self.held.insert(rule, held);
            return active;
        }
        if held.look_for_flows(&self.root, &look) {
            let others = &self.held;
            self.options.keep(|inode| {
                let mut all = others.values().chain([&held]);
                all.any(|held| held.has(inode))
            });
        }
        let active = held.pull(
            &mut self.options,
            &mut self.gates,
            &mut self.retraction,
            &look,
            self.ability,
        );
        held.rest_after(started.elapsed());
        self.held.insert(rule, held);
        active
    }

    /// How long until everything has arrived that was on its way to downloads when the last looks held them.
    pub fn arrival(&mut self) -> Duration {
        self.retraction.arrival()
    }

    /// Puts back the options of a limit's flows, and of all sockets of its members: the kernel
    /// program may have set some that we have not seen.
    pub fn release(&mut self, rule: u32, members: &[u32]) {
        if self.allowed != Some(true) {
            return;
        }
        // Others switch it on again where they need it.
        self.retraction.end();
        let held = self.held.remove(&rule).unwrap_or_default();
        let pids: HashSet<u32> = members.iter().copied().chain(held.processes()).collect();
        for pid in pids {
            self.options.put_back_in(&self.root, pid);
        }
    }

    /// A limit is about to change to another one, or to end. Where downloads may be much faster then, their
    /// senders are not to stay slow.
    pub fn before_change(&mut self, rule: u32, to: Option<&Limit>) {
        const MUCH_FASTER: u64 = 4;
        let Some(held) = self.held.get_mut(&rule) else {
            return;
        };
        let rate = |limit: &Limit| limit.down.map_or(u64::MAX, Rate::bytes_per_second);
        let (from, to) = (held.limit(), to.map_or(u64::MAX, rate));
        if from.is_some_and(|from| rate(&from) <= to / MUCH_FASTER) {
            self.undoing.watch(held.flows(), &self.gates, now_ns());
        }
    }

    /// Whether downloads whose limit has ended, or risen, are watched still.
    pub fn is_undoing(&mut self) -> bool {
        self.undoing.goes_on()
    }

    /// Puts back the options of a socket whose process has no limit.
    pub fn release_socket(&mut self, socket: &OwnedFd) {
        if self.allowed == Some(true)
            && let Err(error) = self.options.put_back(socket, Which::ALL)
        {
            log::warn!("a socket keeps its limit: {error}");
        }
    }

    /// Puts back the options of every socket of the machine.
    pub fn release_all(&mut self) {
        self.retraction.end();
        self.held.clear();
        if self.allowed == Some(true) {
            self.options.put_back_everywhere(&self.root);
        }
    }
}
