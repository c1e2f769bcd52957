//! Windows that were offered before a limit, taken back.
//!
//! What a connection was offered before, its sender may send: megabytes, whatever its window is now. The
//! policer would have to refuse that, and senders that lose a fifth may stay slow for long after the limit.
//! A window may become smaller than what was offered (RFC 7323, 2.4), but the kernel makes it so only
//! where a setting of the network namespace allows it (`tcp_select_window`). So the setting is on while
//! some connection there offers much more than it should, which its next acknowledgement ends.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::Heir;
use crate::sys::{netns, socket, tcp::TcpInfo};

/// How long the setting stays on after a connection was seen that needs it: longer than from one look to
/// the next, also where a look at many connections is followed by a rest.
const A_MOMENT: Duration = Duration::from_millis(400);

/// A connection that has received nothing for so long will not send an acknowledgement soon either.
/// Senders that lose what comes when a limit begins are back before.
const AT_REST_MS: u32 = 1_500;

/// How long what near senders have on its way takes to arrive: it waits in queues of this machine.
const NEAREST_ARRIVAL: Duration = Duration::from_millis(10);

/// A change takes effect within 50 ms.
const LONGEST_ARRIVAL: Duration = Duration::from_millis(40);

/// So many times the window that a connection should have is much more.
const MUCH_MORE: u32 = 2;

/// Whether the window of a connection, which should be `window` bytes, is to be taken back to that.
pub fn is_due(info: &TcpInfo, window: u32) -> bool {
    info.receive_window > window.saturating_mul(MUCH_MORE)
        && info.last_data_received_ms < AT_REST_MS
}

/// `net.ipv4.tcp_shrink_window` of a network namespace, for both IP versions (kernel 6.5).
#[derive(Debug)]
pub struct ShrinkWindow(File);

impl ShrinkWindow {
    const PATH: &str = "sys/net/ipv4/tcp_shrink_window";

    /// Whether this kernel has it; `root` is `/proc`.
    pub fn exists(root: &Path) -> bool {
        root.join(Self::PATH).exists()
    }

    /// That of the namespace; `None` where there is none, or it may not be changed.
    pub fn open(root: &Path, namespace: &OwnedFd) -> Option<Self> {
        let path = root.join(Self::PATH);
        // Whose it is is decided where the file is opened.
        let open = || File::options().read(true).write(true).open(path);
        netns::within(namespace, open)?.ok().map(Self)
    }

    /// Whether windows may shrink.
    ///
    /// # Errors
    /// Where it cannot be read: the namespace is gone.
    pub fn is_on(&mut self) -> io::Result<bool> {
        let mut value = String::new();
        self.0.rewind()?;
        self.0.read_to_string(&mut value)?;
        Ok(value.trim() != "0")
    }

    /// Lets windows shrink, or not.
    ///
    /// # Errors
    /// Where it cannot be written: the namespace is gone.
    pub fn set(&mut self, on: bool) -> io::Result<()> {
        self.0.rewind()?;
        self.0.write_all(if on { b"1" } else { b"0" })
    }
}

impl From<OwnedFd> for ShrinkWindow {
    fn from(fd: OwnedFd) -> Self {
        Self(fd.into())
    }
}

/// The network namespaces in which windows are taken back.
#[derive(Debug)]
pub struct Retraction {
    root: PathBuf,
    /// By cookie; `None`: not ours to set there.
    namespaces: HashMap<u64, Option<Moment>>,
    /// The longest round trip of those taken back since somebody has asked.
    furthest: Option<Duration>,
}

/// A setting that is on for moments only.
#[derive(Debug)]
struct Moment {
    setting: ShrinkWindow,
    /// While it is on.
    until: Option<Instant>,
}

impl Retraction {
    /// `root` is `/proc`.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            namespaces: HashMap::new(),
            furthest: None,
        }
    }

    /// Has the socket's next acknowledgement offer no more than its window. Should we be killed, the heir
    /// switches the setting off. `round_trip` is the connection's.
    pub fn take_back(&mut self, socket: &OwnedFd, round_trip: Duration, heir: &dyn Heir) {
        let Ok(cookie) = netns::cookie(socket) else {
            return;
        };
        let moment = self.namespaces.entry(cookie).or_insert_with(|| {
            let namespace = netns::of_socket(socket).ok()?;
            let inode = socket::inode(&namespace)?;
            let mut setting = ShrinkWindow::open(&self.root, &namespace)?;
            // Where it is on already, it is somebody else's.
            let is_ours = !setting.is_on().ok()? && heir.may_shrink(inode, setting.0.as_fd());
            is_ours.then_some(Moment {
                setting,
                until: None,
            })
        });
        if let Some(moment) = moment
            && (moment.until.is_some() || moment.setting.set(true).is_ok())
        {
            moment.until = Some(Instant::now() + A_MOMENT);
            self.furthest = self.furthest.max(Some(round_trip));
        }
    }

    /// How long until everything has arrived that was on its way to those that were taken back since this was
    /// asked last; at most [`LONGEST_ARRIVAL`].
    pub fn arrival(&mut self) -> Duration {
        let furthest = self.furthest.take();
        furthest.map_or(Duration::ZERO, |round_trip| {
            (round_trip + NEAREST_ARRIVAL).min(LONGEST_ARRIVAL)
        })
    }

    /// Switches the setting off where nobody has needed it for a moment.
    pub fn settle(&mut self) {
        self.switch_off_before(Instant::now());
    }

    /// Switches it off everywhere.
    pub fn end(&mut self) {
        self.switch_off_before(Instant::now() + A_MOMENT);
    }

    fn switch_off_before(&mut self, now: Instant) {
        for moment in self.namespaces.values_mut().flatten() {
            if moment.until.is_some_and(|until| until <= now) {
                moment.until = None;
                // It fails where the namespace is gone.
                let _ = moment.setting.set(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_taken_back_from_connections_that_carry_something() {
        let mut info = TcpInfo::default();
        assert!(!is_due(&info, 2_048), "an older kernel does not tell");
        info.receive_window = 4_096;
        assert!(!is_due(&info, 2_048));
        info.receive_window = 6_000_000;
        assert!(is_due(&info, 2_048));
        info.last_data_received_ms = 60_000;
        assert!(!is_due(&info, 2_048));
    }
}
