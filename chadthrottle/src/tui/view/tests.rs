//! What the screen looks like: every view in three sizes, and the styles of every theme.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use ratatui::{
    backend::TestBackend,
    buffer::Buffer,
    style::{Color, Modifier},
};

use super::*;
use crate::{
    config::ThemeName,
    model::{Both, LimitId, Snapshot},
    process::Connection,
    tui::{
        colours::Colours,
        fixtures::{key, limit, origin, press, process, rule, snapshot, state, usual},
        inspect::ConnectionRow,
        theme::Scheme,
        update::{Action, update},
    },
};

const SIZES: [(u16, u16); 4] = [(60, 12), (80, 24), (120, 40), (200, 50)];

pub fn look(theme: &ThemeName, ascii: bool) -> Look {
    Look {
        theme: theme_of(theme, Colours::All),
        symbols: Symbols::new(ascii),
    }
}

fn theme_of(name: &ThemeName, colours: Colours) -> Theme {
    Scheme::load(name).unwrap().theme(colours, || None)
}

pub fn draw_with(state: &State, look: &Look) -> TestBackend {
    let backend = TestBackend::new(state.size.width, state.size.height);
    let mut terminal = ratatui::Terminal::new(backend).unwrap();
    terminal.draw(|frame| draw(frame, state, look)).unwrap();
    terminal.backend().clone()
}

fn draw_on(state: &State) -> TestBackend {
    draw_with(state, &look(&ThemeName::Dark, false))
}

/// A busy minute: a browser of three processes, two downloads that share a limit, and the rest.
pub fn minute(size: (u16, u16)) -> State {
    let mut state = state(size.0, size.1, snapshot(vec![]));
    for second in 0..75 {
        update(&mut state, Action::Snapshot(busy(second)));
    }
    state
}

fn busy(second: u32) -> Arc<Snapshot> {
    let wave = f64::from(second % 20) / 20.0;
    let child = |pid, parent, name, down, up| {
        let mut process = process(pid, name, down, up);
        process.parent = parent;
        process
    };
    let mut shell = child(900, 1, "bash", 0.0, 0.0);
    shell.sockets = 0;
    let mut wget = child(4242, 900, "wget", 640_000.0, 21_000.0);
    let mut curl = child(4300, 900, "curl", 355_000.0, 9_000.0);
    let shared = Some((LimitId(1), limit(Some(1_000_000), None)));
    (wget.limit, curl.limit) = (shared, shared);
    let mut backup = child(5100, 1, "restic", 0.0, 480_000.0);
    backup.user = "root".into();
    backup.cgroup = "/system.slice/backup.service".into();
    backup.limit = Some((LimitId(2), limit(Some(2_000_000), Some(500_000))));
    backup.traffic.up.dropped_bytes_per_s = 900.0;
    let mut ended = child(5000, 900, "apt", 0.0, 0.0);
    ended.ended = true;
    snapshot(vec![
        child(1, 0, "systemd", 0.0, 0.0),
        shell,
        child(3100, 1, "firefox", 5_300_000.0 * wave, 120_000.0 * wave),
        child(3120, 3100, "firefox", 1_200_000.0, 8_000.0),
        child(3121, 3100, "firefox", 0.0, 0.0),
        wget,
        curl,
        ended,
        backup,
    ])
}

pub fn with_connections(state: &mut State) {
    let address = |text: &str| text.parse::<SocketAddr>().ok();
    let row = |inode, protocol: &str, local, remote, state: &str, rates, rtt| ConnectionRow {
        connection: Connection {
            inode,
            protocol: protocol.to_owned(),
            local: address(local),
            remote: address(remote),
            state: state.to_owned(),
            bytes: None,
            process: Some(key(3120)),
            round_trip: rtt,
        },
        rates,
        name: None,
    };
    let ms = |ms| Some(Duration::from_millis(ms));
    let mut connections = vec![
        row(
            1,
            "tcp",
            "192.0.2.7:50312",
            "198.51.100.20:443",
            "established",
            Some(Both {
                down: 610_000.0,
                up: 12_000.0,
            }),
            ms(23),
        ),
        row(
            2,
            "tcp",
            "[2001:db8::7]:50313",
            "[2001:db8:1234:5678::443]:443",
            "established",
            Some(Both::default()),
            ms(140),
        ),
        row(3, "udp", "0.0.0.0:5353", "", "", None, None),
    ];
    connections[0].name = Some("mirror.example.org".into());
    let key = state.details_shown().unwrap().key.clone();
    let more = false;
    update(
        state,
        Action::Inspected {
            key,
            connections,
            more,
        },
    );
}

