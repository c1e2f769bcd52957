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
    edit::{Change, Edit, EditError},
    places::{LONGEST, Unread},
    read,
};
use crate::process::Accounts;

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
    /// Whether what was to be taken back is another thing by now.
    pub fn is_changed_since(&self) -> bool {
        matches!(
            self,
            Self::Edit {
                source: EditError::Since(_),
                ..
            }
        )
    }

    /// The exit code of the contract.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => 3,
            Self::Io { .. } => 1,
            Self::Edit {
                source: EditError::NoRule(_),
                ..
            } => 5,
            Self::Edit { .. } | Self::Refused { .. } | Self::Elsewhere { .. } => 2,
        }
    }
}

/// Mode of a file that was not there.
const MODE: u32 = 0o644;

impl Places {
    /// Makes a change in the file that commands edit. Gives what takes it back; `None`: it was so already.
    ///
    /// # Errors
    /// Where it cannot be made, or would leave a file with mistakes: then nothing is written.
    pub fn edit(&self, edit: &Edit) -> Result<Option<Change>, WriteError> {
        let (before, after) = self.rewrite(|text| {
            self.refuse_others(edit)?;
            edit.apply(text).map_err(|source| self.cannot(source))
        })?;
        let change = (before != after).then(|| Change {
            edit: edit.clone(),
            before: before.into(),
            after: after.into(),
        });
        Ok(change)
    }

    /// Takes a change back that was made in that file.
    ///
    /// # Errors
    /// Where somebody else has changed the same since, or it would leave a file with mistakes: then nothing is written.
    pub fn take_back(&self, change: &Change) -> Result<(), WriteError> {
        let back = |text: &str| change.taken_back(text);
        self.rewrite(|text| back(text).map_err(|source| self.cannot(source)))
            .map(drop)
    }

    fn cannot(&self, source: EditError) -> WriteError {
        let path = self.main();
        WriteError::Edit { path, source }
    }

    /// Puts another text into the file that commands edit, where it is another. Gives the one before, and that one.
    fn rewrite(
        &self,
        change: impl Fn(&str) -> Result<String, WriteError>,
    ) -> Result<(String, String), WriteError> {
        let main = self.main();
        let failed = |source| WriteError::Io {
            path: main.clone(),
            source,
        };
        let directory = main.parent().unwrap_or(Path::new("/"));
        if !directory.is_dir() {
            // What is refused leaves no directory behind.
            change("")?;
        }
        fs::create_dir_all(directory).map_err(failed)?;
        let beside = Beside::of(&main).map_err(failed)?;
        let text = match self.text(&main) {
            Ok(text) => text,
            Err(Unread::Missing) => String::new(),
            Err(Unread::Masked) => {
                let what = "it is a link to /dev/null, so that there are no rules in it".to_owned();
                return Err(WriteError::Refused { path: main, what });
            }
            Err(Unread::Refused(what)) => return Err(WriteError::Refused { path: main, what }),
        };
        let refused = |mistakes: &[Mistake], shown: fn(&Mistake) -> String| WriteError::Refused {
            path: main.clone(),
            what: mistakes.iter().map(shown).collect::<Vec<_>>().join("\n"),
        };
        let read = |text: &str| {
            let path = Arc::from(main.as_path());
            read::read(text, &path, &mut Accounts::default())
        };
        // What is wrong already has its place there; what would be wrong has none yet.
        read(&text).map_err(|mistakes| refused(&mistakes, Mistake::to_string))?;
        let new = change(&text)?;
        if new == text {
            return Ok((text, new));
        }
        read(&new).map_err(|mistakes| refused(&mistakes, Mistake::in_words))?;
        // And what would be wrong with all files together, which was not so before.
        let before = self.load_with(Some(&text)).problems;
        let after = self.load_with(Some(&new)).problems;
        let news = after.iter().filter(|problem| !before.contains(problem));
        let news: Vec<String> = news.map(ToString::to_string).collect();
        let is_too_long = new.len() as u64 > LONGEST;
        if !news.is_empty() || is_too_long {
            let what = match is_too_long {
                true => format!("it would be longer than {} KB", LONGEST / 1024),
                false => news.join("\n"),
            };
            return Err(WriteError::Refused { path: main, what });
        }
        beside.replace(&main, &new).map_err(failed)?;
        Ok((text, new))
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

/// A file beside another one, which will take its place. Whoever has it is the only one who changes that: it is root's
/// alone, so nobody else can keep it locked.
#[derive(Debug)]
struct Beside {
    path: PathBuf,
    file: Flock<File>,
}

impl Beside {
    /// Waits until nobody else has it.
    fn of(path: &Path) -> io::Result<Self> {
        // Of a link, the file is what is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = path.with_file_name(format!(".{name}.new"));
        loop {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(&beside)?;
            let file = Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, error)| io::Error::from(error))?;
            let ours = file.metadata()?;
            let is_ours = ours.is_file()
                && ours.uid() == nix::unistd::geteuid().as_raw()
                && ours.mode() & 0o022 == 0;
            if !is_ours {
                return Err(io::Error::other(format!(
                    "{} is somebody else's: remove it",
                    beside.display()
                )));
            }
            // It may have taken its place meanwhile, or been given up.
            let now = fs::symlink_metadata(&beside);
            if now.is_ok_and(|now| file.metadata().is_ok_and(|ours| ours.ino() == now.ino())) {
                return Ok(Self { path: beside, file });
            }
        }
    }

