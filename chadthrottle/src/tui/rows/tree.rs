//! Processes as a tree.

use std::collections::HashMap;

use super::{Branch, Making, Row, RowLimit};
use crate::model::ProcessSample;

/// Processes below their parents.
pub struct Tree<'a> {
    processes: &'a [ProcessSample],
    /// Of each process, those below it that are shown.
    children: Vec<Vec<usize>>,
    /// Those without a parent that is shown.
    roots: Vec<usize>,
}

impl<'a> Tree<'a> {
    /// Of the wanted processes and all above them.
    pub fn new(processes: &'a [ProcessSample], wanted: impl Fn(&ProcessSample) -> bool) -> Self {
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
    pub fn rows(&self, making: &Making<'_>) -> Vec<Row> {
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
                    row.limits_below.extend(&child.limits_below);
                    if let RowLimit::One(id, _) = child.limit {
                        row.limits_below.push(id);
                    }
                }
            }
            row.limits_below.sort_unstable();
            row.limits_below.dedup();
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
