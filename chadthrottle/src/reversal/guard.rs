//! The guard: a small child process that outlives the engine for a moment, if it has to.
//!
//! It holds a descriptor of the engine's process, and of every program and cgroup that is
//! attached the legacy way. When the engine has gone without detaching them, it does; when the
//! engine says that all is done, it just ends. In the same way it puts back socket options, by the
//! pass whose link it holds, settings of network namespaces, and a terminal that was taken over.

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::SigSet,
};

use super::{
    custody::{Custody, Host, System, Then},
    journal::Record,
    message::{Message, receive, send},
    state_dir::StateDir,
    taken_terminal::Modes,
};
use crate::{
    backends::throttle::linux_ebpf_utils::LegacyAttachment,
    service::Store,
    sys::{fdpass, memory, process::spawn_helper, socket::pidfd_open},
};

/// How long a guard may take to answer, and to end, in milliseconds: it has nothing to do but that.
const ANSWERS_WITHIN_MS: u16 = 1_000;

/// The hidden command that makes the program a guard.
pub const COMMAND: &str = "guard";

/// Starts guards. The path of our own program is one, which it starts once more; tests have another.
pub trait Launch: fmt::Debug + Send + Sync {
    /// Starts one, with its end of the socket.
    ///
    /// # Errors
    /// Where it cannot be started.
    fn launch(&self, socket: OwnedFd) -> io::Result<Box<dyn Helper>>;
}

/// A process of ours that was started.
pub trait Helper: fmt::Debug + Send {
    /// Whether it is there no more.
    fn has_gone(&mut self) -> bool;
    /// Ends it at once.
    fn kill(&mut self);
    /// Waits for its end.
    ///
    /// # Errors
    /// Where it is not ours.
    fn wait(&mut self) -> io::Result<()>;
}

impl Launch for PathBuf {
    fn launch(&self, socket: OwnedFd) -> io::Result<Box<dyn Helper>> {
        let mut command = Command::new(self);
        command
            .arg(COMMAND)
            .stdin(Stdio::from(socket))
            // It must not keep anybody's pipe open, nor print over a screen.
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Box::new(spawn_helper(&mut command)?))
    }
}

impl Helper for Child {
    fn has_gone(&mut self) -> bool {
        !matches!(self.try_wait(), Ok(None))
    }

    fn kill(&mut self) {
        // One that has ended by itself is as good.
        let _ = Self::kill(self);
        let _ = Self::wait(self);
    }

    fn wait(&mut self) -> io::Result<()> {
        Self::wait(self).map(drop)
    }
}

/// The engine's end.
#[derive(Debug)]
pub struct Guard {
    process: Box<dyn Helper>,
    socket: OwnedFd,
    /// All that a guard must know, with its descriptors: should this one be killed, the next one is
    /// told the same.
    told: Vec<(Message, Vec<OwnedFd>)>,
}

/// Why the guard cannot do its work.
#[derive(Debug, thiserror::Error)]
#[error("the guard process {action}: {source}")]
pub struct GuardError {
    action: &'static str,
    source: io::Error,
}

impl GuardError {
    fn at_start(source: io::Error) -> Self {
        Self {
            action: "could not be started",
            source,
        }
    }
}

