//! Doing something within a network namespace.

use std::{os::fd::OwnedFd, thread};

use nix::sched::{CloneFlags, setns};

/// Does something within a network namespace, in a thread of its own; `None` where that may not be
/// entered. Needs CAP_SYS_ADMIN.
pub fn within<T: Send>(namespace: &OwnedFd, act: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        // A machine that is out of threads gives none.
        let thread = thread::Builder::new().spawn_scoped(scope, || {
            setns(namespace, CloneFlags::CLONE_NEWNET).ok()?;
            Some(act())
        });
        thread.ok()?.join().ok().flatten()
    })
}
