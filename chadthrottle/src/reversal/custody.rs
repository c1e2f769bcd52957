//! What a guard has been told, and so what it would have to undo, in which order.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

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
            Message::Watch(_) | Message::Ready => return Ok(Then::Listen),
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
        if let Some(pass) = self.put_back {
            system.put_sockets_back(pass);
        }
        // Last of what the next start would do: should this be killed too, it finds what is left.
        system.forget(all_detached);
        if let Some(terminal) = self.terminal {
            system.restore(terminal);
        }
        all_detached
    }
}

/// The machine, with the state directory of the engine.
#[derive(Debug)]
pub struct Host {
    state: StateDir,
    /// Opened for the first record.
    journal: Option<Journal>,
}

impl Host {
    /// With that state directory.
    pub fn of(state: StateDir) -> Self {
        Self {
            state,
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
        // What another engine keeps there by now is its own: it has recovered what was ours.
        let Ok(_lock) = EngineLock::take_in(self.state.clone()) else {
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
