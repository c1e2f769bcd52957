//! The rows that actions apply to, and what they are called.

use std::{borrow::Cow, collections::HashSet};

use super::State;
use crate::{
    config::View,
    process::unit_of,
    text::{escape, name_of_process},
    tui::rows::{Group, Row, RowKey},
};

impl State {
    /// The rows that an action applies to: that of the details, or the tagged ones, or the
    /// selected one.
    pub fn chosen(&self) -> Vec<Cow<'_, Row>> {
        if let Some(details) = &self.details {
            return self.details_row(&details.key).into_iter().collect();
        }
        let tagged: Vec<Cow<'_, Row>> = self
            .rows
            .iter()
            .filter(|row| self.tagged.contains(&row.key))
            .map(Cow::Borrowed)
            .collect();
        let chosen = match tagged.is_empty() {
            true => {
                let selected = self.selected_row();
                selected.map(Cow::Borrowed).into_iter().collect()
            }
            false => tagged,
        };
        if self.view != View::Connections {
            return chosen;
        }
        // Connections stand for their processes, each once.
        let mut keys: Vec<RowKey> = chosen.iter().map(|row| row.key.clone().subject()).collect();
        let mut seen = HashSet::new();
        keys.retain(|key| seen.insert(key.clone()));
        keys.iter()
            .filter_map(|key| self.details_row(key))
            .collect()
    }

    /// A row's name, safe to show.
    pub fn name_of(&self, row: &Row) -> String {
        let Some(lead) = self.lead(row) else {
            return String::new();
        };
        match &row.key {
            RowKey::Group(Group::User(_)) => escape(&lead.user).into_owned(),
            RowKey::Group(Group::Unit(Some(path))) => {
                let unit = unit_of(path).unwrap_or_default();
                escape(unit.strip_prefix("unit ").unwrap_or(&unit)).into_owned()
            }
            RowKey::Group(Group::Unit(None)) => "in no unit".to_owned(),
            _ => name_of_process(&lead.name, &lead.exe).into_owned(),
        }
    }
}
