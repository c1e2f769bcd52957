//! Limits follow ownership: every kind of socket, sockets that change hands, children, and
//! processes that come later.

use std::{
    io::{BufRead, BufReader},
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use chadthrottle::{
    model::{self, LimitId},
    process::{Targets, key_of},
    session::Session,
};

use crate::{
    audit::{Cgroup, assert_nothing_left},
    iperf::{self, MB, Report, server, to_server},
    lab::{Lab, SERVER_V4, SERVER_V6},
    lifecycle::in_this_process,
    load::peer,
    observer::Observer,
    program::{Chadthrottle, Running, eventually},
    traffic::{Traffic, far_side},
};

/// A `limit` with what it has said so far.
pub struct Limit {
    running: Running,
    said: Arc<Mutex<String>>,
}

impl Limit {
    /// Starts it and waits until it holds.
    #[track_caller]
    pub fn start(program: &Chadthrottle, arguments: &str) -> Self {
        let mut child = program
            .command(&format!("limit {arguments}"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting chadthrottle");
        let errors = BufReader::new(child.stderr.take().expect("its standard error"));
        let said = Arc::new(Mutex::new(String::new()));
        let writer = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let mut said = writer.lock().expect("no panic before");
                *said += &line;
                *said += "\n";
            }
        });
        let limit = Self {
            running: Running(child),
            said,
        };
        limit.says("chadthrottle: down ");
        limit
    }

    pub fn signal(&self, name: &str) {
        self.running.signal(name);
    }

    /// Kills it and the engine.
    #[track_caller]
    pub fn kill_engine(&mut self, program: &Chadthrottle) {
        program.kill_engine(&mut self.running);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        self.running.wait(limit)
    }

    /// Waits until it has said that.
    #[track_caller]
    pub fn says(&self, words: &str) {
        // On a machine that has much else to do.
        eventually(words, Duration::from_secs(30), || {
            self.said.lock().expect("no panic before").contains(words)
        });
    }
}

/// With a signal that it tidies up after by itself: after SIGKILL its guard would still be at it.
impl Drop for Limit {
    fn drop(&mut self) {
        let has_ended = self.running.0.try_wait();
        if !std::thread::panicking() && matches!(has_ended, Ok(None)) {
            self.running.signal("-TERM");
            self.running.wait(Duration::from_secs(10));
        }
    }
}

#[test]
fn every_kind_of_socket_is_held() {
    const RATE: f64 = 500e3;
    const SECONDS: f64 = 3.0;
    let mapped = format!("::ffff:{SERVER_V4}");
    for (kind, taker) in [
        ("datagrams", SERVER_V4),
        ("datagrams", SERVER_V6),
        ("datagrams", &mapped),
        ("raw", SERVER_V4),
        ("group", SERVER_V4),
        ("aggregates", SERVER_V4),
        ("aggregates", SERVER_V6),
    ] {
        let lab = Lab::new();
        // Another engine, so that what arrives is not what the limit's own programs say.
        let watching = Chadthrottle::new();
        let observer = Observer::start(&watching);
        let what = format!("{kind} {taker}");
        let sink = Traffic::load(&lab.server, &format!("take {what}"));
        sink.says("ready");
        let mut sender = Traffic::load(&lab.client, &format!("offer {SECONDS} {what}"));
        let program = Chadthrottle::new();
        let limit = Limit::start(&program, &format!("{} --up 500KB/s", sender.pid()));
        sender.go_on();
        let offered = sender.says("sender").up;
        observer.fresh();
        let arrived = observer.carried(sink.pid()).down as f64;
        // A quarter of a second's worth may come at once.
        let ratio = arrived / (RATE * (SECONDS + 0.25));
        println!("{what}: {offered} offered, {arrived} arrived, {ratio:.3} of rate × time + burst");
        // Headers of an aggregate's segments are not charged yet: 28 or 48 bytes to a thousand.
        assert!((0.85..1.08).contains(&ratio), "{what}: {ratio:.3}");
        drop(limit);
        observer.stop();
    }
    assert_nothing_left();
}

