//! Rules: who is held, from when on, and what becomes of transfers when a rule begins, ends or changes.

use std::{
    fs,
    io::Write,
    net::UdpSocket,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::{
    audit::Cgroup,
    engine::{call, call_for_more, connect, reply},
    iperf::{Client, MB, Report, server},
    lab::{Lab, SERVER_V4, SERVER_V6, ip},
    load,
    program::Running,
    ruled::{Ruled, rule, said, sleeper},
};

/// What arrived in a transfer in that time, in MB a second.
pub fn mean(report: &Report, from: f64, to: f64) -> f64 {
    let intervals = report.intervals();
    let within: Vec<f64> = intervals
        .iter()
        .filter(|(start, _)| (from..to).contains(start))
        .map(|(_, rate)| rate / MB)
        .collect();
    within.iter().sum::<f64>() / within.len() as f64
}

const DOWNLOAD: &str = "-p 5201 -i 0.1 -R -b 80M";

fn download(lab: &Lab, seconds: u32) -> Client {
    Client::started(lab, &format!("-c {SERVER_V4} -t {seconds} {DOWNLOAD}"))
}

#[test]
fn a_rule_holds_a_program_that_starts_later_from_its_first_packet() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let ruled = Ruled::with(&rule("slow", "name:iperf3", "down = '1MB/s'"));
    std::thread::sleep(Duration::from_millis(500));
    let report = download(&lab, 3).report();
    let (first, all) = (mean(&report, 0.0, 0.3), mean(&report, 0.0, 3.0));
    println!("1 MB/s: {first:.2} MB/s in the first 0.3 s, {all:.2} in all");
    // The bound lets a second pass at once, of which a quarter is saved.
    assert!(all < 1.34 && first < 3.0, "{first:.2}, {all:.2}");
    let list = ruled.run("rule list --json");
    let rules: Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(
        (&rules[0]["name"], &rules[0]["is_on"]),
        (&json!("slow"), &json!(true))
    );
    ruled.end();
}

/// Zones in which it is that time of day now.
fn zone_at(hour: u64, minute: u64, second: u64) -> String {
    const DAY: u64 = 24 * 3600;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock");
    let there = hour * 3600 + minute * 60 + second;
    // In POSIX, what is to be subtracted from UTC comes.
    let less = (now.as_secs() % DAY + DAY - there) % DAY;
    // jiff reads minutes and seconds of two digits only.
    format!("TST{}:{:02}:{:02}", less / 3600, less / 60 % 60, less % 60)
}

#[test]
fn a_rule_begins_and_ends_under_a_transfer_when_it_is_time() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    for (now, begins) in [((7, 59, 55), true), ((8, 59, 55), false)] {
        let (hour, minute, second) = now;
        let limit = "down = '1MB/s'\nwhen = '08:00-09:00'";
        let zone = zone_at(hour, minute, second);
        let ruled = Ruled::at(&zone, &rule("office", "name:iperf3", limit));
        // Five seconds, of which the engine takes some to start.
        let report = download(&lab, 8).report();
        let (before, after) = (mean(&report, 0.4, 1.2), mean(&report, 6.5, 8.0));
        println!("{now:?}: {before:.2} MB/s before, {after:.2} after");
        let (free, held) = if begins {
            (before, after)
        } else {
            (after, before)
        };
        assert!(free > 8.0 && held < 1.3, "{before:.2}, {after:.2}");
        ruled.end();
    }
}

#[test]
fn nobody_is_free_between_a_limit_and_the_rule_that_waits_for_its_end() {
    let lab = Lab::new();
    let ruled = Ruled::with(&rule("slow", "name:load", "up = '300KB/s'"));
    for _ in 0..5 {
        let _peer = load::peer(&lab);
        let sender = load::command(&lab.client, &format!("escape udp up {SERVER_V4} 30"));
        let sender = Running({ sender }.stdout(Stdio::null()).spawn().expect("a sender"));
        ruled.run(&format!("limit {} --up 200KB --detach", sender.pid()));
        std::thread::sleep(Duration::from_millis(500));
        let before = load::sent(&lab);
        ruled.run("unlimit --all");
        std::thread::sleep(Duration::from_millis(500));
        let passed = load::sent(&lab) - before;
        println!("{passed} bytes in half a second");
        // Of which some is what a rule that begins lets pass at once.
        assert!(passed < 600_000.0, "{passed}");
    }
    ruled.end();
}

