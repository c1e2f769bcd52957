//! What a guard has been told, and so what it would have to undo, in which order.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::poll::{PollFd, PollFlags, poll};

use super::{
    ShrinkWindow,
    journal::{Journal, Record},
    lock::EngineLock,
    message::Message,
    remains,
    state_dir::StateDir,
    taken_terminal::TakenTerminal,
};
use crate::{
    backends::throttle::{
        linux_ebpf_utils::{AttachPoint, LegacyAttachment},
        passes,
    },
    process::namespaces,
    sys::bpf::{self, AttachType},
};

/// What undoing does, and to whom: the machine, but in tests.
pub trait System {
    /// An attachment from what came over the socket; `None` where it is none.
    fn attachment(&self, record: &Record, fds: Vec<OwnedFd>) -> Option<LegacyAttachment>;
    /// Detaches, and takes it off the journal. Says whether it is detached.
    fn detach(&mut self, record: &Record, attachment: &LegacyAttachment) -> bool;
    /// A network namespace, of that inode, does not let windows shrink any more.
    fn stop_shrinking(&mut self, namespace: u64, setting: ShrinkWindow);
    /// Puts all sockets back, by that pass.
    fn put_sockets_back(&mut self, pass: OwnedFd);
    /// Removes what the next start would find, unless another engine is there; the journal only where all is
    /// detached.
    fn forget(&mut self, all_detached: bool);
    /// Puts a terminal back.
    fn restore(&mut self, terminal: TakenTerminal);
}

/// What a guard would have to undo.
#[derive(Debug, Default)]
pub struct Custody {
    attachments: Vec<(Record, LegacyAttachment)>,
    /// By the inode of their network namespace.
    shrinking: BTreeMap<u64, ShrinkWindow>,
    put_back: Option<OwnedFd>,
    terminal: Option<TakenTerminal>,
}

/// What a guard does after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It says that it takes care.
    Confirm,
    /// It waits for the next one.
    Listen,
    /// It goes.
    End,
}

impl Custody {
    /// Takes in what the engine says.
    ///
    /// # Errors
    /// Where it cannot be undone with the descriptors that came with it: the engine must not hear that somebody
    /// takes care.
    pub fn take(
        &mut self,
        message: Message,
        fds: Vec<OwnedFd>,
        system: &impl System,
    ) -> io::Result<Then> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let last = |mut fds: Vec<OwnedFd>| fds.pop().ok_or_else(invalid);
        match message {
            Message::Attaching(record) => {
                let attachment = system.attachment(&record, fds).ok_or_else(invalid)?;
                self.attachments.push((record, attachment));
            }
            Message::Terminal(modes) => {
                self.terminal = Some(TakenTerminal::of(last(fds)?, modes));
            }
            Message::Sockets => self.put_back = Some(last(fds)?),
            Message::Shrinks(namespace) => {
                self.shrinking.insert(namespace, last(fds)?.into());
            }
            Message::Gone(record) => {
                self.attachments.retain(|(other, _)| *other != record);
                return Ok(Then::Listen);
            }
            Message::HasShrunk(namespace) => {
                self.shrinking.remove(&namespace);
                return Ok(Then::Listen);
            }
            Message::Dismissed => return Ok(Then::End),
            Message::Watch { .. } | Message::Ready => return Ok(Then::Listen),
        }
        Ok(Then::Confirm)
    }

    /// Undoes all of it, since the engine has gone without. Says whether all is detached.
    pub fn undo(self, system: &mut impl System) -> bool {
        let mut all_detached = true;
        for (record, attachment) in &self.attachments {
            // One that stays must not keep the others.
            all_detached &= system.detach(record, attachment);
        }
        for (namespace, setting) in self.shrinking {
            system.stop_shrinking(namespace, setting);
        }
        if let Some(terminal) = self.terminal {
            system.restore(terminal);
        }
        // It may hang, where a program has its socket locked.
        if let Some(pass) = self.put_back {
            system.put_sockets_back(pass);
        }
        // Last of all: should this be killed too, the next start finds what is left.
        system.forget(all_detached);
        all_detached
    }
}

