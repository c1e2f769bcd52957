//! What `limits` and `rule list` say of limits in force.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    iperf::{Client, server},
    lab::{Lab, SERVER_V4},
    program::{Running, eventually},
    ruled::{Ruled, rule},
};

/// What a rule holds: the number of its processes.
fn members(ruled: &Ruled) -> Value {
    let list: Value = serde_json::from_str(&ruled.run("rule list --json")).expect("JSON");
    list[0]["members"].clone()
}

#[test]
fn limits_tells_what_passes_in_a_second_and_not_in_a_moment() {
    const RATE: f64 = 300_000.0;
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let ruled = Ruled::with(&rule("slow", "command:iperf3*-c *", "down = '300KB/s'"));
    // Somebody else wants samples of moments.
    let mut quick = ruled.command("list --json --interval 20ms");
    quick.stdout(Stdio::null());
    let quick = Running(quick.spawn().expect("chadthrottle"));
    let client = Client::started(&lab, &format!("-c {SERVER_V4} -p 5201 -R -t 15"));
    eventually("the client is held", Duration::from_secs(5), || {
        members(&ruled) == 1
    });
    std::thread::sleep(Duration::from_secs(2)); // what a limit that begins lets pass at once
    for _ in 0..5 {
        let report: Value = serde_json::from_str(&ruled.run("limits --json")).expect("JSON");
        let down = &report["limits"][0]["carried_down_bytes_per_s"];
        println!("limits: {down} of {RATE} bytes a second");
        let ratio = down.as_f64().expect("a rate") / RATE;
        assert!((0.5..1.6).contains(&ratio), "{ratio:.2} of the limit");
    }
    client.report();
    drop(quick);
    ruled.end();
}

#[test]
fn processes_that_have_ended_are_none_that_a_rule_holds() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let ruled = Ruled::with(&rule("slow", "command:iperf3*-c *", "down = '1MB/s'"));
    let client = Client::started(&lab, &format!("-c {SERVER_V4} -p 5201 -R -t 3"));
    eventually("the client is held", Duration::from_secs(3), || {
        members(&ruled) == 1
    });
    client.report();
    let ended = Instant::now();
    eventually("nobody is held", Duration::from_millis(2_500), || {
        members(&ruled) == 0
    });
    println!(
        "0 processes {:?} after the end of the only one",
        ended.elapsed()
    );
    ruled.end();
}