/// A snapshot of each size, after those keys.
fn check(name: &str, keys: &[&str]) {
    for (width, height) in SIZES {
        let mut state = minute((width, height));
        press(&mut state, keys);
        if state.details_shown().is_some() {
            with_connections(&mut state);
        }
        insta::assert_snapshot!(format!("{name}_{width}x{height}"), draw_on(&state));
    }
}

fn shot(state: &State, name: &str) {
    let (width, height) = (state.size.width, state.size.height);
    insta::assert_snapshot!(format!("{name}_{width}x{height}"), draw_on(state));
}

#[test]
fn list() {
    check("list", &[]);
}

#[test]
fn tree() {
    check("tree", &["t"]);
}

#[test]
fn programs() {
    check("programs", &["tt"]);
}

#[test]
fn details() {
    check("details", &["/wget", "<Enter>", "<Right>"]);
}

#[test]
fn limit_dialog() {
    check("limit_dialog", &["<Enter>", "1.5MB", "<Tab>", "5kbps"]);
}

#[test]
fn shared_limit_dialog() {
    check("shared_limit_dialog", &["/wget", "<Enter>", "l", "<S-Tab>"]);
}

#[test]
fn help() {
    check("help", &["?"]);
}

#[test]
fn sort_menu() {
    check("sort_menu", &["s", "j"]);
}

#[test]
fn questions() {
    check("remove_all", &["X"]);
    check("quit", &["q"]);
}

#[test]
fn filter_and_tags() {
    check("filter", &[" ", " ", "/", "e"]);
}

#[test]
fn paused() {
    check("paused", &["p", "I"]);
}

#[test]
fn too_small() {
    insta::assert_snapshot!(draw_on(&minute((40, 5))));
}

#[test]
fn ascii_only() {
    for (width, height) in SIZES {
        for keys in [
            &["t"][..],
            &["s"],
            &["?"],
            &["q"],
            &["<Enter>", "1MB"],
            &["d"],
        ] {
            let mut state = minute((width, height));
            press(&mut state, keys);
            if state.details.is_some() {
                with_connections(&mut state);
            }
            let screen = draw_with(&state, &look(&ThemeName::Dark, true)).to_string();
            assert!(screen.is_ascii(), "{keys:?}\n{screen}");
        }
    }
    let mut state = minute((80, 24));
    press(&mut state, &["t"]);
    insta::assert_snapshot!(
        "ascii_80x24",
        draw_with(&state, &look(&ThemeName::Mono, true))
    );
}

#[test]
fn a_width_of_300_columns() {
    insta::assert_snapshot!(draw_on(&minute((300, 40))));
}

#[test]
fn hostile_names() {
    let mut hostile = process(1, "\u{1b}[2Jevil\nname\u{202e}", 3.0, 0.0);
    hostile.command = "\u{1b}]0;title\u{7} \u{9b}31m".into();
    hostile.user = "\u{1b}c".into();
    let mut state = state(
        200,
        24,
        snapshot(vec![
            hostile,
            process(2, "日本語のとても長いプロセスの名前", 2.0, 0.0),
            process(3, "e\u{301}\u{301}\u{301}clair", 1.0, 0.0),
            process(4, "שלום עולם", 0.5, 0.0),
            process(5, "👩‍👩‍👧‍👦 family", 0.4, 0.0),
        ]),
    );
    let hostile = |screen: &str| {
        let bad = ['\u{1b}', '\u{202e}', '\u{7}', '\u{9b}'];
        screen.contains(bad)
    };
    let screen = draw_on(&state).to_string();
    assert!(!hostile(&screen));
    insta::assert_snapshot!(screen);
    press(&mut state, &["d"]);
    assert!(!hostile(&draw_on(&state).to_string()));
    press(&mut state, &["<Enter>"]);
    assert!(!hostile(&draw_on(&state).to_string()));
}

