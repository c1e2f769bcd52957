//! The engine as a service of a real systemd: limits hold across restarts and crashes, and a stop leaves nothing.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixDatagram,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;

use crate::{
    audit::{OURS, assert_nothing_left, attached, top},
    engine::{limits, words},
    following::Limit,
    lab::{Lab, SERVER_V4},
    load,
    program::{Chadthrottle, Running, eventually, lives, signal},
    systemd::Systemd,
};

const SOON: Duration = Duration::from_secs(15);

/// Bytes a second.
const RATE: f64 = 300_000.0;

/// What had passed at a moment that lies between two, in seconds of one clock: whoever counts may have to wait meanwhile.
#[derive(Clone, Copy, Debug)]
struct Reading {
    before: f64,
    bytes: f64,
    after: f64,
}

impl Reading {
    /// From `SECONDS BYTES [SECONDS]`.
    fn of(line: &str) -> Option<Self> {
        let mut words = line.split(' ').map(str::parse);
        let before = words.next()?.ok()?;
        let bytes = words.next()?.ok()?;
        let after = words.next().map_or(Some(before), Result::ok)?;
        Some(Self {
            before,
            bytes,
            after,
        })
    }

    /// The least rate since that one, in bytes per second.
    fn rate_since(self, earlier: Self) -> f64 {
        (self.bytes - earlier.bytes) / (self.after - earlier.before)
    }
}

/// A transfer at full speed, whose process is limited from outside.
struct Transfer {
    running: Running,
    /// Says how much has passed: of a download what has arrived, of an upload what is on the wire.
    meter: Option<Running>,
    passed: Arc<Mutex<Vec<Reading>>>,
    reader: JoinHandle<()>,
    _peer: Running,
    _lab: Lab,
}

impl Transfer {
    fn start(technique: &str, way: &str) -> Self {
        let lab = Lab::new();
        let peer = load::peer(&lab);
        let arguments = format!("escape {technique} {way} {SERVER_V4} 100");
        let running = load::command(&lab.client, &arguments)
            .stdout(Stdio::piped())
            .spawn();
        let mut running = Running(running.expect("a transfer"));
        let mut meter = (way == "up").then(|| {
            let script = "while :; do
                read -r before _ < /proc/uptime
                read -r bytes < /sys/class/net/v0/statistics/tx_bytes
                read -r after _ < /proc/uptime
                echo $before $bytes $after; sleep 0.05
            done";
            let meter = Lab::command(&lab.client, "sh")
                .args(["-c", script])
                .stdout(Stdio::piped())
                .spawn();
            Running(meter.expect("a meter"))
        });
        let speaker = meter.as_mut().unwrap_or(&mut running);
        let output = BufReader::new(speaker.0.stdout.take().expect("its output"));
        let passed = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&passed);
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let reading = Reading::of(&line);
                writer.lock().expect("no panic before").extend(reading);
            }
        });
        Self {
            running,
            meter,
            passed,
            reader,
            _peer: peer,
            _lab: lab,
        }
    }

    /// How much has been read by now.
    fn so_far(&self) -> usize {
        self.passed.lock().expect("no panic before").len()
    }

    /// Ends it, and gives what had passed when.
    fn end(self) -> Vec<Reading> {
        self.running.signal("-KILL");
        if let Some(meter) = &self.meter {
            meter.signal("-KILL");
        }
        self.reader.join().expect("its reader");
        let passed = Arc::try_unwrap(self.passed).expect("its reader has ended");
        passed.into_inner().expect("no panic before")
    }
}

/// The rate of the fastest second, whenever it begins, and how long after the first reading that is.
fn fastest_second(passed: &[Reading]) -> (f64, f64) {
    let seconds = passed.iter().enumerate().filter_map(|(at, &start)| {
        let end = passed[at..]
            .iter()
            .find(|later| later.before >= start.after + 1.0)?;
        Some((end.rate_since(start), start.before - passed[0].before))
    });
    let fastest = seconds.max_by(|one, other| one.0.total_cmp(&other.0));
    fastest.expect("a second")
}

/// Another engine than that one serves.
#[track_caller]
fn follows(systemd: &Systemd, engine: u32) {
    eventually("another engine serves", SOON, || {
        systemd.program.engine() != engine && systemd.service("ActiveState") == "active"
    });
}

