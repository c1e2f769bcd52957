//! The socket options that we set, each with what it was before.
//!
//! Architecture invariant: an option is set only after its value before has been noted in the
//! kernel, on the socket itself. So nothing is ever set that cannot be put back, also by somebody
//! else after us, and a socket that is closed takes its note along.

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use aya::maps::{Map, MapData, MapError, SkStorage};
use chadthrottle_common::{
    abi::{HEARD, SocketOptions, TO_BE_HEARD, UNHEARD},
    gate::CLOSED_WINDOW,
};

use crate::{
    process::{each_socket_of, pids},
    sys::{
        SyscallError,
        tcp::{self, TcpInfo},
    },
};

const BPF_ANY: u64 = 0;

/// A pace that has grown so many times is not one that BBR would find by itself soon.
const MUCH_FASTER: u64 = 4;

/// The notes on all sockets.
#[derive(Debug)]
pub struct Options {
    notes: SkStorage<MapData, [u64; 5]>,
    map: OwnedFd,
    flights: Option<Vec<OwnedFd>>,
    heir: Option<Arc<dyn Heir>>,
}

impl Options {
    /// Over a descriptor of the map of notes.
    ///
    /// # Errors
    /// Where it is another kind of map, or no descriptor is left.
    pub fn new(map: OwnedFd) -> Result<Self, MapError> {
        let another = map.try_clone()?;
        let notes = Map::SkStorage(MapData::from_fd(another)?).try_into()?;
        Ok(Self {
            notes,
            map,
            flights: None,
            heir: None,
        })
    }

    /// The same, where programs set congestion windows, with links that keep them attached.
    pub fn with_flights(self, links: Vec<OwnedFd>) -> Self {
        Self {
            flights: Some(links),
            ..self
        }
    }

    /// Whether programs set congestion windows.
    pub fn sets_flights(&self) -> bool {
        self.flights.is_some()
    }

    /// The same, with somebody who puts things back should we be killed.
    pub fn with_heir(self, heir: Arc<dyn Heir>) -> Self {
        Self {
            heir: Some(heir),
            ..self
        }
    }

    /// Who puts things back should we be killed.
    pub fn heir(&self) -> Option<&dyn Heir> {
        self.heir.as_deref()
    }

    /// Has the heir ready.
    ///
    /// # Errors
    /// Why there is none; nothing must be set then.
    pub fn appoint(&self) -> Result<(), String> {
        match &self.heir {
            Some(heir) => {
                let links = self.flights.iter().flatten().map(AsFd::as_fd).collect();
                heir.inherit(self.map.as_fd(), links)
            }
            None => Err("nobody would put socket options back".to_owned()),
        }
    }

    /// Tells the heir which sockets are still open.
    pub fn keep(&self, is_open: impl Fn(u64) -> bool) {
        if let Some(heir) = &self.heir {
            heir.keep(&is_open);
        }
    }

    /// What is noted on the socket.
    fn note(&self, socket: &OwnedFd) -> Option<SocketOptions> {
        Some(SocketOptions::from_words(self.notes.get(socket, 0).ok()?))
    }

    /// Notes what a socket has, everywhere. Says whether it may be set now.
    fn write(&mut self, socket: &OwnedFd, inode: u64, note: SocketOptions) -> bool {
        self.tell_heir(inode, note) && self.notes.insert(socket, note.words(), BPF_ANY).is_ok()
    }

    fn tell_heir(&self, inode: u64, note: SocketOptions) -> bool {
        // What we set it to changes all the time, and does not matter for putting it back.
        let note = SocketOptions {
            pacing_set: note.pacing_set.min(1),
            clamp_set: note.clamp_set.min(1),
            flight_wanted: 0,
            flight_set: (note.flight_wanted | note.flight_set).min(1),
            heard: 0,
            ..note
        };
        self.heir
            .as_ref()
            .is_none_or(|heir| heir.noted(inode, note))
    }

    /// Holds what the socket sends to `rate` bytes a second; `info` is how it is now. Gives what is
    /// noted on it then.
    pub fn pace(
        &mut self,
        socket: &OwnedFd,
        inode: u64,
        info: &TcpInfo,
        rate: u64,
    ) -> SocketOptions {
        let mut note = self.note(socket).unwrap_or_default();
        let present = info.max_pacing_rate;
        if note.pacing_set == 0 || note.pacing_set != present {
            // New to us, or its program has set it meanwhile.
            note.pacing_before = present;
        }
        // Never more than its program wants itself.
        note.pacing_set = rate.max(1).min(note.pacing_before);
        if note.pacing_set == present {
            // The kernel program may have set it.
            self.tell_heir(inode, note);
        } else if self.write(socket, inode, note) {
            let _ = tcp::set_max_pacing_rate(socket, note.pacing_set);
            if note.pacing_set / MUCH_FASTER >= present {
                let _ = tcp::restart_bbr(socket);
            }
        }
        note
    }