/// The machine, with the state directory of the engine.
#[derive(Debug)]
pub struct Host {
    state: StateDir,
    /// The engine, and a pidfd of it.
    engine: (u32, OwnedFd),
    /// Opened for the first record.
    journal: Option<Journal>,
}

impl Host {
    /// With that state directory, which an engine has whose id and pidfd these are.
    pub fn of(state: StateDir, engine: u32, pidfd: OwnedFd) -> Self {
        Self {
            state,
            engine: (engine, pidfd),
            journal: None,
        }
    }

    fn journal(&mut self) -> Option<&mut Journal> {
        if self.journal.is_none() {
            self.journal = Journal::open(&self.state).ok();
        }
        self.journal.as_mut()
    }
}

/// How long the guard waits for the last descriptors of an engine that was killed, in milliseconds: to close a link
/// takes the kernel a while.
const LAST_DESCRIPTORS_MS: u16 = 30_000;

fn wait_for_end(engine: BorrowedFd<'_>) {
    // Should it take longer, the lock is not had, and the next start finds what is left.
    let _ = poll(
        &mut [PollFd::new(engine, PollFlags::POLLIN)],
        LAST_DESCRIPTORS_MS,
    );
}

impl System for Host {
    fn attachment(&self, record: &Record, mut fds: Vec<OwnedFd>) -> Option<LegacyAttachment> {
        let cgroup = fds.pop()?;
        let fd = fds.pop()?;
        let place = AttachType::ALL
            .into_iter()
            .find(|place| place.name() == record.attach_type)?;
        let program = bpf::prog_info(fd.as_fd()).ok()?;
        let point = AttachPoint::from_parts(record.cgroup.clone(), record.cgroup_id, cgroup.into());
        Some(LegacyAttachment {
            point,
            place,
            program,
            fd,
        })
    }

    fn detach(&mut self, record: &Record, attachment: &LegacyAttachment) -> bool {
        let detached = attachment.detach().is_ok();
        if detached {
            // Should this fail, recovery finds nothing attached.
            let _ = self.journal().map(|journal| journal.gone(record));
        }
        detached
    }

    fn stop_shrinking(&mut self, _namespace: u64, mut setting: ShrinkWindow) {
        // It fails where the namespace is gone.
        let _ = setting.set(false);
    }

    fn put_sockets_back(&mut self, pass: OwnedFd) {
        passes::run(pass.as_fd(), &namespaces::all(Path::new("/proc")));
    }

    fn forget(&mut self, all_detached: bool) {
        // A process that is killed closes one descriptor after the other: the socket to us may be long gone
        // before its lock is.
        let (engine, pidfd) = &self.engine;
        wait_for_end(pidfd.as_fd());
        // Whoever has had the lock since has recovered what was ours, and what is there is its own, though it
        // may have been killed too by now: a guard that somebody has stopped may come as late as it likes.
        let Some(_lock) = EngineLock::take_after(self.state.clone(), *engine) else {
            return;
        };
        remains::forget(&self.state);
        if all_detached && let Some(journal) = self.journal() {
            journal.remove();
        }
    }