#[test]
fn a_transfer_stays_at_its_limit_across_a_restart_and_a_crash() {
    for (attach, technique, way) in [
        ("link", "bulk", "up"),
        ("legacy", "bulk", "up"),
        ("link", "bulk", "down"),
        ("link", "udp", "down"),
    ] {
        let what = format!("{attach}, {technique}, {way}");
        let systemd = Systemd::start(attach, "");
        let program = &systemd.program;
        systemd.does("start chadthrottle.socket");
        assert_eq!(systemd.service("ActiveState"), "inactive");
        let transfer = Transfer::start(technique, way);
        let target = transfer.running.pid();
        let mut limit = Limit::start(program, &format!("{target} --{way} 300KB"));
        assert_eq!(systemd.service("ActiveState"), "active", "by its socket");
        // What had been refused before it held has come again by then.
        std::thread::sleep(Duration::from_secs(1));
        let held = transfer.so_far();
        std::thread::sleep(Duration::from_secs(1));
        let first = program.engine();
        systemd.does("restart chadthrottle.service");
        follows(&systemd, first);
        limit.says("limited again");
        std::thread::sleep(Duration::from_secs(2));
        let second = program.engine();
        signal(second, "-KILL");
        follows(&systemd, second);
        eventually("its limit is there", SOON, || limits(program).len() == 1);
        eventually("what held before is gone", SOON, || {
            attached(&top()) == OURS
        });
        std::thread::sleep(Duration::from_secs(2));
        let passed = transfer.end();
        let passed = &passed[held..];
        let (fastest, at) = fastest_second(passed);
        let mean = passed[passed.len() - 1].rate_since(passed[0]);
        println!(
            "{what}: fastest second / limit {:.2}, {at:.1} s after it held, mean {:.2}",
            fastest / RATE,
            mean / RATE
        );
        // Of TCP, what arrives behind a packet that was refused is given to the program when that has come again.
        let most = match (technique, way) {
            ("bulk", "down") => 1.6,
            _ => 1.25,
        };
        assert!(fastest < most * RATE, "{what}: {fastest}");
        assert!((0.4..1.03).contains(&(mean / RATE)), "{what}: {mean}");
        limit.wait(SOON);
        systemd.does("stop chadthrottle.socket chadthrottle.service");
        assert_nothing_left();
    }
}

#[test]
fn a_stop_leaves_nothing_and_tells_clients() {
    for attach in ["link", "legacy"] {
        let systemd = Systemd::start(attach, "");
        systemd.does("start chadthrottle.service");
        let mut limit = Limit::start(&systemd.program, "name:ct-nobody --down 300KB");
        assert_eq!(attached(&top()), OURS);
        systemd.does("stop chadthrottle.service");
        assert_nothing_left();
        assert_eq!(systemd.service("Result"), "success");
        assert_eq!(limit.wait(SOON).code(), Some(1));
        limit.says("the engine has stopped");
    }
}

#[test]
fn a_detached_limit_is_there_after_a_restart_with_what_is_left_of_its_time() {
    let systemd = Systemd::start("auto", "");
    let program = &systemd.program;
    systemd.does("start chadthrottle.service");
    let set = program.output("limit --detach --for 1h --up 30KB name:ct-nobody");
    assert!(set.status.success(), "{}", words(&set));
    let before = limits(program);
    let says = || systemd.service("StatusText") == "one limit is set";
    eventually("systemctl status says so", SOON, says);
    systemd.does("restart chadthrottle.service");
    let after = limits(program);
    assert_eq!(after.len(), 1, "{}", systemd.log());
    for field in ["targets", "user", "since", "up", "until"] {
        assert_eq!(after[0][field], before[0][field], "{field}");
    }
    // It can be ended as before.
    let ended = program.output("unlimit name:ct-nobody");
    assert!(ended.status.success(), "{}", words(&ended));
    systemd.does("stop chadthrottle.service");
    assert_nothing_left();
}

