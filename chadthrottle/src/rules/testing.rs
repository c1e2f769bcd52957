//! Files of rules in a directory of their own, which nobody else may write.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use super::Places;

/// A made-up root of the file system.
pub struct Tree {
    pub directory: tempfile::TempDir,
    pub places: Places,
}

impl Tree {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let owner = nix::unistd::geteuid().as_raw();
        let places = Places::below(directory.path(), owner);
        Self { directory, places }
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Writes a file, whatever umask this runs under.
    pub fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        for directory in path.ancestors().skip(1).take(2) {
            fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
        }
        path
    }
}
