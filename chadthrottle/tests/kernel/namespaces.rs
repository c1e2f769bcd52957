//! Where the programs see other ids than /proc shows, or nothing of a target: refused, in words.

use std::{
    process::{Command, Output, Stdio},
    time::Duration,
};

use crate::{
    audit::{Cgroup, OURS, assert_nothing_left, attached, cgroup2, top},
    program::{Chadthrottle, Running, eventually},
};

/// That command inside of another one.
fn inside(outer: &mut Command, inner: &Command) -> Output {
    outer
        .arg(inner.get_program())
        .args(inner.get_args())
        .output()
        .expect("unshare(1)")
}

fn in_pid_namespace(inner: &Command) -> Output {
    inside(
        Command::new("unshare").args(["--pid", "--fork", "--mount-proc"]),
        inner,
    )
}

/// What it said, on either way out.
fn words(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|text| String::from_utf8_lossy(text))
        .concat()
}

#[test]
fn in_a_pid_namespace_it_refuses_and_says_what_to_do() {
    let program = Chadthrottle::new();
    for arguments in [
        "run --root --down 1MB -- true",
        "limit 1 --down 1MB --for 1s",
        "list --count 1",
        "cleanup",
        "doctor",
    ] {
        let output = in_pid_namespace(&program.command(arguments));
        let words = words(&output);
        assert_eq!(output.status.code(), Some(4), "{arguments}: {words}");
        for word in ["PID namespace", "on the host"] {
            assert!(words.contains(word), "{arguments}: {words}");
        }
        assert!(!words.contains("limits will work"), "{words}");
    }
    assert_nothing_left();
}

/// The program in a cgroup namespace that begins at `cgroup`, with its own mount of cgroup2.
fn in_cgroup_namespace(program: &Chadthrottle, cgroup: &Cgroup, arguments: &str) -> Output {
    let script = r#"
        echo $$ > "$1/cgroup.procs" || exit 99
        mount=$2
        shift 2
        exec unshare --cgroup --mount sh -c '
            umount -l "$0" && mount -t cgroup2 none "$0" && exec "$@"' "$mount" "$@""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", &cgroup.0, &cgroup2()]);
    inside(&mut command, &program.command(arguments))
}

#[test]
fn in_a_cgroup_namespace_it_limits_what_is_inside_and_refuses_what_is_not() {
    let program = Chadthrottle::new();
    let cgroup = Cgroup::new("namespace");
    let outside = Running(Command::new("sleep").arg("60").spawn().expect("sleep(1)"));

    let limit = |target: &str| {
        let arguments = format!("limit {target} --down 1MB --for 1s");
        let output = in_cgroup_namespace(&program, &cgroup, &arguments);
        (output.status.code(), words(&output))
    };
    let (code, said) = limit(&outside.pid().to_string());
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.contains("outside") && said.contains("on the host"),
        "{said}"
    );
    let (code, said) = limit("name:sleep");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("what matches name:sleep is outside") && !said.contains("limited: "),
        "{said}"
    );
    let output = in_cgroup_namespace(&program, &cgroup, "run --root --down 1MB -- true");
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));

    let output = in_cgroup_namespace(&program, &cgroup, "doctor");
    let said = words(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("outside of the cgroup namespace"), "{said}");
    assert_nothing_left();
}

#[test]
fn a_target_outside_of_the_cgroup_that_was_given_is_refused() {
    let program = Chadthrottle::new();
    let cgroup = Cgroup::new("given");
    let output = program.output(&format!(
        "limit {} --down 1MB --for 1s --cgroup {}",
        std::process::id(),
        cgroup.0
    ));
    assert_eq!(output.status.code(), Some(4), "{}", words(&output));
    assert!(words(&output).contains("without --cgroup"));
    assert_nothing_left();
}

#[test]
fn a_living_engine_that_cleanup_cannot_see_keeps_its_programs() {
    let program = Chadthrottle::new();
    let mut command = program.command("list --attach legacy");
    let engine = Running(command.stdout(Stdio::null()).spawn().expect("an engine"));
    let all_there = || attached(&top()) == OURS;
    eventually("attached", Duration::from_secs(15), all_there);
    let journal = program.journal();
    assert!(journal.contains("cgroup_inet_ingress"));

    in_pid_namespace(&program.command("cleanup"));
    // And where it is just hidden from our sight, with its guard.
    let script = r#"
        for pid in $1; do mount -t tmpfs none /proc/$pid || exit 99; done
        shift
        exec "$@""#;
    let mut pids = vec![engine.pid(), program.engine()];
    pids.extend(program.guards());
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let mut hidden = Command::new("unshare");
    hidden.args(["--mount", "sh", "-c", script, "sh", &pids.join(" ")]);
    let output = inside(&mut hidden, &program.command("cleanup"));
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert!(all_there(), "{:?}", attached(&top()));
    assert_eq!(program.journal(), journal);
    drop(engine);
    eventually("the guard has detached all", Duration::from_secs(3), || {
        attached(&top()).is_empty()
    });
    assert_nothing_left();
}