#[test]
fn members_that_have_left_their_parent_are_held_by_the_next_engine() {
    let systemd = Systemd::start("auto", "");
    let program = &systemd.program;
    systemd.does("start chadthrottle.service");
    // Sleeps below a shell that ends, once it is limited; and then its parent ends too.
    let script = "echo ready; read -r go; (sleep 300 & echo $!); read -r end";
    for (detach, word) in [(true, "restart"), (false, "restart"), (true, "kill")] {
        let mut parent = Command::new("sh");
        let mut parent = Running::ready(parent.args(["-c", script]).stdin(Stdio::piped()));
        let target = format!("limit {} --children --up 30KB", parent.pid());
        let limit = if detach {
            let set = program.output(&format!("{target} --detach"));
            assert!(set.status.success(), "{}", words(&set));
            None
        } else {
            let target = target.trim_start_matches("limit ");
            Some(Limit::start(program, target))
        };
        let mut input = parent.0.stdin.take().expect("its input");
        input.write_all(b"\n").expect("its input");
        let mut line = String::new();
        let mut output = BufReader::new(parent.0.stdout.as_mut().expect("its output"));
        output.read_line(&mut line).expect("a line");
        let orphan = Orphan(line.trim().parse().expect("a process id"));
        input.write_all(b"\n").expect("its input");
        parent.wait(SOON);
        let is_held = || limit_of(program, orphan.0).is_some();
        eventually("it is a member", SOON, is_held);
        // Until a sample has shown it, which the next engine needs where this one cannot look any more.
        std::thread::sleep(Duration::from_millis(1_500));
        let first = program.engine();
        if word == "kill" {
            signal(first, "-KILL");
        } else {
            systemd.does("restart chadthrottle.service");
        }
        follows(&systemd, first);
        if let Some(limit) = &limit {
            limit.says("limited again");
        }
        eventually("one of each", SOON, || attached(&top()) == OURS);
        assert!(is_held(), "{word}, detached: {detach}\n{}", systemd.log());
        assert_eq!(limits(program).len(), 1);
        drop(orphan);
        drop(limit);
        eventually("it is over", SOON, || limits(program).is_empty());
    }
    systemd.does("stop chadthrottle.service");
    assert_nothing_left();
}

/// A process that is nobody's child here.
struct Orphan(u32);

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.to_string()).status();
    }
}

/// The rate up of a process's limit, as `list` has it.
fn limit_of(program: &Chadthrottle, pid: u32) -> Option<Value> {
    let output = program.output("list --json --all --count 1 --interval 200ms");
    let sample: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let processes = sample["processes"].as_array().expect("a list");
    let found = processes.iter().find(|process| process["pid"] == pid)?;
    Some(found["limit"].clone()).filter(|limit| !limit.is_null())
}

#[test]
fn the_old_programs_hold_until_every_client_is_back() {
    let systemd = Systemd::start("link", "");
    let program = &systemd.program;
    systemd.does("start chadthrottle.service");
    let set = program.output("limit --detach --up 30KB name:ct-somebody");
    assert!(set.status.success(), "{}", words(&set));
    let stopped = Limit::start(program, "name:ct-nobody --down 300KB");
    stopped.signal("-STOP");
    let first = program.engine();
    systemd.does("restart chadthrottle.service");
    follows(&systemd, first);
    // A limit that somebody else ends hurries nobody.
    let mut other = Limit::start(program, "name:ct-other --down 300KB");
    other.signal("-INT");
    other.wait(SOON);
    assert_eq!(attached(&top()).len(), 2 * OURS.len(), "two of each");
    // This one ends before it has taken over, and the next one knows the same.
    let second = program.engine();
    signal(second, "-KILL");
    follows(&systemd, second);
    let kept = limits(program);
    assert_eq!(kept.len(), 1, "{}", systemd.log());
    assert!(attached(&top()).len() > OURS.len(), "the first one's hold");
    stopped.signal("-CONT");
    stopped.says("limited again");
    eventually("one of each", SOON, || attached(&top()) == OURS);
    assert_eq!(limits(program).len(), 2);
    drop(stopped);
    systemd.does("stop chadthrottle.service");
    assert_nothing_left();
}

#[test]
fn a_service_waits_for_the_end_of_an_engine_that_a_command_has_started() {
    let systemd = Systemd::start("auto", "");
    let program = &systemd.program;
    let limit = Limit::start(program, "name:ct-nobody --down 300KB");
    systemd.does("start --no-block chadthrottle.service");
    eventually("it says what it waits for", SOON, || {
        let status = systemd.service("StatusText");
        status.contains("another engine runs") && status.contains("waiting for its end")
    });
    assert_eq!(systemd.service("ActiveState"), "activating");
    drop(limit);
    eventually("it serves", SOON, || {
        systemd.service("ActiveState") == "active"
    });
    assert_eq!(systemd.service("NRestarts"), "0");
    systemd.does("stop chadthrottle.service");
    assert_nothing_left();
}

#[test]
fn a_service_that_is_killed_with_its_guard_starts_again_and_leaves_nothing_of_the_one_before() {
    for attach in ["link", "legacy"] {
        let systemd = Systemd::start(attach, "");
        let program = &systemd.program;
        systemd.does("start chadthrottle.service");
        let mut limit = Limit::start(program, "name:ct-nobody --down 300KB");
        let first = program.engine();
        systemd.does("kill --kill-whom=all --signal=KILL chadthrottle.service");
        follows(&systemd, first);
        limit.says("limited again");
        eventually("one of each", SOON, || attached(&top()) == OURS);
        systemd.does("stop chadthrottle.service");
        assert_nothing_left();
        limit.wait(SOON);
    }
}

