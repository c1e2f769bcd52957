//! The rows of the table: processes, trees of them, groups or connections; filtered and in order.

mod group;
mod order;
mod tree;

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet, hash_map::Entry},
};

use super::{filter::Filter, history::History, inspect::ConnectionRow};
use crate::{
    config::View,
    model::{Both, Limit, LimitId, ProcessKey, ProcessSample, Snapshot, Traffic},
    units::Rate,
};

pub use group::Group;
use group::Units;
pub use order::{Show, Sort};
use tree::Tree;

/// What a row is about, from one sample to the next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RowKey {
    /// A process; in the tree, with all below it.
    Process(ProcessKey),
    /// Processes that have something in common.
    Group(Group),
    /// A connection of a process, by the inode of its socket.
    Connection(ProcessKey, u64),
}

impl RowKey {
    /// The same, or of a connection its process, which is what actions apply to.
    pub fn subject(self) -> Self {
        match self {
            Self::Connection(process, _) => Self::Process(process),
            other => other,
        }
    }
}

/// The limit of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowLimit {
    /// None.
    #[default]
    None,
    /// This one.
    One(LimitId, Limit),
    /// Of its processes some have one and others another, or none.
    Several,
}

/// A row.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is about.
    pub key: RowKey,
    /// The process that names it: index into the sample's processes.
    pub lead: usize,
    /// Of a group, the processes that it is shown for, which a filter may have left: indices, too.
    pub members: Vec<usize>,
    /// Lines of the tree before the name.
    pub branches: Vec<Branch>,
    /// Whether it has children, and they are not shown.
    pub folded: Option<bool>,
    /// How many processes it stands for.
    pub count: usize,
    /// Their sockets.
    pub sockets: u32,
    /// What they carry.
    pub traffic: Both<Traffic>,
    /// Their limit.
    pub limit: RowLimit,
    /// In the tree, the limits of those below it, each once.
    pub limits_below: Vec<LimitId>,
    /// All of them have ended.
    pub ended: bool,
}

/// One step of indentation in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// A child that others follow.
    Middle,
    /// The last child.
    Last,
    /// Passing by, to a later child.
    Passing,
    /// Nothing.
    Blank,
}

/// How rows are made.
#[derive(Debug)]
pub struct Making<'a> {
    /// Each for itself, or together.
    pub view: View,
    /// What rows must be like.
    pub filter: &'a Filter,
    /// Connections of the whole machine, where they are looked at.
    pub connections: &'a [ConnectionRow],
    /// Which.
    pub show: Show,
    /// Their order.
    pub sort: Sort,
    /// Whether that is turned round.
    pub reversed: bool,
    /// Processes whose children are not shown.
    pub folded: &'a HashSet<ProcessKey>,
    /// Who was busy.
    pub history: &'a History,
}

impl Making<'_> {
    /// The rows of a sample, in order.
    pub fn rows(&self, snapshot: &Snapshot) -> Vec<Row> {
        let processes = &snapshot.processes;
        let filter = self.filter.over(snapshot, self.connections);
        let wanted = |process: &ProcessSample| self.shows(process) && filter.wants(process);
        let mut rows = match self.view {
            View::Tree => return Tree::new(processes, wanted).rows(self),
            // What the rules are is shown in their place.
            View::List | View::Rules => of_each(processes, wanted),
            View::Programs => together(processes, wanted, Group::program_of),
            View::Users => together(processes, wanted, Group::user_of),
            View::Units => {
                let mut units = Units::default();
                together(processes, wanted, |process| units.of(process))
            }
            View::Connections => {
                let of = |connection: &ConnectionRow| {
                    let row = Row::of_connection(connection, processes)?;
                    let process = processes.get(row.lead)?;
                    let shown = match self.show {
                        Show::Busy => connection.may_be_busy(),
                        Show::All | Show::Limited => self.shows(process),
                    };
                    (shown && filter.wants_connection(process, connection)).then_some(row)
                };
                self.connections.iter().filter_map(of).collect()
            }
        };
        rows.sort_by(|a, b| self.compare(processes, a, b));
        rows
    }

    fn shows(&self, process: &ProcessSample) -> bool {
        match self.show {
            Show::All => true,
            Show::Busy => self.history.was_busy(process.key),
            Show::Limited => process.limit.is_some(),
        }
    }

    /// Highest rates first, then most bytes; ids and names ascending. Ids decide what is equal. What has ended is below
    /// all that lives.
    fn compare(&self, processes: &[ProcessSample], a: &Row, b: &Row) -> Ordering {
        if a.ended != b.ended {
            return a.ended.cmp(&b.ended);
        }
        let (a, b) = if self.reversed { (b, a) } else { (a, b) };
        let rates = |rate: fn(&Row) -> f64, bytes: fn(&Row) -> u64| {
            let order = rate(b).total_cmp(&rate(a));
            order.then_with(|| bytes(b).cmp(&bytes(a)))
        };
        let text = |text: fn(&ProcessSample) -> &str| {
            let of = |row: &Row| processes.get(row.lead).map(text);
            of(a).cmp(&of(b))
        };
        let order = match self.sort {
            Sort::Total => rates(
                |row| row.traffic.down.bytes_per_s + row.traffic.up.bytes_per_s,
                |row| row.traffic.down.bytes + row.traffic.up.bytes,
            ),
            Sort::Down => rates(
                |row| row.traffic.down.bytes_per_s,
                |row| row.traffic.down.bytes,
            ),
            Sort::Up => rates(|row| row.traffic.up.bytes_per_s, |row| row.traffic.up.bytes),
            Sort::DownBytes => b.traffic.down.bytes.cmp(&a.traffic.down.bytes),
            Sort::UpBytes => b.traffic.up.bytes.cmp(&a.traffic.up.bytes),
            Sort::Pid => Ordering::Equal,
            Sort::Name => text(|process| &process.name),
            Sort::User => text(|process| &process.user),
            Sort::Sockets => b.sockets.cmp(&a.sockets),
            Sort::Limit => a.slowest_limit().cmp(&b.slowest_limit()),
        };
        let inode = |row: &Row| match row.key {
            RowKey::Connection(_, inode) => inode,
            RowKey::Process(_) | RowKey::Group(_) => 0,
        };
        order
            .then_with(|| a.lead.cmp(&b.lead))
            .then_with(|| inode(a).cmp(&inode(b)))
    }
}

