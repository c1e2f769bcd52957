//! The table of processes, kept up to date at the cost of one directory listing a sample.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::DirEntryExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use procfs::process::Process;

use super::{ProcessKey, user::UserNames};

/// What is shown of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its identity.
    pub key: ProcessKey,
    /// Its parent's id.
    pub parent: u32,
    /// `comm`.
    pub name: Arc<str>,
    /// Path of the executable; empty where it cannot be read.
    pub exe: Arc<str>,
    /// Effective user id.
    pub uid: u32,
    /// Name of that user.
    pub user: Arc<str>,
    /// cgroup v2 path.
    pub cgroup: Arc<str>,
}

/// Every process but kernel threads.
#[derive(Debug)]
pub struct ProcessTable {
    root: PathBuf,
    users: UserNames,
    entries: BTreeMap<u32, Entry>,
    refreshes: u32,
}

#[derive(Debug)]
struct Entry {
    /// Of the directory /proc/PID, which is another one when the id is used again.
    inode: u64,
    /// `None`: a kernel thread.
    info: Option<ProcessInfo>,
    /// How often it has been read again: exec changes name, executable and user.
    reads: u32,
}

/// What a refresh found.
#[derive(Debug, Default)]
pub struct Changes {
    /// New processes.
    pub started: Vec<ProcessKey>,
    /// Processes that are gone, as they were last seen.
    pub ended: Vec<ProcessInfo>,
}

/// A process is read again in each of its first samples, since most call exec at once …
const EARLY_READS: u32 = 3;
/// … and then in one of that many.
const REREAD_EVERY: u32 = 16;

impl ProcessTable {
    /// An empty table over `root`, which is `/proc` but in tests.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self {
            users: UserNames::system(),
            root,
            entries: BTreeMap::new(),
            refreshes: 0,
        }
    }

    /// Where it reads.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Brings the table up to date.
    ///
    /// # Errors
    /// Where the root cannot be listed. A process that cannot be read has just ended.
    pub fn refresh(&mut self) -> std::io::Result<Changes> {
        self.refreshes = self.refreshes.wrapping_add(1);
        let mut changes = Changes::default();
        let mut before = std::mem::take(&mut self.entries);
        for entry in fs::read_dir(&self.root)? {
            let Ok(entry) = entry else { continue };
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let inode = entry.ino();
            let known = match before.remove(&pid) {
                Some(known) if known.inode == inode => Some(known),
                Some(other) => {
                    changes.ended.extend(other.info);
                    None
                }
                None => None,
            };
            if let Some(entry) = self.read_if_due(pid, inode, known, &mut changes) {
                self.entries.insert(pid, entry);
            }
        }
        changes
            .ended
            .extend(before.into_values().filter_map(|entry| entry.info));
        Ok(changes)
    }

    fn read_if_due(
        &mut self,
        pid: u32,
        inode: u64,
        known: Option<Entry>,
        changes: &mut Changes,
    ) -> Option<Entry> {
        let reads = known.as_ref().map_or(0, |known| known.reads);
        let due = pid
            .wrapping_add(self.refreshes)
            .is_multiple_of(REREAD_EVERY);
        if let Some(known) = known {
            if known.info.is_none() || (reads >= EARLY_READS && !due) {
                return Some(known);
            }
            let old = known.info;
            let Some(info) = self.read(pid) else {
                changes.ended.extend(old);
                return None;
            };
            // The inode of /proc/PID can stay while the id is used again, if only just.
            if old.as_ref().map(|old| old.key) != info.as_ref().map(|info| info.key) {
                changes.ended.extend(old);
                changes.started.extend(info.as_ref().map(|info| info.key));
            }
            return Some(Entry {
                inode,
                info,
                reads: reads.saturating_add(1),
            });
        }
        let info = self.read(pid)?;
        changes.started.extend(info.as_ref().map(|info| info.key));
        Some(Entry {
            inode,
            info,
            reads: 1,
        })
    }

    /// Reads one process: `None` where it is gone, `Some(None)` for a kernel thread.
    fn read(&mut self, pid: u32) -> Option<Option<ProcessInfo>> {
        const PF_KTHREAD: u32 = 0x0020_0000;
        let process = Process::new_with_root(self.root.join(pid.to_string())).ok()?;
        let stat = process.stat().ok()?;
        if stat.flags & PF_KTHREAD != 0 {
            return Some(None);
        }
        let uid = process.status().map(|status| status.euid).ok()?;
        let exe = process.exe().unwrap_or_default();
        let cgroup = process
            .cgroups()
            .ok()
            .and_then(|groups| groups.into_iter().find(|group| group.hierarchy == 0))
            .map(|group| group.pathname)
            .unwrap_or_default();
        Some(Some(ProcessInfo {
            key: ProcessKey {
                pid,
                start_ticks: stat.starttime,
            },
            parent: u32::try_from(stat.ppid).unwrap_or(0),
            name: stat.comm.into(),
            exe: exe.to_string_lossy().into(),
            uid,
            user: self.users.name(uid),
            cgroup: cgroup.into(),
        }))
    }

    /// The process of that id.
    pub fn get(&self, pid: u32) -> Option<&ProcessInfo> {
        self.entries.get(&pid)?.info.as_ref()
    }

    /// All processes in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &ProcessInfo> {
        self.entries
            .values()
            .filter_map(|entry| entry.info.as_ref())
    }

    /// Whether that very process is there.
    pub fn contains(&self, key: ProcessKey) -> bool {
        self.get(key.pid).is_some_and(|info| info.key == key)
    }
}

