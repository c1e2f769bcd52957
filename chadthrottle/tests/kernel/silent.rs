//! What never answers: a process that hangs in the kernel, and a directory service. Neither hides
//! the others.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use chadthrottle::{
    backends::throttle::linux_ebpf_utils::{AttachConfig, AttachPoint, LegacyLedger},
    engine::{Config, Handle},
    model::Limit,
    process::{Targets, key_of},
    reversal::{EngineLock, Ledger},
};
use serde_json::{Value, json};

use crate::{
    audit::{OURS, assert_nothing_left, attached, cgroup2, top},
    engine::{SOON, call, connect, end, engine, limits},
    lab::Lab,
    lifecycle::in_this_process,
    program::{Chadthrottle, Running, eventually},
};

const HUNG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/hung.py");

/// A process that hangs with its address space locked.
pub struct Hung {
    pub pid: u32,
    server: Running,
    _mount: tempfile::TempDir,
}

impl Hung {
    fn start() -> Self {
        Self::running(Command::new("python3"), "")
    }

    /// One that has a connection of its own locked, in a network where no other engine passes over it.
    pub fn sending(lab: &Lab) -> Self {
        Self::running(Lab::command(&lab.client, "python3"), "socket")
    }

    /// It goes on.
    pub fn let_go(&mut self) {
        let input = self.server.0.stdin.as_mut().expect("its input");
        writeln!(input).expect("its input");
    }

    fn running(mut command: Command, how: &str) -> Self {
        let mount = tempfile::tempdir().expect("a directory");
        command.arg(HUNG).arg(mount.path()).stdin(Stdio::piped());
        command.args(how.split_whitespace());
        let mut server = Running::ready(&mut command);
        let mut line = String::new();
        let output = server.0.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("a line");
        Self {
            pid: line.trim().parse().expect("its id"),
            server,
            _mount: mount,
        }
    }
}

/// One sample of all processes.
#[track_caller]
fn list(mut command: Command) -> Vec<Value> {
    let output = command.output().expect("chadthrottle");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().expect("a line");
    let sample: Value = serde_json::from_str(last).expect("a line of JSON");
    sample["processes"].as_array().expect("a list").clone()
}