#[test]
fn a_profile_is_switched_under_a_transfer() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let slow = rule("slow", "name:iperf3", "down = '1MB/s'");
    let ruled = Ruled::with(&format!("{slow}[profile.hotel]\nrules = ['slow']\n"));
    let client = download(&lab, 7);
    std::thread::sleep(Duration::from_secs(1));
    ruled.run("profile hotel");
    std::thread::sleep(Duration::from_secs(3));
    assert!(ruled.run("profile").contains("* hotel"));
    ruled.run("profile off");
    let report = client.report();
    let parts = [(0.2, 0.8), (2.0, 3.5), (5.5, 7.0)].map(|(from, to)| mean(&report, from, to));
    println!("before, in the hotel and after it: {parts:.2?} MB/s");
    assert!(
        parts[0] > 8.0 && parts[1] < 1.3 && parts[2] > 8.0,
        "{parts:?}"
    );
    // It is chosen for the next engine too.
    ruled.run("profile hotel");
    let text = fs::read_to_string(ruled.file()).expect("the rules");
    assert!(text.contains("profile = \"hotel\""), "{text}");
    ruled.end();
}

#[test]
fn a_block_holds_open_and_new_connections_and_datagrams_until_it_ends() {
    let lab = Lab::new();
    let servers = [5201, 5202].map(|port| server(&lab, port));
    let block = rule("block", "name:iperf3", "block = 'both'\nenabled = false");
    let ruled = Ruled::with(&format!(
        "{block}{}",
        rule("new", "name:ct-new", "block = 'both'")
    ));
    let tcp = download(&lab, 7);
    let udp = Client::started(
        &lab,
        &format!("-c {SERVER_V4} -p 5202 -t 7 -i 0.1 -u -b 8M"),
    );
    std::thread::sleep(Duration::from_secs(2));
    ruled.run("rule enable block");
    std::thread::sleep(Duration::from_secs(2));
    // A process that comes now cannot even connect.
    let bash = ruled.root.join("ct-new");
    let which = Command::new("sh").args(["-c", "command -v bash"]).output();
    let path = String::from_utf8(which.expect("sh").stdout).expect("a path");
    fs::copy(path.trim_end(), &bash).expect("a copy of bash");
    let script = format!("exec 3<>/dev/tcp/{SERVER_V4}/5201");
    let status = Lab::command(&lab.client, "timeout")
        .arg("1")
        .arg(&bash)
        .args(["-c", &script])
        .stderr(Stdio::null())
        .status()
        .expect("timeout(1)");
    assert_eq!(status.code(), Some(124), "it connected, or was refused");
    ruled.run("rule disable block");
    let (tcp, udp) = (tcp.report(), udp.report());
    let during = mean(&tcp, 2.6, 4.5);
    let parts = [(0.5, 1.5), (6.5, 7.0)].map(|(from, to)| mean(&tcp, from, to));
    println!("TCP before and after: {parts:.2?} MB/s; while it was blocked: {during:.3}");
    assert!(parts[0] > 8.0 && during < 0.01 && parts[1] > 1.0);
    let lost = udp.json()["end"]["sum"]["lost_percent"]
        .as_f64()
        .expect("a number");
    println!("UDP, blocked for three of seven seconds: {lost:.0} % lost");
    assert!((20.0..70.0).contains(&lost));
    drop(servers);
    ruled.end();
}

/// TCP that cannot send for want of room gives its connection up after eight seconds; what is blocked is something else.
#[test]
fn an_upload_that_is_blocked_for_nine_seconds_goes_on() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let ruled = Ruled::with(&rule(
        "block",
        "name:iperf3",
        "block = 'up'\nenabled = false",
    ));
    let arguments = format!("-c {SERVER_V4} -p 5201 -t 19 -i 0.1 -b 80M");
    let client = Client::started(&lab, &arguments);
    std::thread::sleep(Duration::from_secs(1));
    ruled.run("rule enable block");
    std::thread::sleep(Duration::from_secs(9));
    ruled.run("rule disable block");
    let report = client.report();
    let last = mean(&report, 17.0, 19.0);
    println!("seven seconds after the block: {last:.2} MB/s");
    assert!(last > 8.0);
    ruled.end();
}

/// The kernel programs could be told of the second rule, and not of the first: for a moment it would block whom the
/// first lets through.
#[test]
fn a_rule_that_only_looks_can_find_stands_above_one_that_the_kernel_knows() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let rules = [
        rule("let through", "command:*allowed*", "down = '900MB/s'"),
        rule("block", "name:ct-short", "block = 'both'"),
    ];
    let ruled = Ruled::with(&rules.concat());
    let bash = ruled.root.join("ct-short");
    let which = Command::new("sh").args(["-c", "command -v bash"]).output();
    let path = String::from_utf8(which.expect("sh").stdout).expect("a path");
    fs::copy(path.trim_end(), &bash).expect("a copy of bash");
    let script = format!("exec 3<>/dev/tcp/{SERVER_V4}/5201");
    for _ in 0..3 {
        let status = Lab::command(&lab.client, "timeout")
            .arg("0.7")
            .arg(&bash)
            .args(["-c", &script, "allowed"])
            .status()
            .expect("timeout(1)");
        assert!(status.success(), "{status}: its first packet was lost");
    }
    ruled.end();
}

