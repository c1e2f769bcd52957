//! The table of processes, kept up to date at the cost of a directory listing where any may have started or ended.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    os::unix::fs::DirEntryExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use chadthrottle_common::kernel::PF_KTHREAD;
use procfs::{ProcError, process::Process};

use super::{
    aside::Aside,
    cgroup_of,
    container::ContainerNames,
    headcount::Roll,
    identity::owner_of,
    image::{command, executable},
    turns::Turns,
    user::UserNames,
};
use crate::model::ProcessKey;

/// What is shown of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its identity.
    pub key: ProcessKey,
    /// Its parent's id.
    pub parent: u32,
    /// `comm`.
    pub name: Arc<str>,
    /// Path of the executable, which may be another file by now; empty where it cannot be read.
    pub exe: Arc<str>,
    /// The command line with spaces between its arguments; cut where it is very long, and empty
    /// until it has been read.
    pub command: Arc<str>,
    /// Effective user id.
    pub uid: u32,
    /// Name of that user; the number where it has none, and until it is known.
    pub user: Arc<str>,
    /// Effective group id.
    pub gid: u32,
    /// cgroup v2 path.
    pub cgroup: Arc<str>,
    /// Name of the container that the cgroup leads into; empty where there is none, and until it is known.
    pub container: Arc<str>,
}

impl ProcessInfo {
    /// Name of the executable's file; `None` where that cannot be read.
    pub fn file_name(&self) -> Option<&str> {
        self.exe.rsplit('/').next().filter(|name| !name.is_empty())
    }
}

/// Reads every process but kernel threads, and says what has changed since the last time.
#[derive(Debug)]
pub struct ProcessTable {
    root: PathBuf,
    users: UserNames,
    containers: ContainerNames,
    /// Command lines, which a process that hangs in the kernel keeps to itself.
    commands: Aside<ProcessKey, Arc<str>>,
    entries: BTreeMap<u32, Entry>,
    roll: Roll,
    is_first: bool,
    turns: Turns,
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
    /// Processes that are what they were, but for name, executable, user, group, cgroup or container.
    pub changed: Vec<ProcessInfo>,
    /// Processes that are gone, as they were last seen.
    pub ended: Vec<ProcessInfo>,
}

impl Changes {
    /// Takes in what was learnt of processes after they were read.
    fn amend(&mut self, amended: HashMap<ProcessKey, ProcessInfo>) {
        let mut amended = amended;
        for info in self.started.iter_mut().chain(&mut self.changed) {
            if let Some(new) = amended.remove(&info.key) {
                *info = new;
            }
        }
        self.changed.extend(amended.into_values());
    }
}

