//! Sockets whose owner the kernel programs have not seen: those that were open before the start,
//! and where the kernel cannot tell who uses a socket, those that have changed hands.
//!
//! The kernel notes an owner when a socket is made, and again when somebody else uses it. For the
//! rest, user space walks the descriptors of a process, takes a short-lived duplicate of each
//! socket and notes the owner through it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use chadthrottle_common::ownership::Owner;

use super::{
    Engine,
    slots::{self, owner_of},
};
use crate::{
    engine::EngineError,
    model::ProcessKey,
    process::{SocketFd, holds, sockets_of},
    sys::{
        bpf,
        map::{NoteCopy, Value},
        socket,
    },
};

/// How many processes and sockets the regular look may touch in one sample, which keeps it under a
/// millisecond. It counts sockets and finds those that nobody has used yet …
const BUDGET: usize = 64;
/// … and where it must find those that have changed hands too, it may take longer.
const BUDGET_OF_SEARCHING: usize = 1_024;

/// How long to wait before all processes are searched again for sockets without an owner.
const RESCAN_FIRST: Duration = Duration::from_secs(1);
const RESCAN_LAST: Duration = Duration::from_secs(64);

/// What is known of processes' sockets.
#[derive(Debug, Default)]
pub struct Attribution {
    /// Internet sockets by process, as of the last look at it.
    sockets: HashMap<ProcessKey, u32>,
    /// Processes to look at in turn: those that are left.
    turn: VecDeque<ProcessKey>,
    /// New ones, which come first. Where some start before every look, the others have their turn all the same.
    new: VecDeque<ProcessKey>,
    /// Unattributed bytes when all processes were last searched.
    searched: u64,
    next_search: Option<Instant>,
    search_interval: Duration,
}

impl Attribution {
    /// Puts new processes on the list.
    pub fn started(&mut self, processes: impl Iterator<Item = ProcessKey>) {
        self.new.extend(processes);
    }

    /// Begins another turn with these processes, where nobody is left of the last one.
    fn begin_turn(&mut self, processes: impl Iterator<Item = ProcessKey>) {
        if self.turn.is_empty() {
            self.turn.extend(processes);
        }
    }

    /// How many Internet sockets the process had when it was last looked at.
    pub fn sockets(&self, key: ProcessKey) -> u32 {
        self.sockets.get(&key).copied().unwrap_or(0)
    }

    /// Forgets a process.
    pub fn forget(&mut self, key: ProcessKey) {
        self.sockets.remove(&key);
    }

    /// Takes the next process to look at. Those that have gone cost nothing: where more start than are looked
    /// at, and end, the list would grow for ever.
    fn next(&mut self, is_there: impl Fn(ProcessKey) -> bool) -> Option<ProcessKey> {
        let next = |queue: &mut VecDeque<ProcessKey>| {
            let next = queue.iter().position(|key| is_there(*key));
            queue.drain(..next.unwrap_or(queue.len()));
            queue.pop_front()
        };
        next(&mut self.new).or_else(|| next(&mut self.turn))
    }

    /// Whether all processes are to be searched at `now`, where so many bytes belong to nobody.
    fn search_is_due(&mut self, unattributed: u64, now: Instant) -> bool {
        if self.next_search.is_some_and(|next| now < next) {
            return false;
        }
        let grown = unattributed > self.searched;
        // Traffic that no process owns (ICMP, the kernel's own sockets) must not keep us
        // searching: each search that is due again waits twice as long.
        self.search_interval = if grown {
            (self.search_interval * 2).clamp(RESCAN_FIRST, RESCAN_LAST)
        } else {
            RESCAN_FIRST
        };
        self.searched = unattributed;
        self.next_search = Some(now + self.search_interval);
        grown
    }
}

/// Which process each socket is noted for at first: the youngest of those that hold it. And the inodes of those that
/// several hold.
fn by_youngest_holder(
    processes: &[ProcessKey],
    sockets_of: impl Fn(ProcessKey) -> Vec<SocketFd>,
) -> (HashMap<ProcessKey, Vec<SocketFd>>, HashSet<u64>) {
    let mut by_age = processes.to_vec();
    by_age.sort_by_key(|key| (key.start_ticks, key.pid));
    let mut holders: HashMap<u64, (ProcessKey, SocketFd)> = HashMap::new();
    let mut shared = HashSet::new();
    for key in by_age {
        for socket in sockets_of(key) {
            let elder = holders.insert(socket.inode, (key, socket));
            if elder.is_some_and(|(elder, _)| elder != key) {
                shared.insert(socket.inode);
            }
        }
    }
    let mut by_process: HashMap<ProcessKey, Vec<SocketFd>> = HashMap::new();
    for (key, socket) in holders.into_values() {
        by_process.entry(key).or_default().push(socket);
    }
    (by_process, shared)
}

