//! The table of processes, kept up to date at the cost of one directory listing a sample.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    io::Read,
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
    /// The command line with spaces between its arguments; cut where it is very long.
    pub command: Arc<str>,
    /// Effective user id.
    pub uid: u32,
    /// Name of that user.
    pub user: Arc<str>,
    /// cgroup v2 path.
    pub cgroup: Arc<str>,
}

/// Reads every process but kernel threads, and says what has changed since the last time.
#[derive(Debug)]
pub struct ProcessTable {
    root: PathBuf,
    users: UserNames,
    entries: BTreeMap<u32, Entry>,
    refreshes: u32,
    reread_every: u32,
}

#[derive(Debug)]
struct Entry {
    /// Of the directory /proc/PID, which is another one when the id is used again.
    inode: u64,
    /// `None`: a kernel thread.
    info: Option<ProcessInfo>,
    /// Refreshes since it was first seen, or told to have called exec.
    age: u32,
}

/// What a refresh found.
#[derive(Debug, Default)]
pub struct Changes {
    /// New processes.
    pub started: Vec<ProcessInfo>,
    /// Processes that are what they were, but for name, executable, user or cgroup.
    pub changed: Vec<ProcessInfo>,
    /// Processes that are gone, as they were last seen.
    pub ended: Vec<ProcessInfo>,
}

/// Which known processes must be read again, beside those whose turn it is.
#[derive(Debug, Default)]
pub enum Reread {
    /// No others.
    #[default]
    InTurn,
    /// These.
    These(HashSet<u32>),
    /// All.
    All,
}

impl Reread {
    fn includes(&self, pid: u32) -> bool {
        match self {
            Self::InTurn => false,
            Self::These(pids) => pids.contains(&pid),
            Self::All => true,
        }
    }

    /// Adds the processes that `other` names.
    pub fn and(&mut self, other: Self) {
        match (&mut *self, other) {
            (_, Self::InTurn) | (Self::All, _) => {}
            (Self::InTurn, other) | (_, other @ Self::All) => *self = other,
            (Self::These(pids), Self::These(more)) => pids.extend(more),
        }
    }
}

/// A process is read again in one of that many refreshes …
const REREAD_EVERY: u32 = 16;
/// … or, where exec is told, of that many: only what changes without exec is left to find.
const REREAD_EVERY_IF_TOLD: u32 = 64;

/// An age at which a process is not read out of turn any more.
const SETTLED: u32 = REREAD_EVERY_IF_TOLD + 1;

/// Whether a process of that age is read again out of turn: most call exec at once, and a daemon
/// becomes another user when it has started. At 1, 2, 3, 4, 6, 8, 12, 16 … 64 refreshes, so that
/// a change is seen when half as much time again has gone by.
fn is_early(age: u32) -> bool {
    let of_two = |n: u32| n.is_power_of_two();
    age < SETTLED && (of_two(age) || age.is_multiple_of(3) && of_two(age / 3))
}

impl ProcessTable {
    /// An empty table over `root`, which is `/proc` but in tests. `exec_is_told`: a refresh names
    /// the processes that have called exec.
    pub fn new(root: impl Into<PathBuf>, exec_is_told: bool) -> Self {
        let root = root.into();
        Self {
            users: UserNames::system(),
            root,
            entries: BTreeMap::new(),
            refreshes: 0,
            reread_every: if exec_is_told {
                REREAD_EVERY_IF_TOLD
            } else {
                REREAD_EVERY
            },
        }
    }

    /// Brings the table up to date.
    ///
    /// # Errors
    /// Where the root cannot be listed. A process that cannot be read has just ended.
    pub fn refresh(&mut self, reread: &Reread) -> std::io::Result<Changes> {
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
            let told = reread.includes(pid);
            if let Some(entry) = self.read_if_due(pid, inode, known, told, &mut changes) {
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
        told: bool,
        changes: &mut Changes,
    ) -> Option<Entry> {
        let in_turn = pid
            .wrapping_add(self.refreshes)
            .is_multiple_of(self.reread_every);
        let (old, age) = match known {
            // What was there before us has become what it is.
            None if self.refreshes == 1 => (None, SETTLED),
            None => (None, 0),
            Some(known) if known.info.is_none() => return Some(known),
            // Another program starts as processes do, and may become another user soon.
            Some(known) if told => (known.info, 0),
            Some(known) => {
                let age = known.age.saturating_add(1);
                if !in_turn && !is_early(age) {
                    return Some(Entry { age, ..known });
                }
                (known.info, age)
            }
        };
        let info = self.read(pid);
        match (old, info.as_ref().and_then(Option::as_ref)) {
            (Some(old), Some(new)) if old.key == new.key => {
                if old != *new {
                    changes.changed.push(new.clone());
                }
            }
            // The inode of /proc/PID can stay while the id is used again, if only just.
            (old, new) => {
                changes.ended.extend(old);
                changes.started.extend(new.cloned());
            }
        }
        Some(Entry {
            inode,
            info: info?,
            age,
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
            command: self.command(pid).into(),
            uid,
            user: self.users.name(uid),
            cgroup: cgroup.into(),
        }))
    }

