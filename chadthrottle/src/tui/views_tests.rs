//! The views, key by key.

use super::*;
use crate::{
    model::{Both, LimitId, ProcessSample},
    process::Connection,
    tui::{
        fixtures::{key, limit, press, process, said, snapshot, state},
        inspect::{ConnectionRow, Connections, Purpose, Request},
        rows::{Group, RowKey},
        update::{Action, update},
    },
};

fn machine() -> Vec<ProcessSample> {
    let of = |pid, name, uid, user: &str, cgroup: &str, down| {
        let mut process = process(pid, name, down, 0.0);
        (process.uid, process.user, process.cgroup) = (uid, user.into(), cgroup.into());
        process
    };
    let mut backup = of(30, "restic", 0, "root", "/system.slice/backup.service", 5.0);
    backup.limit = Some((LimitId(1), limit(Some(1_000_000), None)));
    vec![
        of(10, "init", 0, "root", "/init.scope", 0.0),
        of(
            20,
            "firefox",
            1000,
            "ada",
            "/user.slice/app.slice/firefox.scope",
            7.0,
        ),
        of(
            21,
            "firefox",
            1000,
            "ada",
            "/user.slice/app.slice/firefox.scope",
            1.0,
        ),
        backup,
        of(40, "kworker", 0, "root", "/", 0.0),
    ]
}

fn names(state: &State) -> Vec<String> {
    state.rows.iter().map(|row| state.name_of(row)).collect()
}

fn looked(connections: &[(u32, u64, f64)]) -> Action {
    let row = |(pid, inode, down): &(u32, u64, f64)| ConnectionRow {
        connection: Connection {
            inode: *inode,
            protocol: "tcp".to_owned(),
            local: None,
            remote: "198.51.100.1:443".parse().ok(),
            state: String::new(),
            bytes: None,
            process: Some(key(*pid)),
            round_trip: None,
        },
        rates: Some(Both {
            down: *down,
            up: 0.0,
        }),
        name: None,
    };
    Action::Connections(Connections {
        connections: connections.iter().map(row).collect(),
        more: false,
    })
}

#[test]
fn digits_and_tab_go_from_view_to_view_and_back() {
    let mut state = state(80, 24, snapshot(machine()));
    for (number, view) in (1..).zip(View::ALL) {
        press(&mut state, &[&number.to_string()]);
        assert_eq!(shown(&state), view);
    }
    // Round, from the rules too.
    for view in View::ALL {
        press(&mut state, &["<Tab>"]);
        assert_eq!(shown(&state), view);
    }
    for view in View::ALL.into_iter().rev().skip(1) {
        press(&mut state, &["<S-Tab>"]);
        assert_eq!(shown(&state), view);
    }
    // The details are left.
    press(&mut state, &["d", "3"]);
    assert_eq!((&state.details, state.view), (&None, View::Tree));
    press(&mut state, &["R", "<Esc>"]);
    assert_eq!((&state.mode, shown(&state)), (&Mode::Normal, View::Tree));
}

#[test]
fn users_and_units_are_rows_of_their_processes_and_the_selection_follows() {
    let mut state = state(80, 24, snapshot(machine()));
    press(&mut state, &["g", "6"]);
    assert_eq!(names(&state), ["ada", "root"]);
    assert_eq!(
        state.rows.iter().map(|it| it.count).collect::<Vec<_>>(),
        [2, 3]
    );
    assert_eq!(state.selected, Some(RowKey::Group(Group::User(1000))));
    press(&mut state, &["5"]);
    assert_eq!(
        names(&state),
        [
            "firefox.scope",
            "backup.service",
            "init.scope",
            "in no unit"
        ]
    );
    let firefox = Group::Unit(Some("/user.slice/app.slice/firefox.scope".into()));
    assert_eq!(state.selected, Some(RowKey::Group(firefox)));
    press(&mut state, &["s", "G", "kkk", "<Enter>"]);
    press(&mut state, &["/", "unit:init", "<Enter>"]);
    assert_eq!(names(&state), ["init.scope"]);
    press(&mut state, &["<Esc>", "1"]);
    assert_eq!(state.rows.len(), 5);
}