/// Which known processes must be read again, beside those whose turn it is.
#[derive(Debug, Default, PartialEq, Eq)]
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

    /// Whether there are any.
    pub fn names_any(&self) -> bool {
        match self {
            Self::InTurn => false,
            Self::These(pids) => !pids.is_empty(),
            Self::All => true,
        }
    }

    /// Whether there are any that are not known, or may be.
    fn names_unknown(&self, known: &BTreeMap<u32, Entry>) -> bool {
        match self {
            Self::InTurn => false,
            Self::These(pids) => pids.iter().any(|pid| !known.contains_key(pid)),
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

/// An age at which a process is not read out of turn any more.
const SETTLED: u32 = 65;

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
        let proc = root.clone();
        Self {
            users: UserNames::system(),
            containers: ContainerNames::of("/"),
            commands: Aside::new("command-lines", move |key: &ProcessKey| {
                command(&proc, key.pid).into()
            }),
            root,
            entries: BTreeMap::new(),
            roll: Roll::default(),
            is_first: true,
            turns: if exec_is_told {
                Turns::EXEC_IS_TOLD
            } else {
                Turns::EXEC_IS_NOT_TOLD
            },
        }
    }

    /// Brings the table up to date.
    ///
    /// # Errors
    /// Where the root cannot be listed. A process that cannot be read has just ended.
    pub fn refresh(&mut self, reread: &Reread) -> io::Result<Changes> {
        let present = if self.roll.is_due(&self.root) || reread.names_unknown(&self.entries) {
            processes_below(&self.root).inspect_err(|_| self.roll = Roll::default())?
        } else {
            let known = self.entries.iter();
            known.map(|(pid, entry)| (*pid, entry.inode)).collect()
        };
        let are_next = self.turns.is_next(Instant::now());
        let mut changes = Changes::default();
        let mut before = std::mem::take(&mut self.entries);
        for (pid, inode) in present {
            let known = match before.remove(&pid) {
                Some(known) if known.inode == inode => Some(known),
                Some(other) => {
                    changes.ended.extend(other.info);
                    None
                }
                None => None,
            };
            let told = reread.includes(pid);
            let in_turn = are_next && self.turns.is_of(pid);
            if let Some(entry) = self.read_if_due(pid, inode, known, told, in_turn, &mut changes) {
                self.entries.insert(pid, entry);
            }
        }
        changes
            .ended
            .extend(before.into_values().filter_map(|entry| entry.info));
        self.is_first = false;
        self.take_answers(&mut changes);
        Ok(changes)
    }

    /// Takes in command lines and user names, which come when they come.
    fn take_answers(&mut self, changes: &mut Changes) {
        let mut amended = HashMap::new();
        for (key, command) in self.commands.answers() {
            let entry = self.entries.get_mut(&key.pid);
            if let Some(info) = entry.and_then(|entry| entry.info.as_mut())
                && info.key == key
                && info.command != command
            {
                info.command = command;
                amended.insert(key, info.clone());
            }
        }
        if self.users.has_learnt() {
            for info in self.entries.values_mut().filter_map(|it| it.info.as_mut()) {
                let user = self.users.name(info.uid);
                if info.user != user {
                    info.user = user;
                    amended.insert(info.key, info.clone());
                }
            }
        }
        if self.containers.has_learnt() {
            for info in self.entries.values_mut().filter_map(|it| it.info.as_mut()) {
                let container = self.containers.name(&info.cgroup);
                if info.container != container {
                    info.container = container;
                    amended.insert(info.key, info.clone());
                }
            }
        }
        changes.amend(amended);
    }

    fn read_if_due(
        &mut self,
        pid: u32,
        inode: u64,
        known: Option<Entry>,
        told: bool,
        in_turn: bool,
        changes: &mut Changes,
    ) -> Option<Entry> {
        let (old, age) = match known {
            // What was there before us has become what it is.
            None if self.is_first => (None, SETTLED),
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
        let info = match self.read(pid, old.as_ref()) {
            Ok(info) => info,
            Err(error) if has_ended(&error) => {
                changes.ended.extend(old);
                return None;
            }
            // It is there all the same. One that is not known is tried again the next time.
            Err(error) => {
                log::debug!("reading process {pid}: {error}");
                if old.is_none() {
                    self.roll = Roll::default();
                }
                let info = Some(old?);
                return Some(Entry { inode, info, age });
            }
        };
        match (old, info.as_ref()) {
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
        Some(Entry { inode, info, age })
    }

    /// Reads one process; `None` for a kernel thread.
    fn read(
        &mut self,
        pid: u32,
        old: Option<&ProcessInfo>,
    ) -> Result<Option<ProcessInfo>, ProcError> {
        let directory = self.root.join(pid.to_string());
        let process = Process::new_with_root(directory)?;
        // Before its `stat`, which shows that it was still there then.
        let (uid, gid) = owner_of(&self.root, pid).map_err(|error| ProcError::Io(error, None))?;
        let stat = process.stat()?;
        if stat.flags & PF_KTHREAD != 0 {
            return Ok(None);
        }
        let key = ProcessKey {
            pid,
            start_ticks: stat.starttime,
        };
        self.commands.ask(key);
        let cgroup = cgroup_of(&self.root, pid).unwrap_or_default();
        Ok(Some(ProcessInfo {
            key,
            parent: u32::try_from(stat.ppid).unwrap_or(0),
            name: stat.comm.into(),
            exe: executable(&self.root, pid).into(),
            // As it was, until it has been read again.
            command: old
                .filter(|old| old.key == key)
                .map_or_else(|| "".into(), |old| Arc::clone(&old.command)),
            uid,
            user: self.users.name(uid),
            gid,
            container: self.containers.name(&cgroup),
            cgroup: cgroup.into(),
        }))
    }
}

/// The ids below a /proc, and the inodes of their directories.
fn processes_below(root: &Path) -> io::Result<Vec<(u32, u64)>> {
    let entries = fs::read_dir(root)?.filter_map(Result::ok);
    let processes = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, entry.ino()))
    });
    Ok(processes.collect())
}

