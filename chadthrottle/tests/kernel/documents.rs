//! The commands of the documents for users do what they should, as they stand there.

#[path = "../documents/text.rs"]
mod text;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use self::text::{blocks, words};
use crate::{
    audit::{assert_nothing_left, lane},
    lab::{Lab, SERVER_V4},
    program::{Chadthrottle, Running, eventually},
};

const SOON: Duration = Duration::from_secs(20);

/// A limit that has not ended by then goes on until it is ended.
const A_MOMENT: Duration = Duration::from_secs(1);

/// Programs that the documents limit, each with nothing to do.
const LIMITED: [&str; 3] = ["firefox", "updater", "restic"];

/// Programs that `run` starts in the documents, and whose other end is not here: each downloads in a child.
const STAND_INS: [&str; 6] = ["apt-get", "curl", "hf", "podman", "rsync", "scp"];

/// Tries all commands of some documents, which are so many at least.
fn try_documents(documents: &[&str], least: usize) {
    let mut tried = 0;
    for document in documents {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(document);
        let text = fs::read_to_string(path).expect("a document");
        tried += try_all(&text);
        assert_nothing_left();
    }
    assert!(tried >= least, "only {tried} commands were tried");
}

#[test]
fn the_commands_of_the_first_minutes_do_what_they_should() {
    try_documents(&["README.md", "docs/first-five-minutes.md"], 20);
}

#[test]
fn the_commands_of_recipes_and_examples_do_what_they_should() {
    let documents = [
        "docs/recipes.md",
        "docs/rules-by-example.md",
        "docs/coming-from.md",
    ];
    try_documents(&documents, 22);
}

#[test]
fn the_commands_of_the_reference_do_what_they_should() {
    try_documents(&["docs/rules.md", "docs/command-line.md"], 15);
}

/// Commands of ours: lines of blocks, and what stands in a table or in a sentence, unless that only tells a command's
/// form.
fn commands(text: &str) -> Vec<&str> {
    let lines = blocks(text).into_iter().flat_map(|(_, lines)| lines);
    let spans = text.split('`').skip(1).step_by(2);
    let commands = lines.chain(spans.filter(|span| !span.contains('\n')));
    commands
        .filter_map(|line| match line.strip_prefix("sudo chadthrottle") {
            None => line.strip_prefix("chadthrottle ").filter(|it| !is_form(it)),
            command => command,
        })
        .collect()
}

/// Whether a command has a place for something else, as `rule test TARGET` has, or for a command below it.
fn is_form(command: &str) -> bool {
    let is_place =
        |word: &str| word.ends_with('…') || word.bytes().all(|it| it.is_ascii_uppercase());
    command.split(' ').any(is_place) || command == "rule"
}

/// A profile of the document has to be in a file before a command chooses it, with the rules that it names.
fn write_profiles(text: &str, rules: &Path) {
    let blocks = blocks(text).into_iter().map(|(_, lines)| lines.join("\n"));
    let (mut profiles, others): (Vec<_>, Vec<_>) = blocks.partition(|it| it.contains("[profile."));
    if !profiles.is_empty() && !profiles.iter().any(|it| it.contains("[[rule]]")) {
        profiles.extend(others.into_iter().filter(|it| it.contains("[[rule]]")));
    }
    let directory = rules.join("etc/chadthrottle");
    fs::create_dir_all(&directory).expect("a directory");
    fs::write(directory.join("rules.toml"), profiles.join("\n")).expect("a file");
}

/// Makes [`STAND_INS`].
fn write_stand_ins(url: &str, directory: &Path) {
    for name in STAND_INS {
        let file = directory.join(name);
        let script = format!("#!/bin/sh\nwget -q -O /dev/null {url}\n");
        fs::write(&file, script).expect("a script");
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("its mode");
    }
}

/// Runs all commands of the document one after the other, as root, in a network namespace of their own.
fn try_all(text: &str) -> usize {
    let lab = Lab::new();
    let program = Chadthrottle::new();
    let work = tempfile::tempdir().expect("a directory");
    let rules = tempfile::tempdir().expect("a directory");
    write_profiles(text, rules.path());
    let rules = rules.path().display().to_string();
    let mut server = Lab::command(&lab.server, "python3");
    server
        .args(["-m", "http.server", "8000", "--directory"])
        .arg(work.path());
    server.stdout(Stdio::null()).stderr(Stdio::null());
    let _server = Running(server.spawn().expect("python3"));
    eventually("the server listens", SOON, || {
        let listening = Lab::command(&lab.server, "ss").arg("-ltnH").output();
        String::from_utf8_lossy(&listening.expect("ss").stdout).contains(":8000")
    });
    let limited = LIMITED.map(|name| {
        let file = work.path().join(name);
        fs::copy("/bin/sleep", &file).expect("a copy");
        Running(Command::new(file).arg("600").spawn().expect("it"))
    });
    let pid = limited[0].pid().to_string();
    let url = format!("http://{SERVER_V4}:8000/restic");
    let stand_ins = tempfile::tempdir().expect("a directory");
    write_stand_ins(&url, stand_ins.path());
    let path = std::env::var("PATH").expect("a path");
    let path = format!("{}:{path}", stand_ins.path().display());
    let mut engine = program.spawn(&format!("--rules-root {rules} engine"));
    eventually("the engine serves", SOON, || {
        program.state().join("control.sock").exists()
    });
    let mut going_on = Vec::new();
    let mut tried = 0;
    for line in commands(text) {
        let words = words(line);
        // The screen, and what draws as it does, need a terminal: `screen.rs` has one.
        if words.is_empty() || words.iter().any(|word| word == "--watch") {
            continue;
        }
        // Not with ip(8), which hides where cgroup2 is mounted.
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", lab.client))
            .arg(Chadthrottle::path());
        command
            .current_dir(work.path())
            .arg("--state-dir")
            .arg(program.state());
        command.args(["--rules-root", &rules]);
        if let Some(lane) = lane() {
            command.args(["--cgroup", lane]);
        }
        command.args(words.iter().map(|word| match word.as_str() {
            "1234" | "PID" => &pid,
            "URL" => &url,
            word => word,
        }));
        command.stdout(Stdio::null()).env("PATH", &path);
        let started = Instant::now();
        let mut running = Running(command.spawn().expect("chadthrottle"));
        let holds = ["limit", "block", "list"].contains(&words[0].as_str())
            && !words.iter().any(|it| it == "--detach" || it == "--count");
        let mut ended = || running.0.try_wait().expect("waiting for it");
        while holds && started.elapsed() < A_MOMENT && ended().is_none() {
            std::thread::sleep(Duration::from_millis(20));
        }
        if holds {
            assert!(ended().is_none(), "{line} has not gone on");
            going_on.push(running);
        } else {
            let status = running.wait(SOON);
            assert!(status.success(), "{line}: {status}");
        }
        tried += 1;
    }
    for mut running in going_on {
        // Some have been ended by a command after them.
        if running.0.try_wait().expect("waiting for it").is_none() {
            running.signal("-INT");
            running.wait(SOON);
        }
    }
    engine.signal("-INT");
    assert!(engine.wait(SOON).success());
    tried
}
