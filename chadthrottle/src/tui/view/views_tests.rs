//! What the views look like, and what lies over them: help, palette, menus, and the footer.

use super::*;
use crate::tui::{
    changes::Answer, effect::Effect, help::Help, inspect::Connections, keymap::Subject,
    state::Message,
};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 50)];

/// Users, units and a container.
fn machine(size: (u16, u16)) -> State {
    let mut sample = Snapshot::clone(&busy(10));
    for process in &mut sample.processes {
        (process.uid, process.user, process.cgroup) = match process.key.pid {
            3100..=3121 => (
                1000,
                "ada".into(),
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-1.scope"
                    .into(),
            ),
            4242 => (
                33,
                "www-data".into(),
                format!("/docker/{}", "c0ffee00".repeat(8)).into(),
            ),
            5100 => (0, "root".into(), "/system.slice/backup.service".into()),
            1 => (0, "root".into(), "/init.scope".into()),
            _ => (1000, "ada".into(), "/".into()),
        };
    }
    state(size.0, size.1, sample.into())
}

pub fn connections() -> Action {
    let row = |pid, inode, remote: &str, rates: Option<(f64, f64)>| ConnectionRow {
        connection: Connection {
            inode,
            protocol: if rates.is_some() { "tcp" } else { "udp" }.to_owned(),
            local: "192.0.2.7:50312".parse().ok(),
            remote: remote.parse().ok(),
            state: rates.map_or("", |_| "established").to_owned(),
            bytes: None,
            process: Some(key(pid)),
            round_trip: rates.map(|_| Duration::from_micros(23_400)),
        },
        rates: rates.map(|(down, up)| Both { down, up }),
        name: None,
    };
    let mut connections = vec![
        row(
            3100,
            1,
            "[::ffff:198.51.100.20]:443",
            Some((2_650_000.0, 60_000.0)),
        ),
        row(4242, 2, "203.0.113.80:80", Some((640_000.0, 21_000.0))),
        row(
            5100,
            3,
            "[2001:db8:1234:5678::443]:22",
            Some((0.0, 480_000.0)),
        ),
        row(3120, 4, "192.0.2.53:53", None),
    ];
    connections[1].name = Some("mirror.\u{1b}[31mexample.org".into());
    let more = true;
    Action::Connections(Connections { connections, more })
}

fn check(name: &str, keys: &[&str]) {
    for size in SIZES {
        let mut state = machine(size);
        press(&mut state, keys);
        if state.needs_connections() {
            update(&mut state, connections());
        }
        let screen = draw_on(&state).to_string();
        assert!(!screen.contains('\u{1b}'), "{screen}");
        shot(&state, name);
        let ascii = draw_with(&state, &look(&ThemeName::Dark, true)).to_string();
        assert!(ascii.is_ascii(), "{ascii}");
    }
}

#[test]
fn first_run() {
    for size in SIZES {
        let mut sample = Snapshot::clone(&busy(10));
        sample.limits.clear();
        sample.processes.iter_mut().for_each(|it| it.limit = None);
        let mut state = state(size.0, size.1, sample.into());
        shot(&state, "first_run");
        press(&mut state, &["j"]);
        let screen = draw_on(&state).to_string();
        assert!(
            screen.contains("4 connections") && !screen.contains("Choose"),
            "{screen}"
        );
    }
}

#[test]
fn connections_of_the_machine() {
    check("connections", &["4"]);
    check("connections_filtered", &["4", "/", "port:443", "<Enter>"]);
}

#[test]
fn units_and_users() {
    check("units", &["5"]);
    check("users", &["6"]);
}

#[test]
fn palette() {
    check("palette", &[":"]);
    check("palette_typed", &["<Ctrl-P>", "limit", "<Down>"]);
    check("palette_empty", &[":", "no such thing"]);
}

