//! Rules for networks that NetworkManager knows: metered ones, and wireless ones by their names.

use std::{
    io::{BufRead, BufReader, ErrorKind, Write},
    os::unix::net::UnixListener,
    path::Path,
    process::{ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    engine::SOON,
    program::{Running, eventually},
    ruled::{Ruled, rule, said, sleeper},
};

const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/kernel/network_manager.py"
);

/// How a program is told where the system's bus is.
fn address(bus: &Path) -> String {
    format!("DBUS_SYSTEM_BUS_ADDRESS=unix:path={}", bus.display())
}

/// An engine, to which that bus is the system's.
#[track_caller]
fn ruled(bus: &Path, rules: &str) -> Ruled {
    Ruled::behind(&["env", &address(bus)], rules)
}

/// Somebody else's idea of NetworkManager, on a bus of its own.
struct NetworkManager {
    script: Running,
    answers: BufReader<ChildStdout>,
    directory: TempDir,
}

impl NetworkManager {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        // The packages of a distribution are for its own Python.
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-B", SCRIPT]).arg(directory.path());
        let mut script = Running::ready(command.stdin(Stdio::piped()));
        let output = script.0.stdout.take().expect("its output");
        Self {
            script,
            answers: BufReader::new(output),
            directory,
        }
    }

    /// Something becomes of it.
    #[track_caller]
    fn now(&mut self, what: &str) {
        let input = self.script.0.stdin.as_mut().expect("its input");
        writeln!(input, "{what}").expect("its input");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("its answer");
        assert_eq!(answer, "done\n", "{what}");
    }

    #[track_caller]
    fn names_its_network(&mut self, name: &[u8]) {
        let digits: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        self.now(&format!("ssid {digits}"));
    }
}

/// Two seconds, and half a second for asking the engine.
const IN_TIME: Duration = Duration::from_millis(2_500);

#[track_caller]
fn is_held_in_time(ruled: &Ruled, pid: u32, down: Option<u64>) {
    let began = Instant::now();
    ruled.is_held(pid, down);
    let took = began.elapsed();
    println!("{down:?} after {took:?}");
    assert!(took < IN_TIME, "{took:?}");
}

#[test]
fn rules_for_metered_and_wireless_networks_follow_networkmanager() {
    let mut manager = NetworkManager::start();
    let directory = tempfile::tempdir().expect("a directory");
    let [metered, hotel] = ["ct-metered", "ct-hotel"].map(|name| sleeper(directory.path(), name));
    let (metered, hotel) = (metered.pid(), hotel.pid());
    let rules = [
        rule(
            "metered",
            "name:ct-metered",
            "down = '1MB/s'\non = 'metered'",
        ),
        rule(
            "hotel",
            "name:ct-hotel",
            "down = '2MB/s'\non = 'ssid:Hotel*'",
        ),
    ];
    let ruled = ruled(&manager.directory.path().join("bus"), &rules.concat());
    let lists = |words: &str| {
        // A sample of a tenth of a second ago is new enough for it.
        eventually(words, SOON, || ruled.run("rule list").contains(words));
    };
    lists("only on metered ");
    assert_eq!((ruled.limit(metered), ruled.limit(hotel)), (None, None));

    // A guess of NetworkManager's.
    manager.now("metered 3");
    is_held_in_time(&ruled, metered, Some(1_000_000));
    assert_eq!(ruled.limit(hotel), None);
    // No text, which a name need not be.
    manager.names_its_network(b"Hotel \xff");
    is_held_in_time(&ruled, hotel, Some(2_000_000));
    // It begins to leave that network.
    manager.now("state 3");
    is_held_in_time(&ruled, hotel, None);

    manager.now("leaves");
    is_held_in_time(&ruled, metered, None);
    lists("only on metered (NetworkManager is not running)");
    manager.now("comes");
    manager.now("metered 1");
    is_held_in_time(&ruled, metered, Some(1_000_000));
    manager.now("halts");
    // A second is what it may take to answer.
    ruled.is_held(metered, None);
    manager.now("goes on");
    is_held_in_time(&ruled, metered, Some(1_000_000));
    ruled.end();
}