/// How long 2 MB down and 2 MB up take with a worker of `scenario` that is limited to 1 MB/s.
#[track_caller]
fn with_limited_worker(scenario: &str) -> Duration {
    let lab = Lab::new();
    let program = Chadthrottle::new();
    let server = Traffic::start(&lab.client, scenario);
    server.says("ready");
    let &[worker] = server.process().children().as_slice() else {
        panic!("{scenario} has one worker");
    };
    let _limit = Limit::start(&program, &format!("{worker} --down 1MB --up 1MB"));
    let started = Instant::now();
    let far = Traffic::start(&lab.server, "connect_to 8000 1 2000000");
    far.says("far");
    started.elapsed()
}

#[test]
fn a_connection_that_a_limited_process_is_given_or_accepts_is_held() {
    for scenario in ["pass_over 8000", "prefork 8000 1 shared"] {
        let took = with_limited_worker(scenario);
        println!("{scenario}, 2 MB each way at 1 MB/s: {took:?}");
        // The bound lets a second pass at once in each direction; half of that is what has been seen.
        assert!(took > Duration::from_secs(3), "{scenario}: {took:?}");
        assert!(took < Duration::from_secs(7), "{scenario}: {took:?}");
    }
    assert_nothing_left();
}

#[test]
fn a_child_that_is_forked_and_sends_at_once_is_held_with_its_parent() {
    let lab = Lab::new();
    let _server = peer(&lab);
    let program = Chadthrottle::new();
    let scenario = format!("fork-and-send {SERVER_V4} 2000000");
    let mut parent = Traffic::load(&lab.client, &scenario);
    let limit = Limit::start(&program, &format!("{} --children --up 1MB", parent.pid()));
    let started = Instant::now();
    parent.go_on();
    parent.says("done");
    let took = started.elapsed();
    println!("2 MB at 1 MB/s by a child that sends at once: {took:?}");
    assert!(took > Duration::from_millis(1_600), "{took:?}");
    drop(limit);
    assert_nothing_left();
}

/// A transfer of 10 MB/s by a process that begins after the limit on `target`, 1 MB/s. It must be
/// held from 300 ms on: 100 ms to be found, and one to three of what was on its way.
#[track_caller]
fn later_process_is_held(target: &str, client: &mut Command) {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let program = Chadthrottle::new();
    let limit = Limit::start(&program, &format!("{target} --down 1MB"));
    // Long enough that it is not one of the first looks.
    std::thread::sleep(Duration::from_millis(700));
    let output = client
        .env("NAMESPACE", &lab.client)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("starting a client");
    let report = Report::parse(&String::from_utf8_lossy(&output.stdout), target);
    let intervals = report.intervals();
    let before: f64 = intervals
        .iter()
        .filter(|(start, _)| *start < 0.29)
        .map(|(_, rate)| rate * 0.1)
        .sum();
    let held: Vec<f64> = intervals
        .iter()
        .filter(|(start, _)| *start >= 0.29)
        .map(|(_, rate)| *rate)
        .collect();
    let mean = held.iter().sum::<f64>() / held.len() as f64;
    println!(
        "{target}: {before:.0} bytes in the first 0.3 s, then {:.3} of the limit",
        mean / MB
    );
    assert!(
        mean < 1.3 * MB,
        "{target}: {mean} bytes a second: {intervals:?}"
    );
    limit.says("limited: ");
    limit.says("(ct-fetch)");
}

/// A shell command with `$FETCH`, an iperf3 called ct-fetch that downloads 10 MB/s for 3 s.
fn client(script: &str) -> (tempfile::TempDir, Command) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).expect("others may look into it");
    let which = Command::new("sh")
        .args(["-c", "command -v iperf3"])
        .output();
    let iperf3 = String::from_utf8(which.expect("sh").stdout).expect("a path");
    let program = directory.path().join("ct-fetch");
    std::fs::copy(iperf3.trim_end(), &program).expect("a copy of iperf3");
    let fetch = format!(
        "{} -J -c {SERVER_V4} -p 5201 -t 3 -i 0.1 -R -b 80M",
        program.display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script.replace("$FETCH", &fetch)]);
    (directory, command)
}

