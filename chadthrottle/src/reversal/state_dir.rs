//! The state directory: ours alone, and entered through a descriptor, so that nobody can have us
//! follow a link, or keep what is in it.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::{
    fcntl::{OFlag, open, openat, renameat},
    sys::stat::{FchmodatFlags, Mode, fchmodat},
    unistd::{Uid, UnlinkatFlags, unlinkat},
};

/// A state directory that is safe to use.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
    directory: Arc<OwnedFd>,
}

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the state directory {path} cannot be used: {reason}. Choose another one with --state-dir")]
pub struct StateDirError {
    path: PathBuf,
    reason: String,
}

/// Only its owner, whatever the umask.
const PRIVATE: u32 = 0o700;

impl StateDir {
    /// Opens the directory at that path, which is made where it is missing.
    ///
    /// # Errors
    /// Where it is no directory, or one that others could change.
    pub fn make(path: &Path) -> Result<Self, StateDirError> {
        let failed = |error: io::Error| StateDirError::new(path, error.to_string());
        let is_new = match fs::symlink_metadata(path) {
            Ok(_) => false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(failed(error)),
        };
        if is_new {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(PRIVATE);
            builder.create(path).map_err(failed)?;
        }
        let made = Self::enter(path).map_err(failed)?;
        if is_new {
            // The umask may have taken more away.
            let permissions = fs::Permissions::from_mode(PRIVATE);
            made.as_file()
                .and_then(|directory| directory.set_permissions(permissions))
                .map_err(failed)?;
        }
        made.check()
    }

    /// Opens the directory at that path; `None` where there is none.
    ///
    /// # Errors
    /// As [`StateDir::make`].
    pub fn open(path: &Path) -> Result<Option<Self>, StateDirError> {
        match Self::enter(path) {
            Ok(found) => found.check().map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StateDirError::new(path, error.to_string())),
        }
    }

    /// Opens the directory of an engine that may be root's, to find its socket there; `None` where there is none.
    ///
    /// # Errors
    /// As [`StateDir::make`].
    pub fn open_of_engine(path: &Path) -> Result<Option<Self>, StateDirError> {
        match Self::enter(path) {
            Ok(found) => found
                .check_for(&[Uid::effective(), Uid::from_raw(0)])
                .map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StateDirError::new(path, error.to_string())),
        }
    }

    /// A directory without any state, for a guard that has only a terminal to put back.
    ///
    /// # Errors
    /// Where there are no descriptors left.
    pub fn of_nobody() -> io::Result<Self> {
        Self::enter(Path::new("/"))
    }

    /// One that somebody else has opened and handed to us.
    pub fn from_parts(path: PathBuf, directory: OwnedFd) -> Self {
        Self {
            path,
            directory: Arc::new(directory),
        }
    }

    fn enter(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // A slash at the end would have the link followed.
        let name: PathBuf = path.components().collect();
        let directory = open(&name, flags, Mode::empty()).map_err(|errno| match errno {
            // So it says of a link too, which is a directory to most.
            nix::Error::ENOTDIR | nix::Error::ELOOP => {
                io::Error::other("it is a link or a file, not a directory")
            }
            errno => errno.into(),
        })?;
        Ok(Self::from_parts(path.to_owned(), directory))
    }

    /// Refuses what others own or could write to.
    fn check(self) -> Result<Self, StateDirError> {
        self.check_for(&[Uid::effective()])
    }

    fn check_for(self, owners: &[Uid]) -> Result<Self, StateDirError> {
        let failed = |reason: String| Err(StateDirError::new(&self.path, reason));
        let metadata = match self.as_file().and_then(|directory| directory.metadata()) {
            Ok(metadata) => metadata,
            Err(error) => return failed(error.to_string()),
        };
        let owner = metadata.uid();
        if !owners.iter().any(|uid| uid.as_raw() == owner) {
            return failed(format!(
                "it belongs to user {owner}, who could change what is in it"
            ));
        }
        let mode = metadata.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return failed(format!("others may write to it (its mode is {mode:o})"));
        }
        Ok(self)
    }

    fn as_file(&self) -> io::Result<File> {
        Ok(self.directory.try_clone()?.into())
    }

    /// Its path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path to it that goes through its descriptor, for what takes no descriptor.
    pub fn anchor(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.directory.as_raw_fd()))
    }

    /// Lets everybody connect to a socket in it who can come to it.
    ///
    /// # Errors
    /// Where that cannot be.
    pub fn open_to_all(&self, socket: &str) -> io::Result<()> {
        let mode = Mode::from_bits_retain(0o666);
        // Nobody but us can have put a link there.
        let follow = FchmodatFlags::FollowSymlink;
        Ok(fchmodat(self.directory.as_fd(), socket, mode, follow)?)
    }

    /// Opens a file in it for reading; `None` where there is none.
    ///
    /// # Errors
    /// Where it is a link, or anything else but a file.
    pub fn read(&self, name: &str) -> io::Result<Option<File>> {
        match self.file(name, OFlag::O_RDONLY) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a file in it for appending; what it held goes with `anew`.
    ///
    /// # Errors
    /// As [`StateDir::read`].
    pub fn append(&self, name: &str, anew: bool) -> io::Result<File> {
        let file = self.file(name, OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT)?;
        if anew {
            file.set_len(0)?;
        }
        Ok(file)
    }

    /// Opens a file in it that stays as it is, and can be read and written.
    ///
    /// # Errors
    /// As [`StateDir::read`].
    pub fn keep(&self, name: &str) -> io::Result<File> {
        self.file(name, OFlag::O_RDWR | OFlag::O_CREAT)
    }

    fn file(&self, name: &str, flags: OFlag) -> io::Result<File> {
        // Without O_NONBLOCK, opening a pipe waits.
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let private = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = match openat(self.directory.as_fd(), name, flags, private) {
            Ok(file) => File::from(file),
            Err(nix::Error::ELOOP) => return Err(io::Error::other("it is a link")),
            Err(errno) => return Err(errno.into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        // Of an earlier version: who can open it can hold its lock.
        if metadata.mode() & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(private.bits()))?;
        }
        Ok(file)
    }

    /// Removes a file; that there is none is as good.
    ///
    /// # Errors
    /// Where it stays.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(self.directory.as_fd(), name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Puts one file in the place of another.
    ///
    /// # Errors
    /// Where both stay as they are.
    pub fn replace(&self, name: &str, by: &str) -> io::Result<()> {
        let directory = self.directory.as_fd();
        Ok(renameat(directory, by, directory, name)?)
    }
}

