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
    /// Keeps the terminal open.
    _pty: PtyPair,
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
            _pty: pty,
            keys,
            parser,
            child,
        }
    }

    fn text(&self) -> String {
        self.parser.lock().expect("the parser").screen().contents()
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the keyboard");
        self.keys.flush().expect("the keyboard");
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

    // By download rate, the transfer is the first row.
    screen.shows("the transfer", |text| {
        row(text, pid).is_some_and(|row| row.contains("iperf3"))
    });
    screen.press("s");
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
        row(text, pid).is_some_and(|row| row.trim_end().ends_with("1 MB/s"))
    });
    screen.shows("a lower rate", |text| {
        row(text, pid).is_some_and(|row| !row.contains("GB/s"))
    });
    std::thread::sleep(Duration::from_secs(3));
    screen.press("x");
    screen.shows("no limit", |text| text.contains("no limit any more"));
    screen.shows("the full rate again", |text| {
        row(text, pid).is_some_and(|row| row.contains("GB/s"))
    });

    screen.press("q");
    let status = screen.child.wait().expect("its end");
    assert!(status.success(), "{status:?}");
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
