//! What would remain of levers if engine and guard were both killed, kept where the next start finds it.
//!
//! Sockets carry notes of what they were before, in a map that goes with the last that holds it. So the pass that
//! puts them back is pinned, in a BPF file system of our own in the state directory: while levers may be set it
//! keeps program and notes. A network namespace that may let windows shrink for a moment has an empty file of
//! its name.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::{
    backends::throttle::passes,
    levers::ShrinkWindow,
    process::{ProcessKey, key_of, namespaces},
    sys::bpf,
};

/// The directory of the BPF file system.
const PINS: &str = "pins";

/// What the pinned pass is called, before the engine's id and start time.
const PASS: &str = "put_back-";

/// What the file of a namespace is called, before boot and inode.
const SHRINKS: &str = "shrinks-";

/// What would remain of the levers of one engine. Dropping it says that nothing does.
#[derive(Debug)]
pub struct Remains {
    directory: PathBuf,
    pin: PathBuf,
}

impl Remains {
    /// Pins the pass that puts sockets back.
    ///
    /// # Errors
    /// Where it cannot be; no lever must be set then.
    pub fn keep(
        directory: &Path,
        engine: ProcessKey,
        put_back: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let pins = directory.join(PINS);
        match fs::create_dir(&pins) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let kind = Some("bpf");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(kind, &pins, kind, flags, Some("mode=0700"))?;
        let pin = pins.join(format!("{PASS}{}-{}", engine.pid, engine.start_ticks));
        let remains = Self {
            directory: directory.to_owned(),
            pin,
        };
        bpf::pin(put_back, &c_path(&remains.pin)?).map_err(|error| error.source)?;
        Ok(remains)
    }

    /// Notes that a network namespace, of that inode, is about to let windows shrink.
    ///
    /// # Errors
    /// Where it cannot be noted; it must not then.
    pub fn shrinks(&self, namespace: u64) -> io::Result<()> {
        File::create(self.mark(namespace)?).map(drop)
    }

    /// It does not any more.
    pub fn has_shrunk(&self, namespace: u64) {
        if let Ok(mark) = self.mark(namespace) {
            // Recovery finds that there is nothing to do.
            let _ = fs::remove_file(mark);
        }
    }

    fn mark(&self, namespace: u64) -> io::Result<PathBuf> {
        let boot = boot_id()?;
        Ok(self.directory.join(format!("{SHRINKS}{boot}-{namespace}")))
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.pin);
        unmount(&self.directory);
    }
}

/// Forgets what a guard has dealt with.
pub fn forget(directory: &Path) {
    for pin in pins(directory) {
        let _ = fs::remove_file(pin);
    }
    unmount(directory);
    for (mark, _) in marks(directory) {
        let _ = fs::remove_file(mark);
    }
}

/// Puts back what an engine that is gone has left, and gives how many sockets that were; with `dry_run` it does
/// nothing, and gives `None` where there may be some.
pub fn recover(directory: &Path, dry_run: bool) -> Option<usize> {
    let root = Path::new("/proc");
    let pins = pins(directory);
    if pins.iter().any(|pin| is_of_the_living(root, pin)) {
        return Some(0);
    }
    let marks = marks(directory);
    if dry_run && !(pins.is_empty() && marks.is_empty()) {
        return None;
    }
    if dry_run {
        return Some(0);
    }
    let mut sockets = 0;
    let namespaces = if pins.is_empty() && marks.is_empty() {
        Vec::new()
    } else {
        namespaces::all(root)
    };
    for (mark, namespace) in marks {
        let found = namespaces
            .iter()
            .find(|found| Some(found.inode) == namespace);
        // Else it is gone, or of another boot.
        if let Some(found) = found {
            let setting = ShrinkWindow::open(root, &found.fd);
            if setting.is_none_or(|mut setting| setting.set(false).is_err()) {
                log::warn!(
                    "tcp_shrink_window may have stayed 1 in network namespace {}",
                    found.inode
                );
            }
        }
        let _ = fs::remove_file(mark);
    }
    for pin in pins {
        match pinned(&pin) {
            Ok(pass) => sockets += passes::run(pass.as_fd(), &namespaces),
            Err(error) => log::warn!("{}: {error}", pin.display()),
        }
        let _ = fs::remove_file(pin);
    }
    unmount(directory);
    Some(sockets)
}

fn pinned(pin: &Path) -> io::Result<OwnedFd> {
    bpf::pinned(&c_path(pin)?).map_err(|error| error.source)
}

fn is_of_the_living(root: &Path, pin: &Path) -> bool {
    let engine = || {
        let name = pin.file_name()?.to_str()?.strip_prefix(PASS)?;
        let (pid, start_ticks) = name.split_once('-')?;
        Some(ProcessKey {
            pid: pid.parse().ok()?,
            start_ticks: start_ticks.parse().ok()?,
        })
    };
    engine().is_some_and(|engine| key_of(root, engine.pid) == Some(engine))
}

fn pins(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join(PINS)).into_iter().flatten();
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.as_bytes().starts_with(PASS.as_bytes()))
        })
        .collect()
}

/// The files of namespaces, with their inodes where they are of this boot.
fn marks(directory: &Path) -> Vec<(PathBuf, Option<u64>)> {
    let boot = boot_id().unwrap_or_default();
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let marks = entries.filter_map(|entry| {
        let name = entry.file_name();
        let rest = name.to_str()?.strip_prefix(SHRINKS)?;
        let inode = rest
            .strip_prefix(boot.as_str())
            .and_then(|rest| rest.strip_prefix('-')?.parse().ok());
        Some((entry.path(), inode))
    });
    marks.collect()
}

fn unmount(directory: &Path) {
    let pins = directory.join(PINS);
    if pins.exists() {
        // Nothing is mounted there where pinning has failed.
        let _ = umount2(&pins, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&pins);
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}
