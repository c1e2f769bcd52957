//! One engine a machine: a lock that the kernel drops when its holder ends, however it ends.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another engine runs.
    #[error(
        "another chadthrottle is running{}: there can be one at a time. End that one first",
        .0.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Held(Option<u32>),
    /// The file could not be made or locked.
    #[error("{path}: {source}. Choose another place with --state-dir")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
}

/// The lock. Dropping it lets the next engine start.
#[derive(Debug)]
pub struct EngineLock {
    _file: File,
}

impl EngineLock {
    /// Takes the lock in that directory, which is made where it is missing.
    ///
    /// # Errors
    /// [`LockError`]
    pub fn take(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join("engine.lock");
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LockError::Io { path, source }
        };
        fs::create_dir_all(directory).map_err(failed(directory))?;
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(holder(&mut file))),
            Err(TryLockError::Error(source)) => return Err(failed(&path)(source)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed(&path))?;
        Ok(Self { _file: file })
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
