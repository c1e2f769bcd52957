//! Passes over all TCP sockets (`iter/tcp`, kernel 5.15): what the kernel programs set on a connection when it
//! sends a packet, they set in a pass on those that were there before, and put back on those that have no
//! limit any more.
//!
//! They see every socket of a network namespace, whatever holds its descriptor: io_uring, a message on its
//! way, nobody.

use std::{
    io::{self, Read},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex,
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use aya::{Btf, Ebpf, programs::Iter};
use chadthrottle_common::{abi::names, sys::Shared};

use super::{ThrottleError, linux_ebpf_utils, maps};
use crate::{
    process::namespaces::Namespace,
    sys::{SyscallError, bpf, map::MappedArray, netns},
};

/// How long whoever begins, changes or ends a limit waits for its pass: some milliseconds, mostly. A pass waits for
/// each socket whose program has it locked; who hangs in the kernel with it would have us wait for ever.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long an engine that stops waits for its last pass.
const LAST_PATIENCE: Duration = Duration::from_millis(1_500);

/// Between two passes that nobody waits for there is so many times as long as one takes.
const REST: u32 = 20;

/// The passes of a loaded object, run by a thread of their own.
#[derive(Debug)]
pub struct Passes {
    jobs: Sender<Job>,
    /// Whether the thread may be given another job that nobody waits for.
    rest: Arc<Mutex<Rest>>,
    put_back: OwnedFd,
    allowed: Arc<MappedArray<Shared>>,
    hears_of_packets: bool,
}

/// What the thread is at, as far as whoever does not wait for it needs to know.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// A pass that nobody waits for has been given to it.
    Running,
    Until(Instant),
}

/// A pass to be run.
#[derive(Debug)]
struct Job {
    pass: Pass,
    namespaces: Vec<Namespace>,
    done: Sender<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Each socket is as its limit wants it, or as it was where it has none.
    Hold,
    /// Each socket is as it was.
    PutBack,
}

impl Passes {
    /// Loads them.
    ///
    /// # Errors
    /// Where the kernel does not take them.
    pub fn load(
        object: &mut Ebpf,
        kernel: &Btf,
        hears_of_packets: bool,
    ) -> Result<Self, ThrottleError> {
        let mut link = |name| {
            let program: &mut Iter = linux_ebpf_utils::find(object, name)?;
            program
                .load("tcp", kernel)
                .map_err(|error| linux_ebpf_utils::refused(name, error))?;
            let program = program
                .fd()
                .map_err(|error| linux_ebpf_utils::refused(name, error))?;
            bpf::iterator_link(program.as_fd()).map_err(|source| ThrottleError::ProgramInfo {
                program: name,
                source,
            })
        };
        let (hold, put_back) = (link(names::HOLD)?, link(names::PUT_BACK)?);
        let no_thread = |source: io::Error| ThrottleError::ProgramInfo {
            program: names::HOLD,
            source: SyscallError {
                call: "starting the thread that passes over sockets",
                source,
            },
        };
        let theirs = put_back.try_clone().map_err(no_thread)?;
        let allowed = Arc::new(maps::levers(object)?);
        let rest = Arc::new(Mutex::new(Rest::Until(Instant::now())));
        let (jobs, queue) = channel::<Job>();
        let (rests, again) = (Arc::clone(&rest), Arc::clone(&allowed));
        thread::Builder::new()
            .name("passes".to_owned())
            .spawn(move || {
                for Job {
                    pass,
                    namespaces,
                    done,
                } in queue
                {
                    let started = Instant::now();
                    match pass {
                        Pass::Hold => _ = run(hold.as_fd(), &namespaces),
                        Pass::PutBack => {
                            run(theirs.as_fd(), &namespaces);
                            // The pass has taken that away.
                            allow(&again);
                        }
                    }
                    let pause = started.elapsed() * REST;
                    if let Ok(mut rest) = rests.lock() {
                        *rest = Rest::Until(Instant::now() + pause);
                    }
                    // Who has lost patience does not listen.
                    let _ = done.send(());
                }
            })
            .map_err(no_thread)?;
        Ok(Self {
            jobs,
            rest,
            put_back,
            allowed,
            hears_of_packets,
        })
    }

