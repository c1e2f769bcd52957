//! The guard: a small child process that outlives the engine for a moment, if it has to.
//!
//! It holds a descriptor of the engine's process, and of every program and cgroup that is
//! attached the legacy way. When the engine has gone without detaching them, it does; when the
//! engine says that all is done, it just ends. In the same way it puts back socket options, by the
//! pass whose link it holds, settings of network namespaces, and a terminal that was taken over.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::SigSet,
};
use serde::{Deserialize, Serialize};

use super::{
    journal::{Journal, Record},
    lock::EngineLock,
    remains,
    state_dir::StateDir,
    taken_terminal::{Modes, TakenTerminal},
};
use crate::{
    backends::throttle::{
        linux_ebpf_utils::{AttachPoint, LegacyAttachment},
        passes,
    },
    process::namespaces,
    reversal::ShrinkWindow,
    sys::{
        bpf::{self, AttachType},
        fdpass, memory,
        process::spawn_helper,
        socket::pidfd_open,
    },
};

/// The hidden command that makes the program a guard.
pub const COMMAND: &str = "guard";

/// What engine and guard say to each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Message {
    /// Engine, with descriptors of its process and of the state directory: this is who to watch.
    Watch(PathBuf),
    /// Engine, with a descriptor of a terminal, and how it was before it is taken over now.
    Terminal(Modes),
    /// Engine, with a descriptor of the pass that puts sockets back: levers are about to be set.
    Sockets,
    /// Engine, with a descriptor of a setting of the network namespace of that inode: this is about to be on for
    /// a moment.
    Shrinks(u64),
    /// Engine: this is off again.
    HasShrunk(u64),
    /// Guard: from now on I take care.
    Ready,
    /// Engine, with descriptors of program and cgroup: this is about to be attached.
    Attaching(Record),
    /// Engine: this is not attached any more.
    Gone(Record),
    /// Engine: all is done, go.
    Dismissed,
}

