//! What is selected, in each view.

use std::collections::HashMap;

use super::{Message, Mode, State};
use crate::{
    config::View,
    model::{ProcessKey, ProcessSample},
    text::escape,
    tui::rows::RowKey,
};

/// What was selected where, for when a view is shown again.
#[derive(Debug, Default)]
pub struct Selections {
    of_views: HashMap<View, RowKey>,
    /// The process that was selected last, by itself or as one of a group.
    process: Option<ProcessKey>,
    /// What to select as soon as there are rows, the best first.
    sought: Vec<RowKey>,
}

impl State {
    /// Shows another view, with what was selected there before; on the way from a process to what it is part of, that.
    pub fn change_view(&mut self, view: View) {
        self.remember_selection();
        let from_process = matches!(self.view, View::List | View::Tree);
        let to_process = matches!(view, View::List | View::Tree);
        self.view = view;
        self.tagged.clear();
        let process = self.selections.process.map(RowKey::Process);
        let before = self.selections.of_views.get(&view).cloned();
        let follow = from_process && !to_process;
        let has_process = |before: &RowKey| match &process {
            Some(process) => self.is_part_of(process, before),
            None => false,
        };
        let before_is_better = before.as_ref().is_some_and(|it| !follow || has_process(it));
        let sought = match before_is_better {
            true => [before, process],
            false => [process, before],
        };
        self.selections.sought = sought.into_iter().flatten().collect();
        self.make_rows();
    }

    fn remember_selection(&mut self) {
        let Some(selected) = self.selected.clone() else {
            return;
        };
        let is_in = |key: &ProcessKey| self.is_part_of(&RowKey::Process(*key), &selected);
        let same = self.selections.process.filter(is_in);
        let lead = || Some(self.lead(self.rows.get(self.cursor)?)?.key);
        self.selections.process = same.or_else(lead);
        self.selections.of_views.insert(self.view, selected);
    }

    /// Whether a row, by its key, is the one that is looked for, or has the process that is.
    fn is_part_of(&self, sought: &RowKey, row: &RowKey) -> bool {
        if sought == row {
            return true;
        }
        let (RowKey::Process(process) | RowKey::Connection(process, _)) = sought else {
            return false;
        };
        match row {
            RowKey::Process(_) => false,
            RowKey::Connection(of, _) => of == process,
            RowKey::Group(group) => self.process(*process).is_some_and(|it| group.has(it)),
        }
    }

    /// Where a row is, or one that has its process: connections come and go, and another one of the process is nearest.
    fn place_of(&self, key: &RowKey) -> Option<usize> {
        let rows = || self.rows.iter();
        let same = rows().position(|row| row.key == *key);
        same.or_else(|| rows().position(|row| self.is_part_of(key, &row.key)))
    }

    fn process(&self, key: ProcessKey) -> Option<&ProcessSample> {
        let processes = &self.snapshot.processes;
        let found = processes.binary_search_by_key(&key, |process| process.key);
        processes.get(found.ok()?)
    }

    /// Selects what is looked for, and says so where that is not there. Gives whether it has selected something.
    fn seek(&mut self) -> bool {
        let is_looked_at = self.view != View::Connections || self.connections.is_some();
        if self.selections.sought.is_empty() || !is_looked_at {
            return false;
        }
        let sought = std::mem::take(&mut self.selections.sought);
        let mut places = sought.iter().map(|key| self.place_of(key));
        let first = places.next().flatten();
        let found = first.or_else(|| places.flatten().next());
        if first.is_none()
            && let Some(best) = sought.first()
        {
            self.message = Some(Message::error(self.missing(best)));
        }
        self.select(found.unwrap_or(0));
        true
    }

    /// That a row is not there.
    fn missing(&self, key: &RowKey) -> String {
        let instead = "another row is selected";
        match key {
            RowKey::Group(_) => {
                let (noun, _) = self.view.nouns();
                format!("the {noun} that was selected here is not shown: {instead}")
            }
            RowKey::Process(key) | RowKey::Connection(key, _) => match self.process(*key) {
                Some(process) => {
                    let who = format!("{} ({})", escape(&process.name), key.pid);
                    match self.view {
                        View::Connections => format!("{who} has no connection"),
                        _ => format!("{who} is hidden: {instead}"),
                    }
                }
                None => format!("process {} has ended: {instead}", key.pid),
            },
        }
    }

    /// Finds the selected row again; where it has vanished, selects what is in its place now, and the first that is found
    /// where one is looked for.
    pub(super) fn follow_selection(&mut self) {
        if self.seek() {
            return;
        }
        let selected = self.selected.as_ref().filter(|_| self.touched);
        let row = selected.and_then(|key| self.place_of(key));
        let instead = match self.mode {
            Mode::Filter => 0,
            _ => self.cursor,
        };
        self.select(row.unwrap_or(instead));
    }

    /// Selects a row, or the last one, and brings it onto the screen.
    pub fn select(&mut self, row: usize) {
        self.cursor = row.min(self.rows.len().saturating_sub(1));
        self.selected = self.rows.get(self.cursor).map(|row| row.key.clone());
        let page = self.page();
        let lowest = (self.cursor + 1).saturating_sub(page);
        self.offset = self.offset.clamp(lowest, self.cursor);
        // No empty rows below the last one while there are more above.
        self.offset = self.offset.min(self.rows.len().saturating_sub(page));
    }
}
