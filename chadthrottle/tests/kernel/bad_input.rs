//! Bad input and bad surroundings: a clear error, the contract's exit code, nothing lost.

use std::{
    fs,
    process::{Command, Output},
};

use crate::{audit::assert_nothing_left, program::Chadthrottle};

#[track_caller]
fn check(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "no '{word}' in: {text}");
    }
    assert!(output.stdout.is_empty(), "standard output is for data");
}

#[test]
fn rates_that_cannot_be_read() {
    let program = Chadthrottle::new();
    for rate in ["0", "-1", "12", "5kbps", "1e400MB", "١MB"] {
        let words = ["--down", "1.5MB/s", "8Mbit"];
        check(
            &program.output(&format!("run --down {rate} -- true")),
            2,
            &words,
        );
        check(
            &program.output(&format!("limit 1 --down {rate}")),
            2,
            &words,
        );
    }
    check(&program.output("limit 1"), 2, &["--down"]);
    check(&program.output("limit 1 --down 1MB --for 5"), 2, &["500ms"]);
    check(&program.output("limit name: --down 1MB"), 2, &["name:GLOB"]);
    check(
        &program.output("limit user:no-such-user --down 1MB"),
        2,
        &["no-such-user"],
    );
    check(
        &program.output("list --cgroup /no/such --count 1"),
        2,
        &["/no/such"],
    );
    check(
        &program.output("list --cgroup /proc --count 1"),
        2,
        &["/proc", "cgroup2"],
    );
}

#[test]
fn configurations_that_cannot_be_used() {
    let program = Chadthrottle::new();
    let path = program.state().join("config.toml");
    for (text, words) in [
        ("theme = 'pink'\n", ["theme pink", "tokyo-night"]),
        ("theme = 'a/b'\n", ["line 1", "letters"]),
        ("\ncolour = 'red'\n", ["line 2", "colour"]),
        ("presets = ['5kbps']\n", ["line 1", "ambiguous"]),
    ] {
        fs::write(&path, text).expect("a file");
        let arguments = format!("--config {}", path.display());
        check(&program.output(&arguments), 2, &words);
    }
    for path in ["/no/such/config.toml", "/dev/zero", "/tmp"] {
        check(&program.output(&format!("--config {path}")), 2, &[path]);
    }
    check(&program.output("--theme pink"), 2, &["pink", "mono"]);
}

#[test]
fn a_process_that_is_not_there() {
    let program = Chadthrottle::new();
    check(
        &program.output("limit 4194999 --down 1MB"),
        5,
        &["no process 4194999"],
    );
    assert_nothing_left();
}

#[test]
fn without_privilege_the_missing_capabilities_are_named() {
    let program = Chadthrottle::new();
    for arguments in ["list --count 1", "run --down 1MB -- true", "cleanup", ""] {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"]);
        command.arg(Chadthrottle::path());
        command.args(arguments.split(' ').filter(|argument| !argument.is_empty()));
        let output = command.output().expect("setpriv(1)");
        check(&output, 3, &["CAP_NET_ADMIN", "sudo"]);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .arg(Chadthrottle::path());
    let output = command
        .args(["list", "--count", "1"])
        .output()
        .expect("setpriv(1)");
    check(&output, 3, &["CAP_NET_ADMIN", "CAP_BPF", "CAP_SYS_PTRACE"]);
    drop(program);
}

#[test]
fn without_cgroup2_it_says_how_to_mount_it() {
    let program = Chadthrottle::new();
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c"])
        .arg("umount -l \"$(findmnt -nt cgroup2 -o TARGET | head -1)\" && exec \"$@\"")
        .arg("sh")
        .arg(Chadthrottle::path())
        .args(["list", "--count", "1"])
        .output()
        .expect("unshare(1)");
    check(&output, 4, &["cgroup2", "mount -t cgroup2"]);
    drop(program);
}

/// The committed object with another shift in the policer's arithmetic, in every program: what a
/// compiler's fault could make of it. The verifier has nothing against that.
fn miscompiled_object() -> Vec<u8> {
    // r >>= 24, with which a length times nanoseconds a byte becomes nanoseconds (BPF_ALU64 |
    // BPF_RSH | BPF_K, any register).
    let is_the_shift = |word: &[u8]| word[0] == 0x77 && word[2..] == [0, 0, 24, 0, 0, 0];
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/ebpf/chadthrottle.bpf.o");
    let mut object = fs::read(path).expect("the committed object");
    let mut changed = 0;
    for word in object.chunks_exact_mut(8).filter(|word| is_the_shift(word)) {
        word[4] = 23;
        changed += 1;
    }
    assert!(
        changed >= 3,
        "ingress, egress and self-test shift; found {changed}"
    );
    object
}

#[test]
fn an_object_that_was_miscompiled_is_not_attached() {
    let program = Chadthrottle::new();
    let object = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(object.path(), miscompiled_object()).expect("writing it");
    for arguments in [
        "list --count 1",
        "run --root --attach legacy --down 1MB -- true",
    ] {
        let output = program
            .command(arguments)
            .env("CHADTHROTTLE_EBPF_OBJECT", object.path())
            .output()
            .expect("starting chadthrottle");
        check(
            &output,
            4,
            &[
                "the policer does not work as it should",
                "nothing was attached",
            ],
        );
        assert_nothing_left();
    }
}

#[test]
fn too_few_open_files_are_said_to_be_that() {
    let program = Chadthrottle::new();
    let mut sleeper = Command::new("sleep").arg("60").spawn().expect("sleep");
    let limited = format!("limit {} --down 1MB --for 1s", sleeper.id());
    // Each is reached at another place.
    for most in (24..=56).step_by(2) {
        let command = program.command(&limited);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")]);
        let output = shell.arg(command.get_program()).args(command.get_args());
        let output = output.output().expect("a shell");
        let text = String::from_utf8_lossy(&output.stderr);
        println!("{most}: {:?} {text}", output.status.code());
        let is_said = text.contains("the limit of open files is reached");
        assert!(output.status.success() || is_said, "{most}: {text}");
        for wrong in ["has ended", "there is no process", "this kernel"] {
            assert!(!text.contains(wrong), "{most}: {text}");
        }
    }
    sleeper.kill().expect("it runs");
    sleeper.wait().expect("a child");
    assert_nothing_left();
}