#[test]
fn limits_of_users_and_units_are_for_what_starts_later_too() {
    let mut state = state(80, 24, snapshot(machine()));
    let selectors = |effects: &[Effect]| match effects {
        [Effect::SetLimit { targets, .. }] => {
            let texts = targets.selectors.iter().map(ToString::to_string);
            (texts.collect::<Vec<_>>(), targets.processes.clone())
        }
        other => panic!("{other:?}"),
    };
    let set = ["<Enter>", "<Ctrl-U>", "1MB", "<Enter>"];
    press(&mut state, &["g", "6"]);
    let (texts, processes) = selectors(&press(&mut state, &set));
    assert_eq!((texts, processes), (vec!["user:1000".to_owned()], vec![]));
    press(&mut state, &["5", "j"]);
    let (texts, _) = selectors(&press(&mut state, &set));
    assert_eq!(texts, ["cgroup:/system.slice/backup.service"]);
    // Nothing but themselves tells who is in no unit.
    press(&mut state, &["G"]);
    let (texts, processes) = selectors(&press(&mut state, &set));
    assert_eq!((texts, processes), (vec![], vec![key(40)]));
    // Nor one whose name would be read as something else.
    let mut odd = machine();
    (odd[3].cgroup, odd[3].limit) = ("/a+user:ada.service".into(), None);
    update(&mut state, Action::Snapshot(snapshot(odd)));
    press(&mut state, &["/", "unit:a+user", "<Enter>", "g"]);
    let (texts, processes) = selectors(&press(&mut state, &set));
    assert_eq!((texts, processes), (vec![], vec![key(30)]));
}

