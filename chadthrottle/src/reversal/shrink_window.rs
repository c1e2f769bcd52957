//! `net.ipv4.tcp_shrink_window`, which a limit switches on for a moment.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use crate::sys::netns;

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

impl AsFd for ShrinkWindow {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