    fn restore(&mut self, terminal: TakenTerminal) {
        terminal.restore();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reversal::{
        taken_terminal::Modes,
        testing::{FakeSystem, descriptor, record},
    };
    use crate::sys::socket::pidfd_open;
    use std::{fs, process::Command, time::Duration};

    /// A custody that was told that, each with as many descriptors as an engine sends.
    fn told(messages: impl IntoIterator<Item = Message>) -> Custody {
        let mut custody = Custody::default();
        for message in messages {
            let fds = match message {
                Message::Attaching(_) => 2,
                Message::Terminal(_) | Message::Sockets | Message::Shrinks(_) => 1,
                _ => 0,
            };
            let fds = (0..fds).map(|_| descriptor()).collect();
            custody.take(message, fds, &FakeSystem::default()).unwrap();
        }
        custody
    }

    fn undone(messages: impl IntoIterator<Item = Message>) -> Vec<String> {
        let mut system = FakeSystem::default();
        assert!(told(messages).undo(&mut system));
        system.deeds.take()
    }

    #[test]
    fn all_is_undone_and_what_the_next_start_would_find_goes_last() {
        let all = [
            Message::Terminal(Modes::default()),
            Message::Sockets,
            Message::Shrinks(9),
            Message::Attaching(record(2)),
            Message::Shrinks(8),
            Message::Attaching(record(1)),
        ];
        assert_eq!(
            undone(all),
            [
                "detach 2",
                "detach 1",
                "stop shrinking in 8",
                "stop shrinking in 9",
                "restore the terminal",
                "put sockets back",
                "forget all"
            ]
        );
        assert_eq!(undone([]), ["forget all"]);
    }

    #[test]
    fn what_is_over_is_not_undone() {
        let messages = [
            Message::Attaching(record(1)),
            Message::Attaching(record(2)),
            Message::Shrinks(8),
            Message::Shrinks(9),
            Message::Gone(record(1)),
            Message::HasShrunk(9),
            // Of these it has never heard.
            Message::Gone(record(3)),
            Message::HasShrunk(7),
        ];
        let expected = ["detach 2", "stop shrinking in 8", "forget all"];
        assert_eq!(undone(messages), expected);
    }

    #[test]
    fn one_that_cannot_be_detached_keeps_its_journal_and_not_the_rest() {
        let mut system = FakeSystem {
            stuck: Some(1),
            ..FakeSystem::default()
        };
        let all = [1, 2].map(|program| Message::Attaching(record(program)));
        let custody = told(all.into_iter().chain([Message::Sockets]));
        assert!(!custody.undo(&mut system));
        assert_eq!(
            system.deeds.take(),
            [
                "fail to detach 1",
                "detach 2",
                "put sockets back",
                "forget all but the journal"
            ]
        );
    }

    #[test]
    fn what_needs_undoing_is_confirmed_only_with_the_descriptors_for_it() {
        for (message, needs, then) in [
            (Message::Attaching(record(1)), 2, Then::Confirm),
            (Message::Terminal(Modes::default()), 1, Then::Confirm),
            (Message::Sockets, 1, Then::Confirm),
            (Message::Shrinks(8), 1, Then::Confirm),
            (Message::Gone(record(1)), 0, Then::Listen),
            (Message::HasShrunk(8), 0, Then::Listen),
            (
                Message::Watch {
                    state: "/x".into(),
                    kept: false,
                },
                0,
                Then::Listen,
            ),
            (Message::Ready, 0, Then::Listen),
            (Message::Dismissed, 0, Then::End),
        ] {
            let take = |descriptors: usize| {
                let fds = (0..descriptors).map(|_| descriptor()).collect();
                let system = FakeSystem::default();
                Custody::default().take(message.clone(), fds, &system)
            };
            assert_eq!(take(needs).unwrap(), then, "{message:?}");
            for fewer in 0..needs {
                let error = take(fewer).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{message:?}");
            }
        }
    }

    #[test]
    fn the_journal_goes_where_all_is_detached_and_no_other_engine_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::make(directory.path()).unwrap();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let mark = directory.path().join(format!("shrinks-{}-5", boot.trim()));
        let journal = directory.path().join("attachments.jsonl");
        let forget = |all_detached| {
            fs::write(&mark, "").unwrap();
            fs::write(&journal, "").unwrap();
            // An engine whose lock is let go of after its socket, and before it has ended.
            let mut engine = Command::new("sleep").arg("0.2").spawn().unwrap();
            let pidfd = pidfd_open(engine.id()).unwrap();
            let us = std::process::id();
            let lock = EngineLock::take_in(state.clone());
            let closing = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(100));
                drop(lock);
            });
            Host::of(state.clone(), us, pidfd).forget(all_detached);
            closing.join().unwrap();
            engine.wait().unwrap();
            (mark.exists(), journal.exists())
        };
        assert_eq!(forget(true), (false, false));
        assert_eq!(forget(false), (false, true));
        let _another = EngineLock::take_in(state.clone()).unwrap();
        assert_eq!(forget(true), (true, true));
    }
}