/// The identity of the process that has that id now, read from `root`.
pub fn key_of(root: &Path, pid: u32) -> Option<ProcessKey> {
    let process = Process::new_with_root(root.join(pid.to_string())).ok()?;
    let stat = process.stat().ok()?;
    // A zombie has no sockets any more, and nothing can be done to it.
    (stat.state != 'Z').then_some(ProcessKey {
        pid,
        start_ticks: stat.starttime,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up /proc/PID.
    fn write(root: &Path, pid: u32, comm: &str, ppid: u32, flags: u32, start: u64) {
        let directory = root.join(pid.to_string());
        fs::create_dir_all(&directory).unwrap();
        let stat = format!(
            "{pid} ({comm}) S {ppid} 1 1 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0 {}",
            "0 ".repeat(28)
        );
        fs::write(directory.join("stat"), stat).unwrap();
        fs::write(directory.join("cgroup"), "0::/user.slice\n").unwrap();
        fs::write(directory.join("status"), STATUS).unwrap();
    }

    const STATUS: &str = "Name:\tx\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t5\nNgid:\t0\n\
        Pid:\t5\nPPid:\t1\nTracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nFDSize:\t64\n\
        Groups:\t0 \nThreads:\t1\nSigQ:\t0/1\nSigPnd:\t0000000000000000\n\
        ShdPnd:\t0000000000000000\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n\
        SigCgt:\t0000000000000000\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n\
        CapEff:\t0000000000000000\n";

    fn names(table: &ProcessTable) -> Vec<String> {
        table.iter().map(|info| info.name.to_string()).collect()
    }

    #[test]
    fn hostile_names_kernel_threads_and_half_gone_processes() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), 5, "a) S 1 (b \u{1b}[31m\n", 1, 0, 100);
        write(root.path(), 6, "kworker", 2, 0x0020_0000, 1);
        fs::create_dir(root.path().join("7")).unwrap(); // gone before its stat was read
        fs::write(root.path().join("uptime"), "1 1").unwrap();
        let mut table = ProcessTable::new(root.path());
        let changes = table.refresh().unwrap();
        assert_eq!(
            changes.started,
            [ProcessKey {
                pid: 5,
                start_ticks: 100
            }]
        );
        assert_eq!(names(&table), ["a) S 1 (b \u{1b}[31m\n"]);
        assert_eq!(&*table.get(5).unwrap().cgroup, "/user.slice");
        assert_eq!(&*table.get(5).unwrap().exe, "");
    }

    #[test]
    fn a_process_that_takes_over_an_id_is_a_new_one() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), 5, "first", 1, 0, 100);
        let mut table = ProcessTable::new(root.path());
        table.refresh().unwrap();
        write(root.path(), 5, "second", 1, 0, 200);
        let changes = table.refresh().unwrap();
        assert_eq!(changes.ended.len(), 1);
        assert_eq!(&*changes.ended[0].name, "first");
        assert_eq!(
            changes.started,
            [ProcessKey {
                pid: 5,
                start_ticks: 200
            }]
        );
        fs::remove_dir_all(root.path().join("5")).unwrap();
        let changes = table.refresh().unwrap();
        assert_eq!(&*changes.ended[0].name, "second");
        assert!(names(&table).is_empty());
    }

    #[test]
    fn exec_shows_the_new_name_in_the_next_sample() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), 5, "sh", 1, 0, 100);
        let mut table = ProcessTable::new(root.path());
        table.refresh().unwrap();
        write(root.path(), 5, "wget", 1, 0, 100);
        let changes = table.refresh().unwrap();
        assert!(changes.started.is_empty() && changes.ended.is_empty());
        assert_eq!(names(&table), ["wget"]);
    }
}
