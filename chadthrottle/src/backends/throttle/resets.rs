//! Resets of TCP connections that a limit blocks: what would keep programs waiting at both ends tells them at once.
//!
//! The kernel's socket diagnostics reset a connection ([`SockDiag`]). Which ones decides what the kernel programs have
//! noted on its socket, by which they hold it: nothing is reset but what a limit blocks. Sockets are found by the
//! descriptors of a limit's members.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use chadthrottle_common::{
    abi::{ProcessSlot, Rule},
    ownership::{Owner, RuleId},
    scope::{Scope, classify_v4, classify_v6},
    tuning::sparing::SMALL_PACKET,
};

use super::{doubts::Doubts, maps::Owners};
use crate::{
    model::ProcessKey,
    process::{
        aside::Aside,
        key_of,
        namespaces::{self, Namespace},
        sockets_of,
    },
    sys::{
        SyscallError,
        clock::now_ns,
        map::{MappedArray, NoteCopy},
        netns,
        route::Routes,
        sock_diag::{self, Connection, SockDiag},
        socket, tcp,
    },
};

/// Between two looks at least.
const PAUSE: Duration = Duration::from_millis(50);

/// Between two looks there is so many times as long as one takes …
const REST: u32 = 20;

/// … but no longer than that.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What a connection goes by while it is reset: rule 0, which no limit has.
const WHILE_RESET: RuleId = RuleId {
    index: 0,
    serial: 1,
};

/// A member of a limit that resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rejected {
    /// The process.
    pub key: ProcessKey,
    /// Its slot.
    pub owner: Owner,
    /// The word of the limit's [`RuleId`].
    pub rule: u64,
    /// What of its connections the limit covers.
    pub scope: Scope,
}

/// What whoever resets connections reaches of the maps.
pub struct Reach {
    /// Who owns which socket.
    pub owners: Owners,
    /// The slots.
    pub slots: Arc<MappedArray<ProcessSlot>>,
    /// The rules.
    pub rules: Arc<MappedArray<Rule>>,
}

/// Resets connections, on threads of its own.
#[derive(Debug)]
pub struct Resets {
    jobs: Sender<Vec<Rejected>>,
    /// Whether it may be given another job.
    is_free: Arc<AtomicBool>,
    resetting: Resetting,
}

/// Indexes of the limits that reset connections now. Clones share them.
#[derive(Clone, Debug, Default)]
struct Resetting(Arc<Mutex<HashSet<u32>>>);