fn of(processes: &[Value], pid: u32) -> Option<&Value> {
    processes.iter().find(|process| process["pid"] == pid)
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const LIST: &str = "list --json --all --count 2 --interval 200ms";

#[test]
fn a_process_that_hangs_in_the_kernel_hides_neither_itself_nor_others() {
    let program = Chadthrottle::new();
    let hung = Hung::start();
    let processes = list(program.command(LIST));
    assert!(processes.len() > 1, "{processes:?}");
    assert!(of(&processes, std::process::id()).is_some());
    let found = of(&processes, hung.pid).expect("the one that hangs");
    assert!(
        found["name"]
            .as_str()
            .expect("a name")
            .starts_with("python3")
    );
    assert!(
        program
            .output("run --root --down 1MB -- true")
            .status
            .success()
    );
    for target in [hung.pid, std::process::id()] {
        let output = program.output(&format!("limit {target} --down 1GB --for 1s"));
        let words = words(&output);
        assert!(output.status.success(), "{words}");
        assert!(words.contains(&format!("limited: {target} ")), "{words}");
    }
    let output = program.output("limit name:python3* --down 1GB --for 1s");
    let words = words(&output);
    assert!(
        words.contains(&format!("limited: {} ", hung.pid)),
        "{words}"
    );
    // The audit reads command lines.
    drop(hung);
    assert_nothing_left();
}

#[test]
fn a_program_that_has_its_connection_locked_holds_nobody_up_and_keeps_nothing_attached() {
    let program = Chadthrottle::new();
    let mut first = engine(&program, "");
    let lab = Lab::new();
    let hung = Hung::sending(&lab);
    let key = key_of(Path::new("/proc"), hung.pid).expect("it lives");
    let set = program.output(&format!("limit {} --up 30KB --detach", hung.pid));
    assert!(set.status.success(), "{}", words(&set));
    let of = json!({ "processes": [{ "pid": key.pid, "start_ticks": key.start_ticks }] });
    let refused = call(&mut connect(&program), "GetConnections", &of);
    let said = refused["parameters"]["message"].as_str();
    assert!(said.is_some_and(|it| it.contains("hangs")), "{refused}");
    // Samples look at its connections, and passes at all.
    std::thread::sleep(Duration::from_secs(3));
    let began = Instant::now();
    assert_eq!(limits(&program).len(), 1);
    let changed = program.output(&format!("limit {} --up 40KB --detach", hung.pid));
    assert!(changed.status.success(), "{}", words(&changed));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    // What waits for its connection cannot even be killed, but has nothing that counts.
    first.signal("-KILL");
    let next = engine(&program, "");
    eventually("one of each", SOON, || attached(&top()) == OURS);
    drop(hung);
    first.wait(SOON);
    end(next);
    assert_nothing_left();
}

/// The program where user 54321, and the user "late", are never found out about.
fn with_silent_directory(program: &Chadthrottle, arguments: &str) -> Command {
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nss.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/fault/nss.c");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .args([source, "-ldl"])
        .status();
    assert!(status.expect("cc(1)").success(), "compiling {source}");
    let mut command = program.command(arguments);
    command.env("LD_PRELOAD", library);
    command
}

#[test]
fn a_directory_service_that_keeps_silent_makes_names_late_and_nothing_else() {
    let program = Chadthrottle::new();
    let mut sleeper = Command::new("setpriv");
    sleeper.args(["--reuid", "54321", "--clear-groups", "sleep", "60"]);
    let sleeper = Running(sleeper.spawn().expect("setpriv(1)"));
    let target = sleeper.pid();

    let processes = list(with_silent_directory(&program, LIST));
    let user = |pid| of(&processes, pid).map(|process| process["user"].clone());
    assert_eq!(user(target), Some("54321".into()));
    assert_eq!(user(std::process::id()), Some("root".into()));
    for wish in [
        format!("limit {target} --down 1MB --for 3s"),
        "limit name:sleep --down 1MB --for 3s".to_owned(),
        "limit user:54321 --down 1MB --for 3s".to_owned(),
    ] {
        let output = with_silent_directory(&program, &wish).output();
        let output = output.expect("chadthrottle");
        let words = words(&output);
        assert!(output.status.success(), "{wish}: {words}");
        assert!(
            words.contains(&format!("limited: {target} ")),
            "{wish}: {words}"
        );
    }
    let mut run = with_silent_directory(&program, "run --root --down 1MB -- true");
    assert!(run.status().expect("chadthrottle").success());
    let wish = "limit user:late name:sleep --down 1MB --for 1s";
    let output = with_silent_directory(&program, wish).output();
    let words = words(&output.expect("chadthrottle"));
    assert!(
        words.contains("nothing matches user:late yet") && words.contains("limited: "),
        "{words}"
    );
    assert_nothing_left();
}

/// A /proc of which one process cannot be read: who tries waits for ever.
fn proc_that_hangs() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    for name in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let link = root.path().join(name.file_name());
        std::os::unix::fs::symlink(name.path(), link).expect("a link");
    }
    let never = root.path().join("4194305");
    std::fs::create_dir(&never).expect("a directory");
    nix::unistd::mkfifo(&never.join("stat"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    root
}

#[test]
fn while_all_of_proc_hangs_a_process_that_is_named_is_limited_and_has_not_ended() {
    let sleeper = Running(Command::new("sleep").arg("60").spawn().expect("sleep(1)"));
    let (root, state) = (proc_that_hangs(), tempfile::tempdir().expect("a directory"));
    let lock = EngineLock::take(state.path()).expect("the lock");
    let settings = in_this_process(state.path());
    let ledger =
        Arc::new(Ledger::open(&settings.program, lock.directory(), None).expect("a journal"));
    let mount: PathBuf = cgroup2().into();
    let top: PathBuf = top().into();
    let config = Config {
        takes_over: false,
        throttle: AttachConfig {
            point: AttachPoint::open(&top).expect("a cgroup"),
            mode: settings.attach,
            ledger: Arc::clone(&ledger) as Arc<dyn LegacyLedger>,
        },
        heir: ledger,
        proc_root: root.path().to_owned(),
        cgroup2: mount,
        interval: Duration::from_millis(200),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let engine = Handle::start(config).await.expect("an engine");
        let key = key_of(root.path(), sleeper.pid()).expect("it lives");
        let targets = Targets {
            processes: vec![key],
            ..Targets::default()
        };
        let limit = Limit {
            down: "1MB".parse().ok(),
            ..Limit::NONE
        };
        let id = engine
            .commands()
            .set_limit(targets, limit)
            .await
            .expect("a limit");
        let mut samples = engine.snapshots();
        for _ in 0..3 {
            samples.changed().await.expect("a sample");
            let snapshot = samples.borrow_and_update().clone().expect("a sample");
            if snapshot.limits.is_empty() {
                continue; // of before
            }
            let found = snapshot.processes.iter().find(|it| it.key == key);
            let found = found.expect("the process");
            assert_eq!(found.limit.map(|(of, _)| of), Some(id));
            assert!(!found.ended);
        }
        assert!(
            engine.commands().carried(id).await.is_ok(),
            "the limit is gone"
        );
        assert!(engine.stop().is_empty());
    });
    // Who waits is let go.
    let pipe = root.path().join("4194305/stat");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).custom_flags(libc::O_NONBLOCK);
    drop(options.open(pipe));
    drop(sleeper);
    assert_nothing_left();
}