#[test]
fn profiles() {
    for size in SIZES {
        let mut state = machine(size);
        let sample = Arc::make_mut(&mut state.snapshot);
        sample.profiles = ["hotel", "train \u{1b}[31m"].map(str::to_owned).into();
        sample.profile = Some("hotel".to_owned());
        press(&mut state, &["P", "j"]);
        shot(&state, "profiles");
    }
}

/// Page by page, all that the help says can be read, and then begins anew.
#[test]
fn a_small_screen_shows_all_of_the_help() {
    let mut state = minute((60, 15));
    press(&mut state, &["?"]);
    let mut seen = String::new();
    for _ in 0..30 {
        let screen = draw_on(&state).to_string();
        let inside = screen.lines().filter_map(|line| line.split('│').nth(1));
        seen.push_str(&inside.map(str::trim).collect::<Vec<_>>().join(" "));
        press(&mut state, &["<PgDn>"]);
    }
    let seen = seen.split_whitespace().collect::<Vec<_>>().join(" ");
    for binding in state.keymap.bindings() {
        assert!(
            seen.contains(binding.description),
            "{}",
            binding.description
        );
    }
    assert!(seen.contains("words must all hold"));
    // It turns back as it went, and no further down than there is something.
    press(&mut state, &["g", "j", "<PgDn>", "<PgUp>"]);
    assert_eq!(state.mode, Mode::Help(Help::default()));
    press(&mut state, &["<End>", "k"]);
    let screen = draw_on(&state).to_string();
    let mut of_page = state.keymap.bindings().iter();
    let last = of_page.rfind(|binding| binding.subject == Subject::Limits);
    assert!(!screen.contains(last.unwrap().description));
    press(&mut state, &["g", "<PgUp>"]);
    assert!(matches!(
        state.mode,
        Mode::Help(Help { page: 3, offset: 0 })
    ));
}

#[test]
fn files_of_rules_that_have_changed_are_told_of_and_read() {
    for names in [&[][..], &["a"], &["a", "b", "c", "d", "e", "f", "g", "h"]] {
        let mut state = minute((80, 15));
        let sample = Arc::make_mut(&mut state.snapshot);
        sample.rules = names.iter().map(|name| rule(name)).collect();
        press(&mut state, &["R", "G"]);
        let words = "The files of rules have changed since they were read: r reads them.";
        let screen = draw_on(&state).to_string();
        assert!(
            !screen.contains(words) && !screen.contains("r reload"),
            "{screen}"
        );
        Arc::make_mut(&mut state.snapshot).rules_changed = true;
        let screen = draw_on(&state).to_string();
        assert!(
            screen.contains(words) && screen.contains("r reload"),
            "{screen}"
        );
        // The selected one is still on the screen.
        if let Some(last) = names.last() {
            assert!(screen.contains(&format!("[x] {last} ")), "{screen}");
        }
        assert_eq!(press(&mut state, &["r"]), [Effect::ReloadRules]);
        let asked = draw_on(&state).to_string();
        assert!(asked.contains("rules read anew"), "{asked}");
    }
}

#[test]
fn the_question_before_a_rule_is_removed_names_its_profiles() {
    let mut state = minute((60, 15));
    let sample = Arc::make_mut(&mut state.snapshot);
    sample.rules = vec![rule("backup")];
    sample.rules[0].profiles = ["hotel", "train"].map(str::to_owned).into();
    press(&mut state, &["R", "x"]);
    let screen = draw_on(&state).to_string();
    let words = [
        "It is rule 'backup', which is taken out of profiles",
        " hotel, train too.",
        "Enter or y: yes",
    ];
    for words in words {
        assert!(screen.contains(words), "{screen}");
    }
}

#[test]
fn pages_of_the_help_fit_the_usual_screen() {
    for (page, name) in ["limits", "views", "finding", "screen"]
        .into_iter()
        .enumerate()
    {
        let keys: Vec<&str> = ["?"]
            .into_iter()
            .chain(["<Tab>"; 3].into_iter().take(page))
            .collect();
        check(&format!("help_{name}"), &keys);
        let mut state = machine((80, 24));
        press(&mut state, &keys);
        let screen = draw_on(&state).to_string();
        let Mode::Help(help) = state.mode else {
            panic!("no help")
        };
        for (keys, words) in help.lines(&state.keymap, state.size) {
            assert!(
                screen.contains(&format!("{keys:<16}{words}")),
                "{keys} {words}\n{screen}"
            );
        }
    }
}

