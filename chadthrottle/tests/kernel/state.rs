//! The state directory: nobody else's, whatever the umask and whoever made it.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    audit::{OURS, assert_nothing_left, attached, top},
    program::{Chadthrottle, Running, eventually},
};

/// Whom the files of others belong to.
const SOMEBODY: u32 = 65_534;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").mode() & 0o7777
}

fn list(state: &Path) -> Command {
    let mut command = Command::new(Chadthrottle::path());
    command.arg("--state-dir").arg(state);
    command.args(["list", "--count", "1", "--attach", "legacy"]);
    command
}

#[track_caller]
fn refuses(state: &Path, word: &str) {
    let output = list(state).output().expect("chadthrottle");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(word) && text.contains("--state-dir"),
        "{text}"
    );
    assert_nothing_left();
}

#[test]
fn nobody_else_can_hold_the_lock_or_read_the_journal() {
    let root = tempfile::tempdir().expect("a directory");
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
    for before in [None, Some(0o755)] {
        let state = root.path().join(format!("{before:?}"));
        if let Some(before) = before {
            fs::create_dir(&state).expect("a directory");
            fs::set_permissions(&state, fs::Permissions::from_mode(before)).expect("its mode");
            // As earlier versions made it.
            let lock = state.join("engine.lock");
            fs::write(&lock, "").expect("a lock");
            fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).expect("its mode");
        }
        let mut command = Command::new("sh");
        let script = r#"umask 0; exec "$0" --state-dir "$1" --cgroup "$2" list --attach legacy"#;
        command.args(["-c", script]).arg(Chadthrottle::path());
        let engine = command.arg(&state).arg(top()).stdout(Stdio::null()).spawn();
        let mut engine = Running(engine.expect("sh(1)"));
        eventually("attached", Duration::from_secs(15), || {
            attached(&top()) == OURS
        });
        assert_eq!(mode(&state), before.unwrap_or(0o700));
        assert_eq!(mode(&state.join("engine.lock")), 0o600);
        assert_eq!(mode(&state.join("attachments.jsonl")), 0o600);
        engine.signal("-TERM");
        engine.wait(Duration::from_secs(3));
        let holder = Command::new("setpriv")
            .args(["--reuid", &SOMEBODY.to_string(), "--clear-groups"])
            .args(["flock", "--nonblock"])
            .arg(state.join("engine.lock"))
            .arg("true")
            .stderr(Stdio::null())
            .status();
        assert!(!holder.expect("flock(1)").success());
    }
    assert_nothing_left();
}

#[test]
fn a_directory_that_others_own_or_can_write_is_refused_and_links_are_not_followed() {
    let root = tempfile::tempdir().expect("a directory");
    let precious = root.path().join("precious");
    let state = root.path().join("state");
    let names = ["engine.lock", "attachments.jsonl"];
    fs::create_dir(&state).expect("a directory");
    for name in names {
        fs::write(&precious, "precious\n").expect("a file");
        let link = state.join(name);
        symlink(&precious, &link).expect("a link");
        refuses(&state, "a link");
        assert_eq!(fs::read_to_string(&precious).expect("it"), "precious\n");
        fs::remove_file(&link).expect("removing it");
    }
    chown(&state, Some(SOMEBODY), None).expect("chown(2)");
    refuses(&state, "belongs to user 65534");
    chown(&state, Some(0), None).expect("chown(2)");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o1777)).expect("its mode");
    refuses(&state, "others may write");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).expect("its mode");
    assert!(
        list(&state)
            .output()
            .expect("chadthrottle")
            .status
            .success()
    );
    assert_nothing_left();
}
