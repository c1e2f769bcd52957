//! Which process has an id now, and whose it is.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use procfs::process::Process;

use crate::model::ProcessKey;

/// The user of the process; root where it may not be looked into by its own user, `None` where it is gone.
///
/// `/proc/PID` belongs to the effective user, or to root where the process is not dumpable (proc(5)).
pub fn user_of(root: &Path, pid: u32) -> Option<u32> {
    let process = fs::metadata(root.join(pid.to_string()));
    Some(process.ok()?.uid())
}

/// The identity of the process that has that id now, read from `root`.
pub fn key_of(root: &Path, pid: u32) -> Option<ProcessKey> {
    let process = Process::new_with_root(root.join(pid.to_string())).ok()?;
    let stat = process.stat().ok()?;
    // A zombie has no sockets any more, and nothing can be done to it; but a process whose first
    // thread has ended looks like one, and lives.
    let ended = stat.state == 'Z' && stat.num_threads <= 1;
    (!ended).then_some(ProcessKey {
        pid,
        start_ticks: stat.starttime,
    })
}