    /// Lets no more than so many segments of the socket be on their way, or as many as there were
    /// before; `info` is how it is now, and `note` what is noted on it.
    ///
    /// The kernel makes no congestion window smaller for it, but where a packet was refused it does anyway,
    /// to three tenths less each time, or to what is set while it does (`tcp_end_cwnd_reduction`).
    pub fn hold_flight(
        &mut self,
        socket: &OwnedFd,
        inode: u64,
        info: &TcpInfo,
        mut note: SocketOptions,
        segments: Option<u32>,
    ) {
        let Some(segments) = segments else {
            if note.flight_set != 0
                && let Err(error) = self.put_back(socket, Which::FLIGHT)
            {
                log::warn!("a socket keeps its congestion window: {error}");
            }
            return;
        };
        let is_too_large = info.is_slowing_down() && info.congestion_window > segments;
        if note.flight_set == segments && !is_too_large {
            return;
        }
        if note.flight_before == 0 {
            // The program notes what it finds.
            if self.notes.insert(socket, note.words(), BPF_ANY).is_err() {
                return;
            }
            let _ = tcp::remote_end(socket);
            note = self.note(socket).unwrap_or_default();
        }
        if note.flight_before != 0 {
            note.flight_wanted = segments.min(note.flight_before);
            if note.flight_set == note.flight_wanted {
                // The program sets nothing that it has set.
                note.flight_set = note.flight_before;
            }
            if self.write(socket, inode, note) {
                let _ = tcp::remote_end(socket);
            }
        }
    }

    /// Has the kernel program see the packets of a connection that was made before its limit (kernel 6.12),
    /// for which its window is noted. Says whether it does.
    pub fn hear(&mut self, socket: &OwnedFd, inode: u64) -> bool {
        let mut note = self.note(socket).unwrap_or_default();
        if note.heard == UNHEARD && self.sets_flights() {
            if note.clamp_set == 0 {
                let Ok(present) = tcp::window_clamp(socket) else {
                    return false;
                };
                (note.clamp_before, note.clamp_set) = (present, present);
            }
            note.heard = TO_BE_HEARD;
            if self.write(socket, inode, note) {
                let _ = tcp::remote_end(socket);
                note = self.note(socket).unwrap_or_default();
            }
        }
        note.heard == HEARD
    }

    /// Holds the window that the socket offers to `window` bytes. Where it has a gate, the kernel
    /// program may have closed it: says whether it has, and opens it again, so that the next segment
    /// finds it open.
    pub fn clamp(&mut self, socket: &OwnedFd, inode: u64, window: u32, gated: bool) -> bool {
        let Ok(present) = tcp::window_clamp(socket) else {
            return false;
        };
        let mut note = self.note(socket).unwrap_or_default();
        let closed = present < note.clamp_set && (gated || present == CLOSED_WINDOW);
        if note.clamp_set == 0 || note.clamp_set != present && !closed {
            // New to us, or its program or the kernel's tuning has set it meanwhile.
            note.clamp_before = present;
        }
        note.clamp_set = window.max(1).min(note.clamp_before);
        if note.clamp_set == present {
            self.tell_heir(inode, note);
            return closed;
        }
        if !self.write(socket, inode, note) {
            return closed;
        }
        let _ = tcp::set_window_clamp(socket, note.clamp_set);
        // The kernel has a smallest value.
        if let Ok(real) = tcp::window_clamp(socket)
            && real > note.clamp_set
        {
            note.clamp_set = real;
            self.write(socket, inode, note);
        }
        closed
    }

    /// Puts options of the socket back, where they were set.
    ///
    /// # Errors
    /// Where the kernel refuses; it stays noted then.
    pub fn put_back(&mut self, socket: &OwnedFd, which: Which) -> Result<(), SyscallError> {
        let Some(note) = self.note(socket) else {
            return Ok(());
        };
        let (mut back, mut left) = (note, note);
        if which.pacing {
            left.pacing_set = 0;
        } else {
            back.pacing_set = 0;
        }
        if which.clamp {
            left.clamp_set = 0;
        } else {
            back.clamp_set = 0;
        }
        restore(socket, back)?;
        if which.flight && note.flight_set != 0 {
            self.put_flight_back(socket, note)?;
            (left.flight_wanted, left.flight_set) = (0, 0);
        }
        // Either fails only where the socket is gone, and then so is its note.
        let _ = match (left.pacing_set, left.clamp_set, left.flight_set) {
            (0, 0, 0) => self.notes.remove(socket),
            _ => self.notes.insert(socket, left.words(), BPF_ANY),
        };
        Ok(())
    }

