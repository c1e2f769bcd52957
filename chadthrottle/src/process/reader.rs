//! /proc is read by a thread of its own: a read that hangs must not hold up limits.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::Duration,
};

use super::{
    ProcessInfo, Processes,
    table::{Changes, ProcessTable, Reread},
};
use crate::model::ProcessKey;

/// All processes as they were last read, and the thread that reads them.
#[derive(Debug)]
pub struct ProcessReader {
    root: PathBuf,
    processes: BTreeMap<u32, ProcessInfo>,
    requests: Sender<Reread>,
    answers: Receiver<io::Result<Changes>>,
    /// A request has not been answered yet.
    waiting: bool,
    /// What looks have found that nobody has been told of yet.
    found: Changes,
    /// What to read again when the next request can be made.
    reread: Reread,
}

impl ProcessReader {
    /// Starts the thread, which reads `root`, `/proc` but in tests. It ends when this is dropped
    /// and its read, should one hang, has come back. `exec_is_told`: a refresh names the processes
    /// that have called exec.
    ///
    /// # Errors
    /// Where the thread cannot be started.
    pub fn new(root: impl Into<PathBuf>, exec_is_told: bool) -> io::Result<Self> {
        let root = root.into();
        let (requests, work) = channel::<Reread>();
        let (results, answers) = channel();
        let mut table = ProcessTable::new(&root, exec_is_told);
        std::thread::Builder::new()
            .name("proc-reader".to_owned())
            .spawn(move || {
                while let Ok(reread) = work.recv()
                    && results.send(table.refresh(&reread)).is_ok()
                {}
            })?;
        Ok(Self {
            root,
            processes: BTreeMap::new(),
            requests,
            answers,
            waiting: false,
            found: Changes::default(),
            reread: Reread::InTurn,
        })
    }

    /// Where it reads.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Brings everything up to date, waiting at most `patience`: for a look that was waited for in
    /// vain before, not at all.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] where reading takes longer; what it finds then comes with a
    /// later call. Else where the root cannot be listed.
    pub fn refresh(&mut self, reread: Reread, patience: Duration) -> io::Result<Changes> {
        self.reread.and(reread);
        let stopped = || io::Error::other("the thread that reads processes has stopped");
        if self.waiting {
            // Of an earlier call that was too impatient: it may be older than what was asked now.
            self.answer(Duration::ZERO)?;
        }
        self.requests
            .send(std::mem::take(&mut self.reread))
            .map_err(|_| stopped())?;
        self.waiting = true;
        self.answer(patience)?;
        Ok(std::mem::take(&mut self.found))
    }

    /// Takes in what a look has found.
    fn answer(&mut self, patience: Duration) -> io::Result<()> {
        let answer = self.answers.recv_timeout(patience).map_err(|error| {
            let kind = match error {
                RecvTimeoutError::Timeout => io::ErrorKind::TimedOut,
                RecvTimeoutError::Disconnected => io::ErrorKind::BrokenPipe,
            };
            io::Error::new(
                kind,
                "it takes too long: processes that are new may be missing",
            )
        })?;
        self.waiting = false;
        let changes = answer?;
        for info in &changes.ended {
            self.processes.remove(&info.key.pid);
        }
        for info in changes.started.iter().chain(&changes.changed) {
            self.processes.insert(info.key.pid, info.clone());
        }
        self.found.started.extend(changes.started);
        self.found.changed.extend(changes.changed);
        self.found.ended.extend(changes.ended);
        Ok(())
    }

    /// Whether the last look came back. If not, a process that is missing may just be new.
    pub fn is_current(&self) -> bool {
        !self.waiting
    }

    /// The process of that id.
    pub fn get(&self, pid: u32) -> Option<&ProcessInfo> {
        self.processes.get(&pid)
    }

    /// All processes in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &ProcessInfo> + Clone {
        self.processes.values()
    }

    /// Whether that very process is there.
    pub fn contains(&self, key: ProcessKey) -> bool {
        self.get(key.pid).is_some_and(|info| info.key == key)
    }
}

