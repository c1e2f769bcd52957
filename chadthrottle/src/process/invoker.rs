//! The user behind sudo and the like.

use std::{
    ffi::{CString, OsString},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Uid, User as PasswdEntry, getgrouplist};

use super::account::{UserError, uid_of};
use crate::sys::process::User;

/// Variables in which tools that make somebody root say who that was, by id or name: sudo, sudo-rs
/// and run0; pkexec; doas.
const CALLERS: [&str; 3] = ["SUDO_UID", "PKEXEC_UID", "DOAS_USER"];

/// Who called sudo or the like: whom to run as, and the home directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoker {
    /// Ids and groups.
    pub user: User,
    /// Name.
    pub name: String,
    /// Home directory.
    pub home: PathBuf,
}

/// That user; `None` for root.
fn of(text: &str) -> Result<Option<Invoker>, UserError> {
    let unknown = || UserError::Unknown(crate::text::escape(text).into_owned());
    let uid = uid_of(text)?;
    if uid == 0 {
        return Ok(None);
    }
    let lookup = |source| UserError::Lookup {
        name: crate::text::escape(text).into_owned(),
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

/// Home directory of whoever called us: behind sudo and the like, of who called that.
pub fn home_of_caller() -> Option<PathBuf> {
    match Invoker::behind(|name| std::env::var_os(name)) {
        Ok(Some(invoker)) => Some(invoker.home),
        _ => std::env::home_dir(),
    }
}

impl Invoker {
    /// The user behind sudo, pkexec or doas, as this environment has it; `None` for root, or where no
    /// such tool was called.
    ///
    /// # Errors
    /// Where a variable names nobody.
    pub fn behind(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>, UserError> {
        for text in CALLERS.into_iter().filter_map(variable) {
            let invoker = of(&text.to_string_lossy())?;
            if invoker.is_some() {
                return Ok(invoker);
            }
        }
        Ok(None)
    }

    /// What becomes of the environment, in which root's own may stand, so that a program finds what
    /// is this user's: its home, and in its runtime directory below `runtimes` (`/run/user` but in
    /// tests) its bus and its screen, which is the one that is named already where it is theirs.
    /// `None`: the variable goes.
    pub fn environment(
        &self,
        runtimes: &Path,
        screen: Option<OsString>,
    ) -> Vec<(&'static str, Option<OsString>)> {
        let mut variables = vec![
            ("HOME", Some(self.home.clone().into())),
            ("USER", Some(self.name.clone().into())),
            ("LOGNAME", Some(self.name.clone().into())),
        ];
        let directory = runtimes.join(self.user.uid.to_string());
        let is_theirs = |path: &Path| {
            std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.uid() == self.user.uid)
        };
        let is_their_socket = |path: &Path| {
            std::fs::symlink_metadata(path).is_ok_and(|metadata| {
                metadata.uid() == self.user.uid && metadata.file_type().is_socket()
            })
        };
        let known = is_theirs(&directory);
        let bus = directory.join("bus");
        let address = (known && is_their_socket(&bus)).then(|| {
            let mut address = OsString::from("unix:path=");
            address.push(&bus);
            address
        });
        variables.push(("XDG_RUNTIME_DIR", known.then(|| directory.clone().into())));
        variables.push(("DBUS_SESSION_BUS_ADDRESS", address));
        let screens = screen
            .into_iter()
            .chain(["wayland-0", "wayland-1"].map(OsString::from))
            .find(|name| known && is_their_socket(&directory.join(name)));
        variables.push(("WAYLAND_DISPLAY", screens));
        variables
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashMap, os::unix::net::UnixListener};

    fn behind(variables: &[(&str, &str)]) -> Result<Option<Invoker>, UserError> {
        let value = |name: &str| {
            let set = variables.iter().find(|(other, _)| *other == name);
            set.map(|(_, value)| value.into())
        };
        Invoker::behind(value)
    }

    #[test]
    fn the_user_behind_each_tool_that_makes_root() {
        assert_eq!(behind(&[]).unwrap(), None);
        assert_eq!(behind(&[("SUDO_UID", "0")]).unwrap(), None);
        assert_eq!(behind(&[("DOAS_USER", "root")]).unwrap(), None);
        assert!(behind(&[("SUDO_UID", "4000000001")]).is_err());
        assert!(behind(&[("PKEXEC_UID", "no-such-user")]).is_err());
        for variables in [
            &[("SUDO_UID", "1")][..],
            &[("PKEXEC_UID", "1")],
            &[("DOAS_USER", "daemon")],
            &[("SUDO_UID", "0"), ("DOAS_USER", "daemon")],
        ] {
            let daemon = behind(variables).unwrap().unwrap();
            assert_eq!((daemon.user.uid, daemon.name.as_str()), (1, "daemon"));
            assert!(daemon.user.groups.contains(&daemon.user.gid));
        }
    }

    #[test]
    fn a_program_finds_what_is_its_users_and_nothing_of_somebody_elses() {
        let runtimes = tempfile::tempdir().unwrap();
        let ours = nix::unistd::geteuid().as_raw();
        let of = |uid: u32| {
            let invoker = Invoker {
                user: User {
                    uid,
                    gid: 7,
                    groups: vec![7],
                },
                name: "chad".to_owned(),
                home: "/home/chad".into(),
            };
            let screen = Some("wayland-7".into());
            HashMap::<_, _>::from_iter(invoker.environment(runtimes.path(), screen))
        };
        let nothing = of(ours);
        assert_eq!(nothing["HOME"], Some("/home/chad".into()));
        assert_eq!(nothing["LOGNAME"], Some("chad".into()));
        assert_eq!(nothing["XDG_RUNTIME_DIR"], None);

        let directory = runtimes.path().join(ours.to_string());
        std::fs::create_dir(&directory).unwrap();
        let _bus = UnixListener::bind(directory.join("bus")).unwrap();
        std::fs::write(directory.join("wayland-0"), "no socket").unwrap();
        let _screen = UnixListener::bind(directory.join("wayland-1")).unwrap();
        let all = of(ours);
        assert_eq!(all["XDG_RUNTIME_DIR"], Some(directory.clone().into()));
        let bus = format!("unix:path={}/bus", directory.display());
        assert_eq!(all["DBUS_SESSION_BUS_ADDRESS"], Some(bus.into()));
        assert_eq!(all["WAYLAND_DISPLAY"], Some("wayland-1".into()));

        let _named = UnixListener::bind(directory.join("wayland-7")).unwrap();
        assert_eq!(of(ours)["WAYLAND_DISPLAY"], Some("wayland-7".into()));

        // Somebody else's directory under that user's number.
        std::fs::rename(&directory, runtimes.path().join("4000000001")).unwrap();
        let others = of(4_000_000_001);
        assert_eq!(others["XDG_RUNTIME_DIR"], None);
        assert_eq!(others["DBUS_SESSION_BUS_ADDRESS"], None);
        assert_eq!(others["WAYLAND_DISPLAY"], None);
    }
}
