//! Windows that were offered before a limit, taken back.
//!
//! What a connection was offered before, its sender may send: megabytes, whatever its window is now. The
//! policer would have to refuse that, and senders that lose a fifth may stay slow for long after the limit.
//! A window may become smaller than what was offered (RFC 7323, 2.4), but the kernel makes it so only
//! where a setting of the network namespace allows it (`tcp_select_window`). So the setting is on for a moment
//! when a limit begins, in the namespaces of its processes.

use std::{
    collections::HashMap,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::Instant,
};

use super::tuning::SHRINKING;
use crate::{
    process::namespaces::Namespace,
    reversal::{Heir, ShrinkWindow},
};

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
                && heir.shrinks(*inode, setting.as_fd())
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
