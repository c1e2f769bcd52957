//! The rows of the table: processes, trees of them, or programs; filtered and in order.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::history::History;
use crate::{
    config::View,
    model::{Both, Limit, LimitId, ProcessKey, ProcessSample, Snapshot, Traffic},
    units::Rate,
};

/// What a row is about, from one sample to the next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RowKey {
    /// A process; in the tree, with all below it.
    Process(ProcessKey),
    /// All processes of one executable.
    Program(Program),
}

/// What makes processes one program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// The path of the executable.
    Exe(Arc<str>),
    /// The name, where the executable cannot be read.
    Name(Arc<str>),
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
    /// Bytes downloaded.
    DownBytes,
    /// Bytes uploaded.
    UpBytes,
    /// Process id.
    Pid,
    /// Name.
    Name,
    /// User.
    User,
    /// Sockets.
    Sockets,
    /// Whether limited, the slowest limit first.
    Limit,
}

impl Sort {
    /// All, in the order of the menu.
    pub const ALL: [Self; 10] = [
        Self::Total,
        Self::Down,
        Self::Up,
        Self::DownBytes,
        Self::UpBytes,
        Self::Pid,
        Self::Name,
        Self::User,
        Self::Sockets,
        Self::Limit,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Total => "down + up",
            Self::Down => "down",
            Self::Up => "up",
            Self::DownBytes => "total down",
            Self::UpBytes => "total up",
            Self::Pid => "pid",
            Self::Name => "name",
            Self::User => "user",
            Self::Sockets => "sockets",
            Self::Limit => "limit",
        }
    }
}

/// Which rows are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Show {
    /// All.
    #[default]
    All,
    /// Those with traffic in the last seconds.
    Busy,
    /// Those with a limit.
    Limited,
}

impl Show {
    /// The one after this.
    pub fn next(self) -> Self {
        match self {
            Self::All => Self::Busy,
            Self::Busy => Self::Limited,
            Self::Limited => Self::All,
        }
    }

    /// Whom it shows.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Busy => "with traffic",
            Self::Limited => "limited",
        }
    }
}

/// How rows are made.
#[derive(Debug)]
pub struct Making<'a> {
    /// Each for itself, or together.
    pub view: View,
    /// What must be found in name, id, user or command line; empty: anything.
    pub filter: &'a str,
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
        let needle = self.filter.to_lowercase();
        let wanted = |process: &ProcessSample| self.wants(process, &needle);
        match self.view {
            View::List => {
                let mut rows: Vec<Row> = processes
                    .iter()
                    .enumerate()
                    .filter(|(_, process)| wanted(process))
                    .map(|(index, process)| Row::of(index, process))
                    .collect();
                rows.sort_by(|a, b| self.compare(processes, a, b));
                rows
            }
            View::Programs => {
                let mut rows: HashMap<Program, Row> = HashMap::new();
                for (index, process) in processes.iter().enumerate().filter(|(_, it)| wanted(it)) {
                    let program = Program::of(process);
                    match rows.get_mut(&program) {
                        Some(row) => row.add(index, process),
                        None => {
                            let mut row = Row::of(index, process);
                            row.key = RowKey::Program(program.clone());
                            rows.insert(program, row);
                        }
                    }
                }
                let mut rows: Vec<Row> = rows.into_values().collect();
                rows.sort_by(|a, b| self.compare(processes, a, b));
                rows
            }
            View::Tree => Tree::new(processes, wanted).rows(self),
        }
    }

    fn wants(&self, process: &ProcessSample, needle: &str) -> bool {
        let shown = match self.show {
            Show::All => true,
            Show::Busy => self.history.was_busy(process.key),
            Show::Limited => process.limit.is_some(),
        };
        shown && (needle.is_empty() || contains(process, needle))
    }

    /// Highest rates first, then most bytes; ids and names ascending. Ids decide what is equal.
    fn compare(&self, processes: &[ProcessSample], a: &Row, b: &Row) -> Ordering {
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
        order.then_with(|| a.lead.cmp(&b.lead))
    }
}

impl Program {
    fn of(process: &ProcessSample) -> Self {
        if process.exe.is_empty() {
            Self::Name(Arc::clone(&process.name))
        } else {
            Self::Exe(Arc::clone(&process.exe))
        }
    }

    /// Whether the process is of it.
    pub fn has(&self, process: &ProcessSample) -> bool {
        match self {
            Self::Exe(path) => !path.is_empty() && *path == process.exe,
            Self::Name(name) => process.exe.is_empty() && *name == process.name,
        }
    }
}

impl Row {
    /// The row of the process with that index.
    pub fn of(index: usize, process: &ProcessSample) -> Self {
        Self {
            key: RowKey::Process(process.key),
            lead: index,
            branches: Vec::new(),
            folded: None,
            count: 1,
            sockets: process.sockets,
            traffic: process.traffic,
            limit: process
                .limit
                .map_or(RowLimit::None, |(id, limit)| RowLimit::One(id, limit)),
            ended: process.ended,
        }
    }