/// The engine's end.
#[derive(Debug)]
pub struct Guard {
    child: Child,
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
    /// Starts the program once more, as the guard of this process, and waits until it watches.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(program: &Path, state: &StateDir) -> Result<Self, GuardError> {
        let (socket, theirs) = fdpass::pair().map_err(GuardError::at_start)?;
        let mut command = Command::new(program);
        command
            .arg(COMMAND)
            .stdin(Stdio::from(theirs))
            // It must not keep anybody's pipe open, nor print over a screen.
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = spawn_helper(&mut command).map_err(GuardError::at_start)?;
        let mut guard = Self {
            child,
            socket,
            told: Vec::new(),
        };
        let us = pidfd_open(std::process::id());
        let us = us.map_err(|error| GuardError::at_start(error.source))?;
        guard.tell(
            Message::Watch(state.path().to_owned()),
            &[us.as_fd(), state.as_fd()],
        )?;
        Ok(guard)
    }

    /// Whether it is there no more: somebody has killed it.
    pub fn has_gone(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Starts another one in its place, and tells it all that this one was told.
    ///
    /// # Errors
    /// Where it cannot be started, or goes at once; then nobody takes care.
    pub fn replace(&mut self, program: &Path, state: &StateDir) -> Result<(), GuardError> {
        let mut next = Self::start(program, state)?;
        for (message, fds) in &self.told {
            if matches!(message, Message::Watch(_)) {
                continue;
            }
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            if let Err(error) = next.tell(message.clone(), &fds) {
                // One that knows only a part must not act on it.
                let _ = next.child.kill();
                let _ = next.child.wait();
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

    /// Sends it home and waits until it has gone.
    pub fn dismiss(mut self) {
        if let Err(error) = self.send(&Message::Dismissed, &[]) {
            log::warn!("{error}");
        }
        if let Err(error) = self.child.wait() {
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
    let Some((Message::Watch(path), mut fds)) = receive(socket)? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let state = fds.pop().ok_or(io::ErrorKind::InvalidData)?;
    let state = StateDir::from_parts(path, state);
    let engine = fds.pop().ok_or(io::ErrorKind::InvalidData)?;
    send(socket, &Message::Ready, &[])?;
    let mut held: Vec<(Record, LegacyAttachment)> = Vec::new();
    let (mut terminal, mut put_back) = (None, None);
    let mut settings: HashMap<u64, ShrinkWindow> = HashMap::new();
    loop {
        // From here it mostly waits.
        memory::release_clean_file_pages();
        match next(socket, engine.as_fd())? {
            Some((Message::Attaching(record), fds)) => {
                let attachment = rebuild(&record, fds).ok_or(io::ErrorKind::InvalidData)?;
                held.push((record, attachment));
                send(socket, &Message::Ready, &[])?;
            }
            Some((Message::Gone(record), _)) => held.retain(|(other, _)| *other != record),
            Some((Message::Terminal(modes), mut fds)) => {
                let fd = fds.pop().ok_or(io::ErrorKind::InvalidData)?;
                terminal = Some(TakenTerminal::of(fd, modes));
                send(socket, &Message::Ready, &[])?;
            }
            Some((Message::Sockets, mut fds)) => {
                put_back = Some(fds.pop().ok_or(io::ErrorKind::InvalidData)?);
                send(socket, &Message::Ready, &[])?;
            }
            Some((Message::Shrinks(namespace), mut fds)) => {
                let setting = fds.pop().ok_or(io::ErrorKind::InvalidData)?;
                settings.insert(namespace, setting.into());
                send(socket, &Message::Ready, &[])?;
            }
            Some((Message::HasShrunk(namespace), _)) => _ = settings.remove(&namespace),
            Some((Message::Dismissed, _)) => return Ok(0),
            Some((Message::Watch(_) | Message::Ready, _)) => {}
            None => {
                let code = u8::from(clean_up(&state, held) > 0);
                for setting in settings.values_mut() {
                    // It fails where the namespace is gone.
                    let _ = setting.set(false);
                }
                if let Some(put_back) = put_back {
                    passes::run(put_back.as_fd(), &namespaces::all(Path::new("/proc")));
                }
                // What another engine keeps there by now is its own: it has recovered what was ours.
                if let Ok(_lock) = EngineLock::take_in(state.clone()) {
                    remains::forget(&state);
                    if code == 0
                        && let Ok(journal) = Journal::open(&state)
                    {
                        journal.remove();
                    }
                }
                if let Some(terminal) = terminal {
                    terminal.restore();
                }
                return Ok(code);
            }
        }
    }
}

/// The next message; `None` once the engine has gone and has nothing more to say.
fn next(
    socket: BorrowedFd<'_>,
    engine: BorrowedFd<'_>,
) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    loop {
        let mut fds = [
            PollFd::new(socket, PollFlags::POLLIN),
            PollFd::new(engine, PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::Error::EINTR) => continue,
            result => result?,
        };
        // What it said before it went comes first.
        if fds.first().and_then(PollFd::any).unwrap_or(false) {
            return receive(socket);
        }
        if fds.last().and_then(PollFd::any).unwrap_or(false) {
            return Ok(None);
        }
    }
}

/// Detaches what is left, and takes it off the journal. Gives how many could not be.
fn clean_up(state: &StateDir, held: Vec<(Record, LegacyAttachment)>) -> usize {
    let mut journal = Journal::open(state).ok();
    let mut failed = 0;
    for (record, attachment) in held {
        if attachment.detach().is_ok() {
            // Should this fail, recovery finds nothing attached.
            let _ = journal.as_mut().map(|journal| journal.gone(&record));
        } else {
            failed += 1;
        }
    }
    failed
}

/// An attachment from what came over the socket.
fn rebuild(record: &Record, mut fds: Vec<OwnedFd>) -> Option<LegacyAttachment> {
    let cgroup = fds.pop()?;
    let fd = fds.pop()?;
    let place = AttachType::ALL
        .into_iter()
        .find(|place| place.name() == record.attach_type)?;
    let program = bpf::prog_info(fd.as_fd()).ok()?;
    let point = AttachPoint::from_parts(record.cgroup.clone(), record.cgroup_id, cgroup.into());
    Some(LegacyAttachment {
        point,
        place,
        program,
        fd,
    })
}

fn send(socket: BorrowedFd<'_>, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    fdpass::send(socket, &serde_json::to_vec(message)?, fds)
}

fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    let Some(fdpass::Message { bytes, fds }) = fdpass::receive(socket)? else {
        return Ok(None);
    };
    Ok(Some((serde_json::from_slice(&bytes)?, fds)))
}
