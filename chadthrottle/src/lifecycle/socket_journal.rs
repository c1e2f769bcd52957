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
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use chadthrottle_common::abi::SocketOptions;
use serde::{Deserialize, Serialize};

use crate::{
    backends::throttle::peer_name,
    levers::{ShrinkWindow, restore},
    process::{ProcessKey, each_socket_of, key_of, pids},
    sys::socket,
};

const NAME: &str = "sockets.jsonl";

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
    path: PathBuf,
    head: Head,
    file: File,
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
    pub fn start(directory: &Path, engine: ProcessKey) -> io::Result<Self> {
        let path = directory.join(NAME);
        let head = Head {
            version: VERSION,
            boot: boot_id()?,
            engine_pid: engine.pid,
            engine_start: engine.start_ticks,
        };
        let mut file = File::create(&path)?;
        write_line(&mut file, &head)?;
        Ok(Self {
            path,
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
        let options_words = options.words();
        write_line(
            &mut self.file,
            &Line {
                inode,
                options: options_words,
            },
        )?;
        self.lines += 1;
        self.sockets.insert(inode, options);
        Ok(())
    }

    /// Notes a network namespace, by its inode.
    ///
    /// # Errors
    /// Where it cannot be; nothing must be set then.
    pub fn note_namespace(&mut self, namespace: u64) -> io::Result<()> {
        if self.namespaces.insert(namespace) {
            write_line(&mut self.file, &Namespace { namespace })?;
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
            log::warn!("{}: {error}", self.path.display());
        }
        self.tidy_at = TIDY_ABOVE.max(2 * self.sockets.len());
    }

    fn tidy(&mut self) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        write_line(&mut file, &self.head)?;
        for namespace in &self.namespaces {
            let namespace = *namespace;
            write_line(&mut file, &Namespace { namespace })?;
        }
        for (inode, options) in &self.sockets {
            let options = options.words();
            write_line(
                &mut file,
                &Line {
                    inode: *inode,
                    options,
                },
            )?;
        }
        fs::rename(&new, &self.path)?;
        self.file = file;
        self.lines = self.sockets.len();
        Ok(())
    }

    /// Removes it, since no socket is as it notes any more.
    pub fn remove(self) {
        remove(&self.path);
    }
}

/// Removes the journal in that directory: its sockets have been put back.
pub fn forget(directory: &Path) {
    remove(&directory.join(NAME));
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::warn!("{}: {error}", path.display());
        }
        _ => {}
    }
}

fn write_line(file: &mut File, line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    file.write_all(&text)
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

fn left_behind(directory: &Path) -> Left {
    let text = fs::read_to_string(directory.join(NAME)).unwrap_or_default();
    let mut lines = text.lines();
    let head = lines
        .next()
        .and_then(|line| serde_json::from_str::<Head>(line).ok());
    let is_ours = head.is_some_and(|head| {
        let engine = ProcessKey {
            pid: head.engine_pid,
            start_ticks: head.engine_start,
        };
        head.version == VERSION
            && boot_id().is_ok_and(|boot| boot == head.boot)
            && key_of(Path::new("/proc"), engine.pid) != Some(engine)
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
/// `dry_run` only says how many there are. `mount` is that of cgroup2.
pub fn recover(directory: &Path, mount: &Path, dry_run: bool) -> usize {
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
        let mut journal = SocketJournal::start(directory.path(), GONE).unwrap();
        let inode = socket::inode(&socket).unwrap();
        journal.note(inode, options(5)).unwrap();
        journal.note(inode, options(1_234_567)).unwrap();
        journal.note(u64::MAX, options(9)).unwrap();
        assert_eq!(recover(directory.path(), Path::new("/"), true), 1);
        assert_eq!(crate::sys::tcp::info(&socket).unwrap().max_pacing_rate, 7);
        assert_eq!(recover(directory.path(), Path::new("/"), false), 1);
        assert_eq!(
            crate::sys::tcp::info(&socket).unwrap().max_pacing_rate,
            1_234_567
        );
        assert_eq!(recover(directory.path(), Path::new("/"), false), 0);
    }

    #[test]
    fn a_living_engines_another_boots_and_a_broken_journal_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let us = key_of(Path::new("/proc"), std::process::id()).unwrap();
        let mut journal = SocketJournal::start(directory.path(), us).unwrap();
        journal.note(1, options(5)).unwrap();
        assert!(left_behind(directory.path()).sockets.is_empty(), "it lives");

        let mut journal = SocketJournal::start(directory.path(), GONE).unwrap();
        journal.note(1, options(5)).unwrap();
        journal.note(2, options(6)).unwrap();
        assert_eq!(left_behind(directory.path()).sockets.len(), 2);
        let path = directory.path().join(NAME);
        let text = fs::read_to_string(&path).unwrap();
        for len in 0..text.len() {
            fs::write(&path, &text[..len]).unwrap();
            assert!(left_behind(directory.path()).sockets.len() <= 2);
        }
        fs::write(&path, text.replace(&boot_id().unwrap(), "another")).unwrap();
        assert!(left_behind(directory.path()).sockets.is_empty());
        fs::write(&path, b"\xff\xfe\0\n{}").unwrap();
        assert!(left_behind(directory.path()).sockets.is_empty());
    }

    #[test]
    fn it_does_not_grow_with_sockets_that_come_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = SocketJournal::start(directory.path(), GONE).unwrap();
        journal.note_namespace(77).unwrap();
        for inode in 0..10_000 {
            journal.note(inode, options(inode)).unwrap();
            journal.keep(|open| open + 10 > inode);
        }
        let len = fs::metadata(directory.path().join(NAME)).unwrap().len();
        assert!(len < 100_000, "{len} bytes");
        let left = left_behind(directory.path());
        assert_eq!(left.sockets.get(&9_999), Some(&options(9_999)));
        assert!(left.namespaces.contains(&77));
    }
}
