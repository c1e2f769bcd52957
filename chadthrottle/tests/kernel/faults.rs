//! What the kernel may refuse, refused: by a seccomp filter in the child process, and where it is
//! the nth call that fails, by a preloaded library.

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use crate::{
    audit::{OURS, assert_nothing_left, attached, top},
    program::{Chadthrottle, Running, eventually, example},
};

const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const PROG_DETACH: i32 = 9;
const LINK_CREATE: i32 = 28;
const MAP_CREATE: i32 = 0;

const EPERM: i32 = 1;
const EINVAL: i32 = 22;
const ENOSYS: i32 = 38;
const EOPNOTSUPP: i32 = 95;

/// The program under a filter, not yet started.
fn denied(program: &Chadthrottle, denials: &[(i32, i32)], arguments: &str) -> Command {
    let wishes: Vec<String> = denials
        .iter()
        .map(|(command, errno)| format!("{command}={errno}"))
        .collect();
    under_filter(program, &wishes.join(","), arguments)
}

fn under_filter(program: &Chadthrottle, wishes: &str, arguments: &str) -> Command {
    let inner = program.command(arguments);
    let mut command = Command::new(example("deny_bpf"));
    command
        .arg(wishes)
        .arg(inner.get_program())
        .args(inner.get_args());
    command
}

/// The program with the nth call of a command failing, not yet started.
fn failing_nth(program: &Chadthrottle, wish: (i32, i32, i32), arguments: &str) -> Command {
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nth.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/fault/nth.c");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .args([source, "-ldl"])
        .status();
    assert!(status.expect("cc(1)").success(), "compiling {source}");
    let (command, nth, errno) = wish;
    let mut inner = program.command(arguments);
    inner
        .env("LD_PRELOAD", library)
        .env("FAIL_BPF", format!("{command}:{nth}:{errno}"));
    inner
}

#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{text}");
    for word in words {
        assert!(text.contains(word), "no '{word}' in: {text}");
    }
    assert_nothing_left();
}

#[test]
fn every_refusal_of_the_link_call_falls_back_to_legacy() {
    for errno in [EINVAL, EPERM, EOPNOTSUPP, ENOSYS] {
        let program = Chadthrottle::new();
        let arguments = "run --root --down 1MB -- sleep 0.7";
        let mut running = Running(
            denied(&program, &[(LINK_CREATE, errno)], arguments)
                .spawn()
                .expect("deny_bpf"),
        );
        eventually("attached", Duration::from_secs(15), || {
            attached(&top()) == OURS
        });
        // What a link would not have: a journal, for it would stay.
        assert!(
            program.journal().contains("cgroup_inet_ingress"),
            "errno {errno}: not legacy"
        );
        assert!(running.wait(Duration::from_secs(4)).success());
        assert_nothing_left();
    }
}

#[test]
fn with_link_alone_a_refusal_is_the_end() {
    let program = Chadthrottle::new();
    let output = denied(
        &program,
        &[(LINK_CREATE, EINVAL)],
        "list --count 1 --attach link",
    )
    .output();
    refused(
        &output.expect("deny_bpf"),
        &["chadthrottle_sc", "BPF_LINK_CREATE"],
    );
}

#[test]
fn with_both_ways_refused_the_error_names_both() {
    let program = Chadthrottle::new();
    let denials = [(LINK_CREATE, ENOSYS), (PROG_ATTACH, EPERM)];
    let output = denied(&program, &denials, "list --count 1").output();
    refused(
        &output.expect("deny_bpf"),
        &["BPF_LINK_CREATE", "BPF_PROG_ATTACH"],
    );
    assert_eq!(program.journal(), "");
}

#[test]
fn it_does_without_levers_where_passes_over_sockets_are_refused() {
    let program = Chadthrottle::new();
    // Iterators are links too, and nothing else than a link.
    let output = denied(&program, &[(LINK_CREATE, EINVAL)], "doctor").output();
    let output = output.expect("deny_bpf");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("so TCP is held by the policer") && text.contains("limits will work"),
        "{text}"
    );
    assert_nothing_left();
}

#[test]
fn an_attach_that_fails_after_others_undoes_the_ones_before() {
    let program = Chadthrottle::new();
    for nth in [2, 4] {
        let wish = (PROG_ATTACH, nth, EPERM);
        let output = failing_nth(&program, wish, "list --count 1 --attach legacy").output();
        refused(&output.expect("chadthrottle"), &["BPF_PROG_ATTACH"]);
    }
    // aya makes one before, to see whether the kernel has links.
    for nth in [3, 4] {
        let wish = (LINK_CREATE, nth, EINVAL);
        let output = failing_nth(&program, wish, "list --count 1 --attach link").output();
        refused(&output.expect("chadthrottle"), &["BPF_LINK_CREATE"]);
    }
}

#[test]
fn a_kernel_without_cgroup_bpf_is_said_to_be_one() {
    let program = Chadthrottle::new();
    let output = under_filter(&program, &format!("all={ENOSYS}"), "list --count 1").output();
    refused(&output.expect("deny_bpf"), &["this kernel does not take"]);
    let output = denied(&program, &[(PROG_LOAD, EINVAL)], "list --count 1").output();
    refused(&output.expect("deny_bpf"), &["this kernel does not take"]);
    let output = denied(&program, &[(MAP_CREATE, EPERM)], "list --count 1").output();
    refused(&output.expect("deny_bpf"), &["this kernel does not take"]);
}

#[test]
fn a_detach_that_fails_once_is_reported_and_retried() {
    let program = Chadthrottle::new();
    let wish = (PROG_DETACH, 1, EPERM);
    let output = failing_nth(&program, wish, "list --count 1 --attach legacy").output();
    let output = output.expect("chadthrottle");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("could not be detached") && text.contains("once more"),
        "{text}"
    );
    assert_nothing_left();
}

#[test]
fn a_detach_that_keeps_failing_is_journalled_and_done_by_the_next_start() {
    let program = Chadthrottle::new();
    let arguments = "list --count 1 --attach legacy";
    let output = denied(&program, &[(PROG_DETACH, EPERM)], arguments)
        .output()
        .expect("deny_bpf");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("could not be detached"), "{text}");
    assert_eq!(
        attached(&top()),
        OURS,
        "under the filter nobody can have detached them"
    );
    assert!(program.journal().contains("cgroup_inet_egress"));

    let next = program.output("list --count 1 --attach legacy");
    let text = String::from_utf8_lossy(&next.stderr);
    assert!(next.status.success(), "{text}");
    assert_eq!(
        text.matches("left by an earlier run: detached").count(),
        OURS.len(),
        "{text}"
    );
    assert_nothing_left();
    assert_eq!(program.journal(), "");
}

#[test]
fn a_journal_that_cannot_be_written_is_an_error_before_anything_is_attached() {
    let program = Chadthrottle::new();
    std::os::unix::fs::symlink("/dev/full", program.state().join("attachments.jsonl")).unwrap();
    for attach in ["link", "legacy"] {
        let output = program.output(&format!("list --count 1 --attach {attach}"));
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains("attachments.jsonl") && text.contains("--state-dir"),
            "{text}"
        );
        assert_nothing_left();
    }
}