/// A child of a held process starts while the engine stands still: its limit is what the kernel programs say.
#[test]
fn a_rule_that_was_moved_before_another_takes_over_from_it_what_starts() {
    let rules = [
        rule("parent", "name:ct-parent", "block = 'both'\nscope = 'all'"),
        rule("child", "name:ct-child", "down = '900MB/s'\nscope = 'all'"),
    ];
    let ruled = Ruled::with(&rules.concat());
    let which = Command::new("sh").args(["-c", "command -v bash"]).output();
    let path = String::from_utf8(which.expect("sh").stdout).expect("a path");
    let [parent, child] = ["ct-parent", "ct-child"].map(|name| ruled.root.join(name));
    for copy in [&parent, &child] {
        fs::copy(path.trim_end(), copy).expect("a copy of bash");
    }
    let receiver = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    receiver
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("a timeout");
    let port = receiver.local_addr().expect("its address").port();
    let send = format!(
        "{} -c 'echo > /dev/udp/127.0.0.1/{port}; :'",
        child.display()
    );
    let mut started = Command::new(&parent);
    started.args(["-c", &format!("read; {send}; read")]);
    let mut parent = Running(started.stdin(Stdio::piped()).spawn().expect("bash"));
    ruled.is_held(parent.pid(), Some(0));
    ruled.run("rule move child 1");
    ruled.signal("-STOP");
    let mut stdin = parent.0.stdin.take().expect("its input");
    stdin.write_all(b"\n").expect("it reads");
    let arrived = receiver.recv(&mut [0; 1]);
    ruled.signal("-CONT");
    arrived.expect("a datagram that the first rule lets through");
    drop(stdin);
    ruled.end();
}

#[test]
fn whoever_asks_after_a_change_of_the_rules_is_shown_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let held = sleeper(directory.path(), "ct-held");
    let ruled = Ruled::with("");
    let mut stream = connect(&ruled.program);
    // Somebody watches, so there always is a sample that was taken a moment ago.
    let mut watching = connect(&ruled.program);
    call_for_more(&mut watching, "Watch", &json!({}));
    reply(&mut watching);
    let shown = || {
        let mut another = connect(&ruled.program);
        call_for_more(&mut another, "Watch", &json!({}));
        let sample = &reply(&mut another)["parameters"]["sample"];
        (
            sample["rules"][0]["members"].clone(),
            sample["profile"].clone(),
        )
    };
    for _ in 0..3 {
        let named = rule("slow", "name:ct-held", "down = '1MB/s'");
        ruled.write(&format!(
            "{named}[profile.hotel]\nrules = ['slow']\n[policy]\nprofile = 'hotel'\n"
        ));
        let answer = call(&mut stream, "ReloadRules", &json!({}));
        assert_eq!(answer["parameters"]["problems"], json!([]));
        assert_eq!(shown(), (json!(1), json!("hotel")));
        let off = json!({ "edit": { "profile": { "name": null } } });
        let answer = call(&mut stream, "EditRules", &off);
        assert_eq!(answer["parameters"]["problems"], json!([]), "{answer}");
        assert_eq!(shown(), (json!(0), json!(null)));
    }
    drop((stream, watching, held));
    ruled.end();
}

#[test]
fn a_file_with_a_mistake_leaves_the_rules_in_force_and_is_told_to_who_watches() {
    let directory = tempfile::tempdir().expect("a directory");
    let held = sleeper(directory.path(), "ct-held");
    let good = rule("good", "name:ct-held", "down = '1MB/s'");
    let ruled = Ruled::with(&good);
    ruled.is_held(held.pid(), Some(1_000_000));
    let mut stream = connect(&ruled.program);
    ruled.write(&format!("{}[[rule]]\nnmae = 'x'\n", good.replace('1', "2")));
    let reply = call(&mut stream, "ReloadRules", &json!({}));
    let problem = reply["parameters"]["problems"][0]
        .as_str()
        .expect("a problem");
    assert!(
        problem.contains("line 6, column 1") && problem.contains("'nmae'"),
        "{problem}"
    );
    let warned = ruled.warned();
    assert!(warned.contains("the rules stay as they were"), "{warned}");
    ruled.is_held(held.pid(), Some(1_000_000));
    // Whoever looks at them is told that they are those of before.
    let output = ruled.command("rule list").output().expect("chadthrottle");
    let (table, words) = (String::from_utf8_lossy(&output.stdout), said(&output));
    assert!(
        table.contains("good") && table.contains("1 MB/s"),
        "{table}"
    );
    assert!(
        words.contains("in force, from before the mistake"),
        "{words}"
    );
    assert_eq!(output.status.code(), Some(2));
    // Nor can a command write on in it.
    let output = ruled
        .command("rule disable good")
        .output()
        .expect("chadthrottle");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    ruled.write(&good.replace('1', "2"));
    let reply = call(&mut stream, "ReloadRules", &json!({}));
    assert_eq!(reply["parameters"]["problems"], json!([]));
    ruled.is_held(held.pid(), Some(2_000_000));
    drop(stream);
    ruled.end();
    // At the start, the good files hold and the bad one is named.
    let bad = Ruled::with("= 1");
    let warned = bad.warned();
    assert!(warned.contains("rules.toml: line 1, column 1"), "{warned}");
    let output = bad.command("rule list").output().expect("chadthrottle");
    let words = said(&output);
    assert!(words.contains("no rules are in force"), "{words}");
    assert_eq!((output.stdout.len(), output.status.code()), (0, Some(2)));
    bad.end();
}