    /// The command line, which the process may have overwritten with anything; empty where it
    /// cannot be read.
    fn command(&self, pid: u32) -> String {
        let path = self.root.join(pid.to_string()).join("cmdline");
        let mut bytes = Vec::new();
        if let Ok(file) = fs::File::open(path) {
            // Half a line is better than none.
            let _ = file.take(MAX_COMMAND).read_to_end(&mut bytes);
        }
        let text = String::from_utf8_lossy(&bytes);
        text.trim_end_matches('\0').replace('\0', " ")
    }
}

/// Longest command line that is kept, in bytes: some are megabytes.
const MAX_COMMAND: u64 = 1_024;

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
    use crate::process::testing::write_process as write;

    fn names(changes: &[ProcessInfo]) -> Vec<String> {
        changes.iter().map(|info| info.name.to_string()).collect()
    }

    #[test]
    fn hostile_names_kernel_threads_and_half_gone_processes() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), 5, "a) S 1 (b \u{1b}[31m\n", 1, 0, 100);
        write(root.path(), 6, "kworker", 2, 0x0020_0000, 1);
        fs::create_dir(root.path().join("7")).unwrap(); // gone before its stat was read
        fs::write(root.path().join("uptime"), "1 1").unwrap();
        let mut table = ProcessTable::new(root.path(), true);
        let changes = table.refresh(&Reread::InTurn).unwrap();
        assert_eq!(names(&changes.started), ["a) S 1 (b \u{1b}[31m\n"]);
        let process = &changes.started[0];
        assert_eq!((process.key.pid, process.key.start_ticks), (5, 100));
        assert_eq!(&*process.cgroup, "/user.slice");
        assert_eq!(&*process.exe, "");
    }

    #[test]
    fn a_process_that_takes_over_an_id_is_a_new_one() {
        let root = tempfile::tempdir().unwrap();
        let mut table = ProcessTable::new(root.path(), true);
        table.refresh(&Reread::InTurn).unwrap();
        write(root.path(), 5, "first", 1, 0, 100);
        table.refresh(&Reread::InTurn).unwrap();
        write(root.path(), 5, "second", 1, 0, 200);
        let changes = table.refresh(&Reread::InTurn).unwrap();
        assert_eq!(names(&changes.ended), ["first"]);
        assert_eq!(names(&changes.started), ["second"]);
        assert_eq!(changes.started[0].key.start_ticks, 200);
        fs::remove_dir_all(root.path().join("5")).unwrap();
        let changes = table.refresh(&Reread::InTurn).unwrap();
        assert_eq!(names(&changes.ended), ["second"]);
        assert!(names(&changes.started).is_empty());
    }

    #[test]
    fn exec_shows_the_new_name_in_the_next_sample_or_where_it_is_told() {
        let root = tempfile::tempdir().unwrap();
        let mut table = ProcessTable::new(root.path(), true);
        table.refresh(&Reread::InTurn).unwrap();
        write(root.path(), 5, "sh", 1, 0, 100);
        table.refresh(&Reread::InTurn).unwrap();
        write(root.path(), 5, "env", 1, 0, 100);
        let changes = table.refresh(&Reread::InTurn).unwrap();
        assert!(changes.started.is_empty() && changes.ended.is_empty());
        assert_eq!(names(&changes.changed), ["env"]);
        // At age 4 and not again before 6.
        for _ in 0..3 {
            table.refresh(&Reread::InTurn).unwrap();
        }
        write(root.path(), 5, "wget", 1, 0, 100);
        let mut told = Reread::These(HashSet::from([4]));
        assert!(table.refresh(&told).unwrap().changed.is_empty());
        told.and(Reread::These(HashSet::from([5])));
        assert_eq!(names(&table.refresh(&told).unwrap().changed), ["wget"]);
        told.and(Reread::All);
        write(root.path(), 5, "curl", 1, 0, 100);
        assert_eq!(names(&table.refresh(&told).unwrap().changed), ["curl"]);
    }
}
