//! All that the screen knows.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use ratatui::layout::Size;

use super::dialog::LimitDialog;
use crate::{
    engine::{EngineInfo, ProcessSample, Snapshot},
    process::ProcessKey,
    units::Style,
};

/// Smallest screen that can be drawn, in columns and rows.
pub const MIN_SIZE: Size = Size {
    width: 60,
    height: 12,
};

/// Rows of the screen that are not the table's: header, column titles, status, keys.
pub const FRAME_ROWS: u16 = 5;

/// What the rows are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Both rates together.
    #[default]
    Total,
    /// Download rate.
    Down,
    /// Upload rate.
    Up,
    /// Process id.
    Pid,
    /// Name.
    Name,
}

impl Sort {
    /// The order after this one.
    pub fn next(self) -> Self {
        match self {
            Self::Total => Self::Down,
            Self::Down => Self::Up,
            Self::Up => Self::Pid,
            Self::Pid => Self::Name,
            Self::Name => Self::Total,
        }
    }

    /// Its name for the header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Total => "down + up",
            Self::Down => "down",
            Self::Up => "up",
            Self::Pid => "pid",
            Self::Name => "name",
        }
    }
}

/// What is in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The table.
    Normal,
    /// The limit dialog.
    Dialog(LimitDialog),
    /// The help.
    Help,
}

/// The line above the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it says.
    pub text: String,
    /// Whether something failed.
    pub error: bool,
}

/// The state.
#[derive(Debug)]
pub struct State {
    /// What the engine said of itself.
    pub info: EngineInfo,
    /// The latest sample.
    pub snapshot: Arc<Snapshot>,
    /// Indices into the sample's processes, in the order of the rows.
    pub rows: Vec<usize>,
    /// The selected process: it stays selected wherever its row goes.
    pub selected: Option<ProcessKey>,
    /// The row that it was in, for when it vanishes.
    pub cursor: usize,
    /// The first row on the screen.
    pub offset: usize,
    /// The order of the rows.
    pub sort: Sort,
    /// Whether the order is turned round.
    pub reversed: bool,
    /// Bits or bytes.
    pub style: Style,
    /// What is in front.
    pub mode: Mode,
    /// The latest message.
    pub message: Option<Message>,
    /// Of the terminal.
    pub size: Size,
}

impl State {
    /// Before the first sample.
    pub fn new(info: EngineInfo, size: Size, style: Style) -> Self {
        Self {
            info,
            snapshot: Arc::default(),
            rows: Vec::new(),
            selected: None,
            cursor: 0,
            offset: 0,
            sort: Sort::default(),
            reversed: false,
            style,
            mode: Mode::Normal,
            message: None,
            size,
        }
    }

    /// How many rows of the table fit on the screen.
    pub fn page(&self) -> usize {
        usize::from(self.size.height.saturating_sub(FRAME_ROWS)).max(1)
    }

    /// The process in that row.
    pub fn row(&self, row: usize) -> Option<&ProcessSample> {
        self.snapshot.processes.get(*self.rows.get(row)?)
    }

    /// The selected process.
    pub fn selected_process(&self) -> Option<&ProcessSample> {
        let key = self.selected?;
        let found = self
            .snapshot
            .processes
            .binary_search_by_key(&key, |process| process.key);
        self.snapshot.processes.get(found.ok()?)
    }

    /// Takes a new sample. While a dialog is open rows keep their order.
    pub fn show(&mut self, snapshot: Arc<Snapshot>) {
        if self.mode == Mode::Normal {
            self.snapshot = snapshot;
            self.sort_rows();
        } else {
            let place: HashMap<ProcessKey, usize> = (0..self.rows.len())
                .filter_map(|row| Some((self.row(row)?.key, row)))
                .collect();
            self.snapshot = snapshot;
            self.rows = (0..self.snapshot.processes.len()).collect();
            let processes = &self.snapshot.processes;
            self.rows.sort_by_key(|index| {
                let key = processes.get(*index).map(|process| process.key);
                key.and_then(|key| place.get(&key).copied())
                    .unwrap_or(usize::MAX)
            });
        }
        self.follow_selection();
    }

    /// Puts the rows in order.
    pub fn sort_rows(&mut self) {
        let (sort, reversed) = (self.sort, self.reversed);
        let processes = &self.snapshot.processes;
        self.rows = (0..processes.len()).collect();
        self.rows
            .sort_by(|a, b| match (processes.get(*a), processes.get(*b)) {
                (Some(a), Some(b)) if reversed => compare(sort, b, a),
                (Some(a), Some(b)) => compare(sort, a, b),
                _ => Ordering::Equal,
            });
    }

    /// Finds the selected process again; where it has vanished, selects what is in its row now.
    pub fn follow_selection(&mut self) {
        let row = (0..self.rows.len())
            .find(|row| self.row(*row).map(|process| process.key) == self.selected);
        self.select(row.unwrap_or(self.cursor));
    }

    /// Selects a row, or the last one, and brings it onto the screen.
    pub fn select(&mut self, row: usize) {
        self.cursor = row.min(self.rows.len().saturating_sub(1));
        self.selected = self.row(self.cursor).map(|process| process.key);
        let page = self.page();
        let lowest = (self.cursor + 1).saturating_sub(page);
        self.offset = self.offset.clamp(lowest, self.cursor);
        // No empty rows below the last one while there are more above.
        self.offset = self.offset.min(self.rows.len().saturating_sub(page));
    }
}

/// Highest rates first, then most bytes; ids and names ascending. Ids decide what is equal.
fn compare(sort: Sort, a: &ProcessSample, b: &ProcessSample) -> Ordering {
    type Of<T> = fn(&ProcessSample) -> T;
    let rates = |rate: Of<f64>, bytes: Of<u64>| {
        rate(b)
            .total_cmp(&rate(a))
            .then_with(|| bytes(b).cmp(&bytes(a)))
    };
    let order = match sort {
        Sort::Total => rates(
            |process| process.down.bytes_per_s + process.up.bytes_per_s,
            |process| process.down.bytes + process.up.bytes,
        ),
        Sort::Down => rates(
            |process| process.down.bytes_per_s,
            |process| process.down.bytes,
        ),
        Sort::Up => rates(|process| process.up.bytes_per_s, |process| process.up.bytes),
        Sort::Pid => Ordering::Equal,
        Sort::Name => a.name.cmp(&b.name),
    };
    order.then_with(|| a.key.cmp(&b.key))
}