#[test]
fn processes_of_a_name_that_start_later_are_held_and_named() {
    let (_directory, mut client) = client("exec ip netns exec $NAMESPACE $FETCH");
    later_process_is_held("name:ct-f*", &mut client);
    assert_nothing_left();
}

#[test]
fn processes_that_become_an_executable_later_are_held_and_named() {
    // By the time of exec it is no news to the table.
    let script = "sleep 1; exec ip netns exec $NAMESPACE $FETCH";
    let (directory, mut client) = client(script);
    let target = format!("exe:{}/*", directory.path().display());
    later_process_is_held(&target, &mut client);
    assert_nothing_left();
}

#[test]
fn processes_of_a_user_that_start_later_are_held_and_named() {
    let script = "exec ip netns exec $NAMESPACE setpriv --reuid 1 --clear-groups $FETCH";
    let (_directory, mut client) = client(script);
    later_process_is_held("user:1", &mut client);
    assert_nothing_left();
}

/// Only a look can find these: none of it is among what the kernel programs compare.
#[test]
fn processes_of_a_group_a_command_or_a_parent_that_start_later_are_held_and_named() {
    let script = "exec ip netns exec $NAMESPACE setpriv --regid 1 --clear-groups $FETCH";
    let (_directory, mut of_group) = client(script);
    later_process_is_held("group:1", &mut of_group);
    let (_directory, mut of_command) = client("exec ip netns exec $NAMESPACE $FETCH");
    later_process_is_held("command:*ct-fetch*-b?80M+!user:1", &mut of_command);
    let above = "printf ct-above > /proc/$$/comm; $FETCH; exit $?";
    let (_directory, mut below) = client(&format!("exec ip netns exec $NAMESPACE sh -c '{above}'"));
    later_process_is_held("parent:name:ct-above", &mut below);
    assert_nothing_left();
}

#[test]
fn processes_that_move_into_a_cgroup_later_are_held_and_named() {
    let cgroup = Cgroup::new("limited");
    // It moves when it has been running for a while, and not because of an exec.
    let script = format!(
        "$FETCH & sleep 1; echo $! > {}/cgroup.procs; wait",
        cgroup.0
    );
    // Held from its second second on: then the interval of 0.3 s begins.
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let program = Chadthrottle::new();
    let limit = Limit::start(&program, &format!("cgroup:{} --down 1MB", cgroup.path()));
    let (_directory, mut client) =
        client(&script.replace("$FETCH", &format!("ip netns exec {} $FETCH", lab.client)));
    let output = client.output().expect("starting a client");
    let text = String::from_utf8_lossy(&output.stdout);
    let intervals = Report::parse(&text, "in a cgroup").intervals();
    let mean = |from: f64, to: f64| {
        let within: Vec<f64> = intervals
            .iter()
            .filter(|(start, _)| (from..to).contains(start))
            .map(|(_, rate)| rate / MB)
            .collect();
        within.iter().sum::<f64>() / within.len() as f64
    };
    let (before, after) = (mean(0.2, 0.8), mean(1.35, 3.0));
    println!("cgroup: {before:.2} MB/s before it moved, then {after:.3} of the limit");
    assert!(before > 5.0 && after < 1.3, "{intervals:?}");
    limit.says("(ct-fetch)");
    drop(limit);
    assert_nothing_left();
}

/// Ids of a limit's members, and whether it says that it is for children, in a sample begun from
/// now on.
async fn members(session: &mut Session, id: LimitId) -> (Vec<u32>, bool) {
    let mut latest = None;
    // The one that comes next may have been begun before.
    let mut samples = session.engine.snapshots();
    for _ in 0..2 {
        samples.changed().await.expect("a sample");
        latest = samples.borrow_and_update().clone();
    }
    let snapshot = latest.expect("a sample");
    let members: Vec<u32> = snapshot
        .processes
        .iter()
        .filter(|process| process.limit.is_some_and(|(of, _)| of == id))
        .map(|process| process.key.pid)
        .collect();
    let limit = snapshot.limits.iter().find(|limit| limit.id == id);
    let limit = limit.expect("the limit");
    assert_eq!(limit.members, members.len());
    (members, limit.children)
}

