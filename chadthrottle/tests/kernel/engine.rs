//! One engine and many clients: limits and whose they are, ends in every order.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    audit::{OURS, assert_nothing_left, attached, top},
    client::{Client, UNLIMITED},
    following::Limit,
    program::{Chadthrottle, Running, eventually, lives, signal},
};

pub const SOON: Duration = Duration::from_secs(5);

/// An engine in the foreground, which listens.
#[track_caller]
pub fn engine(program: &Chadthrottle, arguments: &str) -> Running {
    let engine = program.spawn(&format!("engine {arguments}"));
    eventually("it listens", SOON, || {
        UnixStream::connect(program.state().join("control.sock")).is_ok()
    });
    engine
}

/// Tells it to end, which it does in order.
#[track_caller]
pub fn end(mut engine: Running) {
    engine.signal("-TERM");
    assert!(engine.wait(SOON).success());
}

pub fn connect(program: &Chadthrottle) -> UnixStream {
    let stream = UnixStream::connect(program.state().join("control.sock")).expect("the engine");
    stream.set_read_timeout(Some(SOON)).expect("a time limit");
    stream
}

/// The next message.
#[track_caller]
pub fn reply(stream: &mut UnixStream) -> Value {
    let mut bytes = Vec::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte).expect("a reply");
        if byte == [0] {
            return serde_json::from_slice(&bytes).expect("JSON");
        }
        bytes.push(byte[0]);
    }
}

#[track_caller]
pub fn call(stream: &mut UnixStream, method: &str, parameters: &Value) -> Value {
    send(stream, method, parameters, false);
    reply(stream)
}

/// Calls a method that replies more than once; [`reply`] gives the first and each after it.
#[track_caller]
pub fn call_for_more(stream: &mut UnixStream, method: &str, parameters: &Value) {
    send(stream, method, parameters, true);
}

#[track_caller]
fn send(stream: &mut UnixStream, method: &str, parameters: &Value, more: bool) {
    let method = format!("io.chadthrottle.Engine.{method}");
    let call = json!({ "method": method, "parameters": parameters, "more": more });
    let mut bytes = serde_json::to_vec(&call).expect("JSON");
    bytes.push(0);
    stream.write_all(&bytes).expect("the engine");
}