    /// Takes in another process of the program, which names the row if the present one has ended.
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

/// Whether name, id, user or command line hold the text, which is in lower case.
fn contains(process: &ProcessSample, needle: &str) -> bool {
    let has = |text: &str| {
        // Most are ASCII, and then need no copy.
        if text.is_ascii() && needle.is_ascii() {
            let mut windows = text.as_bytes().windows(needle.len());
            windows.any(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
        } else {
            text.to_lowercase().contains(needle)
        }
    };
    has(&process.name)
        || has(&process.command)
        || has(&process.user)
        || process.key.pid.to_string().contains(needle)
}

/// Processes below their parents.
struct Tree<'a> {
    processes: &'a [ProcessSample],
    /// Of each process, those below it that are shown.
    children: Vec<Vec<usize>>,
    /// Those without a parent that is shown.
    roots: Vec<usize>,
}

impl<'a> Tree<'a> {
    /// Of the wanted processes and all above them.
    fn new(processes: &'a [ProcessSample], wanted: impl Fn(&ProcessSample) -> bool) -> Self {
        // Of two with one id, the later one is alive.
        let by_pid: HashMap<u32, usize> = processes
            .iter()
            .enumerate()
            .map(|(index, process)| (process.key.pid, index))
            .collect();
        let parent = |index: usize| {
            let process = processes.get(index)?;
            let parent = *by_pid.get(&process.parent)?;
            // Who has just taken over the id of a parent started after its child.
            let older = processes.get(parent)?.key.start_ticks <= process.key.start_ticks;
            (older && parent != index).then_some(parent)
        };
        let mut shown = vec![false; processes.len()];
        for index in (0..processes.len()).filter(|index| processes.get(*index).is_some_and(&wanted))
        {
            let mut above = Some(index);
            while let Some(at) = above
                && let Some(mark @ false) = shown.get_mut(at)
            {
                *mark = true;
                above = parent(at);
            }
        }
        let mut tree = Self {
            processes,
            children: vec![Vec::new(); processes.len()],
            roots: Vec::new(),
        };
        for (index, _) in shown.iter().enumerate().filter(|(_, shown)| **shown) {
            let siblings = parent(index).and_then(|parent| tree.children.get_mut(parent));
            siblings.unwrap_or(&mut tree.roots).push(index);
        }
        tree
    }

    /// The rows, each with the sums of all below it.
    fn rows(&self, making: &Making<'_>) -> Vec<Row> {
        let mut sums: Vec<Option<Row>> = vec![None; self.processes.len()];
        // Without recursion, since a chain of processes can be as long as it likes.
        let mut stack: Vec<(usize, bool)> = self.roots.iter().map(|root| (*root, false)).collect();
        while let Some((index, below_done)) = stack.pop() {
            let children = self.children.get(index).map_or(&[][..], Vec::as_slice);
            if !below_done {
                stack.push((index, true));
                stack.extend(children.iter().map(|child| (*child, false)));
                continue;
            }
            let Some(process) = self.processes.get(index) else {
                continue;
            };
            let mut row = Row::of(index, process);
            for child in children {
                if let Some(Some(child)) = sums.get(*child) {
                    row.count += child.count;
                    row.sum(child.sockets, child.traffic);
                }
            }
            row.folded = (!children.is_empty()).then(|| making.folded.contains(&process.key));
            if let Some(sum) = sums.get_mut(index) {
                *sum = Some(row);
            }
        }
        self.in_order(making, &mut sums)
    }

    fn in_order(&self, making: &Making<'_>, sums: &mut [Option<Row>]) -> Vec<Row> {
        let mut rows = Vec::new();
        // The next one is on top.
        let mut stack = self.siblings(making, sums, &self.roots, None);
        while let Some((index, branches)) = stack.pop() {
            let Some(mut row) = sums.get_mut(index).and_then(Option::take) else {
                continue;
            };
            if row.folded == Some(false)
                && let Some(children) = self.children.get(index)
            {
                let passing: Vec<Branch> = branches
                    .iter()
                    .map(|branch| match branch {
                        Branch::Middle | Branch::Passing => Branch::Passing,
                        Branch::Last | Branch::Blank => Branch::Blank,
                    })
                    .collect();
                stack.extend(self.siblings(making, sums, children, Some(&passing)));
            }
            row.branches = branches;
            rows.push(row);
        }
        rows
    }

    /// Those below one process in order, the first one last, with their branches: those `above`
    /// passing by, and one more. At the top there are none.
    fn siblings(
        &self,
        making: &Making<'_>,
        sums: &[Option<Row>],
        indices: &[usize],
        above: Option<&[Branch]>,
    ) -> Vec<(usize, Vec<Branch>)> {
        let mut siblings: Vec<&Row> = indices
            .iter()
            .filter_map(|index| sums.get(*index)?.as_ref())
            .collect();
        siblings.sort_by(|a, b| making.compare(self.processes, a, b));
        let last = siblings.len().saturating_sub(1);
        let with_branches = siblings.iter().enumerate().map(|(place, row)| {
            let step = if place == last {
                Branch::Last
            } else {
                Branch::Middle
            };
            let branches = above.map_or_else(Vec::new, |above| [above, &[step]].concat());
            (row.lead, branches)
        });
        with_branches.rev().collect()
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
