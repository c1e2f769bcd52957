//! What engine and guard say to each other, with the descriptors that go with it.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::{journal::Record, taken_terminal::Modes};
use crate::sys::fdpass;

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// Engine, with descriptors of its process and of the state directory: this is who to watch.
    Watch {
        /// Path of the state directory.
        state: PathBuf,
        /// Whether somebody keeps the engine's end of the socket beyond the engine's end: what it has changed is
        /// undone when that is closed, and not before.
        kept: bool,
    },
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

/// Sends a message.
///
/// # Errors
/// Where the other end is closed.
pub fn send(socket: BorrowedFd<'_>, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    fdpass::send(socket, &serde_json::to_vec(message)?, fds)
}

/// Waits for a message; `None` where the other end is closed and has said nothing more.
///
/// # Errors
/// Where it is no message, and once where the other end has closed without having read all that was sent to it.
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    let Some(fdpass::Message { bytes, fds }) = fdpass::receive(socket)? else {
        return Ok(None);
    };
    Ok(Some((serde_json::from_slice(&bytes)?, fds)))
}
