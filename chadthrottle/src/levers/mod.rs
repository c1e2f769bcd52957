//! Levers: what makes a TCP connection of a limited process slower without refusing its packets.
//!
//! The policer in the kernel holds every limit, of every protocol, and wastes what it refuses. So
//! above it, each TCP flow has a lever in each direction where one takes it: uploads are paced,
//! downloads get a smaller window. Several times a second user space looks at the flows, shares
//! the limit between them by need, and sets their levers; connections that are made between two
//! looks start with one from the kernel program (`chadthrottle-ebpf`'s `levers`).
//!
//! Architecture invariant: levers are choices per flow and direction, all made in [`Lever::of`]. A
//! new one, say a real queue, is a variant there, and what [`Levers`] does with it.

mod ability;
mod flow;
mod options;
mod pacing;
mod share;
mod window;

use std::{
    collections::{HashMap, HashSet},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub use ability::Ability;
pub use options::{Heir, Options, restore};

use crate::{
    engine::Limit,
    process::{SocketFd, sockets_of},
    sys::{
        socket,
        tcp::{self, TcpInfo},
    },
    units::Rate,
};
use flow::{Flow, Half};

/// How often processes are searched for new sockets. Until a connection is found it has the lever
/// that the kernel program gave it.
const SEARCH_INTERVAL: Duration = Duration::from_millis(100);

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
        let rate = direction.rate(limit).map(Rate::bytes_per_second);
        if !flow.is_in(limit.scope) || rate.is_none_or(|rate| rate > FASTEST) {
            return Self::Policer;
        }
        match direction {
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
    root: PathBuf,
    ability: Ability,
    /// Whether options may be set; `None`: nobody has asked yet.
    allowed: Option<bool>,
    /// By rule index.
    held: HashMap<u32, Held>,
}

/// The flows of one limit's members.
#[derive(Debug, Default)]
struct Held {
    /// By the socket's inode.
    flows: HashMap<u64, Flow>,
    /// Sockets that no lever is for, by inode.
    others: HashSet<u64>,
    searched: Option<Instant>,
    observed: Option<Instant>,
    limit: Option<Limit>,
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
}

/// How many flows carry something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActiveFlows {
    /// Download.
    pub down: usize,
    /// Upload.
    pub up: usize,
}

impl Levers {
    /// Over the notes of the loaded programs. `root` is `/proc`.
    pub fn new(options: Options, root: &Path) -> Self {
        Self {
            options,
            root: root.to_owned(),
            ability: Ability::of_this_kernel(),
            allowed: None,
            held: HashMap::new(),
        }
    }

    /// What works on this kernel.
    pub fn ability(&self) -> Ability {
        self.ability
    }

    /// Whether options may be set: somebody would put them back if we were killed.
    pub fn are_allowed(&mut self) -> bool {
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
        let now = Instant::now();
        let mut held = self.held.remove(&rule).unwrap_or_default();
        let before = held.limit.replace(look.limit);
        if before != Some(look.limit) {
            held.searched = None;
        }
        if held
            .searched
            .is_none_or(|searched| now - searched >= SEARCH_INTERVAL)
        {
            held.searched = Some(now);
            held.search(&self.root, look.members);
            let others = &self.held;
            self.options.keep(|inode| {
                let mut all = others.values().chain([&held]);
                all.any(|held| held.flows.contains_key(&inode))
            });
        }
        if before.is_some_and(|before| before != look.limit) {
            held.put_back(&mut self.options);
        }
        let seconds = held
            .observed
            .replace(now)
            .map_or(0.0, |before| (now - before).as_secs_f64());
        held.observe(look.owns, seconds);
        let (limit, ability) = (&look.limit, self.ability);
        let active = ActiveFlows {
            down: share_out(&mut held.flows, Direction::Down, limit, ability),
            up: share_out(&mut held.flows, Direction::Up, limit, ability),
        };
        held.set(&mut self.options, look, ability);
        self.held.insert(rule, held);
        active
    }

    /// Puts back the options of a limit's flows, and of all sockets of its members: the kernel
    /// program may have set some that we have not seen.
    pub fn release(&mut self, rule: u32, members: &[u32]) {
        if self.allowed != Some(true) {
            return;
        }
        let held = self.held.remove(&rule).unwrap_or_default();
        let seen = held.flows.values().map(|flow| flow.pid);
        let pids: HashSet<u32> = members.iter().copied().chain(seen).collect();
        for pid in pids {
            self.options.put_back_in(&self.root, pid);
        }
    }

    /// Puts back the options of a socket whose process has no limit.
    pub fn release_socket(&mut self, socket: &OwnedFd) {
        if self.allowed == Some(true)
            && let Err(error) = self.options.put_back(socket)
        {
            log::warn!("a socket keeps its limit: {error}");
        }
    }

    /// Puts back the options of every socket of the machine.
    pub fn release_all(&mut self) {
        self.held.clear();
        if self.allowed == Some(true) {
            self.options.put_back_everywhere(&self.root);
        }
    }
}

impl Held {
    /// Finds the members' sockets.
    fn search(&mut self, root: &Path, members: &[u32]) {
        let mut seen = HashSet::new();
        for pid in members {
            for SocketFd { fd, inode } in sockets_of(root, *pid) {
                seen.insert(inode);
                if !self.others.contains(&inode) {
                    let flow = self
                        .flows
                        .entry(inode)
                        .or_insert_with(|| Flow::new(*pid, fd));
                    (flow.pid, flow.fd) = (*pid, fd);
                }
            }
        }
        self.flows.retain(|inode, _| seen.contains(inode));
        self.others.retain(|inode| seen.contains(inode));
    }

