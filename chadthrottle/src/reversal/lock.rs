//! One engine a machine: a lock that the kernel drops when its holder ends, however it ends.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::sys::stat;

use super::state_dir::{StateDir, StateDirError};

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another engine runs.
    #[error(
        "another engine runs with this state directory already{}",
        .0.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Held(Option<u32>),
    /// The directory is not one to keep it in.
    #[error(transparent)]
    Directory(#[from] StateDirError),
    /// The file could not be made or locked.
    #[error("{path}: {source}. Choose another place with --state-dir")]
    Io {
        /// Which file.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
}

/// The lock. Dropping it lets the next engine start.
#[derive(Debug)]
pub struct EngineLock {
    directory: StateDir,
    _file: File,
}

/// How long a holder that was killed may take to close its last descriptors: links take the kernel a while.
const DYING: Duration = Duration::from_secs(5);

/// Its name in the state directory.
const NAME: &str = "engine.lock";

impl EngineLock {
    /// Takes the lock in that directory, which is made where it is missing.
    ///
    /// # Errors
    /// [`LockError`]
    pub fn take(directory: &Path) -> Result<Self, LockError> {
        Self::take_in(StateDir::make(directory)?)
    }

    /// Takes the lock in that directory.
    ///
    /// # Errors
    /// [`LockError`]
    pub fn take_in(directory: StateDir) -> Result<Self, LockError> {
        let path = directory.path().join(NAME);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LockError::Io { path, source }
        };
        let mut file = directory.keep(NAME).map_err(failed(&path))?;
        let deadline = Instant::now() + DYING;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    let holder = holder(&mut file);
                    if holder.is_none_or(lives) || Instant::now() > deadline {
                        return Err(LockError::Held(holder));
                    }
                    sleep(Duration::from_millis(20));
                }
                Err(TryLockError::Error(source)) => return Err(failed(&path)(source)),
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed(&path))?;
        Ok(Self {
            directory,
            _file: file,
        })
    }

    /// Takes the lock in that directory, unless somebody else than that process had it last.
    pub fn take_after(directory: StateDir, process: u32) -> Option<Self> {
        let mut file = directory.read(NAME).ok()??;
        if holder(&mut file) != Some(process) {
            return None;
        }
        // Whoever takes it in this very moment has it, and then we have not.
        Self::take_in(directory).ok()
    }

    /// Whether somebody has the lock in that directory. Nobody is disturbed by the question, and everybody may ask who may
    /// enter the directory.
    pub fn is_held(directory: &Path) -> bool {
        let Ok(file) = fs::metadata(directory.join(NAME)) else {
            return false;
        };
        let (major, minor) = (stat::major(file.dev()), stat::minor(file.dev()));
        let place = format!("{major:02x}:{minor:02x}:{}", file.ino());
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        locks.lines().any(|lock| {
            let mut words = lock.split_whitespace();
            words.any(|word| word == "FLOCK") && words.any(|word| word == place)
        })
    }

    /// Where it is.
    pub fn directory(&self) -> &StateDir {
        &self.directory
    }
}

/// Whether a process is more than the descriptors that the kernel is still closing: its memory goes first
/// (`exit_mm`, `exit_files` in `do_exit`).
pub fn lives(process: u32) -> bool {
    fs::read_link(format!("/proc/{process}/exe")).is_ok()
}

/// The process id that the holder wrote, if it has come to that.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_second_is_refused_with_the_first_ones_id_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("deep/state");
        assert!(!EngineLock::is_held(&state));
        let first = EngineLock::take(&state).unwrap();
        assert!(EngineLock::is_held(&state));
        match EngineLock::take(&state) {
            Err(LockError::Held(Some(pid))) => assert_eq!(pid, std::process::id()),
            other => panic!("{other:?}"),
        }
        drop(first);
        assert!(!EngineLock::is_held(&state));
        EngineLock::take(&state).unwrap();
    }

    #[test]
    fn garbage_in_the_file_does_not_matter() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("engine.lock"), [0xff; 3000]).unwrap();
        let _first = EngineLock::take(directory.path()).unwrap();
        let error = EngineLock::take(directory.path()).unwrap_err();
        assert!(matches!(error, LockError::Held(Some(_))), "{error}");
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = EngineLock::take(&file).unwrap_err().to_string();
        assert!(
            error.contains("file") && error.contains("--state-dir"),
            "{error}"
        );
    }

    #[test]
    fn one_that_was_killed_is_waited_for_and_one_that_lives_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let first = EngineLock::take(directory.path()).unwrap();
        let mut ended = Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let pid = format!("{}\n", ended.id());
        fs::write(directory.path().join(NAME), pid).unwrap();
        let closing = std::thread::spawn(move || {
            sleep(Duration::from_millis(200));
            drop(first);
        });
        let second = EngineLock::take(directory.path()).unwrap();
        closing.join().unwrap();
        let started = Instant::now();
        let third = EngineLock::take(directory.path());
        assert!(matches!(third, Err(LockError::Held(Some(_)))));
        assert!(started.elapsed() < DYING / 2);
        drop(second);
    }

    /// A child that another test has just forked has our descriptors until it calls exec.
    fn taken(directory: &tempfile::TempDir) -> EngineLock {
        let deadline = Instant::now() + DYING;
        loop {
            match EngineLock::take(directory.path()) {
                Ok(lock) => return lock,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        }
    }

    #[test]
    fn it_is_taken_after_one_process_only_where_nobody_had_it_since() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::make(directory.path()).unwrap();
        let after = |process| EngineLock::take_after(state.clone(), process).is_some();
        assert!(!after(std::process::id()), "nobody has had it");
        drop(taken(&directory));
        assert!(!after(1), "somebody else had it");
        let deadline = Instant::now() + DYING;
        while !after(std::process::id()) {
            assert!(Instant::now() < deadline);
        }
        let _held = taken(&directory);
        assert!(!after(std::process::id()), "somebody has it");
    }
}
