//! The screen on a terminal of its own, from start to quit, with real traffic.

use std::{
    io::{Read, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use portable_pty::{Child, CommandBuilder, PtyPair, PtySize, native_pty_system};

use crate::{
    audit::{assert_nothing_left, attached, cgroup2},
    iperf::{Client, MB, server, to_server},
    lab::Lab,
    program::Chadthrottle,
};

/// The program on a pseudo-terminal, and what its screen shows.
struct Screen {
    pty: PtyPair,
    keys: Box<dyn Write + Send>,
    parser: Arc<Mutex<vt100::Parser>>,
    child: Box<dyn Child + Send + Sync>,
}

impl Screen {
    fn open(program: &Chadthrottle) -> Self {
        let size = PtySize {
            rows: 24,
            cols: 80,
            pixel_width: 0,
            pixel_height: 0,
        };
        let pty = native_pty_system()
            .openpty(size)
            .expect("a pseudo-terminal");
        let command = program.command("");
        let mut builder = CommandBuilder::new(command.get_program());
        builder.args(command.get_args());
        builder.env("TERM", "xterm-256color");
        let child = pty
            .slave
            .spawn_command(builder)
            .expect("starting chadthrottle");
        let keys = pty.master.take_writer().expect("the terminal's keyboard");
        let mut output = pty
            .master
            .try_clone_reader()
            .expect("the terminal's screen");
        let parser = Arc::new(Mutex::new(vt100::Parser::new(24, 80, 0)));
        let reader = Arc::clone(&parser);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                reader.lock().expect("the parser").process(&bytes[..count]);
            }
        });
        Self {
            pty,
            keys,
            parser,
            child,
        }
    }

    fn text(&self) -> String {
        self.parser.lock().expect("the parser").screen().contents()
    }

    fn resize(&self, rows: u16, cols: u16) {
        let size = PtySize {
            rows,
            cols,
            pixel_width: 0,
            pixel_height: 0,
        };
        // What reads along keeps its size, and shows what it can: at its own it is drawn anew.
        self.pty.master.resize(size).expect("another size");
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the keyboard");
        self.keys.flush().expect("the keyboard");
    }

    /// Waits until it has ended, with success.
    #[track_caller]
    fn ends(&mut self) {
        let deadline = std::time::Instant::now() + Duration::from_secs(6);
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("its end") {
                break status;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "it does not end:\n{}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "{status:?}");
    }

    #[track_caller]
    fn shows(&self, what: &str, condition: impl Fn(&str) -> bool) {
        let text = || self.text();
        let deadline = std::time::Instant::now() + Duration::from_secs(6);
        while !condition(&text()) {
            assert!(
                std::time::Instant::now() < deadline,
                "not on the screen: {what}\n{}",
                text()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Whatever comes over the wire to the keyboard, and however large the terminal is.
#[test]
fn a_storm_of_sizes_pastes_and_clicks_does_no_harm() {
    let program = Chadthrottle::new();
    let mut screen = Screen::open(&program);
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
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    // Esc leaves whatever is open; the views have gone round.
    for _ in 0..4 {
        screen.press("\x1b");
        std::thread::sleep(Duration::from_millis(50));
    }
    screen.resize(24, 80);
    screen.shows("the table again", |text| text.contains(" by "));
    screen.press("\x03");
    screen.ends();
    assert_nothing_left();
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The line of the table with that process.
fn row(text: &str, pid: u32) -> Option<&str> {
    let pid = pid.to_string();
    text.lines()
        .find(|line| line.split_whitespace().next() == Some(&pid))
}

#[test]
fn a_running_download_is_limited_from_the_keyboard_and_let_go() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let program = Chadthrottle::new();
    let client = Client::started(&lab, &to_server(5201, 14, "-R -i 0.5"));
    let pid = client.pid();
    let mut screen = Screen::open(&program);

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
        row(text, pid).is_some_and(|row| row.trim_end().ends_with('↓'))
    });
    screen.shows("a lower rate", |text| {
        row(text, pid).is_some_and(|row| !row.contains("GB/s"))
    });
    screen.press("d");
    screen.shows("its details", |text| {
        text.contains("198.18.0.2:5201") && text.contains("refused")
    });
    std::thread::sleep(Duration::from_secs(3));
    screen.press("\x1b");
    screen.shows("the table again", |text| row(text, pid).is_some());
    // Limits end with the screen, so it asks.
    screen.press("q");
    screen.shows("the question", |text| text.contains("1 limit is set"));
    screen.press("n");
    screen.press("x");
    screen.shows("no limit", |text| text.contains("no limit any more"));
    screen.shows("the full rate again", |text| {
        row(text, pid).is_some_and(|row| row.contains("GB/s"))
    });

    screen.press("q");
    screen.ends();
    let after = screen.parser.lock().expect("the parser");
    assert!(
        !after.screen().alternate_screen(),
        "the alternate screen was not left"
    );
    assert!(!after.screen().hide_cursor(), "the cursor is hidden");
    drop(after);
    assert_eq!(attached(&cgroup2()), [""; 0]);
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
