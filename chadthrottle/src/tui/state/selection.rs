//! What is selected, in each view.

use std::{collections::HashMap, sync::Arc};

use super::{Message, Mode, State};
use crate::{
    config::View,
    model::{ProcessKey, ProcessSample, RuleSample},
    text::name_of_process,
    tui::rows::{Row, RowKey},
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
        let lead = || match &selected {
            RowKey::Process(key) | RowKey::Connection(key, _) => Some(*key),
            RowKey::Group(_) => Some(self.lead(self.selected_row()?)?.key),
        };
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
            let words = self.missing(best, "another row is selected");
            self.message = Some(Message::error(words));
        }
        self.select(found.unwrap_or(0));
        true
    }

    /// That a row is not there, and what is selected instead.
    fn missing(&self, key: &RowKey, instead: &str) -> String {
        match key {
            RowKey::Group(_) => {
                let (noun, _) = self.view.nouns();
                format!("the {noun} that was selected here is not shown: {instead}")
            }
            RowKey::Process(key) | RowKey::Connection(key, _) => match self.process(*key) {
                Some(process) => {
                    let who = format!(
                        "{} ({})",
                        name_of_process(&process.name, &process.exe),
                        key.pid
                    );
                    match self.view {
                        View::Connections if self.has_connection(*key) => {
                            format!("the connections of {who} are hidden: {instead}")
                        }
                        View::Connections => format!("{who} has no connection"),
                        _ => format!("{who} is hidden: {instead}"),
                    }
                }
                None => format!("process {} has ended: {instead}", key.pid),
            },
        }
    }

    fn has_connection(&self, key: ProcessKey) -> bool {
        let seen = self.connections.iter().flat_map(|seen| &seen.connections);
        let mut of = seen.filter_map(|row| row.connection.process);
        of.any(|process| process == key)
    }

    /// The row that is selected; `None` where it has vanished, and no other was chosen since.
    pub fn selected_row(&self) -> Option<&Row> {
        let row = self.rows.get(self.cursor)?;
        (self.selected.as_ref() == Some(&row.key)).then_some(row)
    }

    /// Why there is no row to do something with.
    pub fn no_row(&self) -> String {
        let wanted = self.details.as_ref().map(|details| &details.key);
        match wanted.or(self.selected.as_ref()) {
            Some(key) => self.missing(key, "no row is selected"),
            None => "no row is selected".to_owned(),
        }
    }

    /// Finds the selected row again. Where it has vanished, nothing is selected until a row is chosen: a key that is
    /// pressed at that moment is not for whoever is in its place now. Where one is looked for, the first that is found is.
    pub(super) fn follow_selection(&mut self) {
        if self.seek() {
            return;
        }
        let selected = self.selected.as_ref().filter(|_| self.touched);
        match selected.map(|key| self.place_of(key)) {
            Some(Some(row)) => self.select(row),
            _ if self.mode == Mode::Filter => self.select(0),
            Some(None) => self.bring_onto_screen(),
            None => self.select(self.cursor),
        }
    }

    /// Selects a row, or the last one, and brings it onto the screen.
    pub fn select(&mut self, row: usize) {
        self.cursor = row.min(self.rows.len().saturating_sub(1));
        self.selected = self.rows.get(self.cursor).map(|row| row.key.clone());
        self.bring_onto_screen();
    }

    /// Selects the row that is so many further down. From one that has vanished, the next is in its place.
    pub fn move_selection(&mut self, rows: isize) {
        let has_vanished = rows > 0 && self.selected_row().is_none();
        let rows = if has_vanished { rows - 1 } else { rows };
        self.select(self.cursor.saturating_add_signed(rows));
    }

    /// The rule that is selected, where rules are shown.
    pub fn selected_rule(&self) -> Option<&RuleSample> {
        let last = self.snapshot.rules.len().checked_sub(1)?;
        let selected = self.rule_cursor.filter(|_| self.rule_gone.is_none());
        self.snapshot.rules.get(selected?.min(last))
    }

    /// Shows the rules with one of them selected.
    pub fn select_rule(&mut self, place: usize) {
        self.rule_cursor = Some(place.min(self.snapshot.rules.len().saturating_sub(1)));
        self.rule_gone = None;
    }

    /// The name of the rule to find again in the next sample.
    pub(super) fn followed_rule(&self) -> Option<Arc<str>> {
        let selected = || Some(Arc::clone(&self.selected_rule()?.name));
        self.rule_gone.clone().or_else(selected)
    }

    /// Finds that rule again, as a row is.
    pub(super) fn follow_rule(&mut self, name: Option<Arc<str>>) {
        let Some(name) = name else { return };
        let mut rules = self.snapshot.rules.iter();
        match rules.position(|rule| rule.name == name) {
            Some(place) => self.select_rule(place),
            None => self.rule_gone = Some(name),
        }
    }

    /// Scrolls until the selected row, or the place where it was, is on the screen.
    pub fn bring_onto_screen(&mut self) {
        self.cursor = self.cursor.min(self.rows.len().saturating_sub(1));
        let page = self.page();
        let lowest = (self.cursor + 1).saturating_sub(page);
        self.offset = self.offset.clamp(lowest, self.cursor);
        // No empty rows below the last one while there are more above.
        self.offset = self.offset.min(self.rows.len().saturating_sub(page));
    }
}