    /// Asks the kernel how the flows are, `seconds` after the last time.
    fn observe(&mut self, owns: &dyn Fn(&OwnedFd) -> bool, seconds: f64) {
        let Self { flows, others, .. } = self;
        each(flows, |inode, flow, socket| {
            if flow.class.is_none() && !tcp::is_tcp(socket) {
                others.insert(inode);
                return;
            }
            let info = tcp::info(socket).unwrap_or_default();
            if flow.class.is_none() && info.is_open() {
                flow.class =
                    tcp::addresses(socket).map(|(remote, local)| flow::class(remote, local));
            }
            flow.observe(info, seconds);
            if !owns(socket) {
                flow.info = None;
            }
        });
        flows.retain(|inode, _| !others.contains(inode));
    }

    /// Puts back the options of all flows: what one limit has set, another may not cover.
    fn put_back(&mut self, options: &mut Options) {
        each(&mut self.flows, |_, flow, socket| {
            if let Err(error) = options.put_back(socket) {
                log::warn!("a socket of process {} keeps its limit: {error}", flow.pid);
            }
        });
    }

    /// Sets the levers of all flows.
    fn set(&mut self, options: &mut Options, look: Look<'_>, ability: Ability) {
        let limit = look.limit;
        each(&mut self.flows, |inode, flow, socket| {
            let Some(info) = flow.info else {
                return;
            };
            if Lever::of(Direction::Up, flow, &limit, ability) == Lever::Pacing {
                let pace = pacing::pace(flow.up.granted, look.up_credit);
                log::trace!(
                    "up {}/{}: {:.0} of {:.0} B/s, credit {:.2}, pace {pace:.0}",
                    flow.pid,
                    flow.fd,
                    flow.up.rate,
                    flow.up.granted,
                    look.up_credit
                );
                options.pace(socket, inode, &info, pace as u64);
            }
            if Lever::of(Direction::Down, flow, &limit, ability) == Lever::Window
                && let Some(round_trip) = round_trip(&info)
            {
                let Half { granted, rate, .. } = flow.down;
                let window = window::window(
                    &mut flow.down.lever,
                    window::Look {
                        share: granted,
                        rate,
                        round_trip,
                        segment: f64::from(info.receive_mss.max(1)),
                        unit: f64::from(info.window_unit()),
                        credit: look.down_credit,
                    },
                );
                log::trace!(
                    "down {}/{}: {rate:.0} of {granted:.0} B/s, {round_trip:.6} s, credit {:.2}, window {window}, {}",
                    flow.pid,
                    flow.fd,
                    look.down_credit,
                    info.bytes_received
                );
                options.clamp(socket, inode, window);
            }
        });
    }
}

/// Does something with each flow's socket, of which it makes a short-lived duplicate. A descriptor
/// that is another file by now is passed over.
fn each(flows: &mut HashMap<u64, Flow>, mut act: impl FnMut(u64, &mut Flow, &OwnedFd)) {
    let mut by_process: Vec<(u64, &mut Flow)> = flows
        .iter_mut()
        .map(|(inode, flow)| (*inode, flow))
        .collect();
    by_process.sort_unstable_by_key(|(_, flow)| flow.pid);
    for flows in by_process.chunk_by_mut(|(_, one), (_, other)| one.pid == other.pid) {
        let Some(process) = flows
            .first()
            .and_then(|(_, flow)| socket::pidfd_open(flow.pid).ok())
        else {
            continue;
        };
        for (inode, flow) in flows {
            if let Some(socket) = options::duplicate(process.as_fd(), flow.fd)
                && socket::inode(&socket) == Some(*inode)
            {
                act(*inode, flow, &socket);
            }
        }
    }
}

/// Shares one direction of the limit between the flows that it holds. Gives how many of them carry
/// something.
fn share_out(
    flows: &mut HashMap<u64, Flow>,
    direction: Direction,
    limit: &Limit,
    ability: Ability,
) -> usize {
    let Some(rate) = direction.rate(limit) else {
        return 0;
    };
    let total = rate.bytes_per_second() as f64;
    let mut halves: Vec<&mut Half> = flows
        .values_mut()
        .filter(|flow| Lever::of(direction, flow, limit, ability) != Lever::Policer)
        .map(|flow| direction.half(flow))
        .collect();
    let active = halves.iter().filter(|half| half.is_active(total)).count();
    let needs: Vec<f64> = halves
        .iter()
        .map(|half| {
            if half.is_active(total) {
                half.need(total, active)
            } else {
                half.rate
            }
        })
        .collect();
    let shares = share::by_need(total, &needs);
    let left = total - shares.iter().sum::<f64>();
    // Who rests may start at once with what one more would get.
    let one_more = (total / (active + 1) as f64).max(left);
    for (half, share) in halves.iter_mut().zip(shares) {
        half.granted = if half.is_active(total) {
            share.max(left)
        } else {
            one_more
        };
    }
    active
}

/// The shortest round trip of late, in seconds; `None` where none was measured yet.
fn round_trip(info: &TcpInfo) -> Option<f64> {
    const NOT_MEASURED: u32 = u32::MAX;
    let us = match info.min_rtt_us {
        0 | NOT_MEASURED => info.rtt_us,
        shortest => shortest,
    };
    (us != 0).then(|| f64::from(us) / 1e6)
}