/// Of very many connections some are looked at, the one of the default route among them, and a device that cannot be
/// asked hides no other.
#[test]
fn a_crowd_of_connections_hides_neither_what_is_metered_nor_the_wireless_network() {
    let mut manager = NetworkManager::start();
    let directory = tempfile::tempdir().expect("a directory");
    let [metered, home] = ["ct-metered", "ct-home"].map(|name| sleeper(directory.path(), name));
    let (metered, home) = (metered.pid(), home.pid());
    let rules = [
        rule(
            "metered",
            "name:ct-metered",
            "down = '1MB/s'\non = 'metered'",
        ),
        rule("home", "name:ct-home", "down = '2MB/s'\non = 'ssid:Home'"),
    ];
    let ruled = ruled(&manager.directory.path().join("bus"), &rules.concat());
    is_held_in_time(&ruled, home, Some(2_000_000));
    manager.now("strange");
    manager.now("crowd 5000");
    manager.now("metered 1");
    is_held_in_time(&ruled, metered, Some(1_000_000));
    std::thread::sleep(IN_TIME);
    assert!(matches!(ruled.limit(home), Some((_, 2_000_000))));
    assert!(matches!(ruled.limit(metered), Some((_, 1_000_000))));
    ruled.end();
}

/// Nobody asks where no rule wants to know, and a bus that never answers keeps nobody waiting.
#[test]
fn a_bus_is_opened_for_rules_that_need_it_and_nothing_waits_for_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let bus = directory.path().join("bus");
    let listener = UnixListener::bind(&bus).expect("a socket");
    listener.set_nonblocking(true).expect("its mode");
    let held = sleeper(directory.path(), "ct-held");
    let plain = rule(
        "plain",
        "name:ct-held",
        "down = '1MB/s'\non = 'interface:nonesuch'",
    );
    let ruled = ruled(&bus, &plain);
    std::thread::sleep(Duration::from_millis(1_500));
    let none = listener.accept().expect_err("somebody has come");
    assert_eq!(none.kind(), ErrorKind::WouldBlock);

    ruled.run("rule add away name:ct-held --down 2MB --on metered --on ssid:Away --first");
    let mut clients = Vec::new();
    eventually("the engine opens the bus", SOON, || {
        clients.extend(listener.accept());
        !clients.is_empty()
    });
    let began = Instant::now();
    ruled.run("rule add more name:ct-held --down 3MB");
    ruled.is_held(held.pid(), Some(3_000_000));
    let took = began.elapsed();
    println!("a rule holds after {took:?}, while the bus does not answer");
    assert!(took < Duration::from_secs(1), "{took:?}");
    eventually("it says why", SOON, || {
        let words = "only on metered, ssid:Away (NetworkManager does not answer)";
        ruled.run("rule list").contains(words)
    });

    // A file is in order, whatever is to be known of the machine.
    for (bus, words) in [
        (bus.as_path(), "NetworkManager does not answer"),
        (Path::new("/nonesuch"), "NetworkManager cannot be asked"),
    ] {
        let mut check = ruled.command("rule check");
        check.env(
            "DBUS_SYSTEM_BUS_ADDRESS",
            &address(bus)["DBUS_SYSTEM_BUS_ADDRESS=".len()..],
        );
        let output = check.output().expect("chadthrottle");
        assert!(output.status.success(), "{}", said(&output));
        assert!(
            said(&output).contains("rule 'away'") && said(&output).contains(words),
            "{}",
            said(&output)
        );
    }
    ruled.run("rule remove away");
    std::thread::sleep(Duration::from_millis(1_200));
    while let Ok(client) = listener.accept() {
        clients.push(client);
    }
    std::thread::sleep(Duration::from_millis(1_200));
    assert!(listener.accept().is_err(), "nobody wants to know any more");
    ruled.end();
}
