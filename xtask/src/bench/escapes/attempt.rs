//! One technique under a limit, each way in which a limit can come upon a process.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::channel,
    thread::{sleep, spawn},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::{
    super::{
        lab::{Lab, SERVER_V4, SERVER_V6},
        load::{self, Ended, Running},
        packets, programs,
        screen::Screen,
    },
    LIMIT,
    rows::{How, Row},
    series::Series,
};

/// How long a program may take beyond its time.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the limit stays when a program has ended, in seconds: what its sockets still hold goes out
/// under it. The second half is not measured, in which the limit may be about to end.
const LINGERING: f64 = 1.0;

/// A row that is tried.
pub struct Attempt<'a> {
    pub row: Row,
    pub lab: &'a Lab,
    pub seconds: f64,
    pub scratch: &'a TempDir,
    pub began: Instant,
}

/// What came of it.
pub struct Outcome {
    /// When the limit began and ended, in seconds since the attempt began.
    pub from: f64,
    pub until: f64,
    pub received: Series,
    pub status: Option<ExitStatus>,
    pub said: String,
}

impl Attempt<'_> {
    /// ChadThrottle with a state directory of its own.
    fn chadthrottle(&self) -> Command {
        let binary = programs::chadthrottle();
        let mut command = if self.row.how == How::PidNamespace {
            let mut command = Command::new("unshare");
            command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
            command.arg(binary);
            command
        } else {
            Command::new(binary)
        };
        command
            .arg("--state-dir")
            .arg(self.scratch.path().join("state"));
        command
    }

    fn limit(&self) -> [String; 2] {
        let direction = if self.row.way.is_up() {
            "--up"
        } else {
            "--down"
        };
        [direction.to_owned(), format!("{LIMIT}B/s")]
    }

    /// Enters only the network: with `ip netns exec` there would be no cgroups.
    fn in_the_network(&self, program: &Path) -> Vec<String> {
        vec![
            "nsenter".to_owned(),
            format!("--net=/run/netns/{}", self.lab.client),
            "--".to_owned(),
            program.display().to_string(),
        ]
    }

    fn load(&self, program: &Path) -> Vec<String> {
        let way = self.row.way;
        let mut words = self.in_the_network(program);
        words.extend(["escape", self.row.technique].map(str::to_owned));
        words.push(if way.is_up() { "up" } else { "down" }.to_owned());
        words.push(self.peer().to_owned());
        // What the limit comes upon is there before it, and ended after it.
        let ended_by_us = matches!(self.row.how, How::CgroupNamespace | How::Changing);
        let longer = if ended_by_us {
            PATIENCE.as_secs_f64()
        } else {
            0.0
        };
        words.push((self.seconds + longer).to_string());
        words
    }

    fn peer(&self) -> &'static str {
        if self.row.way.is_v6() {
            SERVER_V6
        } else {
            SERVER_V4
        }
    }

    pub fn run(&self) -> anyhow::Result<Outcome> {
        let mut words = self.load(&programs::load());
        let mut accomplice = None;
        if matches!(self.row.how, How::BesideGiver | How::BesideReceiver) {
            let at = self.scratch.path().join("accomplice").display().to_string();
            let mut arguments = format!("accomplice {} {} {at}", self.peer(), self.seconds);
            if self.row.how == How::BesideGiver {
                arguments += " --gives";
            }
            accomplice = Some(Running::spawn(load::command(&self.lab.client), &arguments)?);
            words.extend(["--accomplice".to_owned(), at]);
        }
        let mut command = self.chadthrottle();
        command.args(["run", "--root"]).args(self.limit());
        let script = format!("\"$@\"; status=$?; sleep {LINGERING}; exit $status");
        command.args(["--", "sh", "-c", &script, "sh"]).args(words);
        let mut child = spawned(&mut command)?;
        let output = child.0.stdout.take().context("its output")?;
        let lines = spawn(move || received(output));
        let (status, said) = to_its_end(&mut child, self.patience())?;
        let until = self.began.elapsed().as_secs_f64() - LINGERING / 2.0;
        // A daemon may go on for a while.
        let Ok(received) = lines.join() else {
            bail!("reading what it received");
        };
        drop(accomplice);
        Ok(Outcome {
            from: 0.0,
            until,
            received,
            status: Some(status),
            said,
        })
    }

    /// A ChadThrottle whose cgroups begin where the process is not.
    pub fn in_a_cgroup(&self) -> anyhow::Result<Outcome> {
        let mount = packets::cgroup2()?;
        let cgroup = Path::new(&mount).join(format!("escapes-{}", std::process::id()));
        fs::create_dir(&cgroup)?;
        let result = (|| {
            let words = self.load(&programs::load());
            let load = spawned(Command::new(&words[0]).args(&words[1..]))?;
            let script = "echo $$ > \"$1/cgroup.procs\" && shift && exec unshare --cgroup --mount \
                          sh -c 'umount -l \"$0\" && mount -t cgroup2 none \"$0\" && exec \"$@\"' \"$@\"";
            let ours = self.chadthrottle();
            let mut command = Command::new("sh");
            command.args(["-c", script, "sh"]).arg(&cgroup).arg(&mount);
            command.arg(ours.get_program()).args(ours.get_args());
            command
                .args(["limit", &load.0.id().to_string()])
                .args(self.limit());
            self.until_it_is_over(&mut command)
        })();
        // Its processes may be about to end.
        for _ in 0..100 {
            if fs::remove_dir(&cgroup).is_ok() {
                break;
            }
            sleep(Duration::from_millis(50));
        }
        result
    }

    /// Programs that run one after another, and end before anybody has looked.
    pub fn short_programs(&self) -> anyhow::Result<Outcome> {
        let copy = self.scratch.path().join("escapeburst");
        fs::copy(programs::load(), &copy)?;
        let words = self.load(&copy);
        let _one_after_another = spawned(
            Command::new("sh")
                .args(["-c", "while \"$@\"; do :; done", "sh"])
                .args(words),
        )?;
        let target = match self.row.how {
            How::Name => "name:escapeburst".to_owned(),
            _ => format!("exe:{}", copy.display()),
        };
        let mut command = self.chadthrottle();
        command.args(["limit", &target]).args(self.limit());
        self.until_it_is_over(&mut command)
    }

    /// Under the fingers of somebody who cannot decide.
    pub fn changed_on_the_screen(&self) -> anyhow::Result<Outcome> {
        let copy = self.scratch.path().join("escapee");
        fs::copy(programs::load(), &copy)?;
        let words = self.load(&copy);
        let _load = spawned(Command::new(&words[0]).args(&words[1..]))?;
        let mut screen = Screen::open()?;
        screen.wait_for("escapee")?;
        // Of all rows this one, and in the dialog the second field.
        screen.press("/escapee\r\r")?;
        screen.wait_for("Limit escapee")?;
        screen.press("\t100KB")?;
        screen.wait_for("800 kbit/s")?;
        screen.press("\r")?;
        // In the table, once the dialog, which says it too, has gone.
        screen.wait_without("Limit escapee")?;
        screen.wait_for("100 KB/s")?;
        let from = self.began.elapsed().as_secs_f64();
        let mut keys = ["[", "]"].iter().cycle();
        while self.began.elapsed().as_secs_f64() < from + self.seconds {
            screen.press(keys.next().unwrap_or(&"["))?;
            sleep(Duration::from_millis(100));
        }
        let until = self.began.elapsed().as_secs_f64();
        drop(screen);
        Ok(Outcome {
            from,
            until,
            received: Series::default(),
            status: None,
            said: String::new(),
        })
    }

    /// Runs `limit` for our time, which begins when it says so.
    fn until_it_is_over(&self, command: &mut Command) -> anyhow::Result<Outcome> {
        command.args(["--for", &format!("{}s", self.seconds)]);
        let mut child = spawned(command)?;
        let mut errors = BufReader::new(child.0.stderr.take().context("standard error")?);
        let mut said = String::new();
        errors.read_line(&mut said)?;
        let from = self.began.elapsed().as_secs_f64();
        let rest = spawn(move || {
            let mut rest = String::new();
            let _ = errors.read_to_string(&mut rest);
            rest
        });
        let (status, _) = to_its_end(&mut child, self.patience())?;
        said += &rest.join().unwrap_or_default();
        Ok(Outcome {
            from,
            until: from + self.seconds,
            received: Series::default(),
            status: Some(status),
            said,
        })
    }

    fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.seconds) + PATIENCE
    }
}

fn spawned(command: &mut Command) -> anyhow::Result<Ended> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    Ok(Ended(child))
}

/// What load says each moment: `SECONDS BYTES`.
fn received(output: impl Read) -> Series {
    let lines = BufReader::new(output).lines().map_while(Result::ok);
    Series(
        lines
            .filter_map(|line| {
                let (seconds, bytes) = line.split_once(' ')?;
                Some((seconds.parse().ok()?, bytes.parse().ok()?))
            })
            .collect(),
    )
}

/// Waits for a child, and gives what it said on standard error.
fn to_its_end(child: &mut Ended, patience: Duration) -> anyhow::Result<(ExitStatus, String)> {
    let Child { stderr, .. } = &mut child.0;
    let (sender, receiver) = channel();
    if let Some(mut errors) = stderr.take() {
        spawn(move || {
            let mut said = String::new();
            let _ = errors.read_to_string(&mut said);
            let _ = sender.send(said);
        });
    }
    let deadline = Instant::now() + patience;
    let status = loop {
        if let Some(status) = child.0.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            bail!("it did not end within {patience:?}");
        }
        sleep(Duration::from_millis(10));
    };
    let said = receiver.recv_timeout(Duration::from_secs(1));
    Ok((status, said.unwrap_or_default()))
}