    /// Whether the kernel can be told to call our program for packets of connections that were made before
    /// their limit (kernel 6.12).
    pub fn hear_of_packets(&self) -> bool {
        self.hears_of_packets
    }

    /// The pass that puts back, for whoever comes after us.
    pub fn put_back(&self) -> BorrowedFd<'_> {
        self.put_back.as_fd()
    }

    /// Lets the programs set something from now on.
    pub fn allow(&self) {
        allow(&self.allowed);
    }

    /// Has each socket be as its limit wants it, or as it was where it has none.
    pub fn hold(&self, namespaces: Vec<Namespace>) {
        self.run(Pass::Hold, namespaces, PATIENCE);
    }

    /// The same soon, unless the last one was a moment ago, or still runs.
    pub fn hold_soon(&self, namespaces: impl FnOnce() -> Vec<Namespace>) {
        let now = Instant::now();
        let Ok(mut rest) = self.rest.lock() else {
            return;
        };
        if matches!(*rest, Rest::Until(until) if until <= now) {
            *rest = Rest::Running;
            drop(rest);
            self.run(Pass::Hold, namespaces(), Duration::ZERO);
        }
    }

    /// Puts every socket back.
    pub fn put_all_back(&self, namespaces: Vec<Namespace>) {
        self.run(Pass::PutBack, namespaces, LAST_PATIENCE);
    }

    fn run(&self, pass: Pass, namespaces: Vec<Namespace>, patience: Duration) {
        let (done, finished) = channel();
        let job = Job {
            pass,
            namespaces,
            done,
        };
        if self.jobs.send(job).is_err() {
            log::warn!("no pass over sockets: the thread for it has ended");
        } else if !patience.is_zero() && finished.recv_timeout(patience).is_err() {
            log::warn!(
                "a pass over sockets takes long: some program hangs with one, or the machine is busy"
            );
        }
    }
}

fn allow(word: &MappedArray<Shared>) {
    if let Some(word) = word.first() {
        word.set(1);
    }
}

/// Runs a pass over the sockets of these network namespaces. Gives how many have been put back. It hangs where a program
/// has its socket locked, for as long as that has.
pub fn run(link: BorrowedFd<'_>, namespaces: &[Namespace]) -> usize {
    let mut sockets = 0;
    for Namespace { inode, fd } in namespaces {
        let pass = || -> io::Result<usize> {
            // The namespace is that of the thread that makes it (`bpf_iter_init_seq_net`).
            let mut pass = bpf::iterator(link).map_err(|error| error.source)?;
            // It writes a byte for each.
            let mut bytes = [0; 4096];
            let mut put_back = 0;
            loop {
                match pass.read(&mut bytes) {
                    Ok(0) => return Ok(put_back),
                    Ok(more) => put_back += more,
                    // So many sockets at a time (`MAX_ITER_OBJECTS` in kernel/bpf/bpf_iter.c).
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        };
        match netns::within_apart(fd, &[link.as_raw_fd()], pass) {
            Some(Ok(put_back)) => sockets += put_back,
            Some(Err(error)) => {
                log::warn!("sockets of network namespace {inode} were not passed over: {error}");
            }
            None => log::warn!("network namespace {inode} may not be entered"),
        }
    }
    sockets
}

/// The same where it is waited for no longer than an engine's last one: it goes on by itself then. `None`: how many have
/// been put back is not known.
pub fn run_aside(link: OwnedFd, namespaces: Vec<Namespace>) -> Option<usize> {
    let (done, finished) = channel();
    let pass = move || {
        // Who has lost patience does not listen.
        let _ = done.send(run(link.as_fd(), &namespaces));
    };
    let started = thread::Builder::new().name("passes".to_owned()).spawn(pass);
    started.ok()?;
    finished.recv_timeout(LAST_PATIENCE).ok()
}
