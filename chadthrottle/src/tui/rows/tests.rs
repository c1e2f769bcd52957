//! Rows of made-up processes.

use std::sync::Arc;

use super::*;
use crate::tui::fixtures::{limit, process, snapshot, usual};

struct Case {
    view: View,
    filter: &'static str,
    show: Show,
    sort: Sort,
    reversed: bool,
    folded: Vec<u32>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            view: View::List,
            filter: "",
            show: Show::All,
            sort: Sort::Total,
            reversed: false,
            folded: Vec::new(),
        }
    }
}

impl Case {
    fn rows(&self, snapshot: &Snapshot) -> Vec<Row> {
        let mut history = History::default();
        history.push(snapshot);
        let key = |pid: &u32| ProcessKey {
            pid: *pid,
            start_ticks: 100,
        };
        Making {
            view: self.view,
            filter: &Filter::read(self.filter, snapshot),
            connections: &[],
            show: self.show,
            sort: self.sort,
            reversed: self.reversed,
            folded: &self.folded.iter().map(key).collect(),
            history: &history,
        }
        .rows(snapshot)
    }

    /// Each row's process, with the depth of its branches.
    fn pids(&self, snapshot: &Snapshot) -> Vec<(u32, usize)> {
        let pid = |row: &Row| snapshot.processes[row.lead].key.pid;
        let rows = self.rows(snapshot);
        rows.iter()
            .map(|row| (pid(row), row.branches.len()))
            .collect()
    }
}

fn flat(pids: &[u32]) -> Vec<(u32, usize)> {
    pids.iter().map(|pid| (*pid, 0)).collect()
}

#[test]
fn every_order_and_its_reverse() {
    for (sort, pids) in [
        (Sort::Total, [3100, 4242, 900, 5000]),
        (Sort::Down, [3100, 4242, 900, 5000]),
        (Sort::Up, [3100, 4242, 900, 5000]),
        (Sort::DownBytes, [3100, 4242, 900, 5000]),
        (Sort::UpBytes, [3100, 4242, 900, 5000]),
        (Sort::Pid, [900, 3100, 4242, 5000]),
        (Sort::Name, [900, 3100, 4242, 5000]),
        (Sort::User, [900, 3100, 4242, 5000]),
        (Sort::Sockets, [900, 3100, 4242, 5000]),
        (Sort::Limit, [4242, 900, 3100, 5000]),
    ] {
        let mut case = Case {
            sort,
            ..Case::default()
        };
        assert_eq!(case.pids(&usual()), flat(&pids), "{sort:?}");
        case.reversed = true;
        // What has ended stays below.
        let mut turned = pids;
        turned[..3].reverse();
        assert_eq!(case.pids(&usual()), flat(&turned), "{sort:?} reversed");
    }
}

#[test]
fn the_filter_finds_name_pid_user_and_command_line_in_any_case() {
    let mut odd = process(7, "Übung", 0.0, 0.0);
    odd.user = "Bob".into();
    odd.command = "/opt/x --Profile=HOME".into();
    let sample = snapshot(vec![odd, process(81, "bash", 0.0, 0.0)]);
    for (filter, pids) in [
        ("BASH", &[81][..]),
        ("übu", &[7]),
        ("ÜBU", &[7]),
        ("profile=h", &[7]),
        ("bob", &[7]),
        ("8", &[81]),
        ("", &[7, 81]),
        ("nobody has that", &[]),
        (
            "a much longer filter than any text in here, of the kind that a paste makes",
            &[],
        ),
    ] {
        let case = Case {
            filter,
            ..Case::default()
        };
        assert_eq!(case.pids(&sample), flat(pids), "{filter}");
    }
}

#[test]
fn only_those_with_traffic_or_with_a_limit() {
    for (show, pids) in [(Show::Busy, &[3100, 4242][..]), (Show::Limited, &[4242])] {
        let case = Case {
            show,
            ..Case::default()
        };
        assert_eq!(case.pids(&usual()), flat(pids), "{show:?}");
    }
}

