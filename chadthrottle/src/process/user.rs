//! Users: names for ids, and the user behind sudo and the like.

use std::{
    collections::HashMap,
    ffi::{CString, OsString},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, mpsc},
    time::Duration,
};

use nix::unistd::{Gid, Group as GroupEntry, Uid, User as PasswdEntry, getgrouplist};

use super::aside::Aside;
use crate::sys::process::User;

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

/// Names of user ids, looked up once each: a directory service may take its time, or for ever.
#[derive(Debug)]
pub struct UserNames {
    known: HashMap<u32, Arc<str>>,
    lookups: Aside<u32, Arc<str>>,
}

impl UserNames {
    /// From the system's password database.
    pub fn system() -> Self {
        Self::of(|uid| match PasswdEntry::from_uid(Uid::from_raw(uid)) {
            Ok(Some(user)) => user.name.into(),
            _ => number(uid),
        })
    }

    fn of(look_up: impl Fn(u32) -> Arc<str> + Send + Sync + 'static) -> Self {
        Self {
            known: HashMap::new(),
            lookups: Aside::new("user-names", move |uid: &u32| look_up(*uid)),
        }
    }

    /// The user's name, as far as it is known: the number until then, and where it has none.
    pub fn name(&mut self, uid: u32) -> Arc<str> {
        let known = self.known.entry(uid).or_insert_with(|| {
            self.lookups.ask(uid);
            number(uid)
        });
        Arc::clone(known)
    }

    /// Whether some name is known that was not, which is waited for just a moment.
    pub fn has_learnt(&mut self) -> bool {
        let answers = self.lookups.answers();
        let has_learnt = !answers.is_empty();
        self.known.extend(answers);
        has_learnt
    }
}

fn number(uid: u32) -> Arc<str> {
    uid.to_string().into()
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

/// The name of a user of this machine, and the id of a group of it: from the files alone, since a directory service may
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
fn uid_of(name: &str) -> Result<u32, UserError> {
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

/// The user behind sudo, pkexec or doas, as this environment has it; `None` for root, or where no
/// such tool was called.
///
/// # Errors
/// Where a variable names nobody.
pub fn invoker(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Invoker>, UserError> {
    for text in CALLERS.into_iter().filter_map(variable) {
        let invoker = of(&text.to_string_lossy())?;
        if invoker.is_some() {
            return Ok(invoker);
        }
    }
    Ok(None)
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
    match invoker(|name| std::env::var_os(name)) {
        Ok(Some(invoker)) => Some(invoker.home),
        _ => std::env::home_dir(),
    }
}

impl Invoker {
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
    use std::{sync::Mutex, time::Instant};

    /// Waits until the names that were asked for are known.
    fn learn(names: &mut UserNames) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !names.has_learnt() {
            assert!(Instant::now() < deadline);
        }
    }
    use std::os::unix::net::UnixListener;

    #[test]
    fn names_and_numbers() {
        let mut names = UserNames::system();
        names.name(0);
        learn(&mut names);
        assert_eq!(&*names.name(0), "root");
        names.name(4_000_000_001);
        learn(&mut names);
        assert_eq!(&*names.name(4_000_000_001), "4000000001");
        assert_eq!(Account::find_user("root").unwrap().id(), Some(0));
        assert_eq!(Account::find_user("1234").unwrap().id(), Some(1234));
        let error = Account::find_user("no such\u{1b}user").unwrap_err();
        assert_eq!(error.to_string(), "there is no user 'no such\\u{1b}user'");
        assert_eq!(Account::find_group("root").unwrap().id(), Some(0));
        let error = Account::find_group("no such group").unwrap_err();
        assert_eq!(error.to_string(), "there is no group 'no such group'");
    }

    fn behind(variables: &[(&str, &str)]) -> Result<Option<Invoker>, UserError> {
        let value = |name: &str| {
            let set = variables.iter().find(|(other, _)| *other == name);
            set.map(|(_, value)| value.into())
        };
        invoker(value)
    }

    #[test]
    fn a_directory_service_that_keeps_silent_makes_names_late_and_nothing_else() {
        let (speak, silence) = mpsc::channel::<()>();
        let silence = Mutex::new(silence);
        let mut names = UserNames::of(move |uid| {
            if uid == 7 {
                let _ = silence.lock().unwrap().recv();
            }
            format!("user {uid}").into()
        });
        let asked = Instant::now();
        assert_eq!(&*names.name(7), "7");
        names.name(8);
        learn(&mut names);
        assert_eq!((&*names.name(7), &*names.name(8)), ("7", "user 8"));
        assert!(asked.elapsed() < Duration::from_secs(5));
        drop(speak);
        learn(&mut names);
        assert_eq!(&*names.name(7), "user 7");

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
        assert_eq!(accounts.group("chad"), Some(77));
        for name in ["ada", "broken", "odd", ""] {
            assert_eq!(accounts.group(name), None, "{name}");
        }
    }
}