#[test]
fn a_terminal_may_have_another_size_than_we_were_told() {
    let sizes = [(300, 80), (200, 50), (140, 20), (80, 24), (60, 12), (9, 2)];
    for told in sizes {
        for keys in [&[][..], &["d"], &["R"], &["t", "s"]] {
            let mut state = minute(told);
            press(&mut state, keys);
            for (width, height) in sizes {
                let mut terminal = ratatui::Terminal::new(TestBackend::new(width, height)).unwrap();
                let look = look(&ThemeName::Dark, false);
                terminal.draw(|frame| draw(frame, &state, &look)).unwrap();
            }
        }
    }
}

#[test]
fn no_size_is_too_small_to_draw() {
    let mut sizes: Vec<(u16, u16)> = vec![
        (1, 1),
        (10, 3),
        (59, 12),
        (60, 11),
        (300, 2),
        (2, 200),
        (500, 200),
    ];
    sizes.extend((60..130).map(|width| (width, 12)));
    sizes.extend((12..45).map(|height| (60, height)));
    for size in sizes {
        for keys in [
            &["?"][..],
            &["<Enter>", "99999999999999999999MB"],
            &["d"],
            &["s", "G"],
            &["q"],
            &["t"],
            &["/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],
        ] {
            let mut state = state(size.0, size.1, busy(3));
            press(&mut state, keys);
            if state.details.is_some() {
                with_connections(&mut state);
            }
            draw_on(&state);
        }
    }
}

#[test]
fn a_warning_of_the_engine_has_lines_of_its_own_and_is_not_cut() {
    for panels in [true, false] {
        let mut state = state(80, 24, usual());
        state.panels = panels;
        let mut sample = (*usual()).clone();
        let words = "all slots are in use, so that limits of what starts now do not hold: \
                     the end of a limit makes room for others";
        sample.warnings.push(words.to_owned());
        update(&mut state, Action::Snapshot(sample.into()));
        let screen = draw_on(&state).to_string();
        assert!(screen.contains("! all slots are in use"), "{screen}");
        assert!(screen.contains("room for others"), "{screen}");
        assert!(screen.contains("processes by"), "{screen}");
    }
}

#[test]
fn a_connection_of_ipv4_is_shown_as_that() {
    let mut state = minute((200, 50));
    press(&mut state, &["/wget", "<Enter>"]);
    with_connections(&mut state);
    let beside = state.beside.as_mut().unwrap();
    let connection = &mut beside.connections.as_mut().unwrap()[1].connection;
    connection.remote = "[::ffff:10.0.0.2]:443".parse().ok();
    let screen = draw_on(&state).to_string();
    assert!(screen.contains(" 10.0.0.2:443 "), "{screen}");
    assert!(!screen.contains("ffff"), "{screen}");
}

#[test]
fn a_parent_in_the_tree_says_that_something_below_it_is_held() {
    let mut state = minute((80, 24));
    press(&mut state, &["t"]);
    let screen = draw_on(&state).to_string();
    let row = |name: &str| {
        let row = screen.lines().find(|line| line.contains(name));
        row.unwrap_or_else(|| panic!("{name}\n{screen}")).to_owned()
    };
    assert!(row("bash").contains('↓'), "{screen}");
    assert!(!row("firefox").contains('↓'), "{screen}");
}

#[test]
fn a_deep_tree_keeps_its_names_and_says_where_it_is_cut() {
    let chain = (10..30).map(|pid| {
        let mut process = process(pid, "worker", 1.0, 0.0);
        process.parent = pid - 1;
        process
    });
    let mut state = state(80, 30, snapshot(chain.collect()));
    press(&mut state, &["t"]);
    let screen = draw_on(&state).to_string();
    // Down to the fifth of them nothing is missing.
    for depth in 0..5 {
        let indent = "  ".repeat(depth);
        let branch = if depth == 0 {
            String::new()
        } else {
            format!("{}└─", &indent[2..])
        };
        assert!(
            screen.contains(&format!(" {branch}▾ worker")),
            "{depth}\n{screen}"
        );
    }
    assert!(
        screen.contains("…") && screen.matches("worker").count() >= 15,
        "{screen}"
    );
}

#[test]
fn a_limited_direction_without_traffic_reads_as_idle() {
    let screen = draw_on(&minute((80, 24))).to_string();
    let row = screen.lines().find(|line| line.contains("restic")).unwrap();
    assert!(row.contains("2 MB/s idle"), "{row}");
}

#[test]
fn without_panels_nothing_has_an_edge() {
    for (width, height) in SIZES {
        let mut state = minute((width, height));
        state.panels = false;
        if state.details_shown().is_some() {
            with_connections(&mut state);
        }
        insta::assert_snapshot!(format!("plain_{width}x{height}"), draw_on(&state));
        state.split = false;
        state.follow_beside();
        let screen = draw_on(&state).to_string();
        assert!(!screen.contains(['╭', '│', '╰']), "{screen}");
    }
}

#[test]
fn a_process_that_has_ended_is_greyed_and_says_so() {
    let state = minute((80, 24));
    let screen = draw_on(&state);
    let text = screen.to_string();
    let line = text.lines().position(|line| line.contains("apt (ended)"));
    let y = u16::try_from(line.expect("the row")).unwrap();
    let dim = theme_of(&ThemeName::Dark, Colours::All).dim.fg;
    let name = screen.buffer().cell((10, y)).unwrap();
    assert_eq!(Some(name.fg), dim);
}

#[test]
fn rules_and_the_dialog_that_makes_one() {
    for size in SIZES {
        let mut state = minute(size);
        let sample = Arc::make_mut(&mut state.snapshot);
        let mut timed = rule("updates \u{1b}[31m of a long name");
        timed.is_on = false;
        timed.why = "only Mon-Fri 08:00-18:00".to_owned();
        timed.when = vec!["Mon-Fri 08:00-18:00".to_owned()];
        timed.limit.up = Some(crate::units::Rate::BLOCKED);
        sample.rules = vec![rule("backup"), timed];
        sample.rules[0].members = 2;
        sample.rules[0].carried_today.down = 123_456_789;
        sample.profiles = vec!["hotel".to_owned()];
        press(&mut state, &["R", "<Down>"]);
        shot(&state, "rules");
        press(&mut state, &["<Enter>"]);
        shot(&state, "rule_dialog");
        press(&mut state, &["<Esc>", "x"]);
        shot(&state, "remove_rule");
        press(&mut state, &["n", "<Esc>", "/", "wget", "<Enter>", "K"]);
        shot(&state, "keep_dialog");
    }
}

/// Of the limits of a rule that gives each process its own, the one that holds is told, with how many do so.
#[test]
fn a_rule_of_several_limits_says_of_those_that_hold() {
    let mut state = minute((120, 24));
    let sample = Arc::make_mut(&mut state.snapshot);
    let held = sample.limits[0];
    let mut idle = held;
    idle.id = LimitId(held.id.0 + 1);
    idle.traffic = Both::default();
    let mut rule = rule("browser");
    rule.limits = vec![idle.id, held.id];
    (rule.members, rule.share) = (2, "process".to_owned());
    sample.rules = vec![rule];
    sample.limits.push(idle);
    press(&mut state, &["R"]);
    let said = draw_on(&state).to_string();
    assert!(
        said.contains("down held, by slowing the senders down (1 of its 2 limits)"),
        "{said}"
    );
}

/// What is set for a row that a rule holds stands above the rule, which the dialog says.
#[test]
fn the_dialog_says_that_a_rule_holds_the_row() {
    let mut state = minute((80, 24));
    let sample = Arc::make_mut(&mut state.snapshot);
    let mut of_rule = origin(sample.limits[0].id, 1);
    of_rule.rule = Some("nightly".into());
    sample.origins = vec![of_rule];
    press(&mut state, &["/wget", "<Enter>", "<Enter>"]);
    let said = draw_on(&state).to_string();
    assert!(
        said.contains("Rule 'nightly' holds it; this stands above it."),
        "{said}"
    );
}

#[path = "legible_tests.rs"]
mod legible;
#[path = "themes_tests.rs"]
mod themes;
#[path = "views_tests.rs"]
mod views;