impl Engine {
    /// Notes the owners of all sockets that have none. Where several processes hold a socket, it
    /// is the youngest one's: a worker's rather than its master's, a service's rather than that
    /// of whoever opened the socket for it.
    pub(super) fn note_all_sockets(&mut self, processes: &[ProcessKey]) -> Result<(), EngineError> {
        let sockets = |key: ProcessKey| sockets_of(self.processes.root(), key.pid).collect();
        let (by_process, shared) = by_youngest_holder(processes, sockets);
        for (key, sockets) in by_process {
            self.note_sockets(key, &sockets, |inode| shared.contains(&inode))?;
        }
        Ok(())
    }

    /// The regular look: at processes in turn, within the budget; and where the kernel does not see who uses a
    /// socket, at all of them when traffic without an owner has grown.
    pub(super) fn reconcile(&mut self, unattributed: u64) -> Result<(), EngineError> {
        let searching = !self.throttle.sees_socket_use;
        if searching && self.attribution.search_is_due(unattributed, Instant::now()) {
            let processes: Vec<ProcessKey> = self.processes.iter().map(|info| info.key).collect();
            self.note_all_sockets(&processes)?;
        }
        if searching {
            // Who has been given a socket need not have made one.
            let all = self.processes.iter().map(|info| info.key);
            self.attribution.begin_turn(all);
        } else {
            let with_sockets = self.slots.iter().map(|(key, _)| key);
            self.attribution.begin_turn(with_sockets);
        }
        let budget = if searching {
            BUDGET_OF_SEARCHING
        } else {
            BUDGET
        };
        let mut touched = 0;
        while touched < budget
            && let Some(key) = self.attribution.next(|key| self.processes.contains(key))
        {
            let sockets: Vec<SocketFd> = sockets_of(self.processes.root(), key.pid).collect();
            touched += 1 + sockets.len();
            // Others may have them too.
            self.note_sockets(key, &sockets, |_| true)?;
        }
        Ok(())
    }

    /// Notes the process as the owner of those of its sockets that have no living owner, and where
    /// the kernel does not see who uses them, of those that their owner does not hold any more. Where that is a guess,
    /// as of sockets of that inode, it is remembered.
    fn note_sockets(
        &mut self,
        key: ProcessKey,
        sockets: &[SocketFd],
        is_guess: impl Fn(u64) -> bool,
    ) -> Result<(), EngineError> {
        if sockets.is_empty() {
            self.attribution.forget(key);
            return Ok(());
        }
        // A process that has gone, or that we may not look into, is left as it is.
        let Ok(process) = socket::pidfd_open(key.pid) else {
            return Ok(());
        };
        let mut seen = HashSet::new();
        let mut internet = 0;
        for socket in sockets.iter().filter(|socket| seen.insert(socket.inode)) {
            // Dropped at the end of each round: a duplicate that is held would keep a connection
            // open that its program has closed.
            let Ok(duplicate) = socket::pidfd_getfd(process.as_fd(), socket.fd) else {
                continue;
            };
            if !socket::is_internet(&duplicate) {
                continue;
            }
            internet += 1;
            if self.is_up_for_grabs(key, *socket, &duplicate) {
                let user = self.processes.get(key.pid).map_or(0, |info| info.uid);
                let owner = match self.slots.ensure(&mut self.throttle.maps, key, user) {
                    Ok(owner) => owner,
                    // Its sockets stay unattributed, and the next sample says so.
                    Err(EngineError::TooManyProcesses(_)) => break,
                    Err(error) => return Err(error),
                };
                if is_guess(socket.inode)
                    && let Ok(cookie) = socket::cookie(&duplicate)
                {
                    self.doubts.add(cookie, owner);
                }
                let rule = self.rule_id_of(owner.slot);
                let note = Value(NoteCopy::of(owner, rule));
                let owners = &mut self.throttle.maps.owners;
                if let Err(error) = owners.insert(&duplicate, note, bpf::ANY) {
                    // EAGAIN: the kernel notes who uses it in this very moment. Any other is
                    // noted at its next use, or the next look.
                    log::info!("a socket of process {} is not noted: {error:?}", key.pid);
                }
            }
        }
        self.attribution.sockets.insert(key, internet);
        Ok(())
    }

