//! The journal of socket options: what sockets had before a limit set them, for the case that
//! engine and guard are both killed.
//!
//! One JSON object a line: first whose it is, then a socket each, or a network namespace in which windows
//! were taken back. A line is written before user
//! space sets an option, and within a tenth of a second of the kernel program's having set one. It
//! need not survive a crash of the machine, which no socket does, so it is not
//! forced to disk.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, Read},
    os::fd::OwnedFd,
    path::Path,
};

use chadthrottle_common::abi::SocketOptions;
use serde::{Deserialize, Serialize};

use super::{lines::Lines, state_dir::StateDir};
use crate::{
    backends::throttle::peer_name,
    levers::{ShrinkWindow, restore},
    process::{ProcessKey, each_socket_of, pids},
    sys::socket,
};

const NAME: &str = "sockets.jsonl";

/// The one that takes its place.
const NEW: &str = "sockets.new";

/// Most bytes read: many times what a machine full of sockets needs.
const MAX_BYTES: u64 = 1 << 28;

/// Version of the lines that this program writes and understands.
const VERSION: u32 = 2;

/// A journal with so many lines, and twice as many as sockets, is written anew.
const TIDY_ABOVE: usize = 1_000;

/// Whose journal it is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    version: u32,
    /// Sockets are named by their inodes, which mean nothing after the next boot.
    boot: String,
    engine_pid: u32,
    engine_start: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    inode: u64,
    /// [`SocketOptions::words`]
    options: [u64; 5],
}

/// A network namespace that may let windows shrink, and does not by itself.
#[derive(Debug, Serialize, Deserialize)]
struct Namespace {
    namespace: u64,
}

/// The journal of a running engine.
#[derive(Debug)]
pub struct SocketJournal {
    directory: StateDir,
    head: Head,
    file: Lines,
    lines: usize,
    /// So many lines are too many.
    tidy_at: usize,
    sockets: HashMap<u64, SocketOptions>,
    namespaces: HashSet<u64>,
}

impl SocketJournal {
    /// Starts one in that directory.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn start(directory: &StateDir, engine: ProcessKey) -> io::Result<Self> {
        let head = Head {
            version: VERSION,
            boot: boot_id()?,
            engine_pid: engine.pid,
            engine_start: engine.start_ticks,
        };
        let mut file = Lines::open(directory, NAME, true)?;
        file.append(&head)?;
        Ok(Self {
            directory: directory.clone(),
            head,
            file,
            lines: 0,
            tidy_at: TIDY_ABOVE,
            sockets: HashMap::new(),
            namespaces: HashSet::new(),
        })
    }

    /// Notes what a socket had, unless that is noted.
    ///
    /// # Errors
    /// Where it cannot be; nothing must be set then.
    pub fn note(&mut self, inode: u64, options: SocketOptions) -> io::Result<()> {
        if self.sockets.get(&inode) == Some(&options) {
            return Ok(());
        }
        self.file.append(&Line {
            inode,
            options: options.words(),
        })?;
        self.lines += 1;
        self.sockets.insert(inode, options);
        Ok(())
    }

    /// Notes a network namespace, by its inode.
    ///
    /// # Errors
    /// Where it cannot be; nothing must be set then.
    pub fn note_namespace(&mut self, namespace: u64) -> io::Result<()> {
        if !self.namespaces.contains(&namespace) {
            self.file.append(&Namespace { namespace })?;
            self.namespaces.insert(namespace);
        }
        Ok(())
    }

    /// Forgets sockets that are closed, where it has grown long.
    pub fn keep(&mut self, is_open: impl Fn(u64) -> bool) {
        if self.lines < self.tidy_at {
            return;
        }
        self.sockets.retain(|inode, _| is_open(*inode));
        if let Err(error) = self.tidy() {
            log::warn!("{}: {error}", self.directory.path().join(NAME).display());
        }
        self.tidy_at = TIDY_ABOVE.max(2 * self.sockets.len());
    }

    fn tidy(&mut self) -> io::Result<()> {
        let mut file = Lines::open(&self.directory, NEW, true)?;
        file.append(&self.head)?;
        for namespace in &self.namespaces {
            let namespace = *namespace;
            file.append(&Namespace { namespace })?;
        }
        for (inode, options) in &self.sockets {
            file.append(&Line {
                inode: *inode,
                options: options.words(),
            })?;
        }
        self.directory.replace(NAME, NEW)?;
        self.file = file;
        self.lines = self.sockets.len();
        Ok(())
    }

    /// Removes it, since no socket is as it notes any more.
    pub fn remove(self) {
        forget(&self.directory);
    }
}

