//! Users and groups that somebody names: their ids.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, mpsc},
    time::Duration,
};

use nix::unistd::{Group as GroupEntry, User as PasswdEntry};

/// Why a user is not known.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No entry in the password database.
    #[error("there is no user '{0}'")]
    Unknown(String),
    /// No entry in the group database.
    #[error("there is no group '{0}'")]
    UnknownGroup(String),
    /// The database could not be read.
    #[error("looking up '{name}': {source}")]
    Lookup {
        /// Who was looked up.
        name: String,
        /// How it failed.
        source: nix::Error,
    },
}

/// A user or group that was named, and who that is: known at once, or when the database has answered.
#[derive(Clone, Debug)]
pub struct Account {
    name: String,
    /// `None`: there is no such one.
    id: Arc<OnceLock<Option<u32>>>,
}

impl PartialEq for Account {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Account {}

/// How long one that is named is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

impl Account {
    /// The user of that name or number.
    ///
    /// # Errors
    /// Where there is none.
    pub fn find_user(name: &str) -> Result<Self, UserError> {
        Self::find_by(name, PATIENCE, uid_of)
    }

    /// The user of that name or number, who is not waited for.
    ///
    /// # Errors
    /// Where nobody can be asked.
    pub fn find_user_later(name: &str) -> Result<Self, UserError> {
        Self::find_by(name, Duration::ZERO, uid_of)
    }

    /// The group of that name or number, which is not waited for.
    ///
    /// # Errors
    /// Where nobody can be asked.
    pub fn find_group_later(name: &str) -> Result<Self, UserError> {
        Self::find_by(name, Duration::ZERO, gid_of)
    }

    /// The group of that name or number.
    ///
    /// # Errors
    /// Where there is none.
    pub fn find_group(name: &str) -> Result<Self, UserError> {
        Self::find_by(name, PATIENCE, gid_of)
    }

    /// One that somebody has looked up before.
    pub fn known(name: &str, id: u32) -> Self {
        Self {
            name: name.to_owned(),
            id: Arc::new(OnceLock::from(Some(id))),
        }
    }

    /// One whom nobody has looked up, and who is nobody until then.
    pub fn unknown(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            id: Arc::default(),
        }
    }

    fn find_by(
        name: &str,
        patience: Duration,
        look_up: impl FnOnce(&str) -> Result<u32, UserError> + Send + 'static,
    ) -> Result<Self, UserError> {
        let found = Self {
            name: name.to_owned(),
            id: Arc::default(),
        };
        if let Ok(id) = name.parse() {
            // It is the first to set it.
            let _ = found.id.set(Some(id));
            return Ok(found);
        }
        let (later, asked) = (Arc::clone(&found.id), name.to_owned());
        let (result, answer) = mpsc::channel();
        let thread = std::thread::Builder::new().name("account-id".to_owned());
        let spawned = thread.spawn(move || {
            let looked_up = look_up(&asked);
            let _ = later.set(looked_up.as_ref().ok().copied());
            // Nobody may wait any more.
            let _ = result.send(looked_up);
        });
        spawned.map_err(|error| UserError::Lookup {
            name: crate::text::escape(name).into_owned(),
            source: nix::Error::from_raw(error.raw_os_error().unwrap_or(0)),
        })?;
        match answer.recv_timeout(patience) {
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) | Err(_) => Ok(found),
        }
    }

    /// As it was named.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id; `None` where there is no such one, or nobody has answered.
    pub fn id(&self) -> Option<u32> {
        self.id.get().copied().flatten()
    }

    /// Whether the database has answered.
    pub fn is_looked_up(&self) -> bool {
        self.id.get().is_some()
    }
}

/// The id of a user given by number or name.
pub(super) fn uid_of(name: &str) -> Result<u32, UserError> {
    let look_up =
        |name: &str| PasswdEntry::from_name(name).map(|user| user.map(|it| it.uid.as_raw()));
    id_of(name, look_up, UserError::Unknown)
}

/// The id of a group given by number or name.
fn gid_of(name: &str) -> Result<u32, UserError> {
    let look_up =
        |name: &str| GroupEntry::from_name(name).map(|group| group.map(|it| it.gid.as_raw()));
    id_of(name, look_up, UserError::UnknownGroup)
}