impl Processes for ProcessReader {
    fn of_pid(&self, pid: u32) -> Option<&ProcessInfo> {
        self.get(pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::testing::write_process;
    use nix::{sys::stat::Mode, unistd::mkfifo};
    use std::{fs, time::Instant};

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn the_view_follows_what_starts_changes_and_ends() {
        let root = tempfile::tempdir().unwrap();
        write_process(root.path(), 5, "sh", 1, 0, 100);
        let mut reader = ProcessReader::new(root.path(), true).unwrap();
        let changes = reader.refresh(Reread::InTurn, PATIENCE).unwrap();
        assert_eq!(changes.started.len(), 1);
        write_process(root.path(), 5, "wget", 1, 0, 100);
        reader.refresh(Reread::All, PATIENCE).unwrap();
        assert_eq!(&*reader.get(5).unwrap().name, "wget");
        let key = reader.get(5).unwrap().key;
        assert!(reader.contains(key));
        // The id is used again, for another process.
        write_process(root.path(), 5, "curl", 1, 0, 200);
        reader.refresh(Reread::All, PATIENCE).unwrap();
        assert!(!reader.contains(key));
        assert_eq!(&*reader.get(5).unwrap().name, "curl");
        fs::remove_dir_all(root.path().join("5")).unwrap();
        reader.refresh(Reread::InTurn, PATIENCE).unwrap();
        assert_eq!(reader.iter().count(), 0);
    }

    #[test]
    fn a_read_that_hangs_is_waited_for_no_longer_than_told_and_loses_nothing() {
        let root = tempfile::tempdir().unwrap();
        write_process(root.path(), 5, "sh", 1, 0, 100);
        write_process(root.path(), 6, "hangs", 1, 0, 100);
        let stat = root.path().join("6/stat");
        let text = fs::read(&stat).unwrap();
        fs::remove_file(&stat).unwrap();
        mkfifo(&stat, Mode::S_IRWXU).unwrap();

        let mut reader = ProcessReader::new(root.path(), true).unwrap();
        for _ in 0..3 {
            let asked = Instant::now();
            let error = reader
                .refresh(Reread::InTurn, Duration::from_millis(20))
                .unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(asked.elapsed() < Duration::from_secs(5));
            assert!(!reader.is_current());
        }
        // Somebody writes at last, and all is there.
        fs::write(&stat, text).unwrap();
        fs::remove_file(&stat).unwrap();
        write_process(root.path(), 6, "hangs", 1, 0, 100);
        let deadline = Instant::now() + PATIENCE;
        let changes = loop {
            match reader.refresh(Reread::InTurn, PATIENCE) {
                Ok(changes) => break changes,
                Err(_) => assert!(Instant::now() < deadline),
            }
        };
        assert_eq!(changes.started.len(), 2);
        assert!(reader.is_current());
    }

    /// As with thousands of processes, of which only the first look is slow.
    #[test]
    fn after_a_slow_look_it_is_current_again_and_tells_all_that_was_found() {
        // The thread's part is played here, so that it is as slow as it is to be.
        let ((requests, work), (results, answers)) = (channel(), channel());
        let mut reader = ProcessReader {
            root: PathBuf::new(),
            processes: BTreeMap::new(),
            requests,
            answers,
            waiting: false,
            found: Changes::default(),
            reread: Reread::InTurn,
        };
        let root = tempfile::tempdir().unwrap();
        let mut table = ProcessTable::new(root.path(), true);
        let mut look = || table.refresh(&Reread::InTurn);
        write_process(root.path(), 5, "sh", 1, 0, 100);
        let error = reader.refresh(Reread::InTurn, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        results.send(look()).unwrap();
        // It has come back; the next one is too slow again.
        reader.refresh(Reread::InTurn, Duration::ZERO).unwrap_err();
        results.send(look()).unwrap();
        write_process(root.path(), 6, "sh", 1, 0, 100);
        let last = look();
        let answer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            results.send(last)
        });
        let changes = reader.refresh(Reread::InTurn, PATIENCE).unwrap();
        assert_eq!(changes.started.len(), 2);
        assert!(reader.is_current());
        assert_eq!(work.try_iter().count(), 3);
        answer.join().unwrap().unwrap();
    }
}
