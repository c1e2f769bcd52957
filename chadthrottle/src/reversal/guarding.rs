//! What a guard process does: it waits for the end of the engine, and undoes what that has left.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::SigSet,
};

use super::{
    custody::{Custody, Host, System, Then},
    message::{Message, receive, send},
    state_dir::StateDir,
};
use crate::sys::memory;

/// The hidden command that makes the program a guard.
pub const COMMAND: &str = "guard";

/// What the guard process does, from start to end. Gives the exit code.
///
/// # Errors
/// Where its surroundings are not those that [`super::Guard::start`] makes.
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
    use std::{process::Command, thread::sleep, time::Duration};

    use super::*;
    use crate::{
        reversal::testing::{FakeSystem, descriptor, record},
        sys::{fdpass, socket::pidfd_open},
    };

    fn directory() -> (tempfile::TempDir, StateDir) {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::make(directory.path()).unwrap();
        (directory, state)
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
