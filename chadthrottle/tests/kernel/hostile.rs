//! Clients that send nonsense, too much or nothing, and do not read: they hurt themselves.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    audit::assert_nothing_left,
    engine::{SOON, call, connect, end, engine, limits, reply},
    following::Limit,
    program::{Chadthrottle, Running},
};

#[track_caller]
fn is_closed(stream: &mut UnixStream) {
    let mut rest = Vec::new();
    // What had not been read yet may make it an error.
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

/// What it would open is no list of processes, and may keep it waiting for ever.
#[test]
fn a_cgroup_that_leads_out_of_where_cgroups_are_is_refused() {
    let program = Chadthrottle::new();
    let engine = engine(&program, "");
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
    end(engine);
    assert_nothing_left();
}

#[test]
fn nonsense_half_messages_and_floods_hurt_only_who_sends_them() {
    let program = Chadthrottle::new();
    let engine = engine(&program, "");
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
    end(engine);
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
    // Whom samples tell of: a few of these are more than a socket takes.
    let sleepers = (0..100).map(|_| Command::new("sleep").arg("60").spawn());
    let _sleepers: Vec<Running> = sleepers
        .map(|child| Running(child.expect("sleep(1)")))
        .collect();
    let program = Chadthrottle::new();
    let engine = engine(&program, "");
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
    end(engine);
    assert_nothing_left();
}

#[test]
fn an_engine_without_descriptors_takes_clients_in_again_when_it_has_some() {
    let program = Chadthrottle::new();
    let engine = engine(&program, "");
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
    end(engine);
    drop(limit);
    assert_nothing_left();
}
