//! Whether a process may have started or ended, at the cost of one small file.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    time::{Duration, Instant},
};

/// /proc is listed after so long at the latest, whatever the kernel counts: see [`Headcount`].
const LIST_AT_LEAST: Duration = Duration::from_secs(10);

/// How many threads there are and which id was given out last, to a process or a thread, as `/proc/loadavg` has it
/// (`loadavg_proc_show` in fs/proc/loadavg.c).
///
/// While it stays the same nothing has started, and therefore nothing ended: ids are given out in turn. Not where
/// somebody chooses the id, or a whole round of them is given out, and as many threads end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Headcount {
    threads: u32,
    newest: u32,
}

impl Headcount {
    /// That of the /proc at `root`; `None` where it cannot be read.
    fn of(root: &Path) -> Option<Self> {
        Self::read(&loads(root)?)
    }

    /// As that file, which may have been read before, has it now.
    fn read(loads: &File) -> Option<Self> {
        // Three loads of a few digits, and as many counts of ten at most.
        let mut text = [0; 128];
        let length = loads.read_at(&mut text, 0).ok()?;
        let text = str::from_utf8(text.get(..length)?).ok()?;
        let mut words = text.split_whitespace().rev();
        let newest = words.next()?.parse().ok()?;
        let (_running, threads) = words.next()?.split_once('/')?;
        Some(Self {
            threads: threads.parse().ok()?,
            newest,
        })
    }
}

/// The file below that /proc; `None` where it cannot be read. So it is where another file lies over the kernel's, as
/// LXCFS puts one there in containers that counts anew every few seconds.
fn loads(root: &Path) -> Option<File> {
    let file = File::open(root.join("loadavg")).ok()?;
    let is_of_kernel = file.metadata().ok()?.dev() == fs::metadata(root).ok()?.dev();
    is_of_kernel.then_some(file)
}

/// Which id was given out last. The file stays open, as it is read ten times a second.
#[derive(Debug)]
pub struct NewestPid(Option<File>);

impl NewestPid {
    /// Of the /proc at `root`.
    pub fn of(root: &Path) -> Self {
        Self(loads(root))
    }

    /// The id; `None` where it cannot be read. Where it is the same as before, nothing has started.
    pub fn get(&self) -> Option<u32> {
        Headcount::read(self.0.as_ref()?).map(|count| count.newest)
    }
}

/// When /proc was listed, and what was counted before that.
#[derive(Clone, Copy, Debug, Default)]
pub struct Roll(Option<Listing>);

#[derive(Clone, Copy, Debug)]
struct Listing {
    at: Instant,
    count: Option<Headcount>,
    /// Whether the listing before has the same count: a process has its id a moment before it is listed and counted.
    is_settled: bool,
}

impl Roll {
    /// Whether to list the /proc at `root` now, which is then taken as done.
    pub fn is_due(&mut self, root: &Path) -> bool {
        self.is_due_at(Instant::now(), Headcount::of(root))
    }