#[test]
fn children_leave_a_limit_and_join_it_again() {
    let parent = Running(
        Command::new("sh")
            .args(["-c", "sleep 30 & wait"])
            .spawn()
            .expect("sh"),
    );
    eventually("it has a child", Duration::from_secs(5), || {
        parent.children().len() == 1
    });
    let both = vec![parent.pid(), parent.children()[0]];
    let state = tempfile::tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let session = Session::start(in_this_process(state.path())).await;
        let mut session = session.expect("an engine");
        let targets = Targets {
            processes: vec![key_of("/proc".as_ref(), parent.pid()).expect("the parent")],
            children: true,
            ..Targets::default()
        };
        let limit = model::Limit {
            down: Some("1MB".parse().expect("a rate")),
            ..model::Limit::NONE
        };
        let id = session.engine.commands().set_limit(targets, limit).await;
        let id = id.expect("a limit");
        assert_eq!(members(&mut session, id).await, (both.clone(), true));
        let id = session
            .engine
            .commands()
            .set_children(id, false)
            .await
            .expect("it is set");
        let alone = vec![parent.pid()];
        assert_eq!(members(&mut session, id).await, (alone, false));
        let id = session
            .engine
            .commands()
            .set_children(id, true)
            .await
            .expect("it is set");
        assert_eq!(members(&mut session, id).await, (both.clone(), true));
        session
            .engine
            .commands()
            .remove_limit(id)
            .await
            .expect("it is set");
        assert!(session.stop());
    });
    let child = both[1].to_string();
    let status = Command::new("kill").arg(child).status();
    assert!(status.expect("kill(1)").success());
    drop(parent);
    assert_nothing_left();
}

/// Bytes that have left by v0 of the namespace that this process is in.
#[track_caller]
fn sent(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).expect("net/dev");
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("v0:"));
    let sent = line.and_then(|line| line.split_whitespace().nth(8)?.parse().ok());
    sent.expect("a number")
}

/// New children come faster than anybody could look for them.
#[test]
fn a_limit_with_children_holds_in_a_storm_of_forks() {
    let lab = Lab::new();
    let _server = far_side(&lab);
    let program = Chadthrottle::new();
    let mut parent = Traffic::start(&lab.client, "storm 3");
    parent.says("ready");
    let limit = Limit::start(&program, &format!("{} --children --up 100KB", parent.pid()));
    // What the sockets had handed over already, and a second of the limit.
    std::thread::sleep(Duration::from_secs(2));
    let before = sent(parent.pid());
    std::thread::sleep(Duration::from_secs(3));
    let rate = (sent(parent.pid()) - before) as f64 / 3.0;
    println!("an upload under 100 KB/s beside a storm of forks: {rate:.0} B/s");
    assert!((10e3..200e3).contains(&rate), "{rate:.0} B/s");
    parent.go_on();
    drop(parent);
    drop(limit);
    assert_nothing_left();
}

/// A limit that is for children, and is not, and is again, is one limit all the time.
#[test]
fn switching_children_gives_nothing_away() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let mut client = iperf::Client::held(&lab, &to_server(5201, 7, "-P 4"));
    crate::lifecycle::with_engine(async |engine| {
        let targets = Targets {
            processes: vec![key_of("/proc".as_ref(), client.pid()).expect("it runs")],
            ..Targets::default()
        };
        let limit = crate::limits::both_ways("100KB");
        let mut id = engine
            .commands()
            .set_limit(targets, limit)
            .await
            .expect("a limit");
        client.go();
        // With the second that may pass at once.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (before, started) = (sent(client.pid()), Instant::now());
        for round in 0..20 {
            let switched = engine.commands().set_children(id, round % 2 == 0).await;
            id = switched.expect("it is set");
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        let seconds = started.elapsed().as_secs_f64();
        let rate = (sent(client.pid()) - before) as f64 / seconds;
        println!("under 100 KB/s, switched 20 times in {seconds:.1} s: {rate:.0} B/s");
        assert!((10e3..200e3).contains(&rate), "{rate:.0} B/s");
        engine.commands().remove_limit(id).await.expect("it is set");
    });
    drop(client);
    assert_nothing_left();
}
