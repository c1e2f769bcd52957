//! Blocks that reset: what becomes of connections, of whose, and of whose not.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    process::{ChildStdin, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use chadthrottle::sys::{sock_diag, socket};

use crate::{
    audit::assert_nothing_left,
    engine::SOON,
    lab::{CLIENT_V4, Lab, SERVER_V4, SERVER_V6},
    program::{Chadthrottle, Running, eventually},
    ruled::{Ruled, rule},
    silent::Hung,
};

/// A program that talks over TCP as it is told.
pub struct Talker {
    running: Running,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Talker {
    pub fn within(namespace: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/talker.py");
        let mut command = Lab::command(namespace, "python3");
        let command = command.args(["-B", script]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3");
        let input = child.stdin.take().expect("its input");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let running = Running(child);
        Self {
            running,
            input,
            lines,
        }
    }

    #[track_caller]
    fn says(&self) -> String {
        self.lines
            .recv_timeout(Duration::from_secs(5))
            .expect("a line")
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What came of it.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").expect("its input");
        self.says()
    }

    /// Opens a connection, and gives its port.
    #[track_caller]
    pub fn connect(&mut self, name: &str, host: &str, port: &str) -> String {
        let said = self.ask(&format!("connect {name} {host} {port}"));
        let port = said.strip_prefix("connected ");
        port.unwrap_or_else(|| panic!("{name}: {said}")).to_owned()
    }

    /// Each of these connections carries data both ways.
    #[track_caller]
    fn lives(&mut self, names: &[&str]) {
        for name in names {
            assert_eq!(self.ask(&format!("echo {name}")), "x", "{name}");
        }
    }
}

#[track_caller]
fn run(program: &Chadthrottle, arguments: &str) -> String {
    let output = program.output(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments}: {said}");
    said
}

/// Open connections end at both ends, and new ones fail; those beyond the scope, and other programs', live.
#[test]
fn a_block_that_rejects_resets_what_it_covers_and_nothing_else() {
    let lab = Lab::new();
    let mut server = Talker::within(&lab.server);
    let port = server.ask("serve");
    let mut other = Talker::within(&lab.client);
    other.connect("v4", SERVER_V4, &port);
    other.connect("v6", SERVER_V6, &port);
    let mut held = Talker::within(&lab.client);
    let own = held.ask("serve");
    held.connect("loopback", "127.0.0.1", &own);
    // Of its own addresses, which are loopback to the kernel programs.
    held.connect("own", CLIENT_V4, &own);
    let program = Chadthrottle::new();
    let mut after = None;
    for direction in ["both", "up", "down"] {
        let hosts = [
            ("v4", SERVER_V4),
            ("v6", SERVER_V6),
            ("mapped", "::ffff:198.18.0.2"),
        ];
        let ports = hosts.map(|(name, host)| held.connect(name, host, &port));
        let ports: Vec<String> = ports.into_iter().chain(after).collect();
        let pid = held.running.pid();
        run(
            &program,
            &format!("block {pid} --reject --direction {direction} --detach"),
        );
        let began = Instant::now();
        for (name, _) in hosts {
            let said = held.ask(&format!("read {name}"));
            assert_eq!(said, "ECONNABORTED", "{direction} {name}");
        }
        println!(
            "{direction}: open connections reset in {:?}",
            began.elapsed()
        );
        let mut over: Vec<String> = ports.iter().map(|_| server.says()).collect();
        over.sort();
        let reset = ports.iter().map(|port| format!("over {port} ECONNRESET"));
        let mut expected: Vec<String> = reset.collect();
        expected.sort();
        assert_eq!(over, expected, "{direction}");
        for (name, host) in hosts {
            let began = Instant::now();
            let said = held.ask(&format!("connect {name} {host} {port}"));
            let took = began.elapsed();
            println!("{direction} {name}: a new connection fails in {took:?}");
            assert_eq!(said, "ECONNABORTED", "{direction} {name}");
            assert!(took < Duration::from_secs(1), "{took:?}");
        }
        held.lives(&["loopback", "own"]);
        other.lives(&["v4", "v6"]);
        held.connect(&format!("new-{direction}"), CLIENT_V4, &own);
        run(&program, &format!("unlimit {pid}"));
        after = Some(held.connect("after", SERVER_V4, &port));
        held.lives(&["after", "own"]);
        other.lives(&["v4", "v6"]);
    }
    drop((held, other, server));
    assert_nothing_left();
}

/// A scope is kept to, and blocks without reject have connections wait as ever.
#[test]
fn a_rule_that_rejects_begins_under_an_open_connection_and_ends() {
    let lab = Lab::new();
    let mut server = Talker::within(&lab.server);
    let port = server.ask("serve");
    let mut held = Talker::within(&lab.client);
    held.connect("v4", SERVER_V4, &port);
    held.connect("v6", SERVER_V6, &port);
    let rules = "[[rule]]\nname = 'reject'\nmatch = 'command:*talker.py*'\nblock = 'both'\nscope = 'internet'\n\
                 reject = true\nenabled = false\n";
    let ruled = Ruled::with(rules);
    held.lives(&["v4", "v6"]);
    ruled.run("rule enable reject");
    assert_eq!(held.ask("read v4"), "ECONNABORTED");
    // A local address.
    held.lives(&["v6"]);
    let failed = held.ask(&format!("connect v4 {SERVER_V4} {port}"));
    assert_eq!(failed, "ECONNABORTED");
    ruled.run("rule disable reject");
    // The socket that was reset is its program's, which may connect it anew.
    let said = held.ask(&format!("again v4 {SERVER_V4} {port}"));
    assert!(said.starts_with("connected"), "{said}");
    held.lives(&["v4"]);
    held.connect("v4", SERVER_V4, &port);
    held.lives(&["v4", "v6"]);
    ruled.run("rule remove reject");
    ruled.run("rule add wait command:*talker.py* --block both --scope internet");
    assert_eq!(held.ask("read v4 0.5"), "waits");
    ruled.run("rule remove wait");
    held.lives(&["v4", "v6"]);
    drop((held, server));
    ruled.end();
}

/// A connection that a process shares with another is whose who uses it last.
#[test]
fn a_shared_connection_is_reset_only_where_it_is_the_members() {
    let lab = Lab::new();
    let mut server = Talker::within(&lab.server);
    let port = server.ask("serve");
    let mut parent = Talker::within(&lab.client);
    parent.connect("shared", SERVER_V4, &port);
    parent.connect("second", SERVER_V4, &port);
    parent.connect("third", SERVER_V4, &port);
    let said = parent.ask("fork");
    let child = said.strip_prefix("child ").expect("its process id");
    let program = Chadthrottle::new();
    run(&program, &format!("block {child} --reject --detach"));
    // The engine has not seen who used them, and takes the child for their owner.
    std::thread::sleep(Duration::from_millis(300));
    parent.lives(&["shared", "second"]);
    std::thread::sleep(Duration::from_millis(300));
    // What the child sends waits, and it waits for an answer to that.
    for name in ["shared", "second"] {
        let said = parent.ask(&format!("child echo {name}"));
        assert_eq!(said, "ECONNABORTED", "{name}");
    }
    assert_eq!(parent.ask("read shared"), "", "it has ended for both");
    parent.lives(&["third"]);
    run(&program, &format!("unlimit {child}"));
    drop((parent, server));
    assert_nothing_left();
}

/// Whoever resets a connection waits while a program has it locked: nobody waits with him.
#[test]
fn a_program_with_its_connection_locked_keeps_nobody_waiting() {
    let lab = Lab::new();
    let mut server = Talker::within(&lab.server);
    let port = server.ask("serve");
    let mut held = Talker::within(&lab.client);
    held.connect("v4", SERVER_V4, &port);
    let hung = Hung::sending(&lab);
    let program = Chadthrottle::new();
    let pids = format!("{} {}", hung.pid, held.running.pid());
    let block = format!("block {pids} --reject --scope all --detach");
    run(&program, &block);
    assert_eq!(held.ask("read v4"), "ECONNABORTED");
    for _ in 0..2 {
        let began = Instant::now();
        let said = held.ask(&format!("connect v4 {SERVER_V4} {port}"));
        assert_eq!(said, "ECONNABORTED");
        assert!(began.elapsed() < Duration::from_secs(1));
    }
    let engine = program.engine();
    let began = Instant::now();
    run(&program, "unlimit --all");
    println!("its end took {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(4), "engine {engine}");
    held.connect("v4", SERVER_V4, &port);
    held.lives(&["v4"]);
    drop((hung, held, server));
    assert_nothing_left();
}

/// What its program holds, in the lab's first namespace, of connections that are open.
fn open_connections(lab: &Lab) -> usize {
    let output = Lab::command(&lab.client, "cat")
        .arg("/proc/net/tcp")
        .output();
    let table = output.expect("the table of connections").stdout;
    let table = String::from_utf8(table).expect("UTF-8");
    const ESTABLISHED: &str = "01";
    let states = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3));
    states.filter(|state| *state == ESTABLISHED).count()
}

/// Who waits to reset a connection, because its program has it locked, resets it by what the limit is when the program
/// lets go.
#[test]
fn a_rule_that_is_edited_meanwhile_resets_nothing_that_it_does_not_block_any_more() {
    for (change, is_open) in [
        ("block = 'both'\nreject = true\nscope = 'internet'", true),
        ("block = 'both'\nscope = 'all'", true),
        ("down = '1GB/s'\nscope = 'all'", true),
        ("block = 'up'\nreject = true\nscope = 'all'", false),
    ] {
        let lab = Lab::new();
        let mut hung = Hung::sending(&lab);
        let rules = |how| rule("hung", "parent:command:*hung.py*", how);
        let ruled = Ruled::with(&rules("block = 'both'\nreject = true\nscope = 'all'"));
        // It has begun to wait.
        std::thread::sleep(Duration::from_millis(800));
        assert_eq!(open_connections(&lab), 2);
        ruled.write(&rules(change));
        ruled.run("rule reload");
        std::thread::sleep(Duration::from_millis(300));
        hung.let_go();
        if is_open {
            std::thread::sleep(Duration::from_millis(800));
            assert_eq!(open_connections(&lab), 2, "{change}");
        } else {
            eventually("it is reset", SOON, || open_connections(&lab) == 0);
        }
        drop(hung);
        ruled.end();
    }
}

/// A connection whose other end sends nothing more, and waits for what this one has to say.
#[test]
fn a_connection_that_is_half_closed_is_reset_too() {
    let lab = Lab::new();
    let mut server = Talker::within(&lab.server);
    let port = server.ask("part");
    let mut held = Talker::within(&lab.client);
    let own = held.connect("half", SERVER_V4, &port);
    assert_eq!(
        held.ask("read half"),
        "",
        "the other end has nothing to say"
    );
    let program = Chadthrottle::new();
    let pid = held.running.pid();
    run(&program, &format!("block {pid} --reject --detach"));
    assert_eq!(server.says(), format!("over {own} ECONNRESET"));
    assert_eq!(held.ask("echo half"), "ECONNABORTED");
    run(&program, &format!("unlimit {pid}"));
    drop((held, server));
    assert_nothing_left();
}

#[test]
fn the_kernel_resets_exactly_one_connection() {
    sock_diag::can_reset().expect("a socket");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let connect =
        || TcpStream::connect(listener.local_addr().expect("a socket")).expect("a socket");
    let (mut one, mut other) = (connect(), connect());
    let [mut ones_peer, _others] = [0, 1].map(|_| listener.accept().expect("a socket").0);
    let mut diag = sock_diag::SockDiag::open().expect("a socket");
    let all = diag.connections().expect("a socket");
    let cookie = socket::cookie(&one).expect("a socket");
    let found = all
        .iter()
        .find(|it| it.cookie() == cookie)
        .expect("a socket");
    one.set_nonblocking(true).expect("a socket");
    assert_eq!(
        one.read(&mut [0]).expect_err("an error").kind(),
        ErrorKind::WouldBlock
    );
    diag.reset(found).expect("a socket");
    assert_eq!(
        one.read(&mut [0]).expect_err("an error").kind(),
        ErrorKind::ConnectionAborted
    );
    assert_eq!(
        ones_peer.read(&mut [0]).expect_err("an error").kind(),
        ErrorKind::ConnectionReset
    );
    other.set_nonblocking(true).expect("a socket");
    assert_eq!(
        other.read(&mut [0]).expect_err("an error").kind(),
        ErrorKind::WouldBlock
    );
    assert_eq!(
        diag.reset(found).expect_err("an error").errno(),
        libc::ENOENT
    );
}
