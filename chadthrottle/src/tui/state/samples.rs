//! New samples: what they change, and what becomes of them while the view is frozen.

use std::{collections::HashSet, sync::Arc};

use super::{Message, Mode, Question, Show, State};
use crate::{
    model::{ProcessSample, Snapshot, Traffic},
    process::unit_path,
    text::escape,
    tui::{
        history::{History, SAMPLES},
        keymap::Command,
        rows::RowKey,
    },
};

/// Samples, one a second, that a process is shown after its end.
const SHOWN_AFTER_THE_END: u32 = 5;

/// What goes on behind a frozen view.
#[derive(Debug)]
pub struct Behind {
    history: History,
    /// The last sample that has come.
    latest: Option<Arc<Snapshot>>,
}

impl State {
    /// Takes a new sample. Where the view is frozen, it is for later.
    pub fn show(&mut self, snapshot: Arc<Snapshot>) {
        self.history_of_now().push(&snapshot);
        match &mut self.paused {
            Some(behind) => behind.latest = Some(snapshot),
            None => self.present(snapshot),
        }
    }

    /// Freezes the view; graphs go on behind it.
    pub fn freeze(&mut self) {
        self.paused = Some(Behind {
            history: self.history.clone(),
            latest: None,
        });
    }

    /// Ends a pause: what has come since is shown.
    pub fn resume(&mut self) {
        let Some(behind) = self.paused.take() else {
            return;
        };
        self.history = behind.history;
        if let Some(latest) = behind.latest {
            self.present(latest);
        }
    }

    /// The history that samples go into: not the one that is shown while the view is frozen.
    pub fn history_of_now(&mut self) -> &mut History {
        match &mut self.paused {
            Some(behind) => &mut behind.history,
            None => &mut self.history,
        }
    }

    fn present(&mut self, snapshot: Arc<Snapshot>) {
        let rule = self.followed_rule();
        self.snapshot = self.with_ended(snapshot);
        self.follow_rule(rule);
        self.show_expected();
        self.changes.forget_answered();
        self.drop_moot_question();
        let tagged = self.shown_tagged();
        self.make_rows();
        let rows: HashSet<&RowKey> = self.rows.iter().map(|row| &row.key).collect();
        // A filter hides rows and does not untag them; whoever has gone is not tagged any more.
        let filtered = !self.filter.text.is_empty() || self.show != Show::All;
        self.tagged.retain(|key| filtered || rows.contains(key));
        // Nor is the key for tagged rows then for the selected one.
        if tagged.is_some() && self.shown_tagged().is_none() {
            self.selected = tagged;
        }
        let mut processes = self.snapshot.processes.iter();
        self.has_units = processes.any(|process| unit_path(&process.cgroup).is_some());
        self.remotes.keep(&self.snapshot.processes);
        let age = self.moment.map(|moment| self.history.age_of(moment));
        if age.is_some_and(|age| age.is_none_or(|age| age >= SAMPLES)) {
            self.moment = None;
        }
    }

    /// The first of the tagged rows that are shown.
    fn shown_tagged(&self) -> Option<RowKey> {
        let mut keys = self.rows.iter().map(|row| &row.key);
        keys.find(|key| self.tagged.contains(key)).cloned()
    }

    /// Closes a question that there is nothing left to ask about, and says why.
    fn drop_moot_question(&mut self) {
        let Mode::Confirm(question) = &self.mode else {
            return;
        };
        let text = match question {
            Question::Quit if self.own_limits() == 0 => {
                let key = self.keymap.key_of(Command::Quit);
                format!("no limit ends with this screen any more: {key} quits")
            }
            Question::RemoveAll if self.by_hand().next().is_none() => {
                "all limits have ended".to_owned()
            }
            Question::RemoveRule(name) if self.rule(name).is_none() => {
                format!("rule '{}' is not there any more", escape(name))
            }
            Question::Quit
            | Question::RemoveAll
            | Question::RemoveRule(_)
            | Question::Block { .. } => return,
        };
        self.mode = Mode::Normal;
        self.message = Some(Message { text, error: false });
    }

    /// The sample, with the processes that were shown and have ended: the engine keeps only those
    /// whose connections may go on.
    fn with_ended(&mut self, mut snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        let is_in = |processes: &[ProcessSample], key| {
            let found = processes.binary_search_by_key(&key, |process| process.key);
            found.is_ok()
        };
        for (_, samples) in &mut self.ended {
            *samples -= 1;
        }
        for process in &self.snapshot.processes {
            if !process.ended && !is_in(&snapshot.processes, process.key) {
                let traffic = process.traffic.map(|traffic| Traffic {
                    bytes_per_s: 0.0,
                    dropped_bytes_per_s: 0.0,
                    ..traffic
                });
                let ended = ProcessSample {
                    ended: true,
                    limit: None,
                    traffic,
                    ..process.clone()
                };
                self.ended.push((ended, SHOWN_AFTER_THE_END));
            }
        }
        self.ended
            .retain(|(process, samples)| *samples > 0 && !is_in(&snapshot.processes, process.key));
        if !self.ended.is_empty() {
            // It is ours alone, but where a test keeps it.
            let processes = &mut Arc::make_mut(&mut snapshot).processes;
            processes.extend(self.ended.iter().map(|(process, _)| process.clone()));
            processes.sort_by_key(|process| process.key);
        }
        snapshot
    }
}
