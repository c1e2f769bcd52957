//! The ledger of what would stay if we were killed: the journal of legacy attachments, the guard process, and
//! what would remain of levers.
//!
//! Links need neither, so the guard is started with the first legacy attachment or the first limit.

use std::{
    os::fd::BorrowedFd,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    Heir,
    guard::{Guard, GuardError, Launch},
    journal::{Journal, JournalError, Record},
    remains::Remains,
    state_dir::StateDir,
};
use crate::{
    backends::throttle::{
        ThrottleError,
        linux_ebpf_utils::{LegacyAttachment, LegacyLedger},
    },
    model::ProcessKey,
    process::key_of,
    service::Store,
};

/// Keeps record of what would stay if we were killed.
#[derive(Debug)]
pub struct Ledger {
    engine: ProcessKey,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: StateDir,
    journal: Journal,
    launch: Box<dyn Launch>,
    /// What keeps the guard's socket, should we end without undoing what we have changed.
    store: Option<Store>,
    guard: Option<Guard>,
    /// From the first limit on.
    remains: Option<Remains>,
    /// Records of what is attached now.
    open: Vec<Record>,
}

impl Ledger {
    /// A ledger in the state directory, for this process, whose guard is that program.
    ///
    /// # Errors
    /// Where the journal cannot be written.
    pub fn open(
        program: &Path,
        directory: &StateDir,
        store: Option<Store>,
    ) -> Result<Self, JournalError> {
        Self::with(Box::new(program.to_owned()), directory, store)
    }

