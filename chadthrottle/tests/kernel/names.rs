//! Names of processes that are gone before anybody has read them.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    audit::assert_nothing_left,
    observer::Observer,
    program::{Chadthrottle, Running, eventually},
};

/// A child that says its id, becomes another program when it is told to, and ends.
const CHILD: &str = r#"
    sh -c 'echo $$; read go; exec "$0" -c "echo x > /dev/udp/127.0.0.1/9"' "$0"
    exit"#;

#[test]
fn a_process_that_ends_after_exec_has_the_name_of_what_it_became() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ct-short-life");
    fs::copy("/bin/bash", &path).expect("a copy of bash(1)");
    let program = Chadthrottle::new();
    let observer = Observer::of(program.command("list --json --all --interval 2s"));
    let child = Command::new("sh")
        .args(["-c", CHILD])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut parent = Running(child.expect("sh"));
    let mut pid = String::new();
    BufReader::new(parent.0.stdout.take().expect("its output"))
        .read_line(&mut pid)
        .expect("its id");
    let pid: u32 = pid.trim().parse().expect("its id");
    let name = || Some(observer.entries(pid).first()?["name"].clone());
    let limit = Duration::from_secs(10);
    eventually("it was read", limit, || name() == Some("sh".into()));
    let mut input = parent.0.stdin.take().expect("its input");
    input.write_all(b"\n").expect("telling it");
    eventually("it is named by what it became", limit, || {
        name() == Some("ct-short-life".into())
    });
    assert!(parent.wait(limit).success());
    observer.stop();
    assert_nothing_left();
}
