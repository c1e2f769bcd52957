//! The socket options that we set, each with what it was before.
//!
//! Architecture invariant: an option is set only after its value before has been noted in the
//! kernel, on the socket itself. So nothing is ever set that cannot be put back, also by somebody
//! else after us, and a socket that is closed takes its note along.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    path::Path,
};

use aya::maps::{Map, MapData, MapError, SkStorage};
use chadthrottle_common::abi::SocketOptions;

use crate::{
    process::{SocketFd, sockets_of},
    sys::{
        SyscallError, socket,
        tcp::{self, TcpInfo},
    },
};

const BPF_ANY: u64 = 0;

/// The notes on all sockets.
#[derive(Debug)]
pub struct Options {
    notes: SkStorage<MapData, [u64; 3]>,
    map: OwnedFd,
}

impl Options {
    /// Over a descriptor of the map of notes.
    ///
    /// # Errors
    /// Where it is another kind of map, or no descriptor is left.
    pub fn new(map: OwnedFd) -> Result<Self, MapError> {
        let another = map.try_clone()?;
        let notes = Map::SkStorage(MapData::from_fd(another)?).try_into()?;
        Ok(Self { notes, map })
    }

    /// The map's descriptor, for somebody who is to put things back after us.
    pub fn map(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }

    /// What is noted on the socket.
    fn note(&self, socket: &OwnedFd) -> Option<SocketOptions> {
        Some(SocketOptions::from_words(self.notes.get(socket, 0).ok()?))
    }

    fn write(&mut self, socket: &OwnedFd, note: SocketOptions) -> Result<(), MapError> {
        self.notes.insert(socket, note.words(), BPF_ANY)
    }

    /// Holds what the socket sends to `rate` bytes a second; `info` is how it is now.
    pub fn pace(&mut self, socket: &OwnedFd, info: &TcpInfo, rate: u64) {
        let mut note = self.note(socket).unwrap_or_default();
        let present = info.max_pacing_rate;
        if note.pacing_set == 0 || note.pacing_set != present {
            // New to us, or its program has set it meanwhile.
            note.pacing_before = present;
        }
        // Never more than its program wants itself.
        note.pacing_set = rate.max(1).min(note.pacing_before);
        if note.pacing_set == present {
            return;
        }
        if self.write(socket, note).is_ok() {
            let _ = tcp::set_max_pacing_rate(socket, note.pacing_set);
        }
    }

    /// Holds the window that the socket offers to `window` bytes.
    pub fn clamp(&mut self, socket: &OwnedFd, window: u32) {
        let Ok(present) = tcp::window_clamp(socket) else {
            return;
        };
        let mut note = self.note(socket).unwrap_or_default();
        if note.clamp_set == 0 || note.clamp_set != present {
            // New to us, or its program or the kernel's tuning has set it meanwhile.
            note.clamp_before = present;
        }
        note.clamp_set = window.max(1).min(note.clamp_before);
        if note.clamp_set == present || self.write(socket, note).is_err() {
            return;
        }
        let _ = tcp::set_window_clamp(socket, note.clamp_set);
        // The kernel has a smallest value.
        if let Ok(real) = tcp::window_clamp(socket)
            && real != note.clamp_set
        {
            note.clamp_set = real;
            let _ = self.write(socket, note);
        }
    }

    /// Puts the socket's options back. Says whether there was anything to put back.
    ///
    /// # Errors
    /// Where the kernel refuses; it stays noted then.
    pub fn put_back(&mut self, socket: &OwnedFd) -> Result<bool, SyscallError> {
        let Some(note) = self.note(socket) else {
            return Ok(false);
        };
        if note.pacing_set != 0 {
            tcp::set_max_pacing_rate(socket, note.pacing_before)?;
        }
        if note.clamp_set != 0 && note.clamp_before != 0 {
            tcp::set_window_clamp(socket, note.clamp_before)?;
        }
        // It is gone where the socket is.
        let _ = self.notes.remove(socket);
        Ok(true)
    }

    /// Puts back the options of all sockets of that process.
    pub fn put_back_in(&mut self, root: &Path, pid: u32) {
        let Ok(process) = socket::pidfd_open(pid) else {
            return;
        };
        for SocketFd { fd, .. } in sockets_of(root, pid) {
            if let Some(socket) = duplicate(process.as_fd(), fd)
                && let Err(error) = self.put_back(&socket)
            {
                log::warn!("a socket of process {pid} keeps its limit: {error}");
            }
        }
    }

    /// Puts back the options of all sockets of the machine.
    pub fn put_back_everywhere(&mut self, root: &Path) {
        let processes = fs::read_dir(root).into_iter().flatten().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        for pid in pids {
            self.put_back_in(root, pid);
        }
    }
}

/// A short-lived duplicate of a process's descriptor; `None` where it is gone.
pub fn duplicate(process: BorrowedFd<'_>, fd: RawFd) -> Option<OwnedFd> {
    socket::pidfd_getfd(process, fd).ok()
}
