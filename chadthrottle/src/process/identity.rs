//! Which process has an id now, and whose it is.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use chadthrottle_common::kernel::PF_KTHREAD;
use procfs::process::Process;

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
        let directory = root.join(pid.to_string());
        // Of the directory, unlike what is in it, whether the process is dumpable or not.
        let metadata = fs::metadata(&directory).ok()?;
        let name = fs::read(directory.join("comm")).ok()?;
        let name = name.strip_suffix(b"\n").unwrap_or(&name);
        Some(Self {
            uid: metadata.uid(),
            gid: metadata.gid(),
            name: String::from_utf8_lossy(name).into_owned(),
        })
    }

    /// Whether that process has it.
    pub fn is_of(&self, process: &ProcessInfo) -> bool {
        (self.uid, self.gid, self.name.as_str()) == (process.uid, process.gid, &*process.name)
    }
}

/// The effective user of the process, to whom `/proc/PID` belongs (`task_dump_owner` in fs/proc/base.c); `None` where it
/// is gone.
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

/// Whether it is a thread of the kernel's, which uses no sockets of its own.
pub fn is_kernel_thread(root: &Path, pid: u32) -> bool {
    let process = Process::new_with_root(root.join(pid.to_string()));
    let stat = process.and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.flags & PF_KTHREAD != 0)
}

/// The id that was given out last, to a process or a thread, as /proc/loadavg below `root` has it; `None` where that
/// cannot be read. Where it is the same, nothing has started (`loadavg_proc_show` in fs/proc/loadavg.c).
pub fn newest_pid(root: &Path) -> Option<u32> {
    let loads = fs::read_to_string(root.join("loadavg")).ok()?;
    loads.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_starts_has_the_newest_id() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        // Others may have started since.
        let newest = newest_pid(Path::new("/proc")).unwrap();
        // Ids begin again at the end of their range.
        assert!(newest >= pid || newest < 5_000, "{newest} {pid}");
        assert_eq!(newest_pid(Path::new("/nonexistent")), None);
    }
}