/// Whether that is how a process answers that has ended, rather than one that cannot be read.
fn has_ended(error: &ProcError) -> bool {
    match error {
        ProcError::NotFound(_) => true,
        ProcError::Io(error, _) => {
            matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::process::key_of;
    use crate::process::testing::write_process as write;

    fn names(changes: &[ProcessInfo]) -> Vec<String> {
        changes.iter().map(|info| info.name.to_string()).collect()
    }

    #[test]
    fn names_of_any_bytes_hide_no_process() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), 5, "x", 1, 0, 100);
        let odd = |file: &str, from: &str, to: &[u8]| {
            let path = root.path().join("5").join(file);
            let text = fs::read_to_string(&path).unwrap();
            let (before, after) = text.split_once(from).unwrap();
            fs::write(path, [before.as_bytes(), to, after.as_bytes()].concat()).unwrap();
        };
        odd("stat", "(x)", b"(\xffx)");
        odd("cgroup", "user", b"\xffuser");
        odd("cmdline", "x", b"\xffx");
        let mut table = ProcessTable::new(root.path(), true);
        let changes = table.refresh(&Reread::InTurn).unwrap();
        assert_eq!(names(&changes.started), ["\u{fffd}x"]);
        assert_eq!(&*changes.started[0].cgroup, "/\u{fffd}user.slice");
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

    #[test]
    fn a_process_that_hangs_with_its_command_line_hides_neither_itself_nor_others() {
        let root = tempfile::tempdir().unwrap();
        for pid in 5..50 {
            write(root.path(), pid, &format!("p{pid}"), 1, 0, 100);
        }
        let hanging = [7, 8, 9];
        let fifo = |pid: u32| root.path().join(format!("{pid}/cmdline"));
        for pid in hanging {
            fs::remove_file(fifo(pid)).unwrap();
            nix::unistd::mkfifo(&fifo(pid), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        let mut table = ProcessTable::new(root.path(), true);
        let mut changes = table.refresh(&Reread::InTurn).unwrap();
        assert_eq!(changes.started.len(), 45);
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut commands = HashMap::new();
        let mut take = |changes: Changes| {
            let news = changes.started.into_iter().chain(changes.changed);
            for info in news.filter(|info| !info.command.is_empty()) {
                commands.insert(info.key.pid, info.command);
            }
            assert!(changes.ended.is_empty());
            commands.len()
        };
        while take(changes) < 42 {
            assert!(Instant::now() < deadline);
            changes = table.refresh(&Reread::InTurn).unwrap();
        }
        // They go on, and say what they are.
        for pid in hanging {
            fs::write(fifo(pid), format!("p{pid}\0late\0")).unwrap();
        }
        loop {
            assert!(Instant::now() < deadline);
            if take(table.refresh(&Reread::InTurn).unwrap()) == 45 {
                break;
            }
        }
        assert_eq!((&*commands[&7], &*commands[&5]), ("p7 late", "p5 -x"));
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_lives_and_is_known_by_the_others() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), 5, "x", 1, 0, 100);
        let stat = root.path().join("5/stat");
        let zombie = fs::read_to_string(&stat).unwrap().replace(") S ", ") Z ");
        fs::write(&stat, &zombie).unwrap();
        fs::write(root.path().join("5/cmdline"), "").unwrap();
        assert_eq!(key_of(root.path(), 5), None);
        fs::write(&stat, zombie.replace(" 20 0 1 0 ", " 20 0 2 0 ")).unwrap();
        assert_eq!(key_of(root.path(), 5).unwrap().start_ticks, 100);
        let thread = root.path().join("5/task/6");
        fs::create_dir_all(&thread).unwrap();
        std::os::unix::fs::symlink("/bin/threads", thread.join("exe")).unwrap();
        fs::write(thread.join("cmdline"), "threads\0").unwrap();
        let changes = ProcessTable::new(root.path(), true)
            .refresh(&Reread::InTurn)
            .unwrap();
        let info = &changes.started[0];
        assert_eq!((&*info.exe, &*info.command), ("/bin/threads", "threads"));
    }

    #[test]
    fn what_cannot_be_read_has_not_ended() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), 5, "x", 1, 0, 100);
        let mut table = ProcessTable::new(root.path(), true);
        table.refresh(&Reread::InTurn).unwrap();
        let stat = root.path().join("5/stat");
        let text = fs::read(&stat).unwrap();
        // Reading a directory fails, and not because nothing is there.
        fs::remove_file(&stat).unwrap();
        fs::create_dir(&stat).unwrap();
        assert!(table.refresh(&Reread::All).unwrap().ended.is_empty());
        fs::remove_dir(&stat).unwrap();
        fs::write(&stat, text).unwrap();
        let changes = table.refresh(&Reread::All).unwrap();
        assert!(changes.ended.is_empty() && changes.started.is_empty());
    }
}
