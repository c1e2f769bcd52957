//! Users: names for ids, and the user behind sudo.

use std::{collections::HashMap, ffi::CString, path::PathBuf, sync::Arc};

use nix::unistd::{Gid, Uid, User as PasswdEntry, getgrouplist};

use crate::sys::process::User;

/// Why a user is not known.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No entry in the password database.
    #[error("there is no user '{0}'")]
    Unknown(String),
    /// The database could not be read.
    #[error("looking up user '{name}': {source}")]
    Lookup {
        /// Who was looked up.
        name: String,
        /// How it failed.
        source: nix::Error,
    },
}

/// Names of user ids, looked up once each.
#[derive(Debug, Default)]
pub struct UserNames {
    known: HashMap<u32, Arc<str>>,
}

impl UserNames {
    /// From the system's password database.
    pub fn system() -> Self {
        Self::default()
    }

    /// The user's name, or the number where it has none.
    pub fn name(&mut self, uid: u32) -> Arc<str> {
        let name = self.known.entry(uid).or_insert_with(|| {
            match PasswdEntry::from_uid(Uid::from_raw(uid)) {
                Ok(Some(user)) => user.name.into(),
                _ => uid.to_string().into(),
            }
        });
        Arc::clone(name)
    }
}

/// The id of a user given by name or number.
///
/// # Errors
/// [`UserError`]
pub fn uid_of(name: &str) -> Result<u32, UserError> {
    if let Ok(uid) = name.parse() {
        return Ok(uid);
    }
    let shown = || crate::text::escape(name).into_owned();
    match PasswdEntry::from_name(name) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err(UserError::Unknown(shown())),
        Err(source) => Err(UserError::Lookup {
            name: shown(),
            source,
        }),
    }
}

/// Who called sudo: whom to run as, and the home directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoker {
    /// Ids and groups.
    pub user: User,
    /// Name.
    pub name: String,
    /// Home directory.
    pub home: PathBuf,
}

/// The user that sudo was called by, from the value of `SUDO_UID`; `None` for root or no sudo.
///
/// # Errors
/// Where the value names nobody.
pub fn invoker(sudo_uid: Option<&str>) -> Result<Option<Invoker>, UserError> {
    let Some(text) = sudo_uid else {
        return Ok(None);
    };
    let unknown = || UserError::Unknown(crate::text::escape(text).into_owned());
    let uid: u32 = text.parse().map_err(|_| unknown())?;
    if uid == 0 {
        return Ok(None);
    }
    let lookup = |source| UserError::Lookup {
        name: text.to_owned(),
        source,
    };
    let entry = PasswdEntry::from_uid(Uid::from_raw(uid))
        .map_err(lookup)?
        .ok_or_else(unknown)?;
    let name = CString::new(entry.name.as_str()).map_err(|_| unknown())?;
    let groups = getgrouplist(&name, entry.gid).map_err(lookup)?;
    Ok(Some(Invoker {
        user: User {
            uid,
            gid: entry.gid.as_raw(),
            groups: groups.into_iter().map(Gid::as_raw).collect(),
        },
        name: entry.name,
        home: entry.dir,
    }))
}

/// Home directory of whoever called us: behind sudo, of who called that.
pub fn home_of_caller() -> Option<PathBuf> {
    match invoker(std::env::var("SUDO_UID").ok().as_deref()) {
        Ok(Some(invoker)) => Some(invoker.home),
        _ => std::env::home_dir(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let mut names = UserNames::system();
        assert_eq!(&*names.name(0), "root");
        assert_eq!(&*names.name(4_000_000_001), "4000000001");
        assert_eq!(uid_of("root").unwrap(), 0);
        assert_eq!(uid_of("1234").unwrap(), 1234);
        let error = uid_of("no such\u{1b}user").unwrap_err();
        assert_eq!(error.to_string(), "there is no user 'no such\\u{1b}user'");
    }

    #[test]
    fn the_user_behind_sudo() {
        assert_eq!(invoker(None).unwrap(), None);
        assert_eq!(invoker(Some("0")).unwrap(), None);
        assert!(invoker(Some("4000000001")).is_err());
        assert!(invoker(Some("x")).is_err());
        let daemon = invoker(Some("1")).unwrap().unwrap();
        assert_eq!((daemon.user.uid, daemon.name.as_str()), (1, "daemon"));
        assert!(daemon.user.groups.contains(&daemon.user.gid));
    }
}
