//! What limits do not do to others: other directions, other tools, programs' own settings.

use std::{process::Command, time::Duration};

use chadthrottle::process::key_of;

use crate::{
    audit::{Cgroup, assert_nothing_left},
    client::{Client, UNLIMITED},
    following::Limit,
    foreign::Foreign,
    iperf::server,
    lab::{Lab, SERVER_V4},
    limits::{both_ways, only},
    load,
    program::{Chadthrottle, Running, eventually, signal},
    sockets::{infos, windows_may_shrink},
};

/// Acknowledgements of an upload were charged to the download's limit, so that nothing came for as long as
/// they would have taken: minutes.
#[test]
fn a_download_comes_at_once_after_an_upload_under_its_limit() {
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    let iperf = format!("ip netns exec {} iperf3 -c {SERVER_V4} -p 5201", lab.client);
    let script = format!("{iperf} -t 3 >/dev/null && {iperf} -R -n 200K >/dev/null");
    let started = std::time::Instant::now();
    let output = Chadthrottle::new()
        .command("run --root --down 100KB/s --")
        .args(["timeout", "20", "sh", "-c", &script])
        .output()
        .expect("chadthrottle");
    let took = started.elapsed();
    println!("upload for 3 s, and 200 KB down: {took:?}");
    assert!(output.status.success(), "{output:?}");
    assert!(took < Duration::from_secs(9), "{took:?}");
    assert_nothing_left();
}

/// What another tool's program answers the kernel is what the kernel hears, wherever that program is.
#[test]
fn replies_of_other_tools_programs_come_through_unchanged() {
    let lab = Lab::new();
    let above = Cgroup::new("above");
    let middle = Cgroup::below(&above, "middle");
    let below = Cgroup::below(&middle, "below");
    let first_timer = || {
        let first_timer = load::command(&lab.client, "first-timer 198.18.0.77");
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", below.0);
        let output = Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(first_timer.get_program())
            .args(first_timer.get_args())
            .output()
            .expect("sh");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim()
            .parse::<u64>()
            .unwrap_or_else(|_| panic!("{output:?}"))
    };
    let usual = first_timer();
    let program = Chadthrottle::new();
    for attach in ["link", "legacy"] {
        for place in [&above, &middle, &below] {
            for ours_first in [true, false] {
                let start = || {
                    let mut engine = program.command(&format!("list --json --attach {attach}"));
                    let engine = engine.args(["--cgroup", &middle.0]);
                    let engine = engine.stdout(std::process::Stdio::null()).spawn();
                    let engine = Running(engine.expect("chadthrottle"));
                    eventually("it is attached", Duration::from_secs(10), || {
                        !crate::audit::attached(&middle.0).is_empty()
                            && crate::audit::attached(&middle.0)
                                .contains(&"chadthrottle_so".to_owned())
                    });
                    engine
                };
                let mut engine = ours_first.then(start);
                let mut other = Foreign::replying();
                other.attach(&place.0, &["multi"]);
                let alone = engine.is_none().then(first_timer);
                let mut engine = engine.take().unwrap_or_else(start);
                let beside = first_timer();
                println!(
                    "{attach}, {}: {usual}, alone {alone:?}, beside ours {beside}",
                    place.0
                );
                assert_ne!(beside, usual, "the other tool's answer is heard");
                assert!(alone.is_none_or(|alone| alone == beside));
                drop(other);
                engine.signal("-TERM");
                engine.wait(Duration::from_secs(3));
            }
        }
    }
    drop((below, middle, above));
    assert_nothing_left();
}

/// What a process has set itself since is its own.
#[test]
fn a_pace_that_the_program_has_set_under_the_limit_stays_when_the_limit_ends() {
    let mut client = Client::start();
    client.connect("connect");
    let program = Chadthrottle::new();
    let mut limit = program.spawn(&format!("limit {} --up 1MB", client.pid()));
    eventually("the limit holds", Duration::from_secs(5), || {
        client.options()[0].pacing != UNLIMITED
    });
    client.ask("pace 70000");
    signal(program.engine(), "-STOP");
    assert_eq!(client.options()[0].pacing, 70_000);
    signal(program.engine(), "-CONT");
    limit.signal("-TERM");
    limit.wait(Duration::from_secs(2));
    assert_eq!(client.options()[0].pacing, 70_000);
    assert_nothing_left();
}

