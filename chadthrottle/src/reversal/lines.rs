//! A file of JSON objects, one a line, that is only ever appended to.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::MetadataExt,
};

use serde::Serialize;

use super::state_dir::StateDir;

/// The file, open for appending.
#[derive(Debug)]
pub struct Lines {
    file: File,
    /// The last line may have been written in part: the disk was full.
    is_cut: bool,
}

impl Lines {
    /// Goes on with that file, or begins it anew.
    ///
    /// # Errors
    /// Where it cannot be opened. Going on, where it cannot be written either.
    pub fn open(directory: &StateDir, name: &str, anew: bool) -> io::Result<Self> {
        let mut file = directory.append(name, anew)?;
        if !anew {
            // A line of its own, whatever an earlier run left half-written.
            file.write_all(b"\n")?;
        }
        Ok(Self {
            file,
            is_cut: false,
        })
    }

    /// Appends a line, and nothing else: where that fails, a part of it may stay, which the next one
    /// is kept apart from.
    ///
    /// # Errors
    /// Where it is not there as a whole.
    pub fn append(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = Vec::new();
        if self.is_cut {
            text.push(b'\n');
        }
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
        self.is_cut = true;
        self.file.write_all(&text)?;
        self.is_cut = false;
        Ok(())
    }

    /// Waits until all of it is on disk.
    ///
    /// # Errors
    /// Where it is not.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Whether somebody has removed the file.
    pub fn is_removed(&self) -> bool {
        self.file.metadata().is_ok_and(|it| it.nlink() == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_line_that_did_not_fit_is_kept_apart_from_the_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::make(directory.path()).unwrap();
        let path = directory.path().join("lines");
        let mut lines = Lines::open(&state, "lines", true).unwrap();
        lines.append(&"one").unwrap();
        // The device that is always full; a full disk takes a part of a line besides.
        let full = File::options().write(true).open("/dev/full").unwrap();
        let own = std::mem::replace(&mut lines.file, full);
        assert!(lines.append(&"two").is_err());
        lines.file = own;
        fs::write(&path, "\"one\"\n\"tw").unwrap();
        lines.append(&"three").unwrap();
        lines.append(&"four").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "\"one\"\n\"tw\n\"three\"\n\"four\"\n");
        assert!(!lines.is_removed());
        fs::remove_file(&path).unwrap();
        assert!(lines.is_removed());
    }
}