    fn is_up_for_grabs(&self, key: ProcessKey, socket: SocketFd, duplicate: &OwnedFd) -> bool {
        let Some(owner) = self.living_owner(duplicate) else {
            return true;
        };
        if self.throttle.sees_socket_use {
            return false;
        }
        let noted = self.throttle.maps.slots.get(owner.slot as usize);
        match noted.and_then(slots::key_of) {
            Some(noted) if slots::same(noted, key) => false,
            // A child has its parent's sockets under the same numbers, so this is one look for
            // most, and a listing for those that may have gone.
            Some(noted) => !holds(self.processes.root(), noted.pid, socket),
            None => true,
        }
    }

    pub(super) fn living_owner(&self, socket: &OwnedFd) -> Option<Owner> {
        let Value(note) = self.throttle.maps.owners.get(socket, 0).ok()?;
        Some(note.owner()).filter(|owner| self.is_living(*owner))
    }

    /// Whether the slot is that owner's still.
    pub(super) fn is_living(&self, owner: Owner) -> bool {
        owner_of(&self.throttle.maps.slots, owner.slot) == owner
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn key(pid: u32, start_ticks: u64) -> ProcessKey {
        ProcessKey { pid, start_ticks }
    }

    #[test]
    fn a_socket_is_at_first_that_of_its_youngest_holder_under_its_number() {
        // A master and two workers with its listener, the second of which was started in the same moment.
        let (master, old, young) = (key(900, 10), key(30, 20), key(31, 20));
        let held = |key: ProcessKey| {
            let sockets: &[(i32, u64)] = match key.pid {
                900 => &[(3, 77), (4, 78)],
                30 => &[(3, 77), (5, 80)],
                _ => &[(6, 77), (6, 77)],
            };
            let sockets = sockets.iter();
            sockets.map(|&(fd, inode)| SocketFd { fd, inode }).collect()
        };
        for order in [[master, old, young], [young, old, master]] {
            let (found, shared) = by_youngest_holder(&order, held);
            assert_eq!(shared, HashSet::from([77]));
            let found: BTreeMap<ProcessKey, Vec<SocketFd>> = found.into_iter().collect();
            let socket = |fd, inode| vec![SocketFd { fd, inode }];
            let expected = [
                (old, socket(5, 80)),
                (young, socket(6, 77)),
                (master, socket(4, 78)),
            ];
            assert_eq!(found, BTreeMap::from(expected));
        }
    }

    #[test]
    fn processes_that_have_gone_are_passed_over_and_the_others_come_in_turn() {
        let mut attribution = Attribution::default();
        attribution.started((1..=1_000).map(|pid| key(pid, 100)));
        let is_there = |key: ProcessKey| key.pid.is_multiple_of(400);
        let next: Vec<_> = std::iter::from_fn(|| attribution.next(is_there)).collect();
        assert_eq!(next, [key(400, 100), key(800, 100)]);
        assert!(attribution.new.is_empty());
    }

    #[test]
    fn who_was_there_before_has_a_turn_though_others_start_before_every_look() {
        let mut attribution = Attribution::default();
        for look in 1..=3 {
            attribution.started([key(100 + look, 100)].into_iter());
            attribution.begin_turn([key(1, 1), key(2, 1)].into_iter());
            let looked: Vec<u32> = std::iter::from_fn(|| attribution.next(|_| true))
                .map(|key| key.pid)
                .collect();
            assert_eq!(looked, [100 + look, 1, 2]);
        }
    }

    #[test]
    fn a_search_that_finds_nobody_waits_twice_as_long_until_all_is_quiet() {
        let (mut attribution, start) = (Attribution::default(), Instant::now());
        // Seconds, and bytes that belong to nobody by then.
        for (seconds, unattributed, is_due) in [
            (0, 0, false),
            (1, 100, true),
            (2, 200, false),
            (3, 200, true),
            (6, 300, false),
            (7, 300, true),
            (14, 400, false),
            // Nothing for eight seconds: it was somebody's that is noted by now.
            (15, 300, false),
            (16, 400, true),
            (18, 500, true),
        ] {
            let now = start + Duration::from_secs(seconds);
            let due = attribution.search_is_due(unattributed, now);
            assert_eq!(due, is_due, "after {seconds} s");
        }
        let mut now = start + Duration::from_secs(1_000);
        for bytes in 1_000..1_020 {
            assert!(attribution.search_is_due(bytes, now));
            now += RESCAN_LAST;
        }
        assert!(!attribution.search_is_due(2_000, now - Duration::from_secs(1)));
        assert!(attribution.search_is_due(2_000, now));
    }
}
