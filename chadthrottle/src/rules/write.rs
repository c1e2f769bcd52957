//! Writes the rules file: whole or not at all, and with its mode and owner as they were.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::fcntl::{Flock, FlockArg};

use super::{
    Mistake, Places,
    edit::{Edit, EditError},
    places::Unread,
    read,
};

/// Why the rules file was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The change cannot be made.
    #[error("{path}: {source}", path = path.display())]
    Edit {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: EditError,
    },
    /// What would have been written is no rules file.
    #[error("{path} stays as it is: {what}", path = path.display())]
    Refused {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It is in a file that commands do not edit.
    #[error(
        "rule '{name}' is in {file}, which commands do not edit. Edit the file, or mask it with one of the same name \
         in /etc/chadthrottle/rules.d",
        file = file.display()
    )]
    Elsewhere {
        /// Which rule.
        name: String,
        /// Where it is.
        file: PathBuf,
    },
    /// It cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
}

impl WriteError {
    /// The exit code of the contract.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => 3,
            Self::Io { .. } => 1,
            Self::Edit { .. } | Self::Refused { .. } | Self::Elsewhere { .. } => 2,
        }
    }
}

/// Mode of a file that was not there.
const MODE: u32 = 0o644;

impl Places {
    /// Makes a change in the file that commands edit.
    ///
    /// # Errors
    /// Where it cannot be made, or would leave a file with mistakes: then nothing is written.
    pub fn edit(&self, edit: &Edit) -> Result<(), WriteError> {
        let main = self.main();
        let failed = |source| WriteError::Io {
            path: main.clone(),
            source,
        };
        let directory = main.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory).map_err(failed)?;
        // Two commands at once make their changes one after the other.
        let directory = File::open(directory).map_err(failed)?;
        let _lock = Flock::lock(directory, FlockArg::LockExclusive)
            .map_err(|(_, error)| failed(error.into()))?;
        let text = match self.text(&main) {
            Ok(text) => text,
            Err(Unread::Missing) => String::new(),
            Err(Unread::Refused(what)) => return Err(WriteError::Refused { path: main, what }),
        };
        self.refuse_others(edit)?;
        let new = edit.apply(&text).map_err(|source| WriteError::Edit {
            path: main.clone(),
            source,
        })?;
        if let Err(mistakes) = read::read(&new, &Arc::from(main.as_path())) {
            let words: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
            return Err(WriteError::Refused {
                path: main,
                what: words.join("\n"),
            });
        }
        replace(&main, &new).map_err(failed)
    }

    /// Refuses to change a rule of another file, and to add one with its name.
    fn refuse_others(&self, edit: &Edit) -> Result<(), WriteError> {
        let (name, is_new) = match edit {
            Edit::Add { rule, .. } => (&rule.name, true),
            Edit::Remove { name }
            | Edit::Change { name, .. }
            | Edit::Enable { name, .. }
            | Edit::Move { name, .. } => (name, false),
            Edit::Profile { .. } => return Ok(()),
        };
        let main = self.main();
        let all = self.load();
        let Some(rule) = all.rules.iter().find(|rule| *rule.name == **name) else {
            return Ok(());
        };
        if *rule.file == *main {
            return Ok(());
        }
        if is_new {
            return Err(WriteError::Edit {
                path: rule.file.to_path_buf(),
                source: EditError::Exists(name.clone()),
            });
        }
        Err(WriteError::Elsewhere {
            name: name.clone(),
            file: rule.file.to_path_buf(),
        })
    }
}

/// Writes a file beside it, and puts that in its place.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // Of a link, the file is what is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = directory.join(format!(".{name}.new"));
    // Whoever has the lock may remove what somebody left who was killed.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let before = fs::metadata(&path).ok();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    let written = (|| {
        file.write_all(text.as_bytes())?;
        if let Some(before) = &before {
            fchown(&file, Some(before.uid()), Some(before.gid()))?;
        }
        let mode = before
            .as_ref()
            .map_or(MODE, |before| before.mode() & 0o7777);
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        // The failure is told; this is tidying up after it.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::edit::NewRule;

    fn rule(name: &str) -> Edit {
        Edit::Add {
            rule: NewRule {
                name: name.to_owned(),
                targets: vec!["name:x".to_owned()],
                down: Some("1MB".to_owned()),
                ..NewRule::default()
            },
            first: false,
        }
    }

    #[test]
    fn a_file_is_made_and_keeps_its_mode_and_what_cannot_be_read_stays() {
        let root = tempfile::tempdir().unwrap();
        let places = Places::below(root.path(), nix::unistd::geteuid().as_raw());
        // Whatever umask this runs under.
        fs::create_dir_all(root.path().join("etc/chadthrottle/rules.d")).unwrap();
        for directory in ["etc/chadthrottle", "etc/chadthrottle/rules.d"] {
            let path = root.path().join(directory);
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        places.edit(&rule("one")).unwrap();
        let main = places.main();
        assert_eq!(fs::metadata(&main).unwrap().mode() & 0o7777, MODE);
        fs::set_permissions(&main, Permissions::from_mode(0o640)).unwrap();
        places.edit(&rule("two")).unwrap();
        assert_eq!(fs::metadata(&main).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(places.load().rules.len(), 2);
        let before = fs::read_to_string(&main).unwrap();

        let bad = Edit::Change {
            name: "one".to_owned(),
            down: Some("fast".to_owned()),
            up: None,
            block: None,
            scope: None,
        };
        let error = places.edit(&bad).unwrap_err();
        assert!(
            error.to_string().contains("'fast' is not a rate"),
            "{error}"
        );
        assert_eq!(error.exit_code(), 2);
        assert_eq!(fs::read_to_string(&main).unwrap(), before);

        let other = root.path().join("etc/chadthrottle/rules.d/1.toml");
        fs::write(&other, "[[rule]]\nname='three'\nmatch='name:x'\nup='1MB'\n").unwrap();
        fs::set_permissions(&other, Permissions::from_mode(0o644)).unwrap();
        let remove = Edit::Remove {
            name: "three".to_owned(),
        };
        let error = places.edit(&remove).unwrap_err().to_string();
        assert!(error.contains("1.toml"), "{error}");
        assert!(places.edit(&rule("three")).is_err());

        fs::write(&main, "= 1").unwrap();
        assert!(places.edit(&rule("four")).is_err());
        assert_eq!(fs::read_to_string(&main).unwrap(), "= 1");
        let names = fs::read_dir(main.parent().unwrap()).unwrap().count();
        assert_eq!(names, 2, "something is left");
    }
}