/// Removes the journal in that directory: its sockets have been put back.
pub fn forget(directory: &StateDir) {
    if let Err(error) = directory.remove(NAME) {
        log::warn!("{}: {error}", directory.path().join(NAME).display());
    }
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// What an engine which is gone has left.
#[derive(Debug, Default)]
struct Left {
    /// Sockets with options of its own, by inode.
    sockets: HashMap<u64, SocketOptions>,
    /// Network namespaces that may let windows shrink.
    namespaces: HashSet<u64>,
}

fn left_behind(directory: &StateDir) -> Left {
    let mut bytes = Vec::new();
    match directory.read(NAME) {
        // Half of it is better than none.
        Ok(Some(file)) => _ = file.take(MAX_BYTES).read_to_end(&mut bytes),
        Ok(None) => {}
        Err(error) => log::warn!("{}: {error}", directory.path().join(NAME).display()),
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    let head = lines
        .next()
        .and_then(|line| serde_json::from_str::<Head>(line).ok());
    let is_ours = head.is_some_and(|head| {
        head.version == VERSION && boot_id().is_ok_and(|boot| boot == head.boot)
    });
    if !is_ours {
        return Left::default();
    }
    let mut left = Left::default();
    for line in lines {
        // A cut or broken line is passed over; what it notes was not set.
        if let Ok(Line { inode, options }) = serde_json::from_str(line) {
            left.sockets
                .insert(inode, SocketOptions::from_words(options));
        } else if let Ok(Namespace { namespace }) = serde_json::from_str(line) {
            left.namespaces.insert(namespace);
        }
    }
    left
}

/// Has network namespaces of these inodes let no window shrink any more, as far as some process is in them.
fn recover_namespaces(root: &Path, mut left: HashSet<u64>) {
    for pid in pids(root) {
        if left.is_empty() {
            return;
        }
        let namespace = File::open(root.join(pid.to_string()).join("ns/net"));
        let Some(namespace) = namespace.ok().map(OwnedFd::from) else {
            continue;
        };
        let Some(inode) = socket::inode(&namespace).filter(|inode| left.remove(inode)) else {
            continue;
        };
        let setting = ShrinkWindow::open(root, &namespace);
        if setting.is_none_or(|mut setting| setting.set(false).is_err()) {
            log::warn!("tcp_shrink_window may have stayed 1 in network namespace {inode}");
        }
    }
}

/// Puts back the options of sockets that an engine which is gone has left, and says how many; with
/// `dry_run` only says how many there are. `mount` is that of cgroup2. Who asks has the lock of the
/// directory, so that its engine is gone.
pub fn recover(directory: &StateDir, mount: &Path, dry_run: bool) -> usize {
    let Left {
        sockets: left,
        namespaces,
    } = left_behind(directory);
    if left.is_empty() && namespaces.is_empty() {
        return 0;
    }
    let root = Path::new("/proc");
    if !dry_run {
        recover_namespaces(root, namespaces);
    }
    let mut programs = None;
    if !dry_run && left.values().any(|options| options.flight_set != 0) {
        match peer_name::Alone::start(mount) {
            Ok(alone) => programs = Some(alone),
            Err(error) => log::warn!("congestion windows of sockets stay small: {error}"),
        }
    }
    let mut found = HashSet::new();
    for pid in pids(root) {
        each_socket_of(root, pid, |socket| {
            let inode = socket::inode(socket);
            let Some((inode, options)) = inode.and_then(|inode| left.get_key_value(&inode)) else {
                return;
            };
            let result = match &mut programs {
                _ if dry_run => Ok(()),
                Some(programs) => programs.options.put_back_noted(socket, *options),
                None => restore(socket, *options),
            };
            match result {
                Ok(()) => _ = found.insert(*inode),
                Err(error) => log::warn!("a socket of process {pid} keeps its limit: {error}"),
            }
        });
    }
    if !dry_run {
        forget(directory);
    }
    found.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    /// The engine of the tests has ended: nobody has that start time.
    const GONE: ProcessKey = ProcessKey {
        pid: 1,
        start_ticks: 1 << 60,
    };

    fn options(pacing_before: u64) -> SocketOptions {
        SocketOptions {
            pacing_before,
            pacing_set: 7,
            ..SocketOptions::default()
        }
    }

    #[test]
    fn what_a_dead_engine_has_set_is_put_back_and_forgotten() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        crate::sys::tcp::set_max_pacing_rate(&socket, 7).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::make(directory.path()).unwrap();
        let mut journal = SocketJournal::start(&state, GONE).unwrap();
        let inode = socket::inode(&socket).unwrap();
        journal.note(inode, options(5)).unwrap();
        journal.note(inode, options(1_234_567)).unwrap();
        journal.note(u64::MAX, options(9)).unwrap();
        assert_eq!(recover(&state, Path::new("/"), true), 1);
        assert_eq!(crate::sys::tcp::info(&socket).unwrap().max_pacing_rate, 7);
        assert_eq!(recover(&state, Path::new("/"), false), 1);
        assert_eq!(
            crate::sys::tcp::info(&socket).unwrap().max_pacing_rate,
            1_234_567
        );
        assert_eq!(recover(&state, Path::new("/"), false), 0);
    }

    #[test]
    fn another_boots_and_a_broken_journal_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::make(directory.path()).unwrap();
        let mut journal = SocketJournal::start(&state, GONE).unwrap();
        journal.note(1, options(5)).unwrap();
        journal.note(2, options(6)).unwrap();
        assert_eq!(left_behind(&state).sockets.len(), 2);
        let path = directory.path().join(NAME);
        let text = fs::read_to_string(&path).unwrap();
        for len in 0..text.len() {
            fs::write(&path, &text[..len]).unwrap();
            assert!(left_behind(&state).sockets.len() <= 2);
        }
        fs::write(&path, text.replace(&boot_id().unwrap(), "another")).unwrap();
        assert!(left_behind(&state).sockets.is_empty());
        fs::write(&path, b"\xff\xfe\0\n{}").unwrap();
        assert!(left_behind(&state).sockets.is_empty());
    }

    #[test]
    fn it_does_not_grow_with_sockets_that_come_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::make(directory.path()).unwrap();
        let mut journal = SocketJournal::start(&state, GONE).unwrap();
        journal.note_namespace(77).unwrap();
        for inode in 0..10_000 {
            journal.note(inode, options(inode)).unwrap();
            journal.keep(|open| open + 10 > inode);
        }
        let len = fs::metadata(directory.path().join(NAME)).unwrap().len();
        assert!(len < 100_000, "{len} bytes");
        let left = left_behind(&state);
        assert_eq!(left.sockets.get(&9_999), Some(&options(9_999)));
        assert!(left.namespaces.contains(&77));
    }
}