/// What `limits --json` has.
#[track_caller]
pub fn limits(program: &Chadthrottle) -> Vec<Value> {
    let output = program.output("limits --json");
    assert!(output.status.success(), "{}", words(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    report["limits"].as_array().expect("a list").clone()
}

pub fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn pace(client: &mut Client) -> u64 {
    client.options()[0].pacing
}

#[test]
fn two_limits_hold_at_once_and_each_ends_with_its_own_command() {
    let mut clients = [(); 2].map(|()| {
        let mut client = Client::start();
        client.connect("connect");
        client
    });
    let program = Chadthrottle::new();
    let mut commands = Vec::new();
    for (client, rate) in clients.iter().zip(["30KB", "300KB"]) {
        let arguments = format!("limit {} --up {rate}", client.pid());
        commands.push(program.spawn(&arguments));
    }
    let [slow, fast] = &mut clients;
    eventually("both hold", SOON, || {
        pace(slow) < 40_000 && (100_000..400_000).contains(&pace(fast))
    });
    assert_eq!(attached(&top()), OURS, "once");
    let all = limits(&program);
    let ups: Vec<&Value> = all.iter().map(|limit| &limit["up_bytes_per_s"]).collect();
    assert_eq!(ups.len(), 2, "{all:?}");
    assert!(ups.contains(&&json!(30_000)) && ups.contains(&&json!(300_000)));
    let first = commands.remove(0);
    first.signal("-TERM");
    drop(first);
    eventually("the first ends", SOON, || pace(slow) == UNLIMITED);
    assert!((100_000..400_000).contains(&pace(fast)));
    commands[0].signal("-TERM");
    commands[0].wait(SOON);
    assert_eq!(pace(fast), UNLIMITED);
    assert_nothing_left();
}

#[test]
fn many_first_commands_at_once_start_one_engine_and_nothing_stays() {
    let program = Chadthrottle::new();
    let mut commands: Vec<Running> = (0..8)
        .map(|_| program.spawn("run --root --down 1MB -- sleep 2"))
        .collect();
    eventually("all hold", SOON, || limits(&program).len() == 8);
    assert_eq!(attached(&top()), OURS);
    let engine = program.engine();
    for command in &mut commands {
        assert!(command.wait(SOON).success());
    }
    eventually("the engine has ended", Duration::from_secs(1), || {
        !lives(engine)
    });
    assert!(!program.state().join("control.sock").exists());
    assert_nothing_left();
}

#[test]
fn a_killed_client_takes_its_limits_along_and_the_engine_where_it_was_the_last() {
    let mut client = Client::start();
    client.connect("connect");
    let program = Chadthrottle::new();
    let mut other = program.spawn("list");
    eventually("attached", SOON, || attached(&top()) == OURS);
    // At every step of setting a limit: the steps take some tens of milliseconds.
    for after_ms in (0..60).step_by(3) {
        let mut limit = program.spawn(&format!("limit {} --up 30KB", client.pid()));
        std::thread::sleep(Duration::from_millis(after_ms));
        limit.signal("-KILL");
        limit.wait(SOON);
    }
    eventually("no limit is left", SOON, || limits(&program).is_empty());
    assert_eq!(pace(&mut client), UNLIMITED);
    let engine = program.engine();
    other.signal("-KILL");
    other.wait(SOON);
    eventually("the engine has ended", Duration::from_secs(1), || {
        !lives(engine)
    });
    assert_nothing_left();
}

#[test]
fn detached_limits_go_on_until_their_time_is_up_or_somebody_ends_them() {
    let mut client = Client::start();
    client.connect("connect");
    let program = Chadthrottle::new();
    let started = Instant::now();
    let arguments = format!("limit {} --up 30KB --for 4s --detach", client.pid());
    let output = program.output(&arguments);
    assert!(output.status.success(), "{}", words(&output));
    assert!(
        words(&output).contains("chadthrottle unlimit"),
        "{}",
        words(&output)
    );
    let engine = program.engine();
    eventually("it holds", SOON, || pace(&mut client) < 40_000);
    let all = limits(&program);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["targets"], json!([client.pid().to_string()]));
    assert_eq!(all[0]["user"], "root");
    assert!(all[0]["detached"] == true && all[0]["until"].is_string());
    eventually("its time is up", SOON, || pace(&mut client) == UNLIMITED);
    assert!(started.elapsed() > Duration::from_millis(3_800));
    eventually("the engine has ended", Duration::from_secs(1), || {
        !lives(engine)
    });
    assert_nothing_left();

    for (which, code) in [
        ("name:nobody".to_owned(), 5),
        (client.pid().to_string(), 0),
        ("--all".to_owned(), 0),
    ] {
        let arguments = format!("limit {} --up 30KB --detach", client.pid());
        assert!(program.output(&arguments).status.success());
        eventually("it holds", SOON, || pace(&mut client) < 40_000);
        let output = program.output(&format!("unlimit {which}"));
        assert_eq!(output.status.code(), Some(code), "{}", words(&output));
        if code != 0 {
            assert!(pace(&mut client) < 40_000);
            assert!(program.output("unlimit --all").status.success());
        }
        assert_eq!(pace(&mut client), UNLIMITED, "{which}");
    }
    assert_eq!(program.output("unlimit 1").status.code(), Some(5));
    assert_nothing_left();
}

#[test]
fn a_timed_limit_ends_in_time_though_it_is_for_children_since() {
    let program = Chadthrottle::new();
    let engine = engine(&program, "");
    let mut sleeper = Running(Command::new("sleep").arg("60").spawn().expect("sleep"));
    let output = program.output(&format!(
        "limit {} --up 30KB --for 6s --detach",
        sleeper.pid()
    ));
    assert!(output.status.success(), "{}", words(&output));
    let id = limits(&program)[0]["id"].clone();
    let parameters = json!({ "id": id, "children": true });
    let reply = call(&mut connect(&program), "SetChildren", &parameters);
    assert_ne!(reply["parameters"]["id"], id, "{reply}");
    assert_eq!(limits(&program)[0]["children"], true);
    eventually("its time is up", SOON, || limits(&program).is_empty());
    sleeper.signal("-KILL");
    sleeper.wait(SOON);
    end(engine);
    assert_nothing_left();
}

#[test]
fn a_limit_says_whom_it_holds_whom_it_takes_and_with_v_what_it_has_carried() {
    let program = Chadthrottle::new();
    let sleeper = Running(Command::new("sleep").arg("60").spawn().expect("sleep"));
    let pid = sleeper.pid();
    let detached = words(&program.output(&format!("limit {pid} --down 30KB --detach")));
    assert!(
        detached.contains(&format!("limited: {pid} (sleep)")),
        "{detached}"
    );
    let id = &limits(&program)[0]["id"];
    let log = tempfile::NamedTempFile::new().expect("a file");
    let to_file = format!("--log-file {}", log.path().display());
    let taken = format!("1 process: 1 leaves limit {id} (which ends)");
    let said = words(&program.output(&format!("-v {to_file} block {pid} --for 2s")));
    assert!(said.contains(&taken), "{said}");
    assert!(said.contains(&format!("blocked: {pid} (sleep)")), "{said}");
    let logged = fs::read_to_string(log.path()).expect("the log");
    assert!(logged.contains("carried: down "), "{logged}");
    let said = words(&program.output(&format!("limit {pid} --down 30KB --for 2s -v")));
    assert!(
        said.contains("carried: down ") && !said.contains("leaves"),
        "{said}"
    );
    drop(sleeper);
    assert_nothing_left();
}

#[test]
fn a_limit_that_somebody_else_ends_is_said_to_have_ended() {
    let program = Chadthrottle::new();
    let sleeper = Running(Command::new("sleep").arg("60").spawn().expect("sleep"));
    for target in ["name:ct-nobody", &sleeper.pid().to_string()] {
        let mut limit = Limit::start(&program, &format!("{target} --up 30KB"));
        let output = program.output(&format!("unlimit {target}"));
        assert!(output.status.success(), "{}", words(&output));
        assert_eq!(limit.wait(SOON).code(), Some(1), "{target}");
        limit.says("somebody has ended the limit");
    }
    let mut run = Said::run(&program, "sleep 4");
    eventually("it is limited", SOON, || limits(&program).len() == 1);
    assert!(program.output("unlimit --all").status.success());
    let said = run.end_with(2 * SOON, 0);
    assert!(said.contains("somebody has ended the limit"), "{said}");
    assert_nothing_left();
}

/// A `run` whose words are kept.
struct Said(Running);

impl Said {
    fn run(program: &Chadthrottle, script: &str) -> Self {
        let run = program
            .command("run --root --up 1MB -- sh -c")
            .arg(script)
            .stderr(Stdio::piped())
            .spawn();
        Self(Running(run.expect("chadthrottle")))
    }

    /// Waits for its end with that status, and gives what it has said.
    #[track_caller]
    fn end_with(&mut self, limit: Duration, status: i32) -> String {
        assert_eq!(self.0.wait(limit).code(), Some(status));
        let said = self.0.0.stderr.take().expect("its words");
        std::io::read_to_string(said).expect("its words")
    }
}

#[test]
fn a_program_under_run_is_limited_again_where_its_engine_is_killed() {
    let program = Chadthrottle::new();
    let mut run = Said::run(&program, "sleep 6");
    eventually("it is limited", SOON, || limits(&program).len() == 1);
    let first = program.engine();
    signal(first, "-KILL");
    eventually("it is again", 2 * SOON, || {
        program.engine() != first && limits(&program).len() == 1
    });
    let said = run.end_with(2 * SOON, 0);
    let times = |words: &str| said.matches(words).count();
    assert_eq!(times("waiting for the next one"), 1, "{said}");
    assert_eq!(times("is limited again"), 1, "{said}");
    assert_nothing_left();
}

#[test]
fn where_an_engine_is_killed_its_clients_go_on_with_the_next_one() {
    let mut client = Client::start();
    client.connect("connect");
    let program = Chadthrottle::new();
    let mut limit = Limit::start(&program, &format!("{} --up 30KB", client.pid()));
    eventually("it holds", SOON, || pace(&mut client) < 40_000);
    let first = program.engine();
    signal(first, "-KILL");
    limit.says("limited again");
    eventually("it holds again", SOON, || pace(&mut client) < 40_000);
    assert_ne!(program.engine(), first);
    limit.signal("-TERM");
    limit.wait(SOON);
    assert_eq!(pace(&mut client), UNLIMITED);
    assert_nothing_left();
}

#[test]
fn where_no_engine_follows_clients_end_and_a_program_goes_on_without_a_limit() {
    let program = Chadthrottle::new();
    let mut engine = engine(&program, "");
    let mut limit = Limit::start(&program, "name:ct-nobody --up 30KB");
    let mut run = Said::run(&program, "sleep 8; exit 7");
    eventually("both are there", SOON, || limits(&program).len() == 2);
    engine.signal("-KILL");
    engine.wait(SOON);
    assert_eq!(limit.wait(Duration::from_secs(8)).code(), Some(1));
    limit.says("the engine has stopped");
    let words = run.end_with(Duration::from_secs(12), 7);
    assert!(words.contains("is not limited any more"), "{words}");
    drop(limit);
    assert_nothing_left();
}

#[test]
fn an_engine_that_does_not_answer_is_not_waited_for_for_ever() {
    let program = Chadthrottle::new();
    let engine = engine(&program, "");
    engine.signal("-STOP");
    let started = Instant::now();
    let mut waits = program.spawn("list --count 1");
    let output = program.output("limits");
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(
        words(&output).contains("does not answer"),
        "{}",
        words(&output)
    );
    assert!(started.elapsed() < 2 * SOON, "{:?}", started.elapsed());
    assert_eq!(waits.wait(SOON).code(), Some(1));
    let mut waits = program.spawn("list");
    std::thread::sleep(Duration::from_millis(300));
    waits.signal("-TERM");
    waits.wait(Duration::from_secs(2));
    engine.signal("-CONT");
    assert!(limits(&program).is_empty());
    end(engine);
    assert_nothing_left();
}

#[test]
fn an_engine_that_nobody_comes_to_ends() {
    let program = Chadthrottle::new();
    let mut engine = program
        .command("engine --until-idle")
        .stdout(Stdio::null())
        .spawn()
        .map(Running)
        .expect("chadthrottle");
    eventually("attached", SOON, || attached(&top()) == OURS);
    assert!(engine.wait(2 * SOON).success());
    assert_nothing_left();
}

#[test]
fn a_limit_that_somebody_else_switches_to_children_goes_on() {
    let program = Chadthrottle::new();
    let sleeper = Running(Command::new("sleep").arg("60").spawn().expect("sleep"));
    let mut limit = Limit::start(&program, &format!("{} --up 30KB", sleeper.pid()));
    let id = limits(&program)[0]["id"].clone();
    let parameters = json!({ "id": id, "children": true });
    let reply = call(&mut connect(&program), "SetChildren", &parameters);
    assert_ne!(reply["parameters"]["id"], id, "{reply}");
    // Two samples that know of it.
    std::thread::sleep(Duration::from_millis(2_500));
    let all = limits(&program);
    assert!(all.len() == 1 && all[0]["children"] == true, "{all:?}");
    drop(sleeper);
    assert!(limit.wait(SOON).success());
    limit.says("the limited processes have ended");
    drop(limit);
    assert_nothing_left();
}