impl Guard {
    /// Starts a guard of this process, and waits until it watches.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(launch: &dyn Launch, state: &StateDir) -> Result<Self, GuardError> {
        Self::start_with(launch, state, None)
    }

    /// The same; where there is a `store`, that keeps our end of the socket, and the guard waits until it is closed.
    ///
    /// # Errors
    /// As [`Guard::start`].
    pub fn start_with(
        launch: &dyn Launch,
        state: &StateDir,
        store: Option<&Store>,
    ) -> Result<Self, GuardError> {
        let (socket, theirs) = fdpass::pair().map_err(GuardError::at_start)?;
        let process = launch.launch(theirs).map_err(GuardError::at_start)?;
        let mut guard = Self {
            process,
            socket,
            told: Vec::new(),
        };
        let us = pidfd_open(std::process::id());
        let us = us.map_err(|error| GuardError::at_start(error.source))?;
        let watch = Message::Watch {
            state: state.path().to_owned(),
            kept: store.is_some(),
        };
        guard.tell(watch, &[us.as_fd(), state.as_fd()])?;
        if let Some(store) = store {
            store.keep_guard(guard.socket.as_fd());
        }
        Ok(guard)
    }

    /// Whether it is there no more: somebody has killed it.
    pub fn has_gone(&mut self) -> bool {
        self.process.has_gone()
    }

    /// Starts another one in its place, and tells it all that this one was told.
    ///
    /// # Errors
    /// Where it cannot be started, or goes at once; then nobody takes care.
    pub fn replace(
        &mut self,
        launch: &dyn Launch,
        state: &StateDir,
        store: Option<&Store>,
    ) -> Result<(), GuardError> {
        let mut next = Self::start_with(launch, state, store)?;
        for (message, fds) in &self.told {
            if matches!(message, Message::Watch { .. }) {
                continue;
            }
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            if let Err(error) = next.tell(message.clone(), &fds) {
                // One that knows only a part must not act on it.
                next.process.kill();
                return Err(error);
            }
        }
        *self = next;
        Ok(())
    }

    /// Tells it what it must know, and waits until it does.
    fn tell(&mut self, message: Message, fds: &[BorrowedFd<'_>]) -> Result<(), GuardError> {
        let kept: io::Result<Vec<OwnedFd>> =
            fds.iter().map(BorrowedFd::try_clone_to_owned).collect();
        let kept = kept.map_err(GuardError::at_start)?;
        self.send(&message, fds)?;
        self.expect_ready()?;
        self.told.push((message, kept));
        Ok(())
    }

    /// Hands it the terminal as it is now, to be put back to that.
    ///
    /// # Errors
    /// Where the guard has gone, or it is no terminal.
    pub fn protect_terminal(&mut self, terminal: BorrowedFd<'_>) -> Result<(), GuardError> {
        let modes = Modes::of(terminal).map_err(|source| GuardError {
            action: "is of no use to this terminal",
            source,
        })?;
        self.tell(Message::Terminal(modes), &[terminal])
    }

    /// Hands it the pass that puts sockets back.
    ///
    /// # Errors
    /// Where the guard has gone.
    pub fn protect_sockets(&mut self, put_back: BorrowedFd<'_>) -> Result<(), GuardError> {
        self.tell(Message::Sockets, &[put_back])
    }

    /// Hands it `tcp_shrink_window` of a network namespace, which it switches off.
    ///
    /// # Errors
    /// Where the guard has gone.
    pub fn shrinks(&mut self, namespace: u64, setting: BorrowedFd<'_>) -> Result<(), GuardError> {
        self.tell(Message::Shrinks(namespace), &[setting])
    }

    /// Tells it that the setting is off again.
    ///
    /// # Errors
    /// Where the guard has gone.
    pub fn has_shrunk(&mut self, namespace: u64) -> Result<(), GuardError> {
        let shrinks = Message::Shrinks(namespace);
        self.told.retain(|(message, _)| *message != shrinks);
        self.send(&Message::HasShrunk(namespace), &[])
    }

    fn expect_ready(&self) -> Result<(), GuardError> {
        let failed = |source| GuardError {
            action: "does not answer",
            source,
        };
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        if matches!(poll(&mut fds, ANSWERS_WITHIN_MS), Ok(0)) {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
        match receive(self.socket.as_fd()).map_err(failed)? {
            Some((Message::Ready, _)) => Ok(()),
            _ => Err(failed(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Hands it what detaching will need.
    ///
    /// # Errors
    /// Where it has gone.
    pub fn attaching(
        &mut self,
        record: &Record,
        attachment: &LegacyAttachment,
    ) -> Result<(), GuardError> {
        let fds = [attachment.fd.as_fd(), attachment.point.as_fd()];
        self.tell(Message::Attaching(record.clone()), &fds)
    }

    /// Tells it that there is nothing to detach any more.
    ///
    /// # Errors
    /// Where it has gone.
    pub fn gone(&mut self, record: &Record) -> Result<(), GuardError> {
        let attaching = Message::Attaching(record.clone());
        self.told.retain(|(message, _)| *message != attaching);
        self.send(&Message::Gone(record.clone()), &[])
    }

    /// Sends it home and waits until it has gone; not for one that somebody has stopped.
    pub fn dismiss(mut self) {
        if let Err(error) = self.send(&Message::Dismissed, &[]) {
            log::warn!("{error}");
        }
        let deadline = Instant::now() + Duration::from_millis(u64::from(ANSWERS_WITHIN_MS));
        while !self.process.has_gone() {
            if Instant::now() > deadline {
                log::warn!("the guard process does not end: it is killed");
                self.process.kill();
                return;
            }
            sleep(Duration::from_millis(5));
        }
        if let Err(error) = self.process.wait() {
            log::warn!("waiting for the guard process: {error}");
        }
    }

    fn send(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> Result<(), GuardError> {
        send(self.socket.as_fd(), message, fds).map_err(|source| GuardError {
            action: "does not listen",
            source,
        })
    }
}

/// What the guard process does, from start to end. Gives the exit code.
///
/// # Errors
/// Where its surroundings are not those that [`Guard::start`] makes.
pub fn run() -> io::Result<u8> {
    // Nothing that is meant for the engine, or for its terminal, is to reach us; and the
    // directory that we were started in may be unmounted.
    nix::unistd::setsid()?;
    // We were started as /proc/self/exe, and would be listed as "exe".
    nix::sys::prctl::set_name(c"chadthrottle-gd")?;
    SigSet::all().thread_block()?;
    std::env::set_current_dir("/")?;
    let stdin = io::stdin();
    let socket = stdin.as_fd();
    // Should it be gone already this is another's, who has never had the lock.
    let engine = nix::unistd::getppid().as_raw().unsigned_abs();
    serve(socket, |state, pidfd| Host::of(state, engine, pidfd))
}

/// What a guard does from the first message on, on `system`. Gives the exit code.
pub(super) fn serve<S: System>(
    socket: BorrowedFd<'_>,
    system: impl FnOnce(StateDir, OwnedFd) -> S,
) -> io::Result<u8> {
    let Some((Message::Watch { state, kept }, mut fds)) = receive(socket)? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let directory = fds.pop().ok_or(io::ErrorKind::InvalidData)?;
    let engine = fds.pop().ok_or(io::ErrorKind::InvalidData)?;
    let directory = StateDir::from_parts(state, directory);
    let mut system = system(directory, engine.try_clone()?);
    let ends = (!kept).then(|| engine.as_fd());
    send(socket, &Message::Ready, &[])?;
    let mut custody = Custody::default();
    loop {
        // From here it mostly waits.
        memory::release_clean_file_pages();
        let Some((message, fds)) = next(socket, ends)? else {
            return Ok(u8::from(!custody.undo(&mut system)));
        };
        match custody.take(message, fds, &system)? {
            Then::Confirm => match send(socket, &Message::Ready, &[]) {
                // It was killed while it waited for this: the next message is its end.
                Err(error) if is_gone(&error) => {}
                result => result?,
            },
            Then::Listen => {}
            Then::End => return Ok(0),
        }
    }
}

/// Whether an error on the socket says that the other end is closed.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionRefused | ConnectionReset | NotConnected
    )
}

/// The next message; `None` once the other end of the socket is closed, or the engine, where there is one to wait for,
/// has gone and has nothing more to say.
fn next(
    socket: BorrowedFd<'_>,
    engine: Option<BorrowedFd<'_>>,
) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    loop {
        let waits_for = [Some(socket), engine].into_iter().flatten();
        let mut fds: Vec<PollFd<'_>> = waits_for
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::Error::EINTR) => continue,
            result => result?,
        };
        // What it said before it went comes first.
        if fds.first().and_then(PollFd::any).unwrap_or(false) {
            match receive(socket) {
                // It went without reading our last word, which the kernel tells once, before what is left of
                // its own.
                Err(error) if is_gone(&error) => continue,
                result => return result,
            }
        }
        if fds.get(1).and_then(PollFd::any).unwrap_or(false) {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reversal::testing::{FakeLaunch, FakeSystem, attachment, descriptor, record};

    fn directory() -> (tempfile::TempDir, StateDir) {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::make(directory.path()).unwrap();
        (directory, state)
    }

    /// A guard that knows of two attachments.
    fn with_two(launch: &FakeLaunch, state: &StateDir) -> Guard {
        let mut guard = Guard::start(launch, state).unwrap();
        for program in [1, 2] {
            let attachment = attachment(program);
            guard.attaching(&record(program), &attachment).unwrap();
        }
        launch.deeds.take();
        guard
    }

    #[test]
    fn an_engine_that_says_goodbye_has_nothing_undone() {
        let ((_directory, state), launch) = (directory(), FakeLaunch::default());
        with_two(&launch, &state).dismiss();
        assert!(launch.deeds.take().is_empty());
    }

    #[test]
    fn an_engine_that_goes_without_a_word_has_undone_what_is_left() {
        let ((_directory, state), launch) = (directory(), FakeLaunch::default());
        let mut guard = with_two(&launch, &state);
        guard.shrinks(8, descriptor().as_fd()).unwrap();
        guard.protect_sockets(descriptor().as_fd()).unwrap();
        guard.gone(&record(1)).unwrap();
        drop(guard);
        launch.wait_for_guard();
        let expected = [
            "detach 2",
            "stop shrinking in 8",
            "put sockets back",
            "forget all",
        ];
        assert_eq!(launch.deeds.take(), expected);
    }

    #[test]
    fn the_next_guard_is_told_all_but_what_is_over() {
        let ((_directory, state), launch) = (directory(), FakeLaunch::default());
        let mut guard = with_two(&launch, &state);
        guard.shrinks(8, descriptor().as_fd()).unwrap();
        guard.shrinks(9, descriptor().as_fd()).unwrap();
        guard.gone(&record(1)).unwrap();
        guard.has_shrunk(8).unwrap();
        assert!(!guard.has_gone());
        launch.kill_guard();
        assert!(guard.has_gone());
        assert!(guard.attaching(&record(3), &attachment(3)).is_err());
        guard.replace(&launch, &state, None).unwrap();
        assert!(!guard.has_gone());
        drop(guard);
        launch.wait_for_guard();
        let expected = [
            "start a guard",
            "detach 2",
            "stop shrinking in 9",
            "forget all",
        ];
        assert_eq!(launch.deeds.take(), expected);
    }

    /// An engine that is killed in the middle of telling a guard.
    fn undone_for_an_engine_that_is_killed(reads: usize, says: &[Message]) -> Vec<String> {
        let (_directory, state) = directory();
        let (ours, theirs) = fdpass::pair().unwrap();
        let us = pidfd_open(std::process::id()).unwrap();
        let watch = Message::Watch {
            state: state.path().to_owned(),
            kept: false,
        };
        let fd = descriptor();
        send(ours.as_fd(), &watch, &[us.as_fd(), state.as_fd()]).unwrap();
        for message in says {
            send(ours.as_fd(), message, &[fd.as_fd(), fd.as_fd()]).unwrap();
        }
        let system = FakeSystem::default();
        let deeds = system.deeds.clone();
        let guard = std::thread::spawn(move || serve(theirs.as_fd(), |_, _| system).unwrap());
        for _ in 0..reads {
            receive(ours.as_fd()).unwrap();
        }
        // The guard has answered, or is about to.
        while reads == 0 && !can_be_read(&ours) {
            std::thread::yield_now();
        }
        drop(ours);
        assert_eq!(guard.join().unwrap(), 0);
        deeds.take()
    }

    #[test]
    fn whoever_keeps_the_socket_decides_when_all_is_undone_and_not_the_end_of_the_engine() {
        let (_directory, state) = directory();
        let (ours, theirs) = fdpass::pair().unwrap();
        let mut engine = Command::new("true").spawn().unwrap();
        let pidfd = pidfd_open(engine.id()).unwrap();
        engine.wait().unwrap();
        let watch = Message::Watch {
            state: state.path().to_owned(),
            kept: true,
        };
        send(ours.as_fd(), &watch, &[pidfd.as_fd(), state.as_fd()]).unwrap();
        let attaching = Message::Attaching(record(1));
        let fd = descriptor();
        send(ours.as_fd(), &attaching, &[fd.as_fd(), fd.as_fd()]).unwrap();
        let kept = ours.try_clone().unwrap();
        drop(ours);
        let system = FakeSystem::default();
        let deeds = system.deeds.clone();
        let guard = std::thread::spawn(move || serve(theirs.as_fd(), |_, _| system).unwrap());
        for _ in 0..2 {
            assert!(matches!(
                receive(kept.as_fd()),
                Ok(Some((Message::Ready, _)))
            ));
        }
        // In which it would have done so.
        sleep(Duration::from_millis(100));
        assert!(deeds.take().is_empty());
        drop(kept);
        assert_eq!(guard.join().unwrap(), 0);
        assert_eq!(deeds.take(), ["detach 1", "forget all"]);
    }

    fn can_be_read(socket: &OwnedFd) -> bool {
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn an_engine_that_is_killed_before_it_hears_the_guard_has_all_undone() {
        let says = [1, 2, 3].map(|program| Message::Attaching(record(program)));
        let all = ["detach 1", "detach 2", "detach 3", "forget all"];
        // Its end is closed with an answer in it, or before there is one: both are errors to the guard.
        for reads in 0..=says.len() {
            assert_eq!(
                undone_for_an_engine_that_is_killed(reads, &says),
                all,
                "{reads}"
            );
        }
    }
}
