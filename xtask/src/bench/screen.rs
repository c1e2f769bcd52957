//! What the screen needs: until its first frame, from a key to its frame, of a core, of memory.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use portable_pty::{Child, CommandBuilder, PtyPair, PtySize, native_pty_system};
use tempfile::TempDir;

use super::{
    engine::engine_of,
    lab::Lab,
    load::{Ended, Running, sleepers},
    median, programs, report,
    report::Table,
    userspace::needs,
};

const ROWS: u16 = 50;
const COLUMNS: u16 = 200;

/// How long anything may take to appear.
const PATIENCE: Duration = Duration::from_secs(20);

/// Measures, and writes docs/benchmarks.md unless `quick`.
pub fn measure(quick: bool) -> anyhow::Result<()> {
    let (many, idle, churn) = if quick {
        (500, 100, 500)
    } else {
        (5_000, 1_000, 20_000)
    };
    let mut table = Table::new(
        &format!("The screen, {COLUMNS} x {ROWS}"),
        &["what", "measured", "aim"],
    );
    let mut row = |what: String, measured: String, aim: &str| {
        println!("{what}: {measured} (aim: {aim})");
        table.row([what, measured, aim.to_owned()]);
    };

    row(
        "start to first frame, with an engine of its own".into(),
        format!("{:.0} ms", first_frame(Screen::open)?),
        "300 ms",
    );
    let first = Screen::open()?;
    first.wait_for("processes by")?;
    row(
        "start to first frame, where an engine runs".into(),
        format!("{:.0} ms", first_frame(|| first.beside())?),
        "150 ms",
    );
    drop(first);

    let lab = Lab::new();
    let sockets = (0..idle)
        .map(|_| Running::start(&lab.client, "idle 20"))
        .collect::<anyhow::Result<Vec<_>>>()?;
    row(
        format!(
            "the same beside {idle} processes with {} sockets",
            idle * 20
        ),
        format!("{:.0} ms", first_frame(Screen::open)?),
        "-",
    );
    let mut screen = Screen::open()?;
    screen.wait_for("processes by")?;
    row(
        "and where an engine runs".into(),
        format!("{:.0} ms", first_frame(|| screen.beside())?),
        "150 ms",
    );
    let lasts = if quick { 5 } else { 20 };
    let (alone, _) = needs(&screen.pids()?[..1], lasts)?;
    row(
        "of one core then, the screen, one sample a second".into(),
        format!("{:.2} %", alone * 100.0),
        "1 %",
    );
    let (cpu, memory) = needs(&screen.pids()?, lasts)?;
    row(
        "screen and engine".into(),
        format!("{:.2} %", cpu * 100.0),
        "1.3 %",
    );
    row(
        "resident then".into(),
        format!("{:.0} MB", memory / 1e6),
        "60 MB",
    );
    // The tree is what takes longest.
    screen.press("t")?;
    let (alone, _) = needs(&screen.pids()?[..1], lasts)?;
    row(
        "the screen as a tree".into(),
        format!("{:.2} %", alone * 100.0),
        "1 %",
    );
    drop(screen);
    drop(sockets);

    let sleepers = sleepers(many)?;
    let mut screen = Screen::open()?;
    screen.wait_for("processes by")?;
    // Reading them for the first time.
    sleep(Duration::from_secs(3));
    for (what, keys) in [
        ("down and up", ["j", "k"]),
        ("the tree and back", ["t", "ttt"]),
    ] {
        let mut times = Vec::new();
        for turn in 0..40 {
            // Between two samples or in one, as it comes.
            sleep(Duration::from_millis(173));
            let seen = screen.bytes();
            let began = Instant::now();
            screen.press(keys[turn % 2])?;
            screen.until(|screen| screen.bytes() != seen)?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times[(times.len() as f64 * part) as usize];
        row(
            format!("key to frame with {many} processes, {what}"),
            format!("{:.1} ms, nine of ten under {:.1} ms", at(0.5), at(0.9)),
            "5 ms",
        );
    }
    drop(sleepers);

    // An hour of one process that comes and goes every 0.18 s, in a few minutes.
    let began = Instant::now();
    for _ in 0..churn / 20 {
        let batch = (0..20)
            .map(|_| Ok(Ended(Command::new("true").stdin(Stdio::null()).spawn()?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        for mut child in batch {
            child.0.wait()?;
        }
        sleep(Duration::from_millis(5));
    }
    let took = began.elapsed().as_secs();
    // Free memory goes back every 32 samples.
    sleep(Duration::from_secs(if quick { 1 } else { 33 }));
    let (_, memory) = needs(&screen.pids()?, 2)?;
    row(
        format!("resident after {churn} more that came and went, in {took} s"),
        format!("{:.0} MB", memory / 1e6),
        "60 MB",
    );
    drop(screen);

    println!("\n{}", table.markdown());
    if !quick {
        let text = format!("{}\n\n{}", report::machine(), table.markdown());
        report::write_section("screen", &text)?;
    }
    Ok(())
}

/// Milliseconds from the start to the first frame.
fn first_frame(open: impl Fn() -> anyhow::Result<Screen>) -> anyhow::Result<f64> {
    let mut starts = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        let screen = open()?;
        screen.wait_for("ChadThrottle")?;
        starts.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(starts))
}

/// The release binary on a terminal of its own.
pub struct Screen {
    _pty: PtyPair,
    state: Rc<TempDir>,
    keys: Box<dyn Write + Send>,
    seen: Arc<Mutex<Seen>>,
    child: Box<dyn Child + Send + Sync>,
}

struct Seen {
    bytes: usize,
    parser: vt100::Parser,
}

impl Screen {
    pub fn open() -> anyhow::Result<Self> {
        Self::with(Rc::new(tempfile::tempdir()?))
    }

    /// Another screen of the same engine.
    fn beside(&self) -> anyhow::Result<Self> {
        Self::with(Rc::clone(&self.state))
    }

    fn with(state: Rc<TempDir>) -> anyhow::Result<Self> {
        let pty = native_pty_system().openpty(PtySize {
            rows: ROWS,
            cols: COLUMNS,
            pixel_width: 0,
            pixel_height: 0,
        })?;
        let mut command = CommandBuilder::new(programs::chadthrottle());
        command.arg("--state-dir");
        command.arg(state.path());
        command.env("TERM", "xterm-256color");
        let child = pty.slave.spawn_command(command)?;
        let keys = pty.master.take_writer()?;
        let mut output = pty.master.try_clone_reader()?;
        let seen = Arc::new(Mutex::new(Seen {
            bytes: 0,
            parser: vt100::Parser::new(ROWS, COLUMNS, 0),
        }));
        let writer = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                let mut seen = writer.lock().unwrap_or_else(PoisonError::into_inner);
                seen.bytes += count;
                seen.parser.process(buffer.get(..count).unwrap_or_default());
            }
        });
        Ok(Self {
            _pty: pty,
            state,
            keys,
            seen,
            child,
        })
    }

    /// The screen, and its engine.
    fn pids(&self) -> anyhow::Result<[u32; 2]> {
        let screen = self.child.process_id().context("its process id")?;
        Ok([screen, engine_of(self.state.path())?])
    }

    fn bytes(&self) -> usize {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .bytes
    }

    pub fn press(&mut self, keys: &str) -> anyhow::Result<()> {
        self.keys.write_all(keys.as_bytes())?;
        Ok(self.keys.flush()?)
    }

    pub fn wait_for(&self, text: &str) -> anyhow::Result<()> {
        self.until(|screen| screen.shows(text))
            .with_context(|| format!("waiting for '{text}'"))
    }

    /// Waits until it shows this no more.
    pub fn wait_without(&self, text: &str) -> anyhow::Result<()> {
        self.until(|screen| !screen.shows(text))
            .with_context(|| format!("waiting for the end of '{text}'"))
    }

    fn shows(&self, text: &str) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.parser.screen().contents().contains(text)
    }

    fn until(&self, condition: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            if Instant::now() > deadline {
                bail!("the screen does not show it");
            }
            sleep(Duration::from_micros(200));
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Ctrl-C, which cleans up and asks nothing.
        let _ = self.press("\x03");
        let _ = self.child.wait();
    }
}
