//! What the screen says is said whole, once, and of what it is about.

use super::*;
use crate::{
    model::ProcessSample,
    tui::{
        fixtures::said,
        inspect::Connections,
        state::{Mode, State},
    },
};

fn text_of(state: &State) -> String {
    draw_on(state).to_string()
}

fn iperf(pid: u32) -> ProcessSample {
    process(pid, "iperf3", 0.0, 0.0)
}

#[test]
fn back_in_time_the_table_says_that_it_is_of_now_and_the_keys_how_to_come_back() {
    for size in [(80, 24), (120, 40)] {
        let mut state = minute(size);
        press(&mut state, &["<"]);
        let text = text_of(&state);
        assert!(text.contains("rates of now"), "{text}");
        assert!(text.contains("<> move  Esc now"), "{text}");
        for cut in ["◆ow", "◆w"] {
            assert!(!text.contains(cut), "{text}");
        }
        press(&mut state, &["<Esc>"]);
        assert!(!text_of(&state).contains("rates of now"));
    }
}

#[test]
fn the_limit_of_a_connection_is_that_of_the_direction_that_carries() {
    let mut both = iperf(7);
    both.limit = Some((LimitId(1), limit(Some(2_000_000), Some(500_000))));
    for (down, up, words) in [(9.0, 1.0, "↓2 MB/s"), (1.0, 9.0, "↑500 KB/s")] {
        let mut state = state(80, 24, snapshot(vec![both.clone()]));
        press(&mut state, &["4"]);
        let connection = Connection {
            inode: 1,
            protocol: "tcp".to_owned(),
            local: None,
            remote: "198.51.100.1:443".parse().ok(),
            state: String::new(),
            bytes: None,
            process: Some(key(7)),
            round_trip: None,
        };
        let row = ConnectionRow {
            connection,
            rates: Some(Both { down, up }),
            name: None,
        };
        let connections = vec![row];
        let more = false;
        update(
            &mut state,
            Action::Connections(Connections { connections, more }),
        );
        assert!(text_of(&state).contains(words), "{}", text_of(&state));
    }
}

#[test]
fn only_columns_that_sort_are_marked_and_the_axis_begins_with_a_gap() {
    let text = text_of(&minute((120, 40)));
    assert!(text.contains("▸↓") && text.contains("▸↑"), "{text}");
    assert!(!text.contains("▸TREND"), "{text}");
    assert!(!text.contains("0 1 min"), "{text}");
}

#[test]
fn a_word_that_the_filter_does_not_know_is_said_to_be_none() {
    for view in ["1", "2"] {
        let mut state = minute((60, 15));
        press(&mut state, &[view, "/", "foo:bar"]);
        let text = text_of(&state);
        assert!(text.contains("foo: is no word of the filter"), "{text}");
        assert!(text.contains("container:"), "{text}");
        press(&mut state, &["<Esc>", "/", "no such"]);
        assert!(text_of(&state).contains("no process matches the filter"));
    }
}

#[test]
fn a_word_that_the_filter_does_not_know_is_said_to_be_none_also_where_its_text_is_found() {
    let mut state = minute((80, 24));
    press(&mut state, &["/", "name:iperf3"]);
    assert!(!text_of(&state).contains("no filter"));
    let mut named = iperf(7);
    named.command = "iperf3 --title foo:bar".into();
    update(&mut state, Action::Snapshot(snapshot(vec![named])));
    press(&mut state, &["<Esc>", "/", "foo:bar"]);
    let text = text_of(&state);
    assert!(text.contains("1 process"), "{text}");
    let words = "Filter: foo:bar  no filter 'foo:': user: unit: port: remote: limited held";
    assert!(text.contains(words), "{text}");
}

#[test]
fn a_pause_and_the_first_hint_say_what_to_do_on_small_screens() {
    let mut paused = minute((80, 24));
    press(&mut paused, &["p"]);
    assert!(text_of(&paused).contains("PAUSED: p goes on"));
    let mut paused = minute((60, 15));
    press(&mut paused, &["p"]);
    assert!(text_of(&paused).contains("PAUSED: p goes on"));
    let fresh = state(60, 15, snapshot(vec![iperf(7)]));
    assert!(
        text_of(&fresh).contains("? explains all keys"),
        "{}",
        text_of(&fresh)
    );
}

#[test]
fn the_rest_of_a_rule_is_not_cut() {
    let mut state = minute((80, 24));
    let mut long = rule("backup");
    long.targets = (0..6)
        .map(|it| format!("name:backup-number-{it}"))
        .collect();
    long.share = "process".to_owned();
    Arc::make_mut(&mut state.snapshot).rules = vec![long];
    press(&mut state, &["R"]);
    let text = text_of(&state);
    assert!(text.contains("name:backup-number-5"), "{text}");
    assert!(text.contains("rules.toml:1"), "{text}");
    assert!(text.contains("each process has its own"), "{text}");
    assert!(
        !text.contains("nobody") && text.contains("PROCESSES"),
        "{text}"
    );
}

#[test]
fn keeping_a_limit_says_how_many_will_share_it_and_lets_each_have_its_own() {
    let mut limited = iperf(7);
    limited.limit = Some((LimitId(1), limit(Some(2_000_000), None)));
    let mut state = state(80, 24, snapshot(vec![limited, iperf(8), iperf(9)]));
    press(&mut state, &["/", "7", "<Enter>", "K"]);
    assert!(matches!(state.mode, Mode::Keep(_)), "{}", said(&state));
    let text = text_of(&state);
    assert!(
        text.contains("3 processes match now: they share it"),
        "{text}"
    );
    let effects = press(&mut state, &["<Tab>"]);
    assert!(effects.is_empty());
    let text = text_of(&state);
    assert!(
        text.contains("3 processes match now: each has its own"),
        "{text}"
    );
    let effects = press(&mut state, &["<Enter>"]);
    assert!(
        format!("{effects:?}").contains(r#"share: Some("process")"#),
        "{effects:?}"
    );
}
