//! Users without root, at an engine that root keeps running.

use std::{
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use chadthrottle::process::key_of;
use serde_json::{Value, json};

use crate::{
    audit::assert_nothing_left,
    engine::{SOON, call, call_for_more, connect, end, engine, limits, reply, words},
    lab::{Lab, SERVER_V4},
    load,
    program::{Chadthrottle, Running, eventually},
    ruled::{Ruled, rule},
};

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
    let engine = Running(engine.expect("an engine"));
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
    check(&user("unlimit --all"), 0, "limit removed");
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
    let refused = call_as_nobody(&program, "RemoveLimit", &parameters, 1);
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
    let limit = r#"{"targets":{"processes":[],"selectors":["name:x"],"children":false},"limit":{"up":30000}}"#;
    let limit = serde_json::from_str(limit).expect("JSON");
    let refused = call_as_nobody(&program, "SetLimit", &limit, 66);
    assert_eq!(
        refused["error"], "io.chadthrottle.Engine.NotAllowed",
        "{refused}"
    );
    // Connections of their own, and what the engine can do.
    let of_pid = |pid: u32| {
        let key = key_of(Path::new("/proc"), pid).expect("it lives");
        json!({ "processes": [{ "pid": key.pid, "start_ticks": key.start_ticks }] })
    };
    let seen = call_as_nobody(&program, "GetConnections", &of_pid(own.pid()), 1);
    assert_eq!(seen["parameters"]["connections"], json!([]), "{seen}");
    // Root has some, of which nobody hears nothing.
    let _listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let us = of_pid(std::process::id());
    let seen = call(&mut connect(&program), "GetConnections", &us);
    assert_ne!(seen["parameters"]["connections"], json!([]), "{seen}");
    let seen = call_as_nobody(&program, "GetConnections", &us, 1);
    assert_eq!(seen["parameters"]["connections"], json!([]), "{seen}");
    let examined = user("doctor --json");
    check(&examined, 0, "");
    let report: Value = serde_json::from_slice(&examined.stdout).expect("JSON");
    assert_eq!(report["missing_capabilities"], json!([]), "{report}");
    let attached = report["attached"].as_array().expect("a list");
    assert!(!attached.is_empty(), "{report}");
    // A member of the group may do all of it.
    let member = as_user(&program, &format!("--groups={GROUP}"), "unlimit --all").output();
    check(&member.expect("setpriv(1)"), 0, "limit removed");
    assert!(limits(&program).is_empty());
    end(engine);
    assert_nothing_left();
    check(&user("list --count 1"), 3, "CAP_NET_ADMIN");
    // Nobody answers for it any more.
    let examined = user("doctor --json");
    check(&examined, 3, "");
}