/// A row for each process.
fn of_each(processes: &[ProcessSample], wanted: impl Fn(&ProcessSample) -> bool) -> Vec<Row> {
    let processes = processes.iter().enumerate();
    let wanted = processes.filter(|(_, process)| wanted(process));
    wanted
        .map(|(index, process)| Row::of(index, process))
        .collect()
}

/// A row for each group.
fn together(
    processes: &[ProcessSample],
    wanted: impl Fn(&ProcessSample) -> bool,
    mut group_of: impl FnMut(&ProcessSample) -> Group,
) -> Vec<Row> {
    let mut rows: HashMap<Group, Row> = HashMap::new();
    for (index, process) in processes.iter().enumerate().filter(|(_, it)| wanted(it)) {
        match rows.entry(group_of(process)) {
            Entry::Occupied(mut row) => row.get_mut().add(index, process),
            Entry::Vacant(place) => {
                let mut row = Row::of(index, process);
                row.key = RowKey::Group(place.key().clone());
                row.members.push(index);
                place.insert(row);
            }
        }
    }
    rows.into_values().collect()
}

impl Row {
    /// The row of the process with that index.
    pub fn of(index: usize, process: &ProcessSample) -> Self {
        Self {
            key: RowKey::Process(process.key),
            lead: index,
            members: Vec::new(),
            branches: Vec::new(),
            folded: None,
            count: 1,
            sockets: process.sockets,
            traffic: process.traffic,
            limit: process
                .limit
                .map_or(RowLimit::None, |(id, limit)| RowLimit::One(id, limit)),
            limits_below: Vec::new(),
            ended: process.ended,
        }
    }

    /// The row of a connection, with the limit of its process, which must be among these.
    fn of_connection(connection: &ConnectionRow, processes: &[ProcessSample]) -> Option<Self> {
        let key = connection.connection.process?;
        let index = processes.binary_search_by_key(&key, |process| process.key);
        let index = index.ok()?;
        let rates = connection.rates.unwrap_or_default();
        let bytes = connection.connection.bytes.unwrap_or_default();
        Some(Self {
            key: RowKey::Connection(key, connection.connection.inode),
            sockets: 1,
            traffic: Both::from_fn(|direction| Traffic {
                bytes_per_s: rates[direction],
                bytes: bytes[direction],
                ..Traffic::default()
            }),
            ..Self::of(index, processes.get(index)?)
        })
    }

    /// Takes in another process of the group, which names the row if the present one has ended.
    fn add(&mut self, index: usize, process: &ProcessSample) {
        if self.ended && !process.ended {
            self.lead = index;
        }
        let limit = Self::of(index, process).limit;
        // Who has ended has no say.
        if self.ended || (!process.ended && self.limit != limit) {
            self.limit = match (self.ended, self.limit) {
                (true, _) => limit,
                _ => RowLimit::Several,
            };
        }
        self.ended &= process.ended;
        self.count += 1;
        self.members.push(index);
        self.sum(process.sockets, process.traffic);
    }

    fn sum(&mut self, sockets: u32, traffic: Both<Traffic>) {
        self.sockets = self.sockets.saturating_add(sockets);
        self.traffic += traffic;
    }

    fn slowest_limit(&self) -> u64 {
        match self.limit {
            RowLimit::None => u64::MAX,
            RowLimit::Several => 0,
            RowLimit::One(_, limit) => [limit.down, limit.up]
                .into_iter()
                .flatten()
                .min()
                .map_or(u64::MAX, Rate::bytes_per_second),
        }
    }
}

#[cfg(test)]
mod tests;
