//! All that the screen knows.

mod chosen;
mod limits;
mod moment;
mod samples;
mod selection;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use ratatui::layout::Size;

use super::{
    changes::Changes,
    columns::{Column, columns},
    command_palette::Palette,
    dialog::LimitDialog,
    effect::Effect,
    field::Field,
    filter::Filter,
    help::Help,
    history::{History, Span},
    inspect::{ConnectionRow, Connections},
    keep::KeepDialog,
    keymap::{Keymap, Place},
    layout::{Areas, Wanted},
    remotes::Remotes,
    rows::{Making, Row, RowKey, Show, Sort},
};
use crate::{
    config::{Config, View},
    model::{EngineInfo, ProcessKey, ProcessSample, Snapshot},
    units::{Rate, Style},
};

pub use samples::Behind;
use selection::Selections;

/// What is in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The table, the details or the rules.
    Normal,
    /// The filter is being typed.
    Filter,
    /// The dialog that makes a rule.
    Keep(KeepDialog),
    /// The limit dialog.
    Dialog(LimitDialog),
    /// The menu of orders, with the place of its cursor.
    Sort(usize),
    /// The menu of profiles, with the place of its cursor: 0 is for none, and the profiles come after that.
    Profiles(usize),
    /// The list of all commands.
    Palette(Palette),
    /// A question that takes yes or no.
    Confirm(Question),
    /// The help.
    Help(Help),
}

/// What is asked before it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Remove all limits?
    RemoveAll,
    /// Quit, with limits set?
    Quit,
    /// Remove the rule of that name?
    RemoveRule(Arc<str>),
    /// Block what the machine or this screen needs?
    Block {
        /// Whom, in words.
        who: String,
        /// What that cuts off.
        why: String,
        /// What blocks it.
        effects: Vec<Effect>,
    },
}

/// The line above the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it says.
    pub text: String,
    /// Whether something failed.
    pub error: bool,
}

impl Message {
    /// That something failed, or cannot be done.
    pub fn error(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            error: true,
        }
    }
}

/// One row, looked at closely.
#[derive(Clone, Debug, PartialEq)]
pub struct Details {
    /// Which.
    pub key: RowKey,
    /// Its connections, as they were last looked at; `None`: not yet.
    pub connections: Option<Vec<ConnectionRow>>,
    /// Whether there are more than these.
    pub more: bool,
    /// The first connection on the screen.
    pub offset: usize,
}

impl Details {
    /// Of that row, before its connections were looked at.
    pub fn of(key: RowKey) -> Self {
        Self {
            key,
            connections: None,
            more: false,
            offset: 0,
        }
    }

    /// Scrolls its connections, no further than there are some.
    pub fn scroll(&mut self, rows: isize) {
        let last = self
            .connections
            .as_ref()
            .map_or(0, Vec::len)
            .saturating_sub(1);
        self.offset = self.offset.saturating_add_signed(rows).min(last);
    }
}

