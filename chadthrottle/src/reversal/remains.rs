//! What would remain of levers if engine and guard were both killed, kept where the next start finds it.
//!
//! Sockets carry notes of what they were before, in a map that goes with the last that holds it. So the pass that
//! puts them back is pinned, in a BPF file system of our own in the state directory: while levers may be set it
//! keeps program and notes. What an engine mounts that is a service with mounts of its own goes with that; it pins in
//! the BPF file system of the machine. A network namespace that may let windows shrink for a moment has an empty
//! file of its name.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf, absolute},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::state_dir::StateDir;
use crate::{backends::throttle::passes, process::namespaces, reversal::ShrinkWindow, sys::bpf};

/// The directory of the BPF file system.
const PINS: &str = "pins";

/// The BPF file system of the machine.
const OF_MACHINE: &str = "/sys/fs/bpf";

/// What the pinned pass is called.
const PASS: &str = "put_back";

/// What the file of a namespace is called, before boot and inode.
const SHRINKS: &str = "shrinks-";

/// What would remain of the levers of one engine. Dropping it says that nothing does.
#[derive(Debug)]
pub struct Remains {
    directory: StateDir,
}

impl Remains {
    /// Pins the pass that puts sockets back.
    ///
    /// # Errors
    /// Where it cannot be; no lever must be set then.
    pub fn keep(directory: &StateDir, put_back: BorrowedFd<'_>) -> io::Result<Self> {
        let is_shared = namespaces::have_mounts_of_our_own()
            && statfs(OF_MACHINE).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC);
        let pins = if is_shared {
            shared(directory)?
        } else {
            directory.anchor().join(PINS)
        };
        match fs::create_dir(&pins) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if !is_shared {
            let kind = Some("bpf");
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(kind, &pins, kind, flags, Some("mode=0700"))?;
        }
        // From here on dropping it undoes what is done.
        let remains = Self {
            directory: directory.clone(),
        };
        bpf::pin(put_back, &c_path(&pins.join(PASS))?).map_err(|error| error.source)?;
        Ok(remains)
    }

    /// Notes that a network namespace, of that inode, is about to let windows shrink.
    ///
    /// # Errors
    /// Where it cannot be noted; it must not then.
    pub fn shrinks(&self, namespace: u64) -> io::Result<()> {
        self.directory.keep(&mark(namespace)?).map(drop)
    }

    /// It does not any more.
    pub fn has_shrunk(&self, namespace: u64) {
        if let Ok(mark) = mark(namespace) {
            // Recovery finds that there is nothing to do.
            let _ = self.directory.remove(&mark);
        }
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        unpin(&self.directory);
    }
}

/// Forgets what a guard has dealt with.
pub fn forget(directory: &StateDir) {
    unpin(directory);
    for (mark, _) in marks(directory) {
        let _ = directory.remove(&mark);
    }
}

/// Puts back what an engine that is gone has left, and gives how many sockets that were; with `dry_run` it does
/// nothing, and gives `None` where there may be some.
pub fn recover(directory: &StateDir, dry_run: bool) -> Option<usize> {
    let pinned = pinned(directory);
    let marks = marks(directory);
    if pinned.is_none() && marks.is_empty() {
        // A mount without a pin may be left of one that was killed at its start.
        if !dry_run {
            unpin(directory);
        }
        return Some(0);
    }
    if dry_run {
        return None;
    }
    let root = Path::new("/proc");
    let namespaces = namespaces::all(root);
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
        let _ = directory.remove(&mark);
    }
    let sockets = pinned.map_or(Some(0), |pass| passes::run_aside(pass, namespaces));
    if sockets.is_none() {
        log::warn!(
            "options of sockets are put back when some program lets go of its own: it hangs in the kernel"
        );
    }
    unpin(directory);
    sockets
}

fn pinned(directory: &StateDir) -> Option<OwnedFd> {
    let mounted = directory.anchor().join(PINS);
    let mut places = [Some(mounted), shared(directory).ok()]
        .into_iter()
        .flatten();
    places.find_map(|pins| bpf::pinned(&c_path(&pins.join(PASS)).ok()?).ok())
}

/// Where an engine of that state directory pins that has mounts of its own. Names there have no dots (`bpf_lookup`).
fn shared(directory: &StateDir) -> io::Result<PathBuf> {
    let path = absolute(directory.path())?;
    let name = path.to_string_lossy().replace(['/', '.'], "_");
    Ok(Path::new(OF_MACHINE).join(format!("chadthrottle{name}")))
}

fn mark(namespace: u64) -> io::Result<String> {
    Ok(format!("{SHRINKS}{}-{namespace}", boot_id()?))
}

/// The files of namespaces, with their inodes where they are of this boot.
fn marks(directory: &StateDir) -> Vec<(String, Option<u64>)> {
    let boot = boot_id().unwrap_or_default();
    let entries = fs::read_dir(directory.anchor()).into_iter().flatten();
    let marks = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let rest = name.strip_prefix(SHRINKS)?;
        let inode = rest
            .strip_prefix(boot.as_str())
            .and_then(|rest| rest.strip_prefix('-')?.parse().ok());
        Some((name, inode))
    });
    marks.collect()
}

fn unpin(directory: &StateDir) {
    let pins: PathBuf = directory.anchor().join(PINS);
    if pins.exists() {
        let _ = fs::remove_file(pins.join(PASS));
        // Nothing is mounted there where that has failed.
        let _ = umount2(&pins, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        let _ = fs::remove_dir(&pins);
    }
    if let Ok(pins) = shared(directory)
        && pins.exists()
    {
        let _ = fs::remove_file(pins.join(PASS));
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