/// Sockets that no /proc shows under a living process: on their way in a message, and of a process whose main
/// thread has ended.
#[test]
fn sockets_that_proc_does_not_show_are_put_back() {
    let mut client = Client::start();
    client.connect("connect");
    client.connect("connect");
    let before = client.options();
    let program = Chadthrottle::new();
    let mut limit = program.spawn(&format!("limit {} --down 1MB --up 1MB", client.pid()));
    eventually("the limit holds", Duration::from_secs(5), || {
        client.options().iter().all(|it| it.pacing != UNLIMITED)
    });
    client.ask("hide");
    limit.signal("-TERM");
    limit.wait(Duration::from_secs(2));
    client.ask("show");
    assert_eq!(client.options(), before);
    assert_nothing_left();
}

/// The paces of a process's TCP sockets, in bytes a second.
fn paces(pid: u32) -> Vec<u64> {
    let infos = infos(pid).into_iter();
    infos.map(|info| info.max_pacing_rate).collect()
}

/// What is set on a listener its connections inherit, and take for their own.
#[test]
fn what_a_server_accepts_under_a_limit_has_nothing_of_it_afterwards() {
    let lab = Lab::new();
    let server = load::start(&lab.server, "feed 7500");
    let connect = || load::start(&lab.client, &format!("fetch {SERVER_V4} 7500"));
    let _before = connect();
    let program = Chadthrottle::new();
    let limit = Limit::start(&program, &format!("{} --up 1MB", server.pid()));
    let _during = connect();
    eventually("both connections are held", Duration::from_secs(5), || {
        paces(server.pid())
            .iter()
            .filter(|pace| **pace < 2_000_000)
            .count()
            == 2
    });
    // A pass or two go over the listener too.
    std::thread::sleep(Duration::from_millis(1_200));
    drop(limit);
    let _after = connect();
    eventually(
        "three connections and a listener",
        Duration::from_secs(5),
        || paces(server.pid()).len() == 4,
    );
    let paces = paces(server.pid());
    assert!(paces.iter().all(|pace| *pace == UNLIMITED), "{paces:?}");
    assert_nothing_left();
}

/// The setting is for a moment also where the limit is.
#[test]
fn a_limit_that_ends_at_once_leaves_no_window_shrinking() {
    let lab = Lab::new();
    let mut sleeper = Lab::command(&lab.client, "sleep");
    let sleeper = Running(sleeper.arg("20").spawn().expect("sleep"));
    crate::lifecycle::with_engine(async |engine| {
        let key = key_of("/proc".as_ref(), sleeper.pid()).expect("it runs");
        let limit = engine
            .commands()
            .set_limit(only(key), both_ways("100KB"))
            .await;
        engine
            .commands()
            .remove_limit(limit.expect("a limit"))
            .await
            .expect("it is set");
        // Longer than it would be on for a limit that stays.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(!windows_may_shrink(&lab));
    });
    assert_nothing_left();
}

/// An administrator's own setting.
#[test]
fn a_namespace_that_lets_windows_shrink_goes_on_to_do_so() {
    let lab = Lab::new();
    let status = Lab::command(&lab.client, "sysctl")
        .args(["-qw", "net.ipv4.tcp_shrink_window=1"])
        .status();
    assert!(status.expect("sysctl").success());
    let mut sleeper = Lab::command(&lab.client, "sleep");
    let sleeper = Running(sleeper.arg("20").spawn().expect("sleep"));
    let program = Chadthrottle::new();
    let mut limit = Limit::start(&program, &format!("{} --down 100KB", sleeper.pid()));
    assert!(windows_may_shrink(&lab));
    limit.kill_engine(&program);
    eventually("the guard is done", Duration::from_secs(2), || {
        !program.state().join("pins").exists()
    });
    assert!(windows_may_shrink(&lab));
    assert_nothing_left();
}
