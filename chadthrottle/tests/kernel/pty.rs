//! The program on a pseudo-terminal, and what its screen shows.

use std::{
    io::{Read, Write},
    process::Command,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use portable_pty::{Child, CommandBuilder, PtyPair, PtySize, native_pty_system};

use crate::program::Chadthrottle;

pub struct Screen {
    pty: PtyPair,
    keys: Box<dyn Write + Send>,
    shown: Arc<Shown>,
    child: Box<dyn Child + Send + Sync>,
    pid: u32,
}

struct Shown {
    parser: Mutex<vt100::Parser>,
    raw: Mutex<Vec<u8>>,
    reads: Mutex<bool>,
    goes_on: Condvar,
}

impl Screen {
    /// Opens it with arguments, 80 by 24.
    pub fn open(program: &Chadthrottle, arguments: &str) -> Self {
        Self::open_on(program, arguments, &[("TERM", "xterm-256color")])
    }

    /// And with these variables.
    pub fn open_on(program: &Chadthrottle, arguments: &str, variables: &[(&str, &str)]) -> Self {
        let pty = native_pty_system()
            .openpty(size(24, 80))
            .expect("a pseudo-terminal");
        let command = program.command(arguments);
        let mut builder = CommandBuilder::new(command.get_program());
        builder.args(command.get_args());
        builder.env_remove("COLORTERM");
        for name in ["LC_ALL", "LC_CTYPE", "LANG"] {
            builder.env_remove(name);
        }
        for (name, value) in variables {
            builder.env(name, value);
        }
        let child = pty
            .slave
            .spawn_command(builder)
            .expect("starting chadthrottle");
        let keys = pty.master.take_writer().expect("the terminal's keyboard");
        let mut output = pty
            .master
            .try_clone_reader()
            .expect("the terminal's screen");
        let shown = Arc::new(Shown {
            parser: Mutex::new(vt100::Parser::new(24, 80, 0)),
            raw: Mutex::default(),
            reads: Mutex::new(true),
            goes_on: Condvar::new(),
        });
        let reader = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let reads = reader.reads.lock().expect("whether to read");
                drop(reader.goes_on.wait_while(reads, |reads| !*reads));
                let Ok(count @ 1..) = output.read(&mut bytes) else {
                    return;
                };
                reader
                    .raw
                    .lock()
                    .expect("the bytes")
                    .extend(&bytes[..count]);
                let mut parser = reader.parser.lock().expect("the parser");
                parser.process(&bytes[..count]);
            }
        });
        let pid = child.process_id().expect("it runs");
        Self {
            pty,
            keys,
            shown,
            child,
            pid,
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn text(&self) -> String {
        let parser = self.shown.parser.lock().expect("the parser");
        parser.screen().contents()
    }

    /// Every byte that came so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.shown.raw.lock().expect("the bytes").clone()
    }

    /// From now on nobody takes what is drawn, but for what is read in this moment.
    pub fn stop_reading(&self) {
        *self.shown.reads.lock().expect("whether to read") = false;
    }

    pub fn read_on(&self) {
        *self.shown.reads.lock().expect("whether to read") = true;
        self.shown.goes_on.notify_all();
    }

    pub fn resize(&self, rows: u16, cols: u16) {
        // What reads along keeps its size, and shows what it can: at its own it is drawn anew.
        self.pty
            .master
            .resize(size(rows, cols))
            .expect("another size");
    }

    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the keyboard");
        self.keys.flush().expect("the keyboard");
    }

    #[track_caller]
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([name, &self.pid.to_string()])
            .status();
        assert!(status.expect("kill(1)").success());
    }

    /// Waits until it has ended, and gives its exit code.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> u32 {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("its end") {
                return status.exit_code();
            }
            assert!(
                Instant::now() < deadline,
                "it does not end in {limit:?}:\n{}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has ended, with success.
    #[track_caller]
    pub fn ends(&mut self) {
        assert_eq!(self.wait(Duration::from_secs(6)), 0);
    }

    #[track_caller]
    pub fn shows(&self, what: &str, condition: impl Fn(&str) -> bool) {
        self.shows_that(what, |screen| condition(&screen.contents()));
    }

    #[track_caller]
    pub fn shows_that(&self, what: &str, condition: impl Fn(&vt100::Screen) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(6);
        loop {
            let parser = self.shown.parser.lock().expect("the parser");
            if condition(parser.screen()) {
                return;
            }
            drop(parser);
            assert!(
                Instant::now() < deadline,
                "not on the screen: {what}\n{}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.read_on();
    }
}

fn size(rows: u16, cols: u16) -> PtySize {
    PtySize {
        rows,
        cols,
        pixel_width: 0,
        pixel_height: 0,
    }
}
