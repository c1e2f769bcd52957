//! The guard: a small child process that outlives the engine for a moment, if it has to.
//!
//! It holds a descriptor of the engine's process, and of every program and cgroup that is
//! attached the legacy way. When the engine has gone without detaching them, it does; when the
//! engine says that all is done, it just ends. Socket options that the engine has set, settings of
//! network namespaces, and a terminal that it has taken over, it puts back in the same way.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crossterm::{
    cursor::Show,
    event::{DisableBracketedPaste, DisableMouseCapture},
    execute,
    terminal::LeaveAlternateScreen,
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::SigSet,
        termios::{SetArg, Termios, tcgetattr, tcsetattr},
    },
};
use serde::{Deserialize, Serialize};

use super::{
    journal::{Journal, Record},
    socket_journal,
};
use crate::{
    backends::throttle::{
        linux_ebpf_utils::{AttachPoint, LegacyAttachment},
        peer_name,
    },
    levers::{Options, ShrinkWindow},
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
#[derive(Debug, Serialize, Deserialize)]
enum Message {
    /// Engine, with a descriptor of its process: this is who to watch.
    Watch(PathBuf),
    /// Engine, with a descriptor of a terminal: this is about to be taken over.
    Terminal,
    /// Engine, with descriptors of the notes on sockets' options, which are about to be set, and of
    /// links of programs that putting them back needs.
    Sockets,
    /// Engine, with a descriptor of a setting of a network namespace: this is about to be on for a moment.
    Namespace,
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
}

/// Why the guard cannot do its work.
#[derive(Debug, thiserror::Error)]
#[error("the guard process {action}: {source}")]
pub struct GuardError {
    action: &'static str,
    source: io::Error,
}

impl Guard {
    /// Starts the program once more, as the guard of this process, and waits until it watches.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(program: &Path, journal: &Path) -> Result<Self, GuardError> {
        let failed = |source: io::Error| GuardError {
            action: "could not be started",
            source,
        };
        let (socket, theirs) = fdpass::pair().map_err(failed)?;
        let mut command = Command::new(program);
        command
            .arg(COMMAND)
            .stdin(Stdio::from(theirs))
            // It must not keep anybody's pipe open, nor print over a screen.
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = spawn_helper(&mut command).map_err(failed)?;
        let guard = Self { child, socket };
        let us = pidfd_open(std::process::id()).map_err(|error| failed(error.source))?;
        guard.send(&Message::Watch(journal.to_owned()), &[us.as_fd()])?;
        guard.expect_ready()?;
        Ok(guard)
    }

    /// Hands it the terminal as it is now, to be put back to that.
    ///
    /// # Errors
    /// Where the guard has gone, or it is no terminal.
    pub fn protect_terminal(&self, terminal: BorrowedFd<'_>) -> Result<(), GuardError> {
        self.send(&Message::Terminal, &[terminal])?;
        self.expect_ready()
    }

    /// Hands it the notes on sockets' options, which it puts back, and links of programs that it
    /// needs for that.
    ///
    /// # Errors
    /// Where the guard has gone.
    pub fn protect_sockets(
        &self,
        notes: BorrowedFd<'_>,
        links: Vec<BorrowedFd<'_>>,
    ) -> Result<(), GuardError> {
        let fds: Vec<BorrowedFd<'_>> = std::iter::once(notes).chain(links).collect();
        self.send(&Message::Sockets, &fds)?;
        self.expect_ready()
    }

    /// Hands it `tcp_shrink_window` of a network namespace, which it switches off.
    ///
    /// # Errors
    /// Where the guard has gone.
    pub fn protect_namespace(&self, setting: BorrowedFd<'_>) -> Result<(), GuardError> {
        self.send(&Message::Namespace, &[setting])?;
        self.expect_ready()
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
        &self,
        record: &Record,
        attachment: &LegacyAttachment,
    ) -> Result<(), GuardError> {
        let fds = [attachment.fd.as_fd(), attachment.point.as_fd()];
        self.send(&Message::Attaching(record.clone()), &fds)
    }

    /// Tells it that there is nothing to detach any more.
    ///
    /// # Errors
    /// Where it has gone.
    pub fn gone(&self, record: &Record) -> Result<(), GuardError> {
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
    let Some((Message::Watch(journal), mut fds)) = receive(socket)? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let engine = fds.pop().ok_or(io::ErrorKind::InvalidData)?;
    send(socket, &Message::Ready, &[])?;
    let mut held: Vec<(Record, LegacyAttachment)> = Vec::new();
    let (mut terminal, mut options) = (None, None);
    let mut settings: Vec<ShrinkWindow> = Vec::new();
    loop {
        // From here it mostly waits.
        memory::release_clean_file_pages();
        match next(socket, engine.as_fd())? {
            Some((Message::Attaching(record), fds)) => {
                let attachment = rebuild(&record, fds).ok_or(io::ErrorKind::InvalidData)?;
                held.push((record, attachment));
            }
            Some((Message::Gone(record), _)) => held.retain(|(other, _)| *other != record),
            Some((Message::Terminal, mut fds)) => {
                terminal = Some(TakenTerminal::of(
                    fds.pop().ok_or(io::ErrorKind::InvalidData)?,
                )?);
                send(socket, &Message::Ready, &[])?;
            }
            Some((Message::Sockets, mut fds)) => {
                if fds.is_empty() {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let notes = fds.remove(0);
                let new = Options::new(notes).map_err(io::Error::other)?;
                options = Some(new.with_flights(fds));
                send(socket, &Message::Ready, &[])?;
            }
            Some((Message::Namespace, fds)) => {
                settings.extend(fds.into_iter().map(ShrinkWindow::from));
                send(socket, &Message::Ready, &[])?;
            }
            Some((Message::Dismissed, _)) => return Ok(0),
            Some((Message::Watch(_) | Message::Ready, _)) => {}
            None => {
                // What sets options goes first, what puts them back last.
                let (last, first) = held
                    .into_iter()
                    .partition(|(_, held)| peer_name::PLACES.contains(&held.place));
                let failed = clean_up(&journal, first);
                for setting in &mut settings {
                    // It fails where the namespace is gone.
                    let _ = setting.set(false);
                }
                if let Some(mut options) = options {
                    options.put_back_everywhere(Path::new("/proc"));
                    if let Some(directory) = journal.parent() {
                        socket_journal::forget(directory);
                    }
                }
                let code = u8::from(failed + clean_up(&journal, last) > 0);
                if code == 0
                    && let Ok(journal) = Journal::at(journal)
                {
                    journal.remove();
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

/// A terminal that the engine has taken over, and how it was before.
struct TakenTerminal {
    file: File,
    before: Termios,
}

impl TakenTerminal {
    fn of(fd: OwnedFd) -> io::Result<Self> {
        let before = tcgetattr(&fd)?;
        Ok(Self {
            file: fd.into(),
            before,
        })
    }

    /// Puts it back. It is not our controlling terminal, so the kernel lets us.
    fn restore(mut self) {
        // A terminal that has gone needs no restoring.
        let _ = execute!(
            self.file,
            DisableMouseCapture,
            DisableBracketedPaste,
            LeaveAlternateScreen,
            Show
        );
        let _ = tcsetattr(&self.file, SetArg::TCSANOW, &self.before);
    }
}

/// Detaches what is left, and takes it off the journal. Gives how many could not be.
fn clean_up(journal: &Path, held: Vec<(Record, LegacyAttachment)>) -> usize {
    let mut journal = Journal::at(journal.to_owned()).ok();
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
