//! Which process has an id now, and whose it is.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use chadthrottle_common::kernel::PF_KTHREAD;
use procfs::{ProcError, process::Process};

use super::ProcessInfo;
use crate::model::ProcessKey;

/// What a process can change about itself without becoming another program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guise {
    uid: u32,
    gid: u32,
    name: String,
}

impl Guise {
    /// That of the process which has that id now, at a fraction of what it costs to read all of it.
    pub fn of(root: &Path, pid: u32) -> Option<Self> {
        let (uid, gid) = owner_of(root, pid).ok()?;
        let name = fs::read(root.join(pid.to_string()).join("comm")).ok()?;
        let name = name.strip_suffix(b"\n").unwrap_or(&name);
        Some(Self {
            uid,
            gid,
            name: String::from_utf8_lossy(name).into_owned(),
        })
    }

    /// Whether that process has it.
    pub fn is_of(&self, process: &ProcessInfo) -> bool {
        (self.uid, self.gid, self.name.as_str()) == (process.uid, process.gid, &*process.name)
    }
}

/// The effective user and group of the process, to whom `/proc/PID` belongs, unlike what is in it, whether the process
/// is dumpable or not (`task_dump_owner` in fs/proc/base.c). A fraction of the cost of reading its `status`.
///
/// # Errors
/// Where it is gone.
pub fn owner_of(root: &Path, pid: u32) -> io::Result<(u32, u32)> {
    let metadata = fs::metadata(root.join(pid.to_string()))?;
    Ok((metadata.uid(), metadata.gid()))
}

/// The effective user of the process; `None` where it is gone.
pub fn user_of(root: &Path, pid: u32) -> Option<u32> {
    owner_of(root, pid).ok().map(|(user, _)| user)
}

/// The identity of the process that has that id now, read from `root`; `None` where there is none, or it cannot be read.
pub fn key_of(root: &Path, pid: u32) -> Option<ProcessKey> {
    find(root, pid).ok().flatten()
}

/// The same; `None` where there is none.
///
/// # Errors
/// Where it cannot be read, as when a limit of open files is reached.
pub fn find(root: &Path, pid: u32) -> io::Result<Option<ProcessKey>> {
    let process = Process::new_with_root(root.join(pid.to_string()));
    let stat = match process.and_then(|process| process.stat()) {
        Ok(stat) => stat,
        Err(ProcError::Io(error, _)) if error.raw_os_error() != Some(libc::ESRCH) => {
            return Err(error);
        }
        Err(_) => return Ok(None),
    };
    // A zombie has no sockets any more, and nothing can be done to it; but a process whose first
    // thread has ended looks like one, and lives.
    let ended = stat.state == 'Z' && stat.num_threads <= 1;
    Ok((!ended).then_some(ProcessKey {
        pid,
        start_ticks: stat.starttime,
    }))
}

/// The process whose thread has that id, and is not its first; `None` where the id is a process's, or nobody's.
pub fn process_of_thread(root: &Path, id: u32) -> Option<u32> {
    let status = fs::read(root.join(id.to_string()).join("status")).ok()?;
    let mut lines = status.split(|byte| *byte == b'\n');
    let process = lines.find_map(|line| line.strip_prefix(b"Tgid:"))?;
    let process = str::from_utf8(process).ok()?.trim().parse().ok()?;
    (process != id).then_some(process)
}

/// Whether it is a thread of the kernel's, which uses no sockets of its own.
pub fn is_kernel_thread(root: &Path, pid: u32) -> bool {
    let process = Process::new_with_root(root.join(pid.to_string()));
    let stat = process.and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.flags & PF_KTHREAD != 0)
}