/// The keys that matter most are named where the screen is as narrow as most are.
#[test]
fn the_footer_names_the_keys_that_matter_most() {
    let last = |state: &State| {
        let screen = draw_on(state).to_string();
        screen.lines().last().unwrap_or_default().to_owned()
    };
    let mut state = machine((80, 24));
    let words = "l limit  B block  x remove  K keep  R rules  / filter";
    assert!(last(&state).contains(words), "{}", last(&state));
    Arc::make_mut(&mut state.snapshot).profiles = vec!["hotel".to_owned()];
    let words = "l limit  B block  x remove  K keep  R rules  P profile  / filter  ? help  q quit";
    assert!(last(&state).contains(words), "{}", last(&state));
}

#[test]
fn what_is_asked_for_is_marked_until_it_is_done_and_then_can_be_taken_back() {
    let mut state = machine((80, 24));
    let message = |state: &State| {
        let screen = draw_on(state).to_string();
        screen.lines().rev().nth(1).unwrap_or_default().to_owned()
    };
    press(&mut state, &["g", "["]);
    assert!(
        !message(&state).contains("asked for"),
        "{}",
        message(&state)
    );
    let marks = |state: &State| draw_on(state).to_string().matches('◌').count();
    assert_eq!(marks(&state), 0);
    press(&mut state, &["<Enter>", "1MB", "<Enter>"]);
    let asked = message(&state);
    assert!(asked.contains("asked for: firefox (3100): "), "{asked}");
    assert_eq!(marks(&state), 1);
    shot(&state, "pending");
    let answer = Answer {
        set: Some(LimitId(9)),
        ..Answer::of(Message {
            text: "firefox (3100): down 1 MB/s (8 Mbit/s), up unlimited".to_owned(),
            error: false,
        })
    };
    update(&mut state, Action::Answered(answer));
    assert_eq!(marks(&state), 0);
    shot(&state, "toast");
}

#[test]
fn wide_tables_show_the_other_end_that_a_row_carries_most_to_and_from() {
    for (size, keys) in [((200, 50), &["1"][..]), ((120, 40), &["2"])] {
        let mut state = machine(size);
        let sample = Arc::make_mut(&mut state.snapshot);
        // Columns of limits would take its room.
        sample.limits.clear();
        sample.processes.iter_mut().for_each(|it| it.limit = None);
        press(&mut state, keys);
        let Action::Connections(Connections { connections, .. }) = connections() else {
            panic!("other connections")
        };
        let asked = state.snapshot.processes.iter().map(|it| it.key).collect();
        update(&mut state, Action::Remotes { asked, connections });
        shot(&state, "remotes");
        let screen = draw_on(&state).to_string();
        assert!(screen.contains("198.51.100.20:443"), "{screen}");
        assert!(!screen.contains('\u{1b}'), "{screen}");
    }
}

#[test]
fn a_marked_moment_is_told_and_seen_on_every_graph() {
    let mut state = minute((200, 50));
    press(&mut state, &["<"; 8]);
    let screen = draw_on(&state).to_string();
    assert_eq!(screen.matches("8 s ago").count(), 3, "{screen}");
    assert!(screen.matches('◆').count() >= 2, "{screen}");
    shot(&state, "moment");
}

#[test]
fn a_long_refusal_is_shown_whole() {
    let mut state = minute((80, 24));
    let words = "wget (4242) is in the cgroup /system.slice/docker.service, where another program has its own \
                 limits: end those first, or choose --scope internet";
    update(&mut state, Action::Said(Message::error(words)));
    shot(&state, "refusal");
    let screen = draw_on(&state).to_string();
    assert!(screen.contains("choose --scope internet"), "{screen}");
}
