//! What the engine hands over before it changes anything that outlives it.

use std::{fmt, os::fd::BorrowedFd};

/// Somebody who puts things back, should we be killed.
pub trait Heir: fmt::Debug + Send + Sync {
    /// Hands over the pass that puts sockets back. When this returns, levers may be set.
    ///
    /// # Errors
    /// Where nobody would put them back; none must be set then.
    fn inherit(&self, put_back: BorrowedFd<'_>) -> Result<(), String>;
    /// A network namespace, of that inode, is about to let windows shrink for a moment, which it does not
    /// by itself; `setting` is the file that says so. Says whether it is safe that it will not any more.
    fn shrinks(&self, namespace: u64, setting: BorrowedFd<'_>) -> bool;
    /// It does not any more.
    fn has_shrunk(&self, namespace: u64);
}