#[test]
fn connections_are_sorted_by_rate_and_enter_limits_their_process() {
    let mut state = state(80, 24, snapshot(machine()));
    let effects = press(&mut state, &["4"]);
    let request = |processes: &[u32]| {
        [Effect::Inspect(Request {
            purpose: Purpose::Machine,
            processes: processes.iter().copied().map(key).collect(),
            resolve: false,
        })]
    };
    // The busiest first: where there are too many, the last ones are left out.
    assert_eq!(effects, request(&[20, 30, 21, 10, 40]));
    assert_eq!(state.rows.len(), 0);
    // One of a process that is not in the sample is not shown.
    let many = [(30, 1, 5.0), (20, 2, 50.0), (20, 3, 0.0), (99, 4, 9.0)];
    update(&mut state, looked(&many));
    let inodes = |state: &State| -> Vec<u64> {
        let inode = |row: &crate::tui::rows::Row| match row.key {
            RowKey::Connection(_, inode) => inode,
            _ => 0,
        };
        state.rows.iter().map(inode).collect()
    };
    assert_eq!(inodes(&state), [2, 1, 3]);
    press(&mut state, &["f"]);
    assert_eq!(inodes(&state), [2, 1], "those with traffic");
    press(&mut state, &["ff"]);
    let effects = press(&mut state, &["g", "<Enter>", "1MB", "<Enter>"]);
    let [Effect::SetLimit { targets, who, .. }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(
        (&*targets.processes, &**who),
        (&[key(20)][..], "firefox (20)")
    );
    // Its limit, and two of one process are one.
    let effects = press(&mut state, &["j", "x"]);
    assert!(matches!(&effects[..], [Effect::RemoveLimits { ids, .. }] if *ids == [LimitId(1)]));
    press(&mut state, &["g", " ", "G", " ", "<Enter>"]);
    let Mode::Dialog(dialog) = &state.mode else {
        panic!("{}", said(&state))
    };
    assert_eq!(dialog.subject.rows, [RowKey::Process(key(20))]);
    press(&mut state, &["<Esc>", "U", "d"]);
    let details = state.details.as_ref().unwrap();
    assert_eq!(details.key, RowKey::Process(key(20)));
    // Back where they are, they are looked at again; elsewhere no longer.
    assert_eq!(
        press(&mut state, &["<Esc>"]),
        request(&[20, 30, 21, 10, 40])
    );
    assert_eq!(press(&mut state, &["1"]), []);
    assert!(state.connections.is_none());
}

#[test]
fn a_filter_by_port_has_connections_looked_at_in_every_view() {
    let mut state = state(80, 24, snapshot(machine()));
    assert_eq!(press(&mut state, &["/", "port:44"]).len(), 1);
    update(&mut state, looked(&[(20, 1, 0.0)]));
    assert_eq!(names(&state), [""; 0]);
    press(&mut state, &["3"]);
    assert_eq!(names(&state), ["firefox"]);
    let effects = update(&mut state, Action::Snapshot(snapshot(machine())));
    assert!(matches!(
        &effects[..],
        [Effect::Inspect(Request {
            purpose: Purpose::Machine,
            ..
        })]
    ));
    press(&mut state, &["<Esc>"]);
    assert_eq!(
        update(&mut state, Action::Snapshot(snapshot(machine()))),
        []
    );
}

/// Of the rules there is nothing to filter; everywhere else each word does what it says.
#[test]
fn every_word_of_the_filter_works_in_every_view_of_the_machine() {
    let named = |view, processes: &[&'static str]| -> Vec<&'static str> {
        let mut names: Vec<&str> = processes
            .iter()
            .map(|name| match (view, *name) {
                (View::Units, "firefox") => "firefox.scope",
                (View::Units, "restic") => "backup.service",
                (View::Units, "init") => "init.scope",
                (View::Units, _) => "in no unit",
                (View::Users, "firefox") => "ada",
                (View::Users, _) => "root",
                (_, name) => name,
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    for (filter, found) in [
        ("user:ada", &["firefox"][..]),
        ("!user:ada", &["init", "kworker", "restic"]),
        ("unit:backup", &["restic"]),
        ("port:443", &["firefox"]),
        ("remote:198.51", &["firefox"]),
        ("!port:443", &["init", "kworker", "restic"]),
        ("limited", &["restic"]),
        ("!limited", &["firefox", "init", "kworker"]),
        ("held", &["restic"]),
        ("name:fire !limited", &["firefox"]),
        ("restic", &["restic"]),
    ] {
        for view in View::ALL {
            let mut machine = machine();
            for process in &mut machine {
                if process.limit.is_some() {
                    process.traffic.down.bytes_per_s = 1_000_000.0;
                }
            }
            let mut state = state(120, 40, snapshot(machine));
            go(&mut state, view);
            press(&mut state, &["/"]);
            if view == View::Rules {
                assert_eq!(state.mode, Mode::Normal);
                continue;
            }
            press(&mut state, &[filter, "<Enter>"]);
            if state.needs_connections() {
                update(
                    &mut state,
                    looked(&[(20, 1, 5.0), (21, 3, 0.0), (30, 2, 0.0)]),
                );
                let last = &mut state.connections.as_mut().unwrap().connections[2];
                last.connection.remote = "203.0.113.1:80".parse().ok();
                state.make_rows();
            }
            let mut names = names(&state);
            names.sort_unstable();
            names.dedup();
            let expected = match view {
                // The two that have one.
                View::Connections => {
                    let has = |name: &&&str| matches!(**name, "firefox" | "restic");
                    found.iter().filter(has).copied().collect()
                }
                view => named(view, found),
            };
            assert_eq!(names, expected, "{filter} in {view:?}");
        }
    }
}

/// What actions apply to now, without tags.
fn chosen(state: &State) -> Vec<RowKey> {
    state.chosen().iter().map(|row| row.key.clone()).collect()
}

#[test]
fn coming_back_to_a_view_is_coming_back_to_what_was_selected_there() {
    let mut state = state(80, 24, snapshot(machine()));
    let firefox = RowKey::Process(key(21));
    press(&mut state, &["/", "21", "<Enter>", "<Esc>"]);
    assert_eq!(state.selected, Some(firefox.clone()));
    for view in 2..=7 {
        press(&mut state, &[&view.to_string()]);
        if view == 4 {
            update(&mut state, looked(&[(20, 1, 50.0), (30, 2, 5.0)]));
        }
    }
    press(&mut state, &["1"]);
    assert_eq!(state.selected, Some(firefox.clone()));
    // Another one is selected in the programs: that is for when they are shown again, from another group or from rules.
    press(&mut state, &["2"]);
    assert_eq!(names(&state)[state.cursor], "firefox");
    press(&mut state, &["G", "6", "2"]);
    assert_eq!(state.cursor, state.rows.len() - 1);
    press(&mut state, &["1"]);
    assert_eq!(chosen(&state), std::slice::from_ref(&firefox));
    // From a process it is the group that has it.
    press(&mut state, &["6"]);
    assert_eq!(names(&state)[state.cursor], "ada");
    press(&mut state, &["1", "2"]);
    assert_eq!(names(&state)[state.cursor], "firefox");
    // The tree keeps its own.
    press(&mut state, &["1", "3", "g", "1", "3"]);
    assert_eq!(state.cursor, 0);
}

#[test]
fn connections_are_entered_at_one_of_the_selected_process_or_say_that_it_has_none() {
    let mut state = state(80, 24, snapshot(machine()));
    press(&mut state, &["/", "restic", "<Enter>", "<Esc>", "4"]);
    let many = [(20, 1, 50.0), (20, 2, 40.0), (30, 3, 5.0)];
    update(&mut state, looked(&many));
    assert_eq!(chosen(&state), [RowKey::Process(key(30))]);
    // That one ends, and it has another one.
    let others = [(20, 1, 50.0), (30, 5, 45.0), (20, 2, 40.0)];
    update(&mut state, looked(&others));
    assert_eq!(chosen(&state), [RowKey::Process(key(30))]);
    press(&mut state, &["1", "/", "init", "<Enter>", "<Esc>", "4"]);
    update(&mut state, looked(&many));
    assert_eq!(said(&state), "init (10) has no connection");
    press(&mut state, &["1"]);
    assert_eq!(chosen(&state), [RowKey::Process(key(10))]);
}

#[test]
fn connections_that_a_filter_hides_are_said_to_be_so_and_none_is_before_its_rate_is_known() {
    let mut state = state(80, 24, snapshot(machine()));
    press(&mut state, &["f", "/", "restic", "<Enter>", "<Esc>", "4"]);
    // The first look has no rates yet.
    let Action::Connections(mut first) = looked(&[(20, 1, 0.0), (30, 3, 0.0)]) else {
        panic!("another action")
    };
    for row in &mut first.connections {
        row.rates = None;
        row.connection.bytes = Some(Both::default());
    }
    update(&mut state, Action::Connections(first));
    assert_eq!(
        chosen(&state),
        [RowKey::Process(key(30))],
        "{}",
        said(&state)
    );
    press(&mut state, &["1", "4"]);
    update(&mut state, looked(&[(20, 1, 50.0), (30, 3, 0.0)]));
    assert_eq!(
        said(&state),
        "the connections of restic (30) are hidden: another row is selected"
    );
}

#[test]
fn what_has_ended_meanwhile_or_is_hidden_is_said_to_be_so() {
    let mut state = state(80, 24, snapshot(machine()));
    press(&mut state, &["/", "restic", "<Enter>", "<Esc>", "2"]);
    press(&mut state, &["/", "firefox", "<Enter>", "1"]);
    assert_eq!(
        said(&state),
        "restic (30) is hidden: another row is selected"
    );
    press(
        &mut state,
        &["<Esc>", "/", "restic", "<Enter>", "<Esc>", "2"],
    );
    let mut without = machine();
    without.remove(3);
    for _ in 0..7 {
        update(&mut state, Action::Snapshot(snapshot(without.clone())));
    }
    press(&mut state, &["1"]);
    assert_eq!(
        said(&state),
        "process 30 has ended: another row is selected"
    );
}

#[test]
fn a_filtered_group_shows_the_other_end_of_what_the_filter_leaves() {
    let mut state = state(200, 50, snapshot(machine()));
    update(&mut state, looked(&[(20, 1, 50.0), (21, 2, 5.0)]));
    let Action::Connections(mut seen) = looked(&[(20, 1, 50.0), (21, 2, 5.0)]) else {
        unreachable!()
    };
    seen.connections[0].connection.remote = "203.0.113.9:80".parse().ok();
    update(&mut state, Action::Connections(seen));
    press(&mut state, &["2", "/", "21", "<Enter>"]);
    let keys = state.members_of(&state.rows[0]).map(|process| process.key);
    let end = state.remotes.of(keys).unwrap().end;
    assert_eq!(end.to_string(), "198.51.100.1:443");
}
