//! After a limit: downloads whose senders stay slow are brought back to speed
//! ([`chadthrottle_common::undo`]).

use std::{
    collections::HashMap,
    fmt,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use aya::maps::{Map, MapData, MapError, SkStorage};
use chadthrottle_common::undo::Words;

use super::{
    flow::{Flow, each},
    gates::{Gates, Present},
};
use crate::sys::tcp::{self, TcpInfo};

const BPF_ANY: u64 = 0;

/// Senders that were held to more, in bytes a second, forget soon enough by themselves: in 48 packets.
const FASTEST: f64 = 150e3;

/// Further ends than this, in seconds, look slow for longer than it takes to tell.
const FURTHEST: f64 = 0.05;

/// A download that was refused nothing for so long, in nanoseconds, has a sender with nothing to forget.
const LONG_AGO_NS: u64 = 10_000_000_000;

/// How long downloads are watched: a pause of the slowest senders, and two of the timers that they have.
const LONGEST: Duration = Duration::from_millis(2_500);

/// The program that withholds acknowledgements of watched downloads.
pub trait Withhold: fmt::Debug + Send {
    /// Attaches it, where it is not. Says whether it is.
    fn start(&mut self) -> bool;
    /// Detaches it.
    fn stop(&mut self);
}

/// The downloads that are watched.
#[derive(Debug)]
pub struct Undoing {
    map: SkStorage<MapData, Words>,
    program: Box<dyn Withhold>,
    /// By the socket's inode.
    watched: HashMap<u64, Flow>,
    until: Option<Instant>,
}

impl Undoing {
    /// Over a descriptor of the map of watched downloads, with the program that reads it.
    ///
    /// # Errors
    /// Where it is another kind of map.
    pub fn new(map: OwnedFd, program: Box<dyn Withhold>) -> Result<Self, MapError> {
        let map = Map::SkStorage(MapData::from_fd(map)?).try_into()?;
        Ok(Self {
            map,
            program,
            watched: HashMap::new(),
            until: None,
        })
    }

    /// Watches those of the flows whose senders may be slow for no reason any more, at `now_ns` of the
    /// monotonic clock.
    pub fn watch(&mut self, flows: &mut HashMap<u64, Flow>, gates: &Gates, now_ns: u64) {
        let Self { map, watched, .. } = self;
        each(flows, |inode, flow, socket| {
            let gate = gates.present(socket);
            let info = tcp::info(socket).unwrap_or_default();
            if let Some(words) = words(flow, &info, gate, now_ns)
                && map.insert(socket, words, BPF_ANY).is_ok()
            {
                watched.insert(inode, Flow::new(flow.pid, flow.fd));
            }
        });
        if !self.watched.is_empty() && self.program.start() {
            self.until = Some(Instant::now() + LONGEST);
        }
    }

    /// Whether any are watched still. Ends where none are.
    pub fn goes_on(&mut self) -> bool {
        if self.until.is_none() {
            return false;
        }
        let Self { map, watched, .. } = self;
        let mut open = Vec::new();
        each(watched, |inode, _, socket| {
            let words = map.get(socket, 0).unwrap_or_default();
            log::trace!("after its limit {inode}: {words:?}");
            if matches!(words, [cost, .., over] if cost != 0 && over == 0) {
                open.push(inode);
            }
        });
        watched.retain(|inode, _| open.contains(inode));
        if self.watched.is_empty() || self.until.is_none_or(|until| until <= Instant::now()) {
            self.end();
        }
        self.until.is_some()
    }

    fn end(&mut self) {
        self.watched.clear();
        if self.until.take().is_some() {
            self.program.stop();
        }
    }
}

/// What the kernel program needs to know of a download, if it is to be watched.
fn words(flow: &Flow, info: &TcpInfo, gate: Present, now_ns: u64) -> Option<Words> {
    let round_trip = info.round_trip_s()?;
    let share = flow.down.granted;
    // Where no gate was needed, nobody knows what it lost.
    let lost = match gate.refused_ns() {
        Some(at) => now_ns.saturating_sub(at) < LONG_AGO_NS,
        None => !gate.exists(),
    };
    let held = info.is_open() && flow.down.is_held() && (1.0..=FASTEST).contains(&share);
    if !held || !lost || round_trip > FURTHEST {
        return None;
    }
    // A sender that waits for a timer, or at a closed window, needs the next acknowledgement. One that has had
    // what it lost acknowledged, and is silent, is slow.
    let could_go_on = !gate.may_be_closed()
        && gate
            .refused_ns()
            .is_some_and(|at| flow.down.has_recovered(at, info.bytes_received));
    let silent_ns = u64::from(info.last_data_received_ms) * 1_000_000;
    let (since, bytes) = if could_go_on {
        (now_ns.saturating_sub(silent_ns), info.bytes_received)
    } else {
        (0, 0)
    };
    let ns_per_byte = (1e9 / share) as u64;
    let round_trip_ns = (round_trip * 1e9) as u64;
    Some([ns_per_byte, round_trip_ns, since, bytes, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A busy download with that share in bytes a second, from which a packet came 100 ms ago.
    fn download(share: f64, round_trip_us: u32) -> (Flow, TcpInfo) {
        const ESTABLISHED: u8 = 1;
        let (mut flow, mut info) = (Flow::new(1, 3), TcpInfo::default());
        info.state = ESTABLISHED;
        info.rtt_us = round_trip_us;
        info.last_data_received_ms = 100;
        for _ in 0..10 {
            info.bytes_received += (share / 10.0) as u64;
            flow.observe(info, 0.1);
            flow.down.granted = share;
        }
        (flow, info)
    }

    #[test]
    fn slow_and_near_downloads_are_watched_that_have_lost_something() {
        let now = 100 * SECOND;
        let watched = |share, round_trip_us, gate| {
            let (flow, info) = download(share, round_trip_us);
            words(&flow, &info, gate, now).is_some()
        };
        let refused = |at| Present::fair(at);
        assert!(watched(20e3, 80, refused(now - SECOND)));
        assert!(watched(20e3, 80, Present::default()));
        assert!(!watched(20e3, 80, refused(0)), "it has lost nothing");
        assert!(!watched(20e3, 80, refused(now - 20 * SECOND)));
        assert!(!watched(1e6, 80, refused(now - SECOND)));
        assert!(!watched(20e3, 100_000, refused(now - SECOND)));
        let (_, info) = download(20e3, 80);
        let at_rest = Flow::new(1, 3);
        assert!(words(&at_rest, &info, Present::default(), now).is_none());
    }

    #[test]
    fn who_waits_for_a_timer_has_its_next_acknowledgement() {
        let now = 100 * SECOND;
        let refused = now - SECOND;
        let (mut flow, mut info) = download(20e3, 80);
        let since = |flow: &Flow, info: &TcpInfo| {
            let [_, _, since, bytes, ..] =
                words(flow, info, Present::fair(refused), now).expect("it is watched");
            (since, bytes)
        };
        flow.down.take_refusal(Some(refused), false, now);
        assert_eq!(since(&flow, &info), (0, 0));
        info.bytes_received += 1_448;
        assert_eq!(since(&flow, &info), (now - SECOND / 10, 21_448));
    }
}
