//! One engine and many clients: commands, and whoever else comes to the socket.

use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
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

const SOON: Duration = Duration::from_secs(5);

/// An engine in the foreground, which listens.
#[track_caller]
fn engine(program: &Chadthrottle, arguments: &str) -> Running {
    let engine = program.spawn(&format!("engine {arguments}"));
    eventually("it listens", SOON, || {
        UnixStream::connect(program.state().join("control.sock")).is_ok()
    });
    engine
}

fn connect(program: &Chadthrottle) -> UnixStream {
    let stream = UnixStream::connect(program.state().join("control.sock")).expect("the engine");
    stream.set_read_timeout(Some(SOON)).expect("a time limit");
    stream
}

/// The next message.
#[track_caller]
fn reply(stream: &mut UnixStream) -> Value {
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
fn call(stream: &mut UnixStream, method: &str, parameters: &Value) -> Value {
    let call =
        json!({ "method": format!("io.chadthrottle.Engine.{method}"), "parameters": parameters });
    let mut bytes = serde_json::to_vec(&call).expect("JSON");
    bytes.push(0);
    stream.write_all(&bytes).expect("the engine");
    reply(stream)
}

#[track_caller]
fn is_closed(stream: &mut UnixStream) {
    let mut rest = Vec::new();
    // What had not been read yet may make it an error.
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

/// What `limits --json` has.
#[track_caller]
fn limits(program: &Chadthrottle) -> Vec<Value> {
    let output = program.output("limits --json");
    assert!(output.status.success(), "{}", words(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    report["limits"].as_array().expect("a list").clone()
}

fn words(output: &Output) -> String {
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
    let mut engine = engine(&program, "");
    let mut sleeper = Running(Command::new("sleep").arg("60").spawn().expect("sleep"));
    let output = program.output(&format!(
        "limit {} --up 30KB --for 3s --detach",
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
    engine.signal("-TERM");
    assert!(engine.wait(SOON).success());
    assert_nothing_left();
}

/// What it would open is no list of processes, and may keep it waiting for ever.
#[test]
fn a_cgroup_that_leads_out_of_where_cgroups_are_is_refused() {
    let program = Chadthrottle::new();
    let mut engine = engine(&program, "");
    let trap = program.state().join("trap");
    std::fs::create_dir(&trap).expect("a directory");
    nix::unistd::mkfifo(&trap.join("cgroup.procs"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let selector = format!("cgroup:/../../../..{}", trap.display());
    let parameters = json!({
        "targets": { "processes": [], "selectors": [selector], "children": false },
        "limit": { "up": 30_000 },
    });
    let reply = call(&mut connect(&program), "SetLimit", &parameters);
    assert_eq!(
        reply["error"], "org.varlink.service.InvalidParameter",
        "{reply}"
    );
    assert!(limits(&program).is_empty());
    engine.signal("-TERM");
    assert!(engine.wait(SOON).success());
    assert_nothing_left();
}

#[test]
fn a_limit_that_somebody_else_ends_is_said_to_have_ended() {
    let program = Chadthrottle::new();
    let mut limit = Limit::start(&program, "name:ct-nobody --up 30KB");
    assert!(program.output("unlimit name:ct-nobody").status.success());
    assert_eq!(limit.wait(SOON).code(), Some(1));
    limit.says("somebody has ended the limit");
    drop(limit);
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
    let run = program
        .command("run --root --up 1MB -- sh -c")
        .arg("sleep 8; exit 7")
        .stderr(Stdio::piped())
        .spawn();
    let mut run = Running(run.expect("chadthrottle"));
    eventually("both are there", SOON, || limits(&program).len() == 2);
    engine.signal("-KILL");
    engine.wait(SOON);
    assert_eq!(limit.wait(Duration::from_secs(8)).code(), Some(1));
    limit.says("the engine has stopped");
    let mut said = run.0.stderr.take().expect("its words");
    assert_eq!(run.wait(Duration::from_secs(12)).code(), Some(7));
    let mut words = String::new();
    said.read_to_string(&mut words).expect("its words");
    assert!(words.contains("is not limited any more"), "{words}");
    drop(limit);
    assert_nothing_left();
}

#[test]
fn nonsense_half_messages_and_floods_hurt_only_who_sends_them() {
    let program = Chadthrottle::new();
    let mut engine = engine(&program, "");
    let answers = |program: &Chadthrottle| {
        let info = call(&mut connect(program), "GetInfo", &Value::Null);
        assert_eq!(info["parameters"]["engine"]["attach"], "link", "{info}");
    };
    for nonsense in [
        &b"garbage\0"[..],
        b"\0",
        b"[]\0",
        b"{}\0",
        b"{\"method\":7}\0",
        b"{\"method\":\"io.chadthrottle.Engine.GetInfo\",\"more\":\"yes\"}\0",
        b"\xff\xfe\0",
    ] {
        let mut stream = connect(&program);
        stream.write_all(nonsense).expect("the engine");
        is_closed(&mut stream);
        answers(&program);
    }
    // Half a message, from one that goes and from one that stays.
    let mut half = connect(&program);
    half.write_all(b"{\"method\":").expect("the engine");
    drop(half);
    let mut stays = connect(&program);
    stays.write_all(b"{\"method\":").expect("the engine");
    answers(&program);
    // Nested deeper than anybody needs.
    let mut deep = connect(&program);
    deep.write_all(&[b'['; 60_000]).expect("the engine");
    deep.write_all(b"\0").expect("the engine");
    is_closed(&mut deep);
    let before = resident_kb(engine.pid());
    let mut flood = connect(&program);
    let chunk = vec![b'x'; 1 << 20];
    let sent = (0..100)
        .take_while(|_| flood.write_all(&chunk).is_ok())
        .count();
    assert!(sent < 100, "it took 100 MB");
    answers(&program);
    let grown = resident_kb(engine.pid()).saturating_sub(before);
    assert!(grown < 8_000, "{grown} KB more");
    engine.signal("-TERM");
    assert!(engine.wait(SOON).success());
    drop(stays);
    assert_nothing_left();
}

fn resident_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kb = line.and_then(|line| line.split_whitespace().nth(1));
    kb.expect("a size").parse().expect("a number")
}

#[test]
fn two_hundred_who_do_not_read_hold_nobody_up_and_cost_little() {
    let program = Chadthrottle::new();
    let mut engine = engine(&program, "");
    let mut quick = connect(&program);
    let watch = b"{\"method\":\"io.chadthrottle.Engine.Watch\",\"more\":true,\"parameters\":{\"interval_ns\":20000000}}\0";
    quick.write_all(watch).expect("the engine");
    let before = resident_kb(engine.pid());
    let slow: Vec<UnixStream> = (0..200)
        .map(|_| {
            let mut stream = connect(&program);
            stream.write_all(watch).expect("the engine");
            stream
        })
        .collect();
    let started = Instant::now();
    let mut last = 0;
    for _ in 0..100 {
        let sample = reply(&mut quick);
        let sequence = sample["parameters"]["sample"]["sequence"].as_u64();
        let sequence = sequence.expect("a number");
        assert!(sequence > last);
        last = sequence;
    }
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    let grown = resident_kb(engine.pid()).saturating_sub(before);
    assert!(grown < 60_000, "{grown} KB for 200 clients");
    // Who reads late gets the newest after what was on its way.
    let mut late = slow.into_iter().next().expect("200");
    let mut newest = 0;
    for _ in 0..50 {
        let sample = reply(&mut late);
        newest = sample["parameters"]["sample"]["sequence"]
            .as_u64()
            .expect("a number");
        if newest >= last {
            break;
        }
    }
    assert!(newest >= last, "{newest} of {last}");
    engine.signal("-TERM");
    assert!(engine.wait(SOON).success());
    assert_nothing_left();
}

#[test]
fn an_engine_without_descriptors_takes_clients_in_again_when_it_has_some() {
    let program = Chadthrottle::new();
    let mut engine = engine(&program, "");
    let status = Command::new("prlimit")
        .args(["--pid", &engine.pid().to_string(), "--nofile=120:120"])
        .status();
    assert!(status.expect("prlimit(1)").success());
    let many: Vec<UnixStream> = (0..100).map(|_| connect(&program)).collect();
    std::thread::sleep(Duration::from_millis(300));
    drop(many);
    let mut limit = Limit::start(&program, "name:ct-nobody --up 30KB");
    limit.signal("-TERM");
    assert!(limit.wait(SOON).success());
    engine.signal("-TERM");
    assert!(engine.wait(SOON).success());
    drop(limit);
    assert_nothing_left();
}

#[test]
fn an_engine_that_does_not_answer_is_not_waited_for_for_ever() {
    let program = Chadthrottle::new();
    let mut engine = engine(&program, "");
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
    engine.signal("-TERM");
    assert!(engine.wait(SOON).success());
    assert_nothing_left();
}

/// The program as nobody, with these groups beside its own.
fn as_user(program: &Chadthrottle, groups: &str, arguments: &str) -> Command {
    let inner = program.command(arguments);
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid",
        "65534",
        "--regid",
        "65534",
        groups,
        "--bounding-set=-all",
        "--inh-caps=-all",
    ]);
    command
        .arg(program.state().join("program"))
        .args(inner.get_args());
    command
}

#[test]
fn a_user_without_root_watches_and_limits_own_processes_only() {
    const GROUP: u32 = 64_999;
    let program = Chadthrottle::new();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(program.state(), open).expect("chmod");
    // Where we were built may be closed to others.
    std::fs::copy(Chadthrottle::path(), program.state().join("program")).expect("a copy");
    // The group is there for this engine only.
    let groups = std::fs::read_to_string("/etc/group").expect("/etc/group");
    let with_ours = program.state().join("group");
    std::fs::write(&with_ours, format!("{groups}chadthrottle:x:{GROUP}:\n")).expect("a file");
    let inner = program.command("engine");
    let engine = Command::new("unshare")
        .args([
            "--mount",
            "sh",
            "-c",
            "mount --bind \"$0\" /etc/group && exec \"$@\"",
        ])
        .arg(&with_ours)
        .arg(inner.get_program())
        .args(inner.get_args())
        .spawn();
    let mut engine = Running(engine.expect("an engine"));
    eventually("it listens", SOON, || {
        UnixStream::connect(program.state().join("control.sock")).is_ok()
    });
    let sleeper = |user: &str| {
        let child = Command::new("setpriv")
            .args(["--reuid", user, "--clear-groups", "sleep", "60"])
            .spawn();
        Running(child.expect("a process"))
    };
    let (own, roots) = (sleeper("65534"), sleeper("0"));
    let user = |arguments: &str| {
        let output = as_user(&program, "--clear-groups", arguments).output();
        output.expect("setpriv(1)")
    };
    let check = |output: &Output, code: i32, words_in: &str| {
        let text = words(output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(words_in), "no '{words_in}' in: {text}");
    };
    let listed = user("list --json --all --count 1");
    check(&listed, 0, "");
    let sample: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let pids: Vec<u64> = sample["processes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|process| process["pid"].as_u64().expect("a number"))
        .collect();
    assert!(pids.contains(&own.pid().into()), "{pids:?}");
    for other in [roots.pid(), engine.pid(), 1] {
        assert!(!pids.contains(&other.into()), "{other} in {pids:?}");
    }
    let limit = |pid: u32| format!("limit {pid} --up 30KB --detach");
    check(&user(&limit(roots.pid())), 3, "another user's");
    assert!(limits(&program).is_empty());
    check(&user(&limit(own.pid())), 0, "chadthrottle unlimit");
    let all = limits(&program);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["processes"], 1);
    check(&user("unlimit --all"), 0, "no limit any more");
    // By name, only those that are the user's.
    check(&user("limit name:sleep --up 30KB --detach"), 0, "");
    let all = limits(&program);
    assert_eq!(all[0]["processes"], 1, "{all:?}");
    check(&user("unlimit --all"), 0, "");
    // What root has set stays as it is.
    check(&program.output(&limit(own.pid())), 0, "");
    let id = limits(&program)[0]["id"].to_string();
    check(&user(&limit(own.pid())), 3, "somebody else has set");
    check(&user(&format!("unlimit {id}")), 5, "no limit is set");
    let parameters = json!({ "id": id.parse::<u32>().expect("an id") });
    let refused = call_as_nobody(&program, "RemoveLimit", &parameters);
    assert_eq!(
        refused["error"], "io.chadthrottle.Engine.NotAllowed",
        "{refused}"
    );
    assert_eq!(limits(&program).len(), 1);
    check(&user("limit name:sleep --up 30KB --detach"), 0, "");
    let members: Vec<Value> = limits(&program)
        .iter()
        .map(|limit| limit["processes"].clone())
        .collect();
    assert!(
        members.contains(&json!(1)) && members.contains(&json!(0)),
        "{members:?}"
    );
    // However much the user asks for, others come through.
    let many = user_connections(&program);
    assert_eq!(limits(&program).len(), 2);
    drop(many);
    // A member of the group may do all of it.
    let member = as_user(&program, &format!("--groups={GROUP}"), "unlimit --all").output();
    check(&member.expect("setpriv(1)"), 0, "no limit any more");
    assert!(limits(&program).is_empty());
    engine.signal("-TERM");
    assert!(engine.wait(SOON).success());
    assert_nothing_left();
    check(&user("list --count 1"), 3, "CAP_NET_ADMIN");
}

/// A process of nobody's that connects and watches as often as it can, and says so.
fn user_connections(program: &Chadthrottle) -> Running {
    const SCRIPT: &str = r#"
        use IO::Socket::UNIX;
        my @all;
        for (1 .. 900) {
            my $stream = IO::Socket::UNIX->new(Peer => $ARGV[0]) or last;
            print $stream qq({"method":"io.chadthrottle.Engine.Watch","more":true,"parameters":{"interval_ns":1}}\0);
            $stream->flush;
            push @all, $stream;
        }
        $| = 1;
        print "ready\n";
        sleep 60;"#;
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--clear-groups", "perl", "-e", SCRIPT]);
    Running::ready(command.arg(program.state().join("control.sock")))
}

/// Calls a method as nobody.
#[track_caller]
fn call_as_nobody(program: &Chadthrottle, method: &str, parameters: &Value) -> Value {
    // Perl, since a Python of root's own may not be for nobody.
    const SCRIPT: &str = r#"
        use IO::Socket::UNIX;
        my $stream = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "connecting: $!";
        print $stream "$ARGV[1]\0";
        $stream->flush;
        $/ = "\0";
        my $reply = <$stream>;
        chomp $reply;
        print $reply;"#;
    let call =
        json!({ "method": format!("io.chadthrottle.Engine.{method}"), "parameters": parameters });
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--clear-groups", "perl", "-e", SCRIPT])
        .arg(program.state().join("control.sock"))
        .arg(call.to_string())
        .output()
        .expect("setpriv(1)");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", words(&output)))
}