fn id_of(
    name: &str,
    look_up: impl FnOnce(&str) -> nix::Result<Option<u32>>,
    unknown: impl FnOnce(String) -> UserError,
) -> Result<u32, UserError> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let shown = || crate::text::escape(name).into_owned();
    match look_up(name) {
        Ok(Some(id)) => Ok(id),
        Ok(None) => Err(unknown(shown())),
        Err(source) => Err(UserError::Lookup {
            name: shown(),
            source,
        }),
    }
}

/// Names of users and groups of this machine, and ids of groups: from the files alone, since a directory service may
/// not answer, and whoever comes to the engine is not to wait for it.
#[derive(Clone, Debug)]
pub struct LocalAccounts {
    etc: PathBuf,
}

impl LocalAccounts {
    /// Those of the files in that directory, /etc but in tests.
    pub fn of(etc: &Path) -> Self {
        Self {
            etc: etc.to_owned(),
        }
    }

    /// The user's name, or the number where the machine itself has none.
    pub fn user(&self, uid: u32) -> String {
        self.field("passwd", 2, &uid.to_string(), 0)
            .unwrap_or_else(|| uid.to_string())
    }

    /// The group's name, or the number where the machine itself has none.
    pub fn group_name(&self, gid: u32) -> String {
        self.field("group", 2, &gid.to_string(), 0)
            .unwrap_or_else(|| gid.to_string())
    }

    /// The group's id.
    pub fn group(&self, name: &str) -> Option<u32> {
        self.field("group", 0, name, 2)?.parse().ok()
    }

    /// What stands in the field `wanted` of the line whose field `by` is `is`.
    fn field(&self, file: &str, by: usize, is: &str, wanted: usize) -> Option<String> {
        let text = std::fs::read_to_string(self.etc.join(file)).ok()?;
        let line = text
            .lines()
            .find(|line| line.split(':').nth(by) == Some(is))?;
        line.split(':').nth(wanted).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn users_and_groups_have_names_or_numbers() {
        assert_eq!(Account::find_user("root").unwrap().id(), Some(0));
        assert_eq!(Account::find_user("1234").unwrap().id(), Some(1234));
        let error = Account::find_user("no such\u{1b}user").unwrap_err();
        assert_eq!(error.to_string(), "there is no user 'no such\\u{1b}user'");
        assert_eq!(Account::find_group("root").unwrap().id(), Some(0));
        let error = Account::find_group("no such group").unwrap_err();
        assert_eq!(error.to_string(), "there is no group 'no such group'");
    }

    #[test]
    fn an_account_that_a_silent_directory_service_has_is_known_later() {
        let (speak, silence) = mpsc::channel::<()>();
        let find = |patience, silence: mpsc::Receiver<()>| {
            Account::find_by("late", patience, move |_| {
                let _ = silence.recv();
                Ok(9)
            })
        };
        let late = find(Duration::ZERO, silence).unwrap();
        assert_eq!((late.id(), late.is_looked_up()), (None, false));
        drop(speak);
        let deadline = Instant::now() + Duration::from_secs(10);
        while late.id() != Some(9) {
            assert!(Instant::now() < deadline);
        }
    }

    #[test]
    fn accounts_of_the_machine_are_found_in_its_files_and_no_others() {
        let etc = tempfile::tempdir().unwrap();
        let accounts = LocalAccounts::of(etc.path());
        assert_eq!(
            (accounts.user(0), accounts.group("x")),
            ("0".to_owned(), None)
        );
        let write = |name: &str, text: &str| std::fs::write(etc.path().join(name), text).unwrap();
        write("passwd", "root:x:0:0:::\n\nada:x:1815:7:a:b:c\n1815x::9\n");
        write(
            "group",
            "root:x:0:\nchad:x:77:ada,root\nbroken\nodd:x:-1:\n",
        );
        assert_eq!(accounts.user(1815), "ada");
        assert_eq!(accounts.user(7), "7");
        assert_eq!(accounts.group_name(77), "chad");
        assert_eq!(accounts.group_name(7), "7");
        assert_eq!(accounts.group("chad"), Some(77));
        for name in ["ada", "broken", "odd", ""] {
            assert_eq!(accounts.group(name), None, "{name}");
        }
    }
}
