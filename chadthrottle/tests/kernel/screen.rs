//! The screen on a terminal of its own, from start to quit, with real traffic.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};

use crate::{
    audit::{assert_nothing_left, attached, top},
    engine::{call, connect, end, engine, limits},
    following::Limit,
    iperf::{Client, MB, server, to_server},
    lab::Lab,
    program::{Chadthrottle, Running},
    pty::Screen,
};

/// Whatever comes over the wire to the keyboard, and however large the terminal is.
#[test]
fn a_storm_of_sizes_pastes_and_clicks_does_no_harm() {
    let program = Chadthrottle::new();
    let mut screen = Screen::open(&program, "");
    screen.shows("the table", |text| text.contains("processes by"));
    // Nothing of it sets a limit: it is other people's processes that are listed.
    let keys = [
        "?",
        "jjjG\x1b[6~",
        "\x1b",
        "/",
        "\x1b[200~na\x07me\x1b[31m\u{202e}日本\x1b[201~",
        "\x1b",
        "t",
        "-+",
        "sjk\x1b",
        "\x1b[<0;10;8M\x1b[<64;1;1M\x1b[<65;79;23M\x1b[<0;999;999M",
        "d",
        "n",
        "\x1b[D",
        "fbpbp",
        "I",
    ];
    for round in 0..12u16 {
        for (number, keys) in keys.iter().enumerate() {
            let step = round * 31 + number as u16 * 7;
            let (rows, cols) = match step % 5 {
                0 => (3, 10),
                1 => (1, 1),
                _ => (2 + step % 60, 2 + step * 3 % 250),
            };
            screen.resize(rows, cols);
            screen.press(keys);
            // As fast as a terminal is dragged: some come together, some do not.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    // Esc leaves whatever is open; the views have gone round.
    for _ in 0..4 {
        screen.press("\x1b");
        // With what follows at once it would be another key.
        std::thread::sleep(Duration::from_millis(50));
    }
    screen.resize(24, 80);
    screen.shows("the table again", |text| text.contains(" by "));
    screen.press("\x03");
    screen.ends();
    assert_nothing_left();
}

/// The line of the table with that process.
fn row(text: &str, pid: u32) -> Option<&str> {
    let pid = pid.to_string();
    text.lines()
        // Behind the edge of the panel.
        .find(|line| line.trim_start_matches('│').split_whitespace().next() == Some(&pid))
}

#[test]
fn screen_limit_and_list_show_the_same_limit_at_once() {
    // Nobody else has that on the command line.
    const SECONDS: &str = "71.5309";
    let program = Chadthrottle::new();
    let sleeper = Command::new("sleep").arg(SECONDS).spawn();
    let sleeper = Running(sleeper.expect("sleep(1)"));
    let pid = sleeper.pid();
    let mut screen = Screen::open(&program, "");
    screen.shows("the table", |text| text.contains("processes by"));
    screen.press(&format!("/{SECONDS}\r"));
    screen.shows("its row", |text| row(text, pid).is_some());
    let mut limit = Limit::start(&program, &format!("{pid} --down 300KB"));
    screen.shows("the limit of somebody else", |text| {
        row(text, pid).is_some_and(|row| row.contains("300 KB/s"))
    });
    let output = program.output("list --json --all --count 1 --interval 200ms");
    let sample: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let processes = sample["processes"].as_array().expect("a list");
    let listed = processes.iter().find(|process| process["pid"] == pid);
    let listed = listed.expect("the same process");
    assert_eq!(listed["limit"]["down_bytes_per_s"], 300_000, "{listed}");
    assert_eq!(limits(&program)[0]["down_bytes_per_s"], 300_000);
    screen.press("d");
    screen.shows("who has set it", |text| {
        text.contains("set by    root, process ")
    });
    screen.press("\x1b");
    limit.signal("-INT");
    limit.wait(Duration::from_secs(5));
    screen.shows("limit removed", |text| {
        row(text, pid).is_some_and(|row| !row.contains("300 KB/s"))
    });
    screen.press("q");
    screen.ends();
    assert_nothing_left();
}

#[test]
fn a_screen_has_what_was_carried_before_it_was_opened() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let program = Chadthrottle::new();
    let engine = engine(&program, "");
    let client = Client::started(&lab, &to_server(5201, 2, "-R -b 160M"));
    drop(client.report());
    // Nobody watches: the engine looks at it every ten seconds, and the second look is after the traffic.
    std::thread::sleep(Duration::from_secs(11));
    let reply = call(&mut connect(&program), "GetHistory", &json!({}));
    let seconds = reply["parameters"]["seconds"].as_array().expect("a list");
    // A tenth of it may be in a second that has not passed yet.
    let down: f64 = seconds.iter().filter_map(|it| it["down"].as_f64()).sum();
    assert!(
        (36.0 * MB..60.0 * MB).contains(&down),
        "{down} bytes: {reply}"
    );
    let mut screen = Screen::open(&program, "");
    screen.shows("the scale of a graph that is idle now", |text| {
        // Below the line with the newest rates.
        let top: Vec<_> = text.lines().skip(1).take(5).collect();
        top.concat().contains("MB/s")
    });
    screen.press("q");
    screen.ends();
    end(engine);
    assert_nothing_left();
}

#[test]
fn a_running_download_is_limited_from_the_keyboard_and_let_go() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let program = Chadthrottle::new();
    let client = Client::started(&lab, &to_server(5201, 14, "-R -i 0.5"));
    let pid = client.pid();
    let mut screen = Screen::open(&program, "");

    screen.shows("the transfer", |text| {
        row(text, pid).is_some_and(|row| row.contains("iperf3"))
    });
    // By download rate, it is the first row.
    screen.press("s");
    screen.shows("the menu", |text| text.contains("Sort by"));
    screen.press("j\r");
    screen.shows("its rate", |text| {
        row(text, pid).is_some_and(|row| row.contains("GB/s"))
    });
    screen.press("g\r");
    screen.shows("the dialog", |text| {
        text.contains(&format!("Limit iperf3 ({pid})"))
    });
    screen.press("1MB");
    screen.shows("the echo", |text| text.contains("1 MB/s (8 Mbit/s)"));
    screen.press("\r");
    screen.shows("the limit in its row", |text| {
        row(text, pid).is_some_and(|row| row.contains(" 1 MB/s"))
    });
    screen.shows("that it is held back", |text| {
        row(text, pid).is_some_and(|row| row.trim_end_matches(['│', ' ']).ends_with('↓'))
    });
    screen.shows("a lower rate", |text| {
        row(text, pid).is_some_and(|row| !row.contains("GB/s"))
    });
    screen.press("d");
    screen.shows("its details", |text| {
        text.contains("198.18.0.2:5201") && text.contains("refused")
    });
    // The report must have half seconds that were held from their beginning to their end.
    std::thread::sleep(Duration::from_secs(3));
    screen.press("\x1b");
    screen.shows("the table again", |text| row(text, pid).is_some());
    // Limits end with the screen, so it asks.
    screen.press("q");
    screen.shows("the question", |text| {
        text.contains("1 limit ends with this screen")
    });
    screen.press("n");
    screen.press("x");
    screen.shows("no limit", |text| text.contains("limit removed"));
    screen.shows("the full rate again", |text| {
        row(text, pid).is_some_and(|row| row.contains("GB/s"))
    });

    screen.press("q");
    screen.ends();
    screen.shows_that("the terminal as it was", |screen| {
        !screen.alternate_screen() && !screen.hide_cursor()
    });
    assert_eq!(attached(&top()), [""; 0]);
    assert_nothing_left();

    let intervals = client.report().intervals();
    let slowest = intervals
        .iter()
        .map(|(_, rate)| *rate)
        .fold(f64::MAX, f64::min);
    assert!(
        slowest < 2.0 * MB,
        "the slowest half second had {slowest} bytes a second"
    );
}
