//! Doing something within a network namespace.

use std::{
    os::fd::{AsRawFd, OwnedFd, RawFd},
    thread,
};

use nix::sched::{CloneFlags, setns};

use super::apart::apart;

/// Does something within a network namespace, in a thread of its own; `None` where that may not be
/// entered. Needs CAP_SYS_ADMIN.
pub fn within<T: Send>(namespace: &OwnedFd, act: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        // A machine that is out of threads gives none.
        let thread = thread::Builder::new().spawn_scoped(scope, || enter(namespace, act));
        thread.ok()?.join().ok().flatten()
    })
}

/// The same for what may hang: its thread has only these descriptors, and what it gives holds none.
pub fn within_apart<T: Send>(
    namespace: &OwnedFd,
    keep: &[RawFd],
    act: impl FnOnce() -> T + Send,
) -> Option<T> {
    let keep = [keep, &[namespace.as_raw_fd()]].concat();
    apart(&keep, || enter(namespace, act)).flatten()
}

fn enter<T>(namespace: &OwnedFd, act: impl FnOnce() -> T) -> Option<T> {
    setns(namespace, CloneFlags::CLONE_NEWNET).ok()?;
    Some(act())
}
