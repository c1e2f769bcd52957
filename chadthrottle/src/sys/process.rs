//! Children: one that waits before it becomes its program, so that limits are set before it sends,
//! and helpers of our own.

use std::{
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::{
        fd::AsRawFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, ExitStatus},
    sync::{Mutex, PoisonError},
    thread::JoinHandle,
};

use nix::unistd::{Gid, Pid, Uid};

use super::signals;

/// Whom a child runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// All groups.
    pub groups: Vec<u32>,
}

/// A child that has been forked and waits in front of its exec.
#[derive(Debug)]
pub struct HeldChild {
    pid: u32,
    go: PipeWriter,
    spawned: JoinHandle<io::Result<Child>>,
}

impl HeldChild {
    /// Forks `command`, as `user` where one is given, and holds it in front of exec.
    ///
    /// # Errors
    /// Where no pipe or process can be made. What exec says is the result of [`Self::release`].
    pub fn fork(mut command: Command, user: Option<User>) -> io::Result<Self> {
        let (mut pid_reader, mut pid_writer) = io::pipe()?;
        let (mut go_reader, go) = io::pipe()?;
        let go_fd = go.as_raw_fd();
        let groups: Option<Vec<Gid>> = user
            .as_ref()
            .map(|user| user.groups.iter().copied().map(Gid::from_raw).collect());
        let become_program = move || {
            // The child has a copy of the writing end too: with it open, it would never learn
            // that we are gone.
            nix::unistd::close(go_fd)?;
            pid_writer.write_all(&std::process::id().to_ne_bytes())?;
            if wait_for_go(&mut go_reader).is_err() {
                // Whoever was to say it has given up, and may not be there to be told of an error either.
                // SAFETY: it ends this process, and does nothing before.
                unsafe { libc::_exit(1) };
            }
            // What we catch is as by default in the program, which is right, unless it was ignored.
            signals::ignore_as_at_start();
            if let (Some(user), Some(groups)) = (&user, &groups) {
                nix::unistd::setgroups(groups)?;
                nix::unistd::setgid(Gid::from_raw(user.gid))?;
                nix::unistd::setuid(Uid::from_raw(user.uid))?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec it only makes system calls: no allocation, no locks.
        unsafe { command.pre_exec(become_program) };
        // `spawn` returns when exec has succeeded or failed, so it needs a thread of its own. The
        // command, and with it our ends of the child's pipes, goes when that thread ends.
        let spawned = std::thread::Builder::new()
            .name("spawn".to_owned())
            .spawn(move || command.spawn())?;
        let mut pid = [0; 4];
        match pid_reader.read_exact(&mut pid) {
            Ok(()) => Ok(Self {
                pid: u32::from_ne_bytes(pid),
                go,
                spawned,
            }),
            Err(error) => Err(join(spawned).err().unwrap_or(error)),
        }
    }

    /// Its process id. It is alive until released.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it become its program.
    ///
    /// # Errors
    /// What exec said, as from [`Command::spawn`].
    pub fn release(mut self) -> io::Result<Child> {
        self.go.write_all(b"g")?;
        drop(self.go);
        join(self.spawned)
    }
}

/// What has become of a child of ours since this was last asked: `None` where nothing has, and
/// otherwise that it ended, stopped or goes on.
///
/// # Errors
/// Where there is no such child.
pub fn news_of(pid: Pid) -> io::Result<Option<ExitStatus>> {
    let mut status = 0;
    let flags = libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED;
    // SAFETY: it only writes to `status`, which outlives the call.
    match unsafe { libc::waitpid(pid.as_raw(), &raw mut status, flags) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        _ => Ok(Some(ExitStatus::from_raw(status))),
    }
}

/// Children that are no program of the user's.
static HELPERS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Starts a process that works for us, and which [`is_helper`] tells from the user's.
///
/// # Errors
/// As [`Command::spawn`].
pub fn spawn_helper(command: &mut Command) -> io::Result<Child> {
    // Held until it is noted, so that nobody meets it before.
    let mut helpers = HELPERS.lock().unwrap_or_else(PoisonError::into_inner);
    let child = command.spawn()?;
    helpers.push(child.id());
    Ok(child)
}

/// Whether that child was started by [`spawn_helper`].
pub fn is_helper(pid: u32) -> bool {
    let helpers = HELPERS.lock().unwrap_or_else(PoisonError::into_inner);
    helpers.contains(&pid)
}

fn join(thread: JoinHandle<io::Result<Child>>) -> io::Result<Child> {
    thread.join().unwrap_or_else(|_| {
        Err(io::Error::other(
            "the thread that starts the program panicked",
        ))
    })
}

/// Waits for the word, or fails when the other side has gone without giving it.
fn wait_for_go(go: &mut PipeReader) -> io::Result<()> {
    let mut word = [0; 1];
    go.read_exact(&mut word)
}