/// init with a shell with two downloads, and a daemon.
fn family() -> Arc<Snapshot> {
    let child = |pid, parent, down| {
        let mut process = process(pid, "p", down, 0.0);
        process.parent = parent;
        process
    };
    snapshot(vec![
        child(1, 0, 0.0),
        child(10, 1, 0.0),
        child(11, 10, 5.0),
        child(12, 10, 7.0),
        child(20, 1, 9.0),
        // Its parent is not there.
        child(30, 999, 1.0),
    ])
}

#[test]
fn the_tree_sums_up_sorts_siblings_and_folds() {
    let mut case = Case {
        view: View::Tree,
        ..Case::default()
    };
    let rows = case.rows(&family());
    let down = |row: &Row| row.traffic.down.bytes_per_s;
    assert_eq!((down(&rows[0]), rows[0].count), (21.0, 5));
    assert_eq!(
        case.pids(&family()),
        [(1, 0), (10, 1), (12, 2), (11, 2), (20, 1), (30, 0)]
    );
    assert_eq!(rows[2].branches, [Branch::Passing, Branch::Middle]);
    assert_eq!(rows[3].branches, [Branch::Passing, Branch::Last]);
    assert_eq!(rows[4].branches, [Branch::Last]);
    assert_eq!((rows[0].folded, rows[4].folded), (Some(false), None));
    case.folded = vec![10];
    assert_eq!(case.pids(&family()), [(1, 0), (10, 1), (20, 1), (30, 0)]);
    let rows = case.rows(&family());
    assert_eq!((down(&rows[1]), rows[1].folded), (12.0, Some(true)));
    // With what they are below of.
    case.folded.clear();
    case.filter = "12";
    assert_eq!(case.pids(&family()), [(1, 0), (10, 1), (12, 2)]);
}

#[test]
fn processes_that_are_each_others_parents_or_as_deep_as_they_like_do_no_harm() {
    let child = |pid, parent, start| {
        let mut process = process(pid, "p", 0.0, 0.0);
        process.parent = parent;
        process.key.start_ticks = start;
        process
    };
    let case = Case {
        view: View::Tree,
        ..Case::default()
    };
    // In one tick, each the other's parent; and one its own.
    let ring = snapshot(vec![child(1, 2, 5), child(2, 1, 5), child(3, 3, 5)]);
    assert!(case.rows(&ring).len() <= 3);
    // The id of a parent that another process has now.
    let heir = snapshot(vec![child(1, 2, 5), child(2, 0, 9)]);
    assert_eq!(case.pids(&heir), flat(&[1, 2]));
    let chain = snapshot((1..=3_000).map(|pid| child(pid, pid - 1, 5)).collect());
    assert_eq!(case.rows(&chain).len(), 3_000);
}

#[test]
fn a_program_is_all_processes_of_its_executable() {
    let mut limited = process(3, "worker", 1.0, 2.0);
    limited.limit = Some((LimitId(4), limit(Some(5_000), None)));
    let mut ended = process(4, "worker", 0.0, 0.0);
    ended.ended = true;
    let mut nameless = process(5, "kernel thing", 0.0, 0.0);
    nameless.exe = "".into();
    let case = Case {
        view: View::Programs,
        ..Case::default()
    };
    let sample = snapshot(vec![limited.clone(), ended, nameless]);
    let rows = case.rows(&sample);
    assert_eq!(rows.len(), 2);
    assert_eq!(
        rows[0].key,
        RowKey::Group(Group::Exe("/usr/bin/worker".into()))
    );
    assert_eq!(
        (rows[0].count, rows[0].sockets, rows[0].ended),
        (2, 2, false)
    );
    assert!(matches!(rows[0].limit, RowLimit::One(LimitId(4), _)));
    assert_eq!(
        rows[1].key,
        RowKey::Group(Group::Name("kernel thing".into()))
    );
    // One of two has a limit.
    let sample = snapshot(vec![process(2, "worker", 1.0, 1.0), limited]);
    assert_eq!(case.rows(&sample)[0].limit, RowLimit::Several);
}