    /// Puts it into the other's place with that text, and the other's mode and owner.
    fn replace(self, path: &Path, text: &str) -> io::Result<()> {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let before = fs::metadata(&path).ok();
        let mut file: &File = &self.file;
        // Somebody may have been killed who was writing it.
        file.set_len(0)?;
        file.write_all(text.as_bytes())?;
        if let Some(before) = &before {
            let ours = file.metadata()?;
            if (ours.uid(), ours.gid()) != (before.uid(), before.gid()) {
                fchown(file, Some(before.uid()), Some(before.gid()))?;
            }
        }
        let mode = before
            .as_ref()
            .map_or(MODE, |before| before.mode() & 0o7777);
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&self.path, &path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    }
}

impl Drop for Beside {
    /// Where it has not taken the other's place, it goes. Nobody else has it until the lock is gone, which is later.
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|now| {
            self.file
                .metadata()
                .is_ok_and(|ours| ours.ino() == now.ino())
        });
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
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
            reject: false,
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

    /// With that text in the file that commands edit.
    fn places(root: &Path, text: &str) -> Places {
        let places = Places::below(root, nix::unistd::geteuid().as_raw());
        let directory = root.join("etc/chadthrottle");
        fs::create_dir_all(&directory).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        fs::write(places.main(), text).unwrap();
        fs::set_permissions(places.main(), Permissions::from_mode(0o644)).unwrap();
        places
    }

    const WITH_PROFILE: &str = "policy.profile = 'hotel'\n\n[[rule]]\nname = 'a'\nmatch = 'name:x'\ndown = '1MB'\n\n\
                                [profile.hotel]\nrules = [ 'a' ] # only this\n";

    #[test]
    fn what_is_so_already_is_not_written() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path(), WITH_PROFILE);
        let file = || fs::metadata(places.main()).unwrap().ino();
        let before = file();
        let name = Some("hotel".to_owned());
        assert_eq!(places.edit(&Edit::Profile { name }).unwrap(), None);
        assert_eq!(file(), before);
        assert!(
            places
                .edit(&Edit::Profile { name: None })
                .unwrap()
                .is_some()
        );
        assert_ne!(file(), before);
    }

    #[test]
    fn a_change_is_taken_back_with_the_profiles_of_a_rule_unless_somebody_has_edited_that_by_hand()
    {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path(), WITH_PROFILE);
        let text = || fs::read_to_string(places.main()).unwrap();
        let name = || "a".to_owned();
        let removed = places
            .edit(&Edit::Remove { name: name() })
            .unwrap()
            .unwrap();
        assert_eq!(places.load().rules, []);
        places.take_back(&removed).unwrap();
        assert_eq!(text(), WITH_PROFILE);
        assert_eq!(places.load().rules[0].profiles, ["hotel"]);

        let enabled = false;
        let edit = Edit::Enable {
            name: name(),
            enabled,
        };
        let disabled = places.edit(&edit).unwrap().unwrap();
        let by_hand = text().replace("1MB", "7MB");
        fs::write(places.main(), &by_hand).unwrap();
        let error = places.take_back(&disabled).unwrap_err();
        assert!(error.is_changed_since(), "{error}");
        assert_eq!(text(), by_hand);
        // A comment is none of that.
        fs::write(places.main(), format!("# Mine.\n{}", disabled.after)).unwrap();
        places.take_back(&disabled).unwrap();
        assert_eq!(text(), format!("# Mine.\n{WITH_PROFILE}"));
    }

    #[test]
    fn many_at_once_lose_nothing_and_leave_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        let places = Places::below(root.path(), nix::unistd::geteuid().as_raw());
        let directory = root.path().join("etc/chadthrottle");
        fs::create_dir_all(&directory).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        // Left by somebody who was killed.
        fs::write(directory.join(".rules.toml.new"), "half a ru").unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let places = &places;
                scope.spawn(move || {
                    for number in 0..10 {
                        places.edit(&rule(&format!("{thread}-{number}"))).unwrap();
                    }
                });
            }
        });
        let rules = places.load();
        assert_eq!((rules.rules.len(), rules.problems), (40, Vec::new()));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }

    #[test]
    fn what_is_refused_makes_no_directory() {
        let root = tempfile::tempdir().unwrap();
        let places = Places::below(root.path(), nix::unistd::geteuid().as_raw());
        let gone = Edit::Remove {
            name: "x".to_owned(),
        };
        assert!(places.edit(&gone).is_err());
        assert!(!root.path().join("etc").exists());
    }
}
