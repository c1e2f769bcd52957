//! Windows that were offered before a limit, taken back.
//!
//! What a connection was offered before, its sender may send: megabytes, whatever its window is now. The
//! policer would have to refuse that, and a sender that loses a fifth or more may stay slow for seconds
//! after the limit. A window may be smaller than what was offered (RFC 7323, 2.4), but the kernel makes it
//! so only where its network namespace allows it (`tcp_shrink_window`, kernel 6.5; `tcp_select_window`).
//! So it is allowed for the moment in which a connection has more than it should, which the next
//! acknowledgement ends.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Seek, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::Heir;
use crate::sys::{netns, socket, tcp::TcpInfo};

/// Below the root of /proc.
const SWITCH: &str = "sys/net/ipv4/tcp_shrink_window";

/// Longer than from one look to the next.
const A_MOMENT: Duration = Duration::from_millis(120);

/// A connection that has received nothing for so long sends no acknowledgement soon either. Longer than
/// senders wait that have lost what came when the limit began.
const AT_REST_MS: u32 = 1_500;

/// So many times the window that a connection should have is too much.
const TOO_MUCH: u32 = 2;

/// The network namespaces in which windows are taken back.
#[derive(Debug)]
pub struct Retraction {
    root: PathBuf,
    /// By inode; `None`: not ours to switch there.
    namespaces: HashMap<u64, Option<Switch>>,
}

/// `tcp_shrink_window` of a network namespace that does not allow it by itself.
#[derive(Debug)]
struct Switch {
    file: File,
    /// While it is on.
    wanted_until: Option<Instant>,
}

/// Whether the window of a connection is to be taken back to `window` bytes.
pub fn is_worth_it(info: &TcpInfo, window: u32) -> bool {
    info.receive_window > window.saturating_mul(TOO_MUCH)
        && info.last_data_received_ms < AT_REST_MS
}

impl Retraction {
    /// `root` is `/proc`.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            namespaces: HashMap::new(),
        }
    }

    /// Has the window of that socket made smaller by its next acknowledgement.
    pub fn take_back(&mut self, socket: &OwnedFd, heir: Option<&Arc<dyn Heir>>) {
        let Ok(namespace) = netns::of_socket(socket) else {
            return;
        };
        let Some(inode) = socket::inode(&namespace) else {
            return;
        };
        let root = &self.root;
        let switch = self
            .namespaces
            .entry(inode)
            .or_insert_with(|| Switch::open(root, &namespace, inode, heir));
        if let Some(switch) = switch {
            switch.on();
        }
    }

    /// Switches off where nobody has wanted it for a moment.
    pub fn settle(&mut self) {
        let now = Instant::now();
        for switch in self.namespaces.values_mut().flatten() {
            if switch.wanted_until.is_some_and(|until| until < now) {
                switch.off();
            }
        }
    }

    /// Switches off everywhere.
    pub fn end(&mut self) {
        for switch in self.namespaces.values_mut().flatten() {
            switch.off();
        }
    }
}

impl Drop for Retraction {
    fn drop(&mut self) {
        self.end();
    }
}

impl Switch {
    /// `None` where the kernel has none, it is not for us, or it is on anyway.
    fn open(
        root: &Path,
        namespace: &OwnedFd,
        _inode: u64,
        _heir: Option<&Arc<dyn Heir>>,
    ) -> Option<Self> {
        let path = root.join(SWITCH);
        // What the file is of is decided where it is opened.
        let open = || File::options().read(true).write(true).open(path);
        let mut file = netns::within(namespace, open)?.ok()?;
        let mut before = String::new();
        file.read_to_string(&mut before).ok()?;
        (before.trim() == "0").then_some(Self {
            file,
            wanted_until: None,
        })
    }

    fn on(&mut self) {
        if self.wanted_until.is_some() || self.write("1") {
            self.wanted_until = Some(Instant::now() + A_MOMENT);
        }
    }

    fn off(&mut self) {
        if self.wanted_until.take().is_some() && !self.write("0") {
            log::warn!("tcp_shrink_window of a network namespace stays on");
        }
    }

    fn write(&mut self, value: &str) -> bool {
        self.file.rewind().is_ok() && self.file.write_all(value.as_bytes()).is_ok()
    }
}