    /// Has the program set the largest congestion window to what it was. Of one without a bound,
    /// the kernel takes no more than 31 bits, which is none either.
    fn put_flight_back(
        &mut self,
        socket: &OwnedFd,
        note: SocketOptions,
    ) -> Result<(), SyscallError> {
        const MOST: u32 = i32::MAX.cast_unsigned();
        let wanted = note.flight_before.min(MOST);
        let note = SocketOptions {
            flight_wanted: wanted,
            ..note
        };
        let is_set = |options: &Self| {
            let note = options.note(socket);
            note.is_none_or(|note| note.flight_set == wanted)
        };
        // One that is not connected any more sends nothing.
        let is_back = self.notes.insert(socket, note.words(), BPF_ANY).is_err()
            || tcp::remote_end(socket).is_none()
            || is_set(self);
        if is_back {
            Ok(())
        } else {
            Err(SyscallError {
                call: "getpeername, for the congestion window",
                source: io::ErrorKind::Unsupported.into(),
            })
        }
    }

    /// Puts back what somebody else has noted of a socket.
    ///
    /// # Errors
    /// As [`Options::put_back`].
    pub fn put_back_noted(
        &mut self,
        socket: &OwnedFd,
        note: SocketOptions,
    ) -> Result<(), SyscallError> {
        // Where it cannot be noted, the socket is gone.
        let _ = self.notes.insert(socket, note.words(), BPF_ANY);
        self.put_back(socket, Which::ALL)
    }

    /// Puts back the options of all sockets of that process.
    pub fn put_back_in(&mut self, root: &Path, pid: u32) {
        each_socket_of(root, pid, |socket| {
            if let Err(error) = self.put_back(socket, Which::ALL) {
                log::warn!("a socket of process {pid} keeps its limit: {error}");
            }
        });
    }

    /// Puts back the options of all sockets of the machine.
    pub fn put_back_everywhere(&mut self, root: &Path) {
        for pid in pids(root) {
            self.put_back_in(root, pid);
        }
    }
}

/// Some of a socket's options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Which {
    /// `SO_MAX_PACING_RATE`
    pub pacing: bool,
    /// `TCP_WINDOW_CLAMP`
    pub clamp: bool,
    /// The largest congestion window.
    pub flight: bool,
}

impl Which {
    /// All of them.
    pub const ALL: Self = Self {
        pacing: true,
        clamp: true,
        flight: true,
    };

    /// The largest congestion window only.
    pub const FLIGHT: Self = Self {
        pacing: false,
        clamp: false,
        flight: true,
    };
}

/// Somebody who puts socket options back, should we be killed.
pub trait Heir: fmt::Debug + Send + Sync {
    /// Hands over the map of the notes, and links of programs that putting back needs. When this
    /// returns, options may be set.
    ///
    /// # Errors
    /// Where nobody would put them back; none must be set then.
    fn inherit(&self, notes: BorrowedFd<'_>, links: Vec<BorrowedFd<'_>>) -> Result<(), String>;
    /// An option of a socket is about to be set. Says whether its value before is safe.
    fn noted(&self, inode: u64, before: SocketOptions) -> bool;
    /// A network namespace, of that inode, is about to let windows shrink for a moment, which it does not
    /// by itself; `setting` is the file that says so. Says whether it is safe that it will not any more.
    fn may_shrink(&self, namespace: u64, setting: BorrowedFd<'_>) -> bool;
    /// Other sockets than these are closed, or nobody's concern any more.
    fn keep(&self, is_open: &dyn Fn(u64) -> bool);
}

/// Puts a socket's options back to what is noted, all but the congestion window.
///
/// # Errors
/// Where the kernel refuses.
pub fn restore(socket: &OwnedFd, note: SocketOptions) -> Result<(), SyscallError> {
    if note.pacing_set != 0 {
        tcp::set_max_pacing_rate(socket, note.pacing_before)?;
    }
    if note.clamp_set != 0 && note.clamp_before != 0 {
        tcp::set_window_clamp(socket, note.clamp_before)?;
    }
    // Last, since it is no option that we have set.
    if note.pacing_set != 0 {
        tcp::restart_bbr(socket)?;
    }
    Ok(())
}