impl Resetting {
    fn limits(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resets {
    /// Reads processes from `root`, which is `/proc`.
    ///
    /// # Errors
    /// Where no thread is to be had.
    pub fn start(root: &Path, reach: Reach, doubts: Doubts) -> io::Result<Self> {
        let (jobs, queue) = channel();
        let is_free = Arc::new(AtomicBool::new(true));
        let resetting = Resetting::default();
        let resetter = Resetter::new(root, reach, doubts, resetting.clone());
        let (root, free) = (root.to_owned(), Arc::clone(&is_free));
        let thread = thread::Builder::new().name("resets".to_owned());
        thread.spawn(move || serve(&root, resetter, &queue, &free))?;
        Ok(Self {
            jobs,
            is_free,
            resetting,
        })
    }

    /// Has these limits reset connections, by their indexes, and no others: whoever waits for a program that has its
    /// connection locked finds that out when it lets go.
    pub fn set_limits(&self, limits: HashSet<u32>) {
        *self.resetting.limits() = limits;
    }

    /// Resets what it finds of these processes soon, unless it looked a moment ago, or still does.
    pub fn look_soon(&self, members: impl FnOnce() -> Vec<Rejected>) {
        if self.is_free.swap(false, Ordering::Relaxed) && self.jobs.send(members()).is_err() {
            log::warn!("no connection is reset: the thread for it has ended");
        }
    }
}

fn serve(root: &Path, resetter: Resetter, queue: &Receiver<Vec<Rejected>>, is_free: &AtomicBool) {
    let can = sock_diag::can_reset();
    if let Err(error) = &can {
        log::warn!(
            "blocked connections wait, and are not reset: this kernel cannot do that ({error}), which \
             CONFIG_INET_DIAG_DESTROY is for"
        );
    }
    let mut asking = Aside::new("resetting", move |member: &Rejected| resetter.reset(member));
    for members in queue {
        let began = Instant::now();
        let mut pause = PAUSE;
        if can.is_ok() {
            with_connections(root, &members, |member| asking.ask(member));
            pause = (began.elapsed() * REST).clamp(PAUSE, LONGEST_PAUSE);
            for (member, Done { resets, refused }) in asking.answers() {
                let pid = member.key.pid;
                if resets > 0 {
                    log::info!("connections of process {pid} that were reset: {resets}");
                }
                if let Some(error) = refused {
                    log::info!("a connection of process {pid} is not reset: {error}");
                }
            }
        }
        // Nobody sends one meanwhile; but who sends them may go.
        if queue.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        is_free.store(true, Ordering::Relaxed);
    }
}

/// Finds the members that have connections which their limit may cover. It waits for nobody, and looks at those with few
/// descriptors first: who has very many delays himself, and not the others.
fn with_connections(root: &Path, members: &[Rejected], mut found: impl FnMut(Rejected)) {
    let mut by_namespace: HashMap<u64, (Namespace, Vec<Rejected>)> = HashMap::new();
    for member in members {
        for namespace in namespaces::of(root, &[member.key.pid]) {
            let (_, there) = by_namespace
                .entry(namespace.inode)
                .or_insert_with(|| (namespace, Vec::new()));
            there.push(*member);
        }
    }
    for (Namespace { fd, .. }, mut members) in by_namespace.into_values() {
        few_descriptors_first(root, &mut members);
        let connections = netns::within(&fd, || SockDiag::open()?.connections());
        let Some(Ok(connections)) = connections else {
            continue;
        };
        let of = |scope: Scope| -> HashSet<u64> {
            let covered = connections
                .iter()
                .filter(|it| covers(scope, it.remote(), || false));
            covered.map(|it| it.inode).collect()
        };
        let mut by_scope: HashMap<Scope, HashSet<u64>> = HashMap::new();
        for member in members {
            let of = by_scope
                .entry(member.scope)
                .or_insert_with(|| of(member.scope));
            let has_one = || {
                let mut sockets = sockets_of(root, member.key.pid);
                sockets.any(|socket| of.contains(&socket.inode))
            };
            if !of.is_empty() && has_one() {
                found(member);
            }
        }
    }
}

fn few_descriptors_first(root: &Path, members: &mut [Rejected]) {
    members.sort_by_cached_key(|member| descriptors(root, member.key.pid));
}

/// How many descriptors a process has, as the size of their directory says (6.2, `proc_fd_getattr` in fs/proc/fd.c); 0
/// where it does not.
fn descriptors(root: &Path, pid: u32) -> u64 {
    let directory = root.join(pid.to_string()).join("fd");
    std::fs::metadata(directory).map_or(0, |metadata| metadata.len())
}

/// Whether a limit of that scope covers connections to that address. What stays within the machine is loopback to the
/// kernel programs, whatever its address.
fn covers(scope: Scope, remote: IpAddr, is_looped: impl FnOnce() -> bool) -> bool {
    let class = match remote {
        IpAddr::V4(address) => classify_v4(address.octets()),
        IpAddr::V6(address) => {
            let octets = address.octets();
            let word = |word: usize| std::array::from_fn(|at| octets[4 * word + at]);
            classify_v6(std::array::from_fn(word))
        }
    };
    if scope.contains(Scope::ALL) {
        true
    } else if class == Scope::LOOPBACK || is_looped() {
        scope.contains(Scope::LOOPBACK)
    } else {
        scope.contains(class)
    }
}

/// That process; `None` where it has ended, and another may have its id by now.
fn open_process(root: &Path, key: ProcessKey) -> Result<Option<OwnedFd>, SyscallError> {
    let process = socket::pidfd_open(key.pid)?;
    Ok((key_of(root, key.pid) == Some(key)).then_some(process))
}

/// A duplicate of the connection's socket, which a process had behind that descriptor; `None` where it has another there by
/// now, also one that has got the inode's number. Subflows of MPTCP have that of a socket which is none of them.
fn socket_of(connection: &Connection, process: BorrowedFd<'_>, fd: RawFd) -> Option<OwnedFd> {
    let socket = socket::pidfd_getfd(process, fd).ok()?;
    (socket::cookie(&socket).ok() == Some(connection.cookie())).then_some(socket)
}

/// What became of a member's connections.
#[derive(Debug, Default)]
struct Done {
    resets: usize,
    /// Why one was not reset.
    refused: Option<SyscallError>,
}

struct Resetter {
    root: PathBuf,
    owners: Mutex<Owners>,
    slots: Arc<MappedArray<ProcessSlot>>,
    rules: Arc<MappedArray<Rule>>,
    doubts: Doubts,
    resetting: Resetting,
}

impl Resetter {
    fn new(root: &Path, reach: Reach, doubts: Doubts, resetting: Resetting) -> Self {
        let Reach {
            owners,
            slots,
            rules,
        } = reach;
        if let Some(rule) = rules.first() {
            rule.ingress.block(Scope::ALL);
            rule.egress.block(Scope::ALL);
            // Room for one packet that says that a connection is reset, once somebody opens it.
            let room = rule.egress.cost_ns(SMALL_PACKET);
            rule.egress.most_debt_ns.set(room);
            rule.identity.serial.set(u64::from(WHILE_RESET.serial));
        }
        Self {
            root: root.to_owned(),
            owners: Mutex::new(owners),
            slots,
            rules,
            doubts,
            resetting,
        }
    }

    /// Resets a member's connections. It hangs where a program has one locked, for as long as that has.
    fn reset(&self, member: &Rejected) -> Done {
        let Some(Namespace { fd, .. }) = namespaces::of(&self.root, &[member.key.pid]).pop() else {
            return Done::default();
        };
        let owners = self.owners().raw_fd();
        let all = netns::within_apart(&fd, &[owners], || {
            let mut done = Done::default();
            done.refused = self.reset_within(member, &mut done.resets).err();
            done
        });
        all.unwrap_or_default()
    }

    /// The same within its network namespace.
    fn reset_within(&self, member: &Rejected, resets: &mut usize) -> Result<(), SyscallError> {
        let (mut diag, mut routes) = (SockDiag::open()?, Routes::open()?);
        let connections = diag.connections()?;
        let by_inode: HashMap<u64, Connection> =
            connections.into_iter().map(|it| (it.inode, it)).collect();
        let Some(process) = open_process(&self.root, member.key)? else {
            return Ok(());
        };
        for found in sockets_of(&self.root, member.key.pid) {
            let Some(connection) = by_inode.get(&found.inode) else {
                continue;
            };
            // Where no route leads to an address, nothing is sent there that could be blocked.
            let (remote, interface) = (connection.remote(), connection.interface());
            let mut is_looped = || routes.are_looped(remote, interface).unwrap_or(true);
            if !covers(member.scope, remote, &mut is_looped) {
                continue;
            }
            let Some(socket) = socket_of(connection, process.as_fd(), found.fd) else {
                continue;
            };
            // Whoever resets a connection waits until no program has it locked, and before kernel 6.9 everybody else
            // waits with him who asks for socket diagnostics. So this waits first, where nobody else does.
            let _locked = tcp::info(&socket);
            // That may have taken long, and the limit be another by now.
            if self.is_rejected(member, remote, is_looped)
                && self.reset_one(member, &socket, connection, &mut diag)?
            {
                *resets += 1;
            }
        }
        Ok(())
    }

    /// Resets a connection, where that is the member's. Says whether it did.
    fn reset_one(
        &self,
        member: &Rejected,
        socket: &OwnedFd,
        connection: &Connection,
        diag: &mut SockDiag,
    ) -> Result<bool, SyscallError> {
        let Some(note) = self.owners().note(socket) else {
            return Ok(false);
        };
        let is_guessed = self.doubts.are_about(connection.cookie(), note.owner());
        if is_guessed || note.owner() != member.owner {
            return Ok(false);
        }
        // The limit would not let the other end hear of it. In its place there is room for that, and for nothing else.
        self.note(socket, NoteCopy::of(Owner::NONE, WHILE_RESET));
        if let Some(rule) = self.rules.first() {
            rule.egress.tat_ns.set(now_ns());
        }
        let result = diag.reset(connection);
        // The other end has been told by now (`tcp_abort`), and a program may connect the socket anew: it is its owner's,
        // unless somebody else has used it meanwhile.
        let now = self.owners().note(socket);
        if now.is_some_and(|now| now.owner() == Owner::NONE) {
            self.note(socket, note);
        }
        match result {
            Ok(()) => Ok(true),
            // It has just ended by itself.
            Err(error) if error.errno() == libc::ENOENT => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the member is still under its limit, and that still resets what it blocks, which its connections to that
    /// address are.
    fn is_rejected(
        &self,
        member: &Rejected,
        remote: IpAddr,
        is_looped: impl FnOnce() -> bool,
    ) -> bool {
        let slot = self.slots.get(member.owner.slot as usize);
        let is_member = slot.is_some_and(|slot| {
            slot.identity.generation.get() == u64::from(member.owner.generation)
                && slot.egress.rule.get() == member.rule
        });
        let index = RuleId::from_word(member.rule).index;
        if !is_member || !self.resetting.limits().contains(&index) {
            return false;
        }
        let rule = self.rules.get(index as usize);
        let mut buckets = rule.into_iter().flat_map(|it| [&it.ingress, &it.egress]);
        let blocking = buckets.find(|bucket| bucket.is_blocked());
        blocking.is_some_and(|it| covers(Scope(it.scope.get() as u32), remote, is_looped))
    }

    fn note(&self, socket: &OwnedFd, note: NoteCopy) {
        // EAGAIN: the kernel notes who uses it in this very moment, and the other end does not hear of the reset.
        let _ = self.owners().set_note(socket, note);
    }

    fn owners(&self) -> MutexGuard<'_, Owners> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        net::{TcpListener, TcpStream},
        os::fd::AsRawFd,
    };

    #[test]
    fn descriptors_are_counted_without_a_look_at_each() {
        let count = || descriptors(Path::new("/proc"), std::process::id());
        let before = count();
        let files = [(); 50].map(|()| std::fs::File::open("/dev/null").unwrap());
        // Other tests open and close some meanwhile; older kernels say 0.
        assert!(before == 0 || count() + 25 > before + 50, "{before}");
        drop(files);
        assert_eq!(descriptors(Path::new("/nonexistent"), 1), 0);
    }

    #[test]
    fn a_process_that_has_the_id_of_a_member_by_now_is_none() {
        let root = Path::new("/proc");
        let own = key_of(root, std::process::id()).unwrap();
        assert!(open_process(root, own).unwrap().is_some());
        let former = ProcessKey {
            start_ticks: own.start_ticks - 1,
            ..own
        };
        assert!(open_process(root, former).unwrap().is_none());
    }

    #[test]
    fn a_socket_that_has_a_connections_descriptor_or_inode_by_now_is_not_its() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let [one, other] = [connect(), connect()];
        let cookie = socket::cookie(&one).unwrap();
        let all = SockDiag::open().unwrap().connections().unwrap();
        let connection = all.iter().find(|it| it.cookie() == cookie).unwrap();
        let process = socket::pidfd_open(std::process::id()).unwrap();
        let socket = |fd| socket_of(connection, process.as_fd(), fd);
        assert!(socket(one.as_raw_fd()).is_some());
        assert!(socket(other.as_raw_fd()).is_none());
        assert!(socket(-1).is_none());
        // The same number of an inode does not make it the same.
        let mut later = *connection;
        later.inode = socket::inode(&other).unwrap();
        let found = socket_of(&later, process.as_fd(), other.as_raw_fd());
        assert!(found.is_none());
    }

    #[test]
    fn members_with_few_descriptors_come_first() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let files = [(); 200].map(|()| std::fs::File::open("/dev/null").unwrap());
        let root = Path::new("/proc");
        let [many, few] = [std::process::id(), child.id()];
        let mut members = [many, few].map(|pid| Rejected {
            key: key_of(root, pid).unwrap(),
            owner: Owner::NONE,
            rule: 0,
            scope: Scope::ALL,
        });
        few_descriptors_first(root, &mut members);
        let order = members.map(|member| member.key.pid);
        let is_told = descriptors(root, many) > 0;
        child.kill().unwrap();
        child.wait().unwrap();
        drop(files);
        // Older kernels do not say.
        assert_eq!(order, if is_told { [few, many] } else { [many, few] });
    }

    #[test]
    fn a_limit_covers_what_the_kernel_programs_see_in_its_scope() {
        let names = ["default", "internet", "local", "all"];
        let scopes = names.map(|name| (name, crate::model::scope_of(name).unwrap()));
        for (address, is_looped, covering) in [
            ("198.18.0.2", false, "default internet all"),
            ("2001:db8::1", false, "default internet all"),
            ("10.0.0.1", false, "default local all"),
            ("fe80::1", false, "default local all"),
            // Of the machine's own addresses.
            ("198.18.0.1", true, "all"),
            ("fd00::1", true, "all"),
            ("127.0.0.1", false, "all"),
            ("::1", false, "all"),
            // One that a socket of IPv6 has.
            ("::ffff:10.0.0.1", false, "default local all"),
            ("::ffff:127.0.0.1", false, "all"),
        ] {
            let remote = address.parse().unwrap();
            let covering_it = scopes
                .iter()
                .filter(|(_, scope)| covers(*scope, remote, || is_looped));
            let names: Vec<&str> = covering_it.map(|(name, _)| *name).collect();
            assert_eq!(names.join(" "), covering, "{address}");
        }
    }
}