#[test]
fn an_engine_that_hangs_is_replaced_by_the_watchdog() {
    let systemd = Systemd::start("auto", "WatchdogSec=1\nTimeoutAbortSec=1\nTimeoutStopSec=1");
    let program = &systemd.program;
    systemd.does("start chadthrottle.service");
    let first = program.engine();
    // Longer than it takes to miss two.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(program.engine(), first, "one that works lives");
    signal(first, "-STOP");
    follows(&systemd, first);
    assert!(!lives(first));
    assert_eq!(systemd.service("NRestarts"), "1");
    systemd.does("stop chadthrottle.service");
    assert_nothing_left();
}

#[test]
fn where_it_cannot_start_again_the_guard_puts_everything_back() {
    for attach in ["link", "legacy"] {
        let systemd = Systemd::start(attach, "Restart=no");
        systemd.does("start chadthrottle.service");
        let _limit = Limit::start(&systemd.program, "name:ct-nobody --down 300KB");
        signal(systemd.program.engine(), "-KILL");
        eventually("it has failed", SOON, || {
            systemd.service("ActiveState") == "failed"
        });
        eventually("nothing is attached", SOON, || attached(&top()).is_empty());
    }
}

#[test]
fn a_reload_reads_the_configuration_and_keeps_limits() {
    let systemd = Systemd::start("auto", "");
    let program = &systemd.program;
    systemd.configure("[access]\nothers = \"nothing\"\n");
    systemd.does("start chadthrottle.service");
    let mut limit = Limit::start(program, "name:ct-nobody --down 300KB");
    let user = || {
        let inner = program.command("limits");
        let copy = program.state().join("program");
        if !copy.exists() {
            std::fs::copy(Chadthrottle::path(), &copy).expect("a copy");
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        let output = command.arg(copy).args(inner.get_args()).output();
        output.expect("setpriv(1)")
    };
    let refused = user();
    assert_eq!(refused.status.code(), Some(3), "{}", words(&refused));
    let engine = program.engine();
    systemd.configure("[access]\nothers = \"own\"\n");
    systemd.does("reload chadthrottle.service");
    // systemd 252 does not wait for the end of a reload.
    eventually("the user may", SOON, || user().status.success());
    // One that cannot be read changes nothing.
    systemd.configure("[access]\nothers = \"everything\"\n");
    systemd.does("reload chadthrottle.service");
    eventually("it is said", SOON, || {
        systemd.log().contains("stays as it was")
    });
    let output = user();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(program.engine(), engine);
    assert_eq!(limits(program).len(), 1);
    limit.signal("-INT");
    limit.wait(SOON);
    systemd.does("stop chadthrottle.service");
    assert_nothing_left();
}

#[test]
fn the_packaged_service_exposes_no_more_than_it_has_to() {
    let unit = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../packaging/systemd/chadthrottle.service"
    );
    let output = Command::new("systemd-analyze")
        .args([
            "security",
            "--offline=true",
            "--no-pager",
            "--threshold=36",
            unit,
        ])
        .output()
        .expect("systemd-analyze(1)");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{}", text.lines().last().unwrap_or_default());
    assert!(output.status.success(), "{text}");
    assert!(text.contains("Overall exposure level"), "{text}");
}

#[test]
fn it_says_what_notify_reload_asks_for() {
    let program = Chadthrottle::new();
    let path = program.state().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(SOON)).expect("a time");
    let engine = program
        .command("engine")
        .env("NOTIFY_SOCKET", &path)
        .spawn();
    let mut engine = Running(engine.expect("an engine"));
    let mut said = Vec::new();
    let mut until = |word: &str| {
        said.clear();
        loop {
            let mut message = [0; 4096];
            let len = socket.recv(&mut message).expect("a message");
            let message = String::from_utf8_lossy(&message[..len]).into_owned();
            let is_last = message.contains(word);
            said.push(message);
            if is_last {
                return said.concat();
            }
        }
    };
    until("READY=1");
    engine.signal("-HUP");
    let reload = until("READY=1");
    assert!(reload.contains("RELOADING=1\nMONOTONIC_USEC="), "{reload}");
    engine.signal("-TERM");
    until("STOPPING=1");
    assert_eq!(engine.wait(SOON).code(), Some(0));
    assert_nothing_left();
}