/// The state.
#[derive(Debug)]
pub struct State {
    /// What the engine said of itself.
    pub info: EngineInfo,
    /// This process, by which its limits are known.
    pub pid: u32,
    /// The sample that is shown.
    pub snapshot: Arc<Snapshot>,
    /// Processes that ended a moment ago, each with the samples that it is still shown.
    ended: Vec<(ProcessSample, u32)>,
    /// What was carried of late.
    pub history: History,
    /// How much of that graphs show.
    pub span: Span,
    /// What was asked of the engine, and how it is taken back.
    pub changes: Changes,
    /// While the view is frozen: what goes on behind it.
    pub paused: Option<Behind>,
    /// Whether a process is in a unit or container.
    pub has_units: bool,
    /// The rows, in order.
    pub rows: Vec<Row>,
    /// The selected row: it stays selected wherever it goes, and where it vanishes, no other is.
    pub selected: Option<RowKey>,
    /// What is selected in the other views.
    selections: Selections,
    /// Its place, or where it was before it vanished.
    pub cursor: usize,
    /// Whether the user has chosen it. Until then it is the first row, whichever that is: in the
    /// first sample nothing has a rate yet, and what would be selected is no choice.
    pub touched: bool,
    /// The first row on the screen.
    pub offset: usize,
    /// Rows that actions apply to, instead of the selected one.
    pub tagged: HashSet<RowKey>,
    /// List, tree or programs.
    pub view: View,
    /// Processes whose children the tree does not show.
    pub folded: HashSet<ProcessKey>,
    /// What rows must hold.
    pub filter: Field,
    /// Which rows are shown.
    pub show: Show,
    /// The order of the rows.
    pub sort: Sort,
    /// Whether the order is turned round.
    pub reversed: bool,
    /// Bits or bytes.
    pub style: Style,
    /// Rates to choose from.
    pub presets: Vec<Rate>,
    /// Whether names of remote addresses are looked up.
    pub resolve: bool,
    /// What is in front.
    pub mode: Mode,
    /// In place of the table.
    pub details: Option<Details>,
    /// The rules in place of the table, with the place of their cursor.
    pub rule_cursor: Option<usize>,
    /// The rule that was selected and has gone: until another is chosen, none is.
    pub rule_gone: Option<Arc<str>>,
    /// Those of the selected row, where there is room for them beside the table.
    pub beside: Option<Details>,
    /// Whether panels have edges.
    pub panels: bool,
    /// Whether there may be details beside the table.
    pub split: bool,
    /// The latest message.
    pub message: Option<Message>,
    /// Of the terminal.
    pub size: Size,
    /// What keys do.
    pub keymap: Keymap,
    /// Connections of the whole machine, while they are looked at.
    pub connections: Option<Connections>,
    /// The other ends that the table shows.
    pub remotes: Remotes,
    /// The moment that graphs mark and rates are told of, counted as the history counts samples; `None`: now.
    pub moment: Option<usize>,
}

impl State {
    /// Before the first sample.
    pub fn new(info: EngineInfo, size: Size, config: &Config) -> Self {
        Self {
            info,
            pid: 0,
            snapshot: Arc::default(),
            ended: Vec::new(),
            history: History::default(),
            span: Span::default(),
            changes: Changes::default(),
            paused: None,
            has_units: false,
            rows: Vec::new(),
            selected: None,
            selections: Selections::default(),
            cursor: 0,
            touched: false,
            offset: 0,
            tagged: HashSet::new(),
            view: match config.view {
                View::Rules => View::List,
                view => view,
            },
            folded: HashSet::new(),
            filter: Field::default(),
            show: Show::default(),
            sort: Sort::default(),
            reversed: false,
            style: if config.bits {
                Style::Bits
            } else {
                Style::Bytes
            },
            presets: config.presets.0.clone(),
            resolve: config.resolve,
            mode: Mode::Normal,
            details: None,
            rule_cursor: (config.view == View::Rules).then_some(0),
            rule_gone: None,
            beside: None,
            panels: config.panels,
            split: config.split,
            message: None,
            size,
            keymap: Keymap::default(),
            connections: None,
            remotes: Remotes::default(),
            moment: None,
        }
    }

    /// What keys are pressed for.
    pub fn place(&self) -> Place {
        match (self.rule_cursor, &self.details) {
            (Some(_), _) => Place::Rules,
            (None, Some(_)) => Place::Details,
            (None, None) => Place::Table,
        }
    }

    /// Where things are on the screen.
    pub fn areas(&self) -> Areas {
        self.areas_on(self.size)
    }

    /// Where they are on a screen of that size, which the terminal may have before we are told.
    pub fn areas_on(&self, size: Size) -> Areas {
        let warning = self.warning().map_or(0, |text| text.chars().count());
        let wanted = Wanted {
            panels: self.panels,
            // Those of the whole machine need the room.
            split: self.split && self.view != View::Connections,
            details: self.details.is_some(),
            warning,
            message: super::footer::message_lines(self, size).len(),
        };
        Areas::of(size, wanted)
    }

    /// The latest warning of the engine, as it is shown.
    pub fn warning(&self) -> Option<String> {
        let warning = self.snapshot.warnings.last()?;
        Some(format!("! {}", crate::text::escape(warning)))
    }

    /// How many rows of the table fit on the screen.
    pub fn page(&self) -> usize {
        usize::from(self.areas().rows.height).max(1)
    }

    /// The details that are on the screen: in place of the table, or beside it.
    pub fn details_shown(&self) -> Option<&Details> {
        self.details.as_ref().or(self.beside.as_ref())
    }

