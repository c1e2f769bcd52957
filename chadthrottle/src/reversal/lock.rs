//! One engine a machine: a lock that the kernel drops when its holder ends, however it ends.

use std::{
    fs::{File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use super::state_dir::{StateDir, StateDirError};

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another engine runs.
    #[error(
        "another chadthrottle is running{}: there can be one at a time. End that one first",
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
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(holder(&mut file))),
            Err(TryLockError::Error(source)) => return Err(failed(&path)(source)),
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

    /// Where it is.
    pub fn directory(&self) -> &StateDir {
        &self.directory
    }
}

/// The process id that the holder wrote, if it has come to that.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_second_is_refused_with_the_first_ones_id_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("deep/state");
        let first = EngineLock::take(&state).unwrap();
        match EngineLock::take(&state) {
            Err(LockError::Held(Some(pid))) => assert_eq!(pid, std::process::id()),
            other => panic!("{other:?}"),
        }
        drop(first);
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
}
