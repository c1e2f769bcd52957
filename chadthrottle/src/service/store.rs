//! What the service manager keeps for the next engine, should this one end without a stop.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::{
    fcntl::OFlag,
    poll::{PollFd, PollFlags, poll},
    unistd::pipe2,
};
use sd_notify::NotifyState;

/// Keeps descriptors of one engine until its service is stopped, whatever becomes of the engine.
#[derive(Clone, Debug)]
pub struct Store {
    /// Counts the engines since the last stop.
    generation: u32,
}

/// What a descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A link, which keeps a program where it is.
    Link,
    /// The engine's end of the socket to its guard: when the last descriptor of it is closed, the guard undoes what
    /// the engine has changed.
    Guard,
    /// A file in memory with the limits that are set.
    Limits,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Link, Self::Guard, Self::Limits];

    const fn word(self) -> &'static str {
        match self {
            Self::Link => "links",
            Self::Guard => "guard",
            Self::Limits => "limits",
        }
    }

    /// What the manager calls those of one engine.
    pub(super) fn name(self, generation: u32) -> String {
        format!("{}-{generation}", self.word())
    }

    /// The kind and the engine of a descriptor of that name.
    pub(super) fn of(name: &str) -> Option<(Self, u32)> {
        let (word, generation) = name.rsplit_once('-')?;
        let kind = Self::ALL.into_iter().find(|kind| kind.word() == word)?;
        Some((kind, generation.parse().ok()?))
    }
}

/// How long a service manager may take to take descriptors, in milliseconds.
const SETTLING: u16 = 5_000;

impl Store {
    pub(super) const fn of(generation: u32) -> Self {
        Self { generation }
    }

    /// Keeps links, and with them the programs where they are.
    pub fn keep_links(&self, links: &[impl AsFd]) {
        // The kernel takes 253 in one message (`SCM_MAX_FD`); we have a tenth of that.
        let links: Vec<BorrowedFd<'_>> = links.iter().map(AsFd::as_fd).collect();
        self.keep(Kind::Link, &links);
    }

    /// Keeps our end of the socket to the guard.
    pub fn keep_guard(&self, socket: BorrowedFd<'_>) {
        self.keep(Kind::Guard, &[socket]);
    }

    /// Keeps the file with the limits.
    pub fn keep_limits(&self, file: BorrowedFd<'_>) {
        self.keep(Kind::Limits, &[file]);
    }

    /// Waits until the manager has taken what it was given so far: what comes of a process that has ended meanwhile it
    /// may not know whose it is. See `BARRIER=1` in sd_notify(3).
    pub fn settle() {
        let settle = || -> io::Result<bool> {
            let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
            let state = [NotifyState::Custom("BARRIER=1")];
            sd_notify::notify_with_fds(&state, &[theirs.as_fd()])?;
            drop(theirs);
            let mut closed = [PollFd::new(ours.as_fd(), PollFlags::empty())];
            Ok(poll(&mut closed, SETTLING)? > 0)
        };
        match settle() {
            Ok(true) => {}
            Ok(false) => log::warn!("the service manager takes long to take descriptors"),
            Err(error) => log::warn!("waiting for the service manager: {error}"),
        }
    }

    fn keep(&self, kind: Kind, descriptors: &[BorrowedFd<'_>]) {
        let name = kind.name(self.generation);
        let state = [NotifyState::FdStore, NotifyState::FdName(&name)];
        if let Err(error) = sd_notify::notify_with_fds(&state, descriptors) {
            log::warn!("handing descriptors to the service manager: {error}");
        }
    }

    /// Has it close those of one engine.
    pub(super) fn drop_all_of(generation: u32) {
        for kind in Kind::ALL {
            let name = kind.name(generation);
            let state = [NotifyState::FdStoreRemove, NotifyState::FdName(&name)];
            if let Err(error) = sd_notify::notify(&state) {
                log::warn!("having the service manager close descriptors: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_it_is_for_and_other_names_say_nothing() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(&kind.name(12)), Some((kind, 12)));
        }
        for name in [
            "chadthrottle.socket",
            "links",
            "links-",
            "links-x",
            "other-1",
            "",
        ] {
            assert_eq!(Kind::of(name), None, "{name}");
        }
    }
}
