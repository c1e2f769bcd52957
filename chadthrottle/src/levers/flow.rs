//! One TCP connection of a limited process: what it carries, and how much more it would.

use std::{
    collections::HashMap,
    net::IpAddr,
    os::fd::{AsFd, OwnedFd, RawFd},
};

use chadthrottle_common::scope::{self, Scope};

use crate::sys::{socket, tcp::TcpInfo};

/// How long the average is that a flow's rate is taken over, in seconds.
const AVERAGE_S: f64 = 0.25;

/// How many bytes of a download it has at least.
const PULSE_BYTES: f64 = 4.0 * 1_500.0;

/// A download that has lost a packet in as many such averages still waits for its sender's timer.
const WAITS: f64 = 1.5;

/// A flow that carries less than this part of the limit is at rest.
const REST: f64 = 0.02;

/// A download that uses less than this part of what it may does not need more.
const USED: f64 = 0.6;

/// Connections say less than so many bytes before they carry anything: less than a full segment.
const GREETING: u64 = 1_000;

/// An upload that was held back by something else at so many looks, more than by us, needs no
/// more than it carries.
const LOOKS_ELSEWHERE: u8 = 10;

/// What a flow that is not held back by us may grow by from look to look.
const GROWTH: f64 = 1.5;

/// A flow.
#[derive(Debug)]
pub struct Flow {
    /// The process that was seen with it, and its descriptor there.
    pub pid: u32,
    /// The descriptor's number.
    pub fd: RawFd,
    /// What its other end is; `None`: not looked at yet.
    pub class: Option<Scope>,
    /// How many segments we let be on their way; `None`: as many as TCP likes.
    pub flight: Option<u32>,
    /// When the packets of a slow upload leave.
    pub turn: super::turns::Turn,
    /// As last seen; `None`: not open, or not seen yet.
    pub info: Option<TcpInfo>,
    /// Download.
    pub down: Half,
    /// Upload.
    pub up: Half,
}

/// A flow's socket at one look, and what the kernel tells of it.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// A duplicate, for this look.
    pub socket: &'a OwnedFd,
    /// The socket's inode.
    pub inode: u64,
    /// How the connection is.
    pub info: TcpInfo,
}

/// One direction of a flow.
#[derive(Debug, Default)]
pub struct Half {
    bytes: Option<u64>,
    looks: u8,
    /// Bytes of payload a second, averaged.
    pub rate: f64,
    /// What it may carry, in bytes a second; 0: not decided yet.
    pub granted: f64,
    /// Whether it would carry more.
    hungry: bool,
    /// Whether packets of a download were refused of late.
    is_refused: bool,
    /// When one was last, in nanoseconds of the monotonic clock, and bytes that had arrived at the look after.
    refused: Option<(u64, u64)>,
    /// At how many looks something else held it back: up at each, down at each other.
    elsewhere: u8,
    /// What the lever keeps from one look to the next.
    pub lever: super::window::State,
    /// Of a download.
    pub patience: super::gates::Patience,
}

impl Flow {
    /// A flow that nothing is known of.
    pub fn new(pid: u32, fd: RawFd) -> Self {
        Self {
            pid,
            fd,
            class: None,
            flight: None,
            turn: super::turns::Turn::default(),
            info: None,
            down: Half::default(),
            up: Half::default(),
        }
    }

    /// Takes in what the kernel tells of it, `seconds` after the last time.
    pub fn observe(&mut self, info: TcpInfo, seconds: f64) {
        let pulse_s = self.down.pulse_s();
        self.down.observe(info.bytes_received, seconds, pulse_s);
        self.up.observe(info.bytes_acked, seconds, AVERAGE_S);
        self.down.hungry = self.down.is_refused || self.down.rate >= USED * self.down.granted;
        self.up.hungry = info.not_sent > 0;
        let window_limited_us = self.info.map_or(0, |before| {
            info.window_limited_us
                .saturating_sub(before.window_limited_us)
        });
        // As much on its way as the network or the other end takes: not our pace that it waits for.
        let ours = self
            .flight
            .is_some_and(|flight| info.congestion_window >= flight);
        let elsewhere = info.unacked >= info.congestion_window && !ours
            || window_limited_us as f64 > seconds * 0.5e6;
        self.up.elsewhere = if elsewhere {
            (self.up.elsewhere + 1).min(2 * LOOKS_ELSEWHERE)
        } else {
            self.up.elsewhere.saturating_sub(1)
        };
        self.info = info.is_open().then_some(info);
    }

    /// Whether a limit of that scope covers it.
    pub fn is_in(&self, scope: Scope) -> bool {
        self.info.is_some() && self.class.is_some_and(|class| scope.contains(class))
    }
}