    fn is_due_at(&mut self, now: Instant, count: Option<Headcount>) -> bool {
        let is_same = count.is_some() && self.0.is_some_and(|last| last.count == count);
        let is_fresh = |last: Listing| last.is_settled && now - last.at < LIST_AT_LEAST;
        if is_same && self.0.is_some_and(is_fresh) {
            return false;
        }
        self.0 = Some(Listing {
            at: now,
            count,
            is_settled: is_same,
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::process::{
        table::{Changes, ProcessTable, Reread},
        testing::{write_headcount, write_process},
    };

    const NOBODY: [&[u32]; 2] = [&[], &[]];

    /// Who has started and who has ended.
    fn pids(changes: &Changes) -> [Vec<u32>; 2] {
        [&changes.started, &changes.ended]
            .map(|infos| infos.iter().map(|info| info.key.pid).collect())
    }

    /// A /proc that has been listed until it is settled, with process 5 and two threads, and another one that nobody has
    /// counted.
    fn settled() -> (tempfile::TempDir, ProcessTable) {
        let root = tempfile::tempdir().unwrap();
        let mut table = ProcessTable::new(root.path(), true);
        write_process(root.path(), 5, "sh", 1, 0, 100);
        write_headcount(root.path(), 2, 5);
        for _ in 0..2 {
            table.refresh(&Reread::InTurn).unwrap();
        }
        write_process(root.path(), 6, "uncounted", 1, 0, 100);
        let changes = table.refresh(&Reread::InTurn).unwrap();
        assert_eq!(pids(&changes), NOBODY, "it was listed");
        (root, table)
    }

    #[test]
    fn a_process_that_starts_has_the_newest_id() {
        let newest = NewestPid::of(Path::new("/proc"));
        for _ in 0..3 {
            let mut child = std::process::Command::new("true").spawn().unwrap();
            let pid = child.id();
            child.wait().unwrap();
            // Others may have started since.
            let newest = newest.get().unwrap();
            // Ids begin again at the end of their range.
            assert!(newest >= pid || newest < 5_000, "{newest} {pid}");
        }
        assert_eq!(NewestPid::of(Path::new("/nonexistent")).get(), None);
    }

    #[test]
    fn a_count_that_is_not_of_the_same_proc_is_none() {
        let root = tempfile::tempdir().unwrap();
        write_headcount(root.path(), 2, 5);
        assert!(Headcount::of(root.path()).is_some());
        let loads = root.path().join("loadavg");
        fs::remove_file(&loads).unwrap();
        std::os::unix::fs::symlink("/proc/loadavg", &loads).unwrap();
        assert_eq!(Headcount::of(root.path()), None);
        assert!(Headcount::of(Path::new("/proc")).is_some());
    }

    #[test]
    fn all_are_listed_where_the_count_is_another_or_unknown_and_once_more_after_that() {
        let count = |threads, newest| Some(Headcount { threads, newest });
        let (mut roll, start) = (Roll::default(), Instant::now());
        for (seconds, count, is_due) in [
            (0, count(9, 50), true),
            (1, count(9, 50), true),
            (2, count(9, 50), false),
            (3, count(10, 51), true), // one has started
            (4, count(10, 51), true),
            (5, count(10, 51), false),
            (6, count(9, 51), true), // and ended
            (7, count(9, 52), true), // another one instead, while it is not settled
            (8, count(9, 52), true),
            (9, count(9, 52), false),
            (10, count(9, 3), true), // ids have begun again
            (11, count(9, 3), true),
            (20, count(9, 3), false),
            (21, count(9, 3), true), // it is long ago
            (22, count(9, 3), false),
            (23, None, true),
            (24, None, true),
            (25, count(9, 3), true),
        ] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(roll.is_due_at(now, count), is_due, "{seconds} s");
        }
    }

    #[test]
    fn whoever_starts_ends_or_takes_over_an_id_is_seen_in_the_next_look() {
        for (threads, newest, news) in [(3, 6, "start"), (2, 6, "start and end"), (2, 4, "wrap")] {
            let (root, mut table) = settled();
            write_headcount(root.path(), threads, newest);
            let changes = table.refresh(&Reread::InTurn).unwrap();
            assert_eq!(pids(&changes), [vec![6], vec![]], "{news}");
        }
        let (root, mut table) = settled();
        fs::remove_dir_all(root.path().join("5")).unwrap();
        write_headcount(root.path(), 1, 5);
        let changes = table.refresh(&Reread::InTurn).unwrap();
        assert_eq!(pids(&changes), [vec![6], vec![5]]);
        // Ids have gone all the way round to the one that was given out last.
        let (root, mut table) = settled();
        let directory = |name| root.path().join(name);
        write_process(root.path(), 7, "other", 1, 0, 200);
        fs::rename(directory("5"), directory("gone")).unwrap();
        fs::rename(directory("7"), directory("5")).unwrap();
        write_headcount(root.path(), 3, 5);
        let changes = table.refresh(&Reread::InTurn).unwrap();
        assert_eq!(pids(&changes), [vec![5, 6], vec![5]]);
    }

    #[test]
    fn whoever_is_told_of_and_not_known_is_looked_for() {
        let (_root, mut table) = settled();
        let known = Reread::These(HashSet::from([5]));
        assert_eq!(pids(&table.refresh(&known).unwrap()), NOBODY);
        for told in [Reread::These(HashSet::from([6])), Reread::All] {
            let (_root, mut table) = settled();
            assert_eq!(pids(&table.refresh(&told).unwrap()), [vec![6], vec![]]);
        }
    }

    #[test]
    fn what_could_not_be_read_or_listed_is_listed_again() {
        let (root, mut table) = settled();
        // Reading a directory fails, and not because nothing is there.
        let stat = root.path().join("6/stat");
        let text = fs::read(&stat).unwrap();
        fs::remove_file(&stat).unwrap();
        fs::create_dir(&stat).unwrap();
        write_headcount(root.path(), 3, 6);
        for _ in 0..3 {
            let changes = table.refresh(&Reread::InTurn).unwrap();
            assert_eq!(pids(&changes), NOBODY);
        }
        fs::remove_dir(&stat).unwrap();
        fs::write(&stat, text).unwrap();
        let changes = table.refresh(&Reread::InTurn).unwrap();
        assert_eq!(pids(&changes), [vec![6], vec![]]);
    }

    #[test]
    fn a_proc_that_cannot_be_listed_for_once_loses_no_process() {
        let (root, mut table) = settled();
        let aside = root.path().with_extension("aside");
        fs::rename(root.path(), &aside).unwrap();
        assert!(table.refresh(&Reread::InTurn).is_err());
        fs::rename(&aside, root.path()).unwrap();
        let changes = table.refresh(&Reread::InTurn).unwrap();
        assert_eq!(pids(&changes), [vec![6], vec![]]);
    }
}