    /// Has the details beside the table follow the selection. Gives whether they are of another row now.
    pub fn follow_beside(&mut self) -> bool {
        let wanted = match (&self.details, self.areas().beside) {
            (None, Some(_)) => self.selected.as_ref(),
            _ => None,
        };
        if self.beside.as_ref().map(|beside| &beside.key) == wanted {
            return false;
        }
        self.beside = wanted.cloned().map(Details::of);
        self.beside.is_some()
    }

    /// The process that names a row.
    pub fn lead(&self, row: &Row) -> Option<&ProcessSample> {
        self.snapshot.processes.get(row.lead)
    }

    /// What the details are of: a process for itself, also where the table shows it with all below
    /// it or not at all; or a program's row.
    pub fn details_row(&self, key: &RowKey) -> Option<Cow<'_, Row>> {
        match key {
            RowKey::Process(key) => {
                let processes = &self.snapshot.processes;
                let index = processes.binary_search_by_key(key, |process| process.key);
                let index = index.ok()?;
                Some(Cow::Owned(Row::of(index, processes.get(index)?)))
            }
            RowKey::Connection(key, _) => self.details_row(&RowKey::Process(*key)),
            RowKey::Group(_) => {
                let row = self.rows.iter().find(|row| row.key == *key)?;
                Some(Cow::Borrowed(row))
            }
        }
    }

    /// The processes that a row stands for; of the tree, the one that names it.
    pub fn processes_of<'a>(&'a self, key: &'a RowKey) -> impl Iterator<Item = &'a ProcessSample> {
        let processes = self.snapshot.processes.as_slice();
        let range = match key {
            // Drawing asks for each row on the screen.
            RowKey::Process(key) | RowKey::Connection(key, _) => {
                match processes.binary_search_by_key(key, |process| process.key) {
                    Ok(index) => index..index + 1,
                    Err(_) => 0..0,
                }
            }
            RowKey::Group(_) => 0..processes.len(),
        };
        let candidates = processes.get(range).unwrap_or_default();
        candidates.iter().filter(move |process| match key {
            RowKey::Process(_) | RowKey::Connection(..) => true,
            RowKey::Group(group) => group.has(process),
        })
    }

    /// The processes that a row is shown for: of a group, those that the filter leaves.
    pub fn members_of<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = &'a ProcessSample> {
        let one = row.members.is_empty().then_some(row.lead);
        let indices = one.into_iter().chain(row.members.iter().copied());
        indices.filter_map(|index| self.snapshot.processes.get(index))
    }

    /// Whether connections of the whole machine are shown, or filtered by.
    pub fn needs_connections(&self) -> bool {
        let filter = Filter::read(&self.filter.text, &self.snapshot);
        self.view == View::Connections || filter.asks_for_connections()
    }

    /// Whether the table has a place for the other ends of connections.
    pub fn shows_remotes(&self) -> bool {
        let is_of_processes = self.place() == Place::Table && self.view != View::Connections;
        let mut columns = columns(&self.areas(), self).into_iter();
        is_of_processes && columns.any(|(column, ..)| column == Column::Remote)
    }

    /// The rows of the table that are on the screen.
    pub fn rows_on_screen(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().skip(self.offset).take(self.page())
    }

    /// Makes the rows anew. While something is in front of the table they keep their order.
    pub fn make_rows(&mut self) {
        let in_front = !matches!(self.mode, Mode::Normal | Mode::Filter);
        let keep = in_front || self.rule_cursor.is_some();
        let places: HashMap<RowKey, usize> = match keep {
            true => self
                .rows
                .iter()
                .enumerate()
                .map(|(place, row)| (row.key.clone(), place))
                .collect(),
            false => HashMap::new(),
        };
        let filter = Filter::read(&self.filter.text, &self.snapshot);
        let connections = self.connections.as_ref();
        let making = Making {
            view: self.view,
            filter: &filter,
            connections: connections.map_or(&[], |it| &it.connections),
            show: self.show,
            sort: self.sort,
            reversed: self.reversed,
            folded: &self.folded,
            history: &self.history,
        };
        let mut rows = making.rows(&self.snapshot);
        if keep {
            rows.sort_by_key(|row| places.get(&row.key).copied().unwrap_or(usize::MAX));
        }
        self.rows = rows;
        self.follow_selection();
    }
}