/// What the section of a unit says holds while the unit runs. systemd itself is not needed for that.
#[test]
fn at_the_root_a_unit_that_starts_is_held_as_its_file_says() {
    let unit = "chadthrottle-test-unit.service";
    let ruled = Ruled::with("");
    let files = ruled.root.join(format!("etc/systemd/system/{unit}.d"));
    fs::create_dir_all(&files).expect("a directory");
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&files, open).expect("its mode");
    let drop_in = files.join("override.conf");
    let say = |text: &str| {
        // As an editor does it.
        let new = files.join("new");
        fs::write(&new, format!("[X-ChadThrottle]\n{text}\n")).expect("a drop-in");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).expect("its mode");
        fs::rename(&new, &drop_in).expect("a drop-in");
    };
    say("Down=1MB/s");
    let cgroup = Cgroup::named(unit);
    let script = format!("echo $$ > {}/cgroup.procs; exec sleep 60", cgroup.0);
    let process = Running(
        Command::new("sh")
            .args(["-c", &script])
            .spawn()
            .expect("sh"),
    );
    ruled.is_held(process.pid(), Some(1_000_000));
    let list = ruled.run("rule list");
    assert!(list.contains(&format!("unit:{unit}")), "{list}");
    say("Down=2MB/s");
    ruled.is_held(process.pid(), Some(2_000_000));
    say("Down=fast");
    ruled.is_held(process.pid(), None);
    let warned = ruled.warned();
    assert!(warned.contains("override.conf: line 2: 'fast'"), "{warned}");
    say("Down=3MB/s");
    ruled.is_held(process.pid(), Some(3_000_000));
    ruled.write("[policy]\nunits = false\n");
    call(&mut connect(&ruled.program), "ReloadRules", &json!({}));
    ruled.is_held(process.pid(), None);
    drop(process);
    ruled.end();
}

#[test]
fn a_rule_for_a_network_is_on_while_packets_would_leave_by_that_interface() {
    let lab = Lab::new();
    let ip = |arguments: &str| ip(&format!("-n {} {arguments}", lab.client));
    let directory = tempfile::tempdir().expect("a directory");
    let held = sleeper(directory.path(), "ct-held");
    let limit = "down = '1MB/s'\non = ['interface:v?', 'interface:none*']";
    let tunnel = "down = '2MB/s'\non = 'interface:tun*'";
    let rules = [
        rule("tunnel", "name:ct-held", tunnel),
        rule("here", "name:ct-held", limit),
    ];
    let ruled = Ruled::within(&lab.client, &rules.concat());
    ruled.is_held(held.pid(), None);
    let list = ruled.run("rule list");
    let why = "on for connections by v?, none*";
    assert!(list.contains(why), "{list}");
    ip(&format!("route add default via {SERVER_V4}"));
    ruled.is_held(held.pid(), Some(1_000_000));
    // As OpenVPN has it: the default route stays.
    ip("link add tun0 type veth peer name far0");
    ip("link set far0 up");
    ip("link set tun0 up");
    ip("route add 128.0.0.0/1 dev tun0");
    ip("route add 0.0.0.0/1 dev tun0");
    ruled.is_held(held.pid(), Some(2_000_000));
    ip("route del 128.0.0.0/1");
    ruled.is_held(held.pid(), Some(1_000_000));
    // As wg-quick has it: another table, for all that WireGuard does not send itself.
    ip("route add default dev tun0 table 51820");
    ip("rule add not fwmark 51820 table 51820");
    ruled.is_held(held.pid(), Some(2_000_000));
    ip("link del tun0");
    ip("route del default");
    ruled.is_held(held.pid(), None);
    ip(&format!("-6 route add default via {SERVER_V6} dev v0"));
    ruled.is_held(held.pid(), Some(1_000_000));
    ruled.end();
}