impl Half {
    /// Takes in what it has carried so far, `seconds` after the last time, and the average over so many
    /// seconds.
    pub fn observe(&mut self, bytes: u64, seconds: f64, average_s: f64) {
        if let Some(before) = self.bytes.replace(bytes)
            && seconds > 0.0
        {
            let rate = bytes.saturating_sub(before) as f64 / seconds;
            let weight = if self.looks == 0 {
                1.0
            } else {
                1.0 - (-seconds / average_s).exp()
            };
            self.rate += (rate - self.rate) * weight;
            self.looks = self.looks.saturating_add(1);
        }
    }

    /// How long a download's average is taken over, in seconds: what comes a few times a second only
    /// would seem to be at rest in between.
    fn pulse_s(&self) -> f64 {
        const SLOWEST: f64 = 1_000.0;
        match self.granted {
            0.0 => AVERAGE_S,
            granted => AVERAGE_S.max(PULSE_BYTES / granted.max(SLOWEST)),
        }
    }

    /// Takes in when a packet of a download was refused last, where one was, at `now_ns`, and whether
    /// its window has been closed since the last look.
    pub fn take_refusal(&mut self, refused_ns: Option<u64>, closed: bool, now_ns: u64) {
        if refused_ns != self.refused.map(|(at, _)| at) {
            self.refused = refused_ns.zip(self.bytes);
        }
        let recently_ns = (WAITS * self.pulse_s() * 1e9) as u64;
        self.is_refused = refused_ns.is_some_and(|at| now_ns.saturating_sub(at) < recently_ns);
        if self.is_refused {
            self.patience.look_away();
        } else if let Some(bytes) = self.bytes {
            self.patience.look(closed, bytes, now_ns);
        }
    }

    /// Whether a download of which so many bytes have arrived has brought what it lost when a packet was
    /// refused last.
    pub fn has_recovered(&self, refused_ns: u64, bytes: u64) -> bool {
        self.refused
            .is_some_and(|(at, then)| at == refused_ns && bytes > then)
    }

    /// Whether it carries anything to speak of under that limit (bytes a second).
    pub fn is_active(&self, limit: f64) -> bool {
        self.rate >= REST * limit || self.hungry && self.granted > 0.0
    }

    /// Whether it would carry more than it may.
    pub fn is_held(&self) -> bool {
        self.hungry
    }

    /// Whether it has not carried anything to speak of yet.
    pub fn is_new(&self) -> bool {
        self.bytes.is_none_or(|bytes| bytes < GREETING)
    }

    /// How much it needs of a limit that `active` flows share, in bytes a second.
    pub fn need(&self, limit: f64, active: usize) -> f64 {
        if active <= 1 || self.hungry && self.elsewhere < LOOKS_ELSEWHERE {
            f64::INFINITY
        } else {
            GROWTH * self.rate + 0.1 * limit / active.max(1) as f64
        }
    }
}

/// Does something with each flow's socket, of which it makes a short-lived duplicate. A descriptor
/// that is another file by now is passed over.
pub fn each(flows: &mut HashMap<u64, Flow>, mut act: impl FnMut(u64, &mut Flow, &OwnedFd)) {
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
            if let Ok(socket) = socket::pidfd_getfd(process.as_fd(), flow.fd)
                && socket::inode(&socket) == Some(*inode)
            {
                act(*inode, flow, &socket);
            }
        }
    }
}

/// The class of a connection's other end. A connection of this machine with itself has one address
/// twice, mostly.
pub fn class(remote: IpAddr, local: IpAddr) -> Scope {
    if remote == local {
        return Scope::LOOPBACK;
    }
    match remote {
        IpAddr::V4(address) => scope::classify_v4(address.octets()),
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.octets();
            scope::classify_v6([[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_download_that_waits_for_its_timer_is_not_at_rest() {
        const ESTABLISHED: u8 = 1;
        const LOOK_S: f64 = 0.05;
        const LOOK_NS: u64 = 50_000_000;
        let mut flow = Flow::new(1, 0);
        let mut look = |number: u64, bytes: u64, refused_ns| {
            let mut info = TcpInfo::default();
            info.state = ESTABLISHED;
            info.bytes_received = bytes;
            flow.observe(info, LOOK_S);
            flow.down.granted = 2_500.0;
            flow.down.take_refusal(refused_ns, true, number * LOOK_NS);
            flow.down.need(20e3, 8)
        };
        // A packet each half second.
        for number in 0..200 {
            let need = look(number, 1_280 * (1 + number / 10), None);
            assert!(number < 60 || need == f64::INFINITY, "look {number}");
        }
        // It has lost two, and waits twice as long each time.
        let since = 200;
        for number in since..since + 60 {
            assert_eq!(look(number, 26_000, Some(since * LOOK_NS)), f64::INFINITY);
        }
        // It has nothing more to bring.
        for number in since + 60..since + 140 {
            look(number, 26_000, Some(since * LOOK_NS));
        }
        assert!(look(since + 140, 26_000, Some(since * LOOK_NS)) < 1_000.0);
    }
}
