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

use nix::poll::{PollFd, PollFlags, poll};

use super::{
    guarding::COMMAND,
    journal::Record,
    message::{Message, receive, send},
    state_dir::StateDir,
    taken_terminal::Modes,
};
use crate::{
    backends::throttle::linux_ebpf_utils::LegacyAttachment,
    service::Store,
    sys::{fdpass, process::spawn_helper, socket::pidfd_open},
};

/// How long a guard may take to answer, and to end, in milliseconds: it has nothing to do but that.
const ANSWERS_WITHIN_MS: u16 = 1_000;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reversal::testing::{FakeLaunch, attachment, descriptor, record};

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
}