    fn with(
        launch: Box<dyn Launch>,
        directory: &StateDir,
        store: Option<Store>,
    ) -> Result<Self, JournalError> {
        let pid = std::process::id();
        let engine = key_of(Path::new("/proc"), pid).unwrap_or(ProcessKey {
            pid,
            start_ticks: 0,
        });
        let inner = Inner {
            directory: directory.clone(),
            journal: Journal::open(directory)?,
            launch,
            store,
            guard: None,
            remains: None,
            open: Vec::new(),
        };
        Ok(Self {
            engine,
            inner: Mutex::new(inner),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere must not keep us from cleaning up.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, attachment: &LegacyAttachment) -> Record {
        Record {
            cgroup: attachment.point.path().to_owned(),
            cgroup_id: attachment.point.id(),
            attach_type: attachment.place.name().to_owned(),
            program_id: attachment.program.id,
            program_tag: attachment.program.tag_hex(),
            engine_pid: self.engine.pid,
            engine_start: self.engine.start_ticks,
        }
    }
}

impl Inner {
    /// The guard, started where it is not there yet, or not any more.
    fn guard(&mut self) -> Result<&mut Guard, GuardError> {
        let mut guard = match self.guard.take() {
            Some(guard) => guard,
            None => Guard::start_with(&*self.launch, &self.directory, self.store.as_ref())?,
        };
        let replaced = if guard.has_gone() {
            let replaced = guard.replace(&*self.launch, &self.directory, self.store.as_ref());
            if replaced.is_ok() {
                log::warn!("the guard process was killed: another one has taken its place");
            }
            replaced
        } else {
            Ok(())
        };
        // It knows what the next one must be told, also where that could not be started.
        let guard = self.guard.insert(guard);
        replaced.map(|()| guard)
    }

    /// Writes the journal anew where somebody has removed it.
    fn look_after_journal(&mut self) -> Result<(), JournalError> {
        if !self.journal.is_removed() {
            return Ok(());
        }
        log::warn!("the journal of attachments was removed: it is written anew");
        self.journal = Journal::open(&self.directory)?;
        let Self { journal, open, .. } = self;
        open.iter().try_for_each(|record| journal.attaching(record))
    }
}

impl LegacyLedger for Ledger {
    fn attaching(&self, attachment: &LegacyAttachment) -> Result<(), ThrottleError> {
        let no_record = |reason: String| ThrottleError::NoRecord {
            program: attachment.program.name.clone(),
            reason,
        };
        let record = self.record(attachment);
        let mut inner = self.inner();
        inner
            .look_after_journal()
            .map_err(|error| no_record(error.to_string()))?;
        inner
            .journal
            .attaching(&record)
            .map_err(|error| no_record(error.to_string()))?;
        inner
            .guard()
            .and_then(|guard| guard.attaching(&record, attachment))
            .map_err(|error| no_record(error.to_string()))?;
        inner.open.push(record);
        Ok(())
    }

    fn gone(&self, attachment: &LegacyAttachment) {
        let record = self.record(attachment);
        let mut inner = self.inner();
        if let Err(error) = inner.journal.gone(&record) {
            // Recovery will look, and find nothing attached.
            log::warn!("{error}");
        }
        if let Some(guard) = &mut inner.guard
            && let Err(error) = guard.gone(&record)
        {
            log::warn!("{error}");
        }
        inner.open.retain(|open| *open != record);
    }

    fn look_after(&self) {
        let mut inner = self.inner();
        // Without attachments nobody misses it, and the next one looks again.
        if !inner.open.is_empty()
            && let Err(error) = inner.look_after_journal()
        {
            log::warn!("{error}");
        }
        if inner.guard.is_some()
            && let Err(error) = inner.guard()
        {
            log::warn!("{error}");
        }
    }
}

impl Heir for Ledger {
    fn inherit(&self, put_back: BorrowedFd<'_>) -> Result<(), String> {
        let mut inner = self.inner();
        let guard = inner.guard().map_err(|error| error.to_string())?;
        guard
            .protect_sockets(put_back)
            .map_err(|error| error.to_string())?;
        let remains = Remains::keep(&inner.directory, put_back);
        inner.remains = Some(remains.map_err(|error| {
            let directory = inner.directory.path().display();
            format!("pinning the pass that puts sockets back, in {directory}: {error}")
        })?);
        Ok(())
    }

    fn shrinks(&self, namespace: u64, setting: BorrowedFd<'_>) -> bool {
        let mut inner = self.inner();
        let Some(remains) = &inner.remains else {
            return false;
        };
        if let Err(error) = remains.shrinks(namespace) {
            log::warn!("noting a network namespace: {error}");
            return false;
        }
        match inner
            .guard()
            .and_then(|guard| guard.shrinks(namespace, setting))
        {
            Ok(()) => true,
            Err(error) => {
                log::warn!("{error}");
                if let Some(remains) = &inner.remains {
                    remains.has_shrunk(namespace);
                }
                false
            }
        }
    }

    fn has_shrunk(&self, namespace: u64) {
        let mut inner = self.inner();
        if let Some(remains) = &inner.remains {
            remains.has_shrunk(namespace);
        }
        if let Some(guard) = &mut inner.guard
            && let Err(error) = guard.has_shrunk(namespace)
        {
            log::warn!("{error}");
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let mut inner = self.inner();
        inner.remains = None;
        if inner.open.is_empty() {
            inner.journal.remove();
            if let Some(guard) = inner.guard.take() {
                guard.dismiss();
            }
        }
        // Else the guard tries when we have gone, and the next start after it.
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reversal::{
        journal::unfinished,
        testing::{FakeLaunch, attachment},
    };
    use std::{fs, sync::atomic::Ordering::SeqCst};

    struct Place {
        directory: tempfile::TempDir,
        state: StateDir,
        launch: FakeLaunch,
        ledger: Ledger,
    }

    impl Place {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let state = StateDir::make(directory.path()).unwrap();
            let launch = FakeLaunch::in_directory(&state);
            let ledger = Ledger::with(Box::new(launch.clone()), &state, None).unwrap();
            Self {
                directory,
                state,
                launch,
                ledger,
            }
        }

        fn journal(&self) -> std::path::PathBuf {
            self.directory.path().join("attachments.jsonl")
        }

        /// Programs that the journal has as attached.
        fn recorded(&self) -> Vec<u32> {
            let records = unfinished(&self.state).unwrap();
            records.iter().map(|record| record.program_id).collect()
        }

        /// Why nothing may be attached.
        fn refusal(&self, program: u32) -> String {
            match self.ledger.attaching(&attachment(program)) {
                Err(error @ ThrottleError::NoRecord { .. }) => error.to_string(),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn an_attachment_is_on_disk_before_a_guard_knows_it_and_both_forget_it() {
        let place = Place::new();
        for program in [1, 2] {
            place.ledger.attaching(&attachment(program)).unwrap();
        }
        let told = [
            "start a guard",
            "told of 1, in the journal",
            "told of 2, in the journal",
        ];
        assert_eq!(place.launch.deeds.take(), told);
        assert_eq!(place.recorded(), [1, 2]);
        place.ledger.gone(&attachment(1));
        assert_eq!(place.recorded(), [2]);
        place.ledger.gone(&attachment(2));
        assert!(place.recorded().is_empty());
        let journal = place.journal();
        drop(place.ledger);
        assert!(!journal.exists());
        assert!(place.launch.deeds.take().is_empty(), "it was dismissed");
    }

    #[test]
    fn what_could_not_be_detached_is_left_to_the_guard_and_the_journal() {
        let place = Place::new();
        for program in [1, 2] {
            place.ledger.attaching(&attachment(program)).unwrap();
        }
        place.ledger.gone(&attachment(1));
        place.launch.deeds.take();
        drop(place.ledger);
        place.launch.wait_for_guard();
        assert_eq!(place.launch.deeds.take(), ["detach 2", "forget all"]);
        let records = unfinished(&place.state).unwrap();
        assert_eq!(records.len(), 1);
    }

    #[test]
    fn without_a_guard_nothing_may_be_attached_until_there_is_one() {
        let place = Place::new();
        place.launch.refuses.store(true, SeqCst);
        let reason = place.refusal(1);
        assert!(
            reason.contains("guard process could not be started"),
            "{reason}"
        );
        assert!(reason.contains("chadthrottle_in"), "{reason}");
        place.launch.refuses.store(false, SeqCst);
        place.ledger.attaching(&attachment(1)).unwrap();
        assert_eq!(
            place.launch.deeds.take(),
            ["start a guard", "told of 1, in the journal"]
        );
    }

    #[test]
    fn without_a_journal_nothing_is_attached_and_no_guard_told() {
        let place = Place::new();
        fs::remove_file(place.journal()).unwrap();
        fs::create_dir(place.journal()).unwrap();
        let reason = place.refusal(1);
        assert!(reason.contains("attachments.jsonl"), "{reason}");
        assert!(place.launch.deeds.take().is_empty());
    }

    #[test]
    fn a_journal_that_was_removed_has_all_records_again() {
        let place = Place::new();
        // Nothing is in it yet.
        fs::remove_file(place.journal()).unwrap();
        place.ledger.attaching(&attachment(1)).unwrap();
        assert_eq!(place.recorded(), [1]);
        place.ledger.attaching(&attachment(2)).unwrap();
        fs::remove_file(place.journal()).unwrap();
        place.ledger.look_after();
        assert_eq!(place.recorded(), [1, 2]);
    }

    #[test]
    fn a_guard_that_was_killed_is_followed_by_one_that_knows_as_much() {
        let place = Place::new();
        for program in [1, 2] {
            place.ledger.attaching(&attachment(program)).unwrap();
        }
        place.ledger.gone(&attachment(1));
        place.launch.kill_guard();
        place.launch.deeds.take();
        // At first there cannot be another one.
        place.launch.refuses.store(true, SeqCst);
        place.ledger.look_after();
        assert!(place.refusal(3).contains("guard process"));
        place.launch.refuses.store(false, SeqCst);
        place.ledger.look_after();
        assert_eq!(
            place.launch.deeds.take(),
            ["start a guard", "told of 2, in the journal"]
        );
        place.ledger.look_after();
        assert!(place.launch.deeds.take().is_empty(), "it is still there");
    }

    #[test]
    fn without_its_mark_on_disk_no_namespace_may_shrink() {
        let place = Place::new();
        let setting = crate::reversal::testing::descriptor();
        assert!(!place.ledger.shrinks(8, std::os::fd::AsFd::as_fd(&setting)));
        assert!(place.launch.deeds.take().is_empty());
    }
}
