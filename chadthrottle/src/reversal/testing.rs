//! Guards that are threads, on a machine where nothing is done and all that would be is noted.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
};

use nix::sys::socket::{Shutdown, shutdown};

use super::{
    ShrinkWindow,
    custody::System,
    guard::{Helper, Launch},
    guarding::serve,
    journal::{Record, unfinished},
    state_dir::StateDir,
    taken_terminal::TakenTerminal,
};
use crate::{
    backends::throttle::linux_ebpf_utils::{AttachPoint, LegacyAttachment},
    sys::bpf::{AttachType, ProgramInfo},
};

/// What was done, in order.
#[derive(Clone, Debug, Default)]
pub struct Deeds(Arc<Mutex<Vec<String>>>);

impl Deeds {
    pub fn note(&self, deed: impl Into<String>) {
        self.0.lock().unwrap().push(deed.into());
    }

    /// Those since this was last asked.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A machine that does nothing.
#[derive(Debug, Default)]
pub struct FakeSystem {
    pub deeds: Deeds,
    /// A program that cannot be detached.
    pub stuck: Option<u32>,
    /// A record must be in the journal of this directory when a guard is told of it.
    pub state: Option<StateDir>,
    /// Nothing is noted any more.
    pub killed: Arc<AtomicBool>,
}

impl FakeSystem {
    fn note(&self, deed: String) {
        if !self.killed.load(SeqCst) {
            self.deeds.note(deed);
        }
    }
}

impl System for FakeSystem {
    fn attachment(&self, record: &Record, mut fds: Vec<OwnedFd>) -> Option<LegacyAttachment> {
        if let Some(state) = &self.state {
            let is_safe = unfinished(state).is_ok_and(|records| records.contains(record));
            let word = if is_safe { "in" } else { "NOT in" };
            self.note(format!("told of {}, {word} the journal", record.program_id));
        }
        let cgroup = fds.pop()?;
        let fd = fds.pop()?;
        let point = AttachPoint::from_parts(record.cgroup.clone(), record.cgroup_id, cgroup.into());
        Some(LegacyAttachment {
            point,
            fd,
            ..attachment(record.program_id)
        })
    }

    fn detach(&mut self, record: &Record, attachment: &LegacyAttachment) -> bool {
        assert_eq!(record.program_id, attachment.program.id);
        let is_stuck = self.stuck == Some(record.program_id);
        let word = if is_stuck { "fail to detach" } else { "detach" };
        self.note(format!("{word} {}", record.program_id));
        !is_stuck
    }

    fn stop_shrinking(&mut self, namespace: u64, _: ShrinkWindow) {
        self.note(format!("stop shrinking in {namespace}"));
    }

    fn put_sockets_back(&mut self, _: OwnedFd) {
        self.note("put sockets back".to_owned());
    }

    fn forget(&mut self, all_detached: bool) {
        let but = if all_detached { "" } else { " but the journal" };
        self.note(format!("forget all{but}"));
    }

    fn restore(&mut self, _: TakenTerminal) {
        self.note("restore the terminal".to_owned());
    }
}

/// Starts threads for guards.
#[derive(Clone, Debug, Default)]
pub struct FakeLaunch {
    pub deeds: Deeds,
    pub state: Option<StateDir>,
    /// No process can be started.
    pub refuses: Arc<AtomicBool>,
    last: Arc<Mutex<Option<FakeGuard>>>,
}

/// A guard that was started.
#[derive(Clone, Debug)]
struct FakeGuard {
    socket: Arc<OwnedFd>,
    killed: Arc<AtomicBool>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl FakeLaunch {
    pub fn in_directory(state: &StateDir) -> Self {
        Self {
            state: Some(state.clone()),
            ..Self::default()
        }
    }

    /// Kills the guard that was started last.
    pub fn kill_guard(&self) {
        self.last().kill();
    }

    /// Waits until the guard that was started last has ended.
    pub fn wait_for_guard(&self) {
        self.last().wait().unwrap();
    }

    fn last(&self) -> FakeGuard {
        self.last.lock().unwrap().clone().unwrap()
    }
}

impl Launch for FakeLaunch {
    fn launch(&self, socket: OwnedFd) -> io::Result<Box<dyn Helper>> {
        if self.refuses.load(SeqCst) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.deeds.note("start a guard");
        let killed = Arc::default();
        let system = FakeSystem {
            deeds: self.deeds.clone(),
            state: self.state.clone(),
            killed: Arc::clone(&killed),
            ..FakeSystem::default()
        };
        let socket = Arc::new(socket);
        let theirs = Arc::clone(&socket);
        let thread = thread::spawn(move || {
            let closing = Closing(theirs);
            let _ = serve(closing.0.as_fd(), |_, _| system);
        });
        let guard = FakeGuard {
            socket,
            killed,
            thread: Arc::new(Mutex::new(Some(thread))),
        };
        *self.last.lock().unwrap() = Some(guard.clone());
        Ok(Box::new(guard))
    }
}

/// A socket that is closed with a thread, as with a process, although the thread is not its only owner.
struct Closing(Arc<OwnedFd>);

impl Drop for Closing {
    fn drop(&mut self) {
        let _ = shutdown(self.0.as_raw_fd(), Shutdown::Both);
    }
}

impl Helper for FakeGuard {
    fn has_gone(&mut self) -> bool {
        let thread = self.thread.lock().unwrap();
        thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn kill(&mut self) {
        self.killed.store(true, SeqCst);
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
        let _ = self.wait();
    }

    fn wait(&mut self) -> io::Result<()> {
        if let Some(thread) = self.thread.lock().unwrap().take() {
            thread.join().unwrap();
        }
        Ok(())
    }
}

/// A descriptor of something.
pub fn descriptor() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

/// A legacy attachment of the program of that id.
pub fn attachment(program: u32) -> LegacyAttachment {
    LegacyAttachment {
        point: AttachPoint::from_parts("/sys/fs/cgroup/x".into(), 5, File::open("/").unwrap()),
        place: AttachType::Ingress,
        program: ProgramInfo {
            id: program,
            tag: [0xab; 8],
            name: "chadthrottle_in".to_owned(),
            run_count: 0,
        },
        fd: descriptor(),
    }
}

/// A record of such an attachment.
pub fn record(program: u32) -> Record {
    Record {
        cgroup: "/sys/fs/cgroup/x".into(),
        cgroup_id: 5,
        attach_type: AttachType::Ingress.name().to_owned(),
        program_id: program,
        program_tag: "abababababababab".to_owned(),
        engine_pid: 7,
        engine_start: 100,
    }
}
