//! Limits across engines: what the one before had is set again, by us or by its clients, and what we have is kept for the
//! next.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, task::spawn_blocking, time::timeout};

use super::{
    Server,
    kept::{Kept, KeptLimits},
    origins,
};
use crate::{
    engine::EngineError,
    model::ProcessKey,
    process::{Targets, key_of},
    protocol::SetLimit,
};

/// What is handed over from engine to engine.
#[derive(Debug, Default)]
pub struct Handover {
    /// Where the limits are kept.
    kept: Mutex<Option<KeptLimits>>,
    /// Those of the engine before that its clients have not set again.
    awaited: watch::Sender<Vec<Kept>>,
}

/// How long a look may take that says who belongs to each limit.
const LOOK: Duration = Duration::from_millis(500);

/// Between samples then.
const AT_ONCE: Duration = Duration::from_millis(10);

impl Handover {
    /// The limit that a client sets again which it had under the engine before.
    pub fn taken_back(&self, uid: u32, set: &SetLimit) -> Option<Kept> {
        if set.detach {
            return None;
        }
        let mut found = None;
        self.awaited.send_if_modified(|awaited| {
            let mut all = awaited.iter();
            let place = all.position(|kept| kept.is_again(uid, &set.targets));
            found = place.map(|place| awaited.remove(place));
            found.is_some()
        });
        found
    }

    /// It could not be set: it is waited for as before.
    pub fn awaits(&self, kept: Kept) {
        self.awaited.send_modify(|awaited| awaited.push(kept));
    }

    /// Keeps these, and those that clients may still come back for.
    pub fn write(&self, limits: impl FnOnce() -> Vec<Kept>) {
        if let Some(kept) = &mut *self.kept() {
            let mut limits = limits();
            limits.extend_from_slice(&self.awaited.borrow());
            if let Err(error) = kept.write(&limits) {
                log::warn!("keeping the limits for the next engine: {error}");
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Option<KeptLimits>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Leaves out who has ended: that must not keep the others from the limit. Looks at each.
    fn leave_the_ended_out(&mut self) {
        let lives = |key: &ProcessKey| key_of(Path::new("/proc"), key.pid) == Some(*key);
        self.targets.processes.retain(lives);
        self.targets.members.retain(lives);
    }

    /// Has targets that are set again have all members of before that live.
    pub async fn complete(&self, targets: &mut Targets) {
        let mut kept = self.clone();
        let asked = targets.processes.clone();
        let living = spawn_blocking(move || {
            kept.targets.processes = asked;
            kept.leave_the_ended_out();
            kept.targets
        });
        if let Ok(living) = living.await {
            targets.processes = living.processes;
            targets.members = living.members;
        }
    }
}

impl Server {
    /// Keeps the limits that are set, now and whenever one changes, in a file in memory, and gives that.
    ///
    /// # Errors
    /// Where there are no descriptors left, or no memory.
    pub fn keep_limits(&self) -> io::Result<OwnedFd> {
        let kept = KeptLimits::new()?;
        let file = kept.as_fd().try_clone_to_owned()?;
        *self.0.handover.kept() = Some(kept);
        self.change(|_| ());
        Ok(file)
    }

    /// Sets those limits again that an engine before has kept and that belong to it, in the order in which they were
    /// set: of two that claim a process, the later one has it. Clients are waited for to set theirs.
    ///
    /// # Errors
    /// Where the file is none of an engine's.
    pub async fn restore(&self, file: File) -> io::Result<()> {
        // A limit may name a user who was not looked up yet.
        let kept = spawn_blocking(move || KeptLimits::read(&file)).await??;
        let now_ns = origins::now_ns();
        let lasts = |kept: &Kept| kept.origin.until_ns.is_none_or(|until| until > now_ns);
        let (mut detached, of_clients): (Vec<_>, Vec<_>) = kept
            .into_iter()
            .filter(lasts)
            .partition(|kept| kept.origin.detached);
        self.0.handover.awaited.send_replace(of_clients);
        detached.sort_by_key(|kept| kept.origin.since_ns);
        let alive = spawn_blocking(move || {
            detached.iter_mut().for_each(Kept::leave_the_ended_out);
            detached
        });
        for kept in alive.await? {
            let set = self.0.engine.set_limit(kept.targets.clone(), kept.limit);
            match set.await {
                Ok(id) => {
                    let sequence = self.sequence();
                    let (serial, left) = self.change(|origins| origins.restore(id, kept, sequence));
                    if let Some(left) = left {
                        self.end_after(serial, left);
                    }
                }
                // All that it was for have ended meanwhile.
                Err(EngineError::NoTarget(_)) => {}
                Err(error) => log::warn!("a limit of the engine before: {error}"),
            }
        }
        Ok(())
    }

    /// Waits until clients have set all their limits again, at most so long. What they have not set then is nobody's any
    /// more.
    pub async fn all_back(&self, patience: Duration) {
        let mut awaited = self.0.handover.awaited.subscribe();
        let back = awaited.wait_for(Vec::is_empty);
        if timeout(patience, back).await.is_err() {
            self.0.handover.awaited.send_replace(Vec::new());
            self.change(|_| ());
        }
    }

    /// Looks who belongs to each limit, for the next engine.
    pub async fn note_members(&self) {
        let before = self.sequence();
        let _wanted = self.0.intervals.want(AT_ONCE, &self.0.engine);
        let mut changed = self.0.changed.subscribe();
        let look = async {
            while self.sequence() <= before + 1 {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        if timeout(LOOK, look).await.is_err() {
            log::warn!("the next engine may not know all processes that are limited");
        }
    }
}