impl StateDirError {
    fn new(path: &Path, reason: String) -> Self {
        Self {
            path: path.to_owned(),
            reason,
        }
    }
}

impl AsFd for StateDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, os::unix::fs::symlink};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn what_it_makes_is_private_and_what_others_can_change_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("deep/state");
        assert!(StateDir::open(&path).unwrap().is_none());
        let state = StateDir::make(&path).unwrap();
        state.append("file", false).unwrap();
        assert_eq!((mode(&path), mode(&path.join("file"))), (0o700, 0o600));
        assert!(StateDir::open(&path).unwrap().is_some());
        for bad in [0o770, 0o1777, 0o702] {
            fs::set_permissions(&path, fs::Permissions::from_mode(bad)).unwrap();
            let error = StateDir::make(&path).unwrap_err().to_string();
            assert!(error.contains("others may write") && error.contains("--state-dir"));
            assert!(StateDir::open(&path).is_err());
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        StateDir::make(&path).unwrap();
        let link = root.path().join("link");
        symlink(&path, &link).unwrap();
        for link in [link.clone(), link.join("")] {
            let error = StateDir::make(&link).unwrap_err().to_string();
            assert!(error.contains("a link"), "{error}");
        }
    }

    #[test]
    fn links_and_pipes_in_it_are_not_followed_and_files_of_earlier_versions_become_private() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::make(root.path()).unwrap();
        let elsewhere = root.path().join("elsewhere");
        fs::write(&elsewhere, "precious").unwrap();
        symlink(&elsewhere, root.path().join("link")).unwrap();
        nix::unistd::mkfifo(&root.path().join("pipe"), Mode::S_IRWXU).unwrap();
        for name in ["link", "pipe"] {
            assert!(state.append(name, true).is_err(), "{name}");
            assert!(state.keep(name).is_err(), "{name}");
            assert!(state.read(name).is_err(), "{name}");
        }
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "precious");
        let old = root.path().join("old");
        fs::write(&old, "old").unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o644)).unwrap();
        let mut file = state.append("old", false).unwrap();
        write!(file, "er").unwrap();
        assert_eq!(
            (mode(&old), fs::read_to_string(&old).unwrap().as_str()),
            (0o600, "older")
        );
        state.replace("new", "old").unwrap();
        state.remove("new").unwrap();
        state.remove("new").unwrap();
        assert!(state.read("new").unwrap().is_none());
    }
}
