//! Windows that were offered before a limit, taken back.
//!
//! What a connection was offered before, its sender may send: megabytes, whatever its window is now. The
//! policer would have to refuse that, and senders that lose a fifth may stay slow for long after the limit.
//! A window may become smaller than what was offered (RFC 7323, 2.4), but the kernel makes it so only
//! where a setting of the network namespace allows it (`tcp_select_window`). So the setting is on for a moment
//! when a limit begins, in the namespaces of its processes.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Instant,
};

use super::{Heir, tuning::SHRINKING};
use crate::{process::namespaces::Namespace, sys::netns};

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

/// The network namespaces in which windows may shrink for now.
#[derive(Debug)]
pub struct Shrinking {
    root: PathBuf,
    /// By inode, until when. While one is here its setting was off before, and is held open, so that the
    /// namespace stays.
    moments: HashMap<u64, (ShrinkWindow, Instant)>,
}

impl Shrinking {
    /// None. `root` is `/proc`.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            moments: HashMap::new(),
        }
    }

    /// Lets windows shrink for a moment where they do not anyway.
    pub fn begin(&mut self, namespaces: &[Namespace], heir: &dyn Heir) {
        let until = Instant::now() + SHRINKING;
        for Namespace { inode, fd } in namespaces {
            if let Some((_, end)) = self.moments.get_mut(inode) {
                *end = until;
            } else if let Some(mut setting) = ShrinkWindow::open(&self.root, fd)
                // Where it is on already, it is somebody else's, and stays.
                && setting.is_on().is_ok_and(|on| !on)
                && heir.shrinks(*inode, setting.0.as_fd())
            {
                match setting.set(true) {
                    Ok(()) => _ = self.moments.insert(*inode, (setting, until)),
                    Err(_) => heir.has_shrunk(*inode),
                }
            }
        }
    }

    /// Ends moments that are over.
    pub fn settle(&mut self, heir: &dyn Heir) {
        self.end_before(Instant::now(), heir);
    }

    /// Ends all of them.
    pub fn end(&mut self, heir: &dyn Heir) {
        self.end_before(Instant::now() + SHRINKING, heir);
    }

    fn end_before(&mut self, now: Instant, heir: &dyn Heir) {
        let over = self.moments.extract_if(|_, (_, until)| *until <= now);
        for (inode, (mut setting, _)) in over {
            // It fails where the namespace is gone.
            let _ = setting.set(false);
            heir.has_shrunk(inode);
        }
    }
}