/// What the graphs of a screen begin with is of the same processes as its samples.
#[test]
fn a_user_without_root_is_given_the_past_of_own_processes_only() {
    const OWN: u64 = 300_000;
    const SCRIPT: &str = r#"
        use IO::Socket::INET;
        alarm 20;
        my $stream = IO::Socket::INET->new(PeerAddr => $ARGV[0]) or die "connecting: $!";
        print $stream "d";
        $stream->flush;
        read $stream, my $bytes, $ARGV[1];
        $| = 1;
        print "ready\n";
        alarm 0;
        sleep 60;"#;
    let lab = Lab::new();
    let program = Chadthrottle::new();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(program.state(), open).expect("chmod");
    let engine = engine(&program, "");
    // Samples are taken once a second while somebody watches.
    let mut watching = connect(&program);
    call_for_more(&mut watching, "Watch", &json!({}));
    reply(&mut watching);
    let _server = load::start(&lab.server, "feed 7200");
    let roots = load::start(&lab.client, &format!("fetch {SERVER_V4} 7200"));
    let mut own = Lab::command(&lab.client, "setpriv");
    own.args(["--reuid", "65534", "--clear-groups", "perl", "-e", SCRIPT]);
    own.args([format!("{SERVER_V4}:7200"), OWN.to_string()]);
    let own = Running::ready(&mut own);
    let downs = |history: &Value| -> Vec<u64> {
        let seconds = history["parameters"]["seconds"].as_array();
        let seconds = seconds.unwrap_or_else(|| panic!("{history}")).iter();
        seconds
            .map(|second| second["down"].as_u64().expect("bytes"))
            .collect()
    };
    let nothing = json!({});
    let all = || downs(&call(&mut connect(&program), "GetHistory", &nothing));
    let seen = || downs(&call_as_nobody(&program, "GetHistory", &nothing, 1));
    eventually("the past has it", SOON, || {
        seen().iter().sum::<u64>() >= OWN
    });
    std::thread::sleep(Duration::from_secs(2));
    drop((roots, own));
    let (seen, all) = (seen(), all());
    let sum = |seconds: &[u64]| seconds.iter().sum::<u64>();
    println!("{} bytes of nobody's, {} of all", sum(&seen), sum(&all));
    // What was on its way when it closed the connection, too.
    assert!((OWN..16_000_000).contains(&sum(&seen)), "{seen:?}");
    assert!(sum(&all) > 3 * sum(&seen), "{seen:?} of {all:?}");
    drop(watching);
    end(engine);
    assert_nothing_left();
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

/// Calls a method as nobody so many times on one connection, and gives the last reply.
#[track_caller]
fn call_as_nobody(program: &Chadthrottle, method: &str, parameters: &Value, times: usize) -> Value {
    // Perl, since a Python of root's own may not be for nobody.
    const SCRIPT: &str = r#"
        use IO::Socket::UNIX;
        my $stream = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "connecting: $!";
        $/ = "\0";
        my $reply;
        for (1 .. $ARGV[2]) {
            print $stream "$ARGV[1]\0";
            $stream->flush;
            $reply = <$stream>;
        }
        chomp $reply;
        print $reply;"#;
    let call =
        json!({ "method": format!("io.chadthrottle.Engine.{method}"), "parameters": parameters });
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--clear-groups", "perl", "-e", SCRIPT])
        .arg(program.state().join("control.sock"))
        .arg(call.to_string())
        .arg(times.to_string())
        .output()
        .expect("setpriv(1)");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", words(&output)))
}

/// Root's limits and rules hold whoever matches them, whatever limit a user without root sets first.
#[test]
fn a_user_without_root_gets_out_of_no_limit_or_rule_by_one_of_their_own() {
    let ruled = Ruled::with(&rule("slow", "command:sleep 61", "up = '30KB/s'"));
    let program = &ruled.program;
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(program.state(), open).expect("chmod");
    std::fs::copy(Chadthrottle::path(), program.state().join("program")).expect("a copy");
    let run = |arguments: &str| {
        let run = as_user(program, "--clear-groups", arguments).spawn();
        Running(run.expect("setpriv(1)"))
    };
    // How many processes each limit holds, with the rate that it allows.
    let members = || -> Vec<(u64, u64)> {
        let all = limits(program);
        let number = |limit: &Value, field: &str| limit[field].as_u64().expect("a number");
        let of_each = all
            .iter()
            .map(|limit| (number(limit, "up_bytes_per_s"), number(limit, "processes")));
        of_each.filter(|(_, processes)| *processes > 0).collect()
    };
    // A program that would be held by it cannot be run under another limit.
    let all = program.output("limit user:65534 --up 20KB --detach");
    assert!(all.status.success(), "{}", words(&all));
    let refused = as_user(program, "--clear-groups", "run --up 1TB -- sleep 60").output();
    let refused = refused.expect("setpriv(1)");
    let said = words(&refused);
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    program.output("unlimit --all");
    let set = program.output("limit name:sleep+!command:*61 --up 40KB --detach");
    assert!(set.status.success(), "{}", words(&set));
    for (seconds, rate) in [(60, 40_000), (61, 30_000)] {
        let mut own = run(&format!("run --up 1TB -- sleep {seconds}"));
        eventually("root's limit holds it", SOON, || members() == [(rate, 1)]);
        // It hands that on.
        own.signal("-TERM");
        own.wait(SOON);
        // Who has ended is a member for as long as his connections may go on.
        eventually("it is over", Duration::from_secs(20), || {
            members().is_empty()
        });
    }
    // What starts below a process that root limits with its children, before it has a socket.
    let mut shell = Command::new("setpriv");
    shell.args(["--reuid", "65534", "--clear-groups", "sh", "-c"]);
    shell.args(["sleep 62 & trap 'kill $!' TERM; echo ready; wait"]);
    let mut shell = Running::ready(&mut shell);
    let set = program.output(&format!(
        "limit {} --children --up 50KB --detach",
        shell.pid()
    ));
    assert!(set.status.success(), "{}", words(&set));
    let mut own = run("limit command:*62 --up 1TB");
    eventually("they are root's", SOON, || members() == [(50_000, 2)]);
    // Long enough for a look at all that match.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(members(), [(50_000, 2)]);
    own.signal("-INT");
    own.wait(SOON);
    // What it has started ends with it.
    shell.signal("-TERM");
    shell.wait(SOON);
    ruled.end();
}
