//! The kernel calls `sock_ops` programs for the headers of a connection while ours asks for it, and not after.

use std::{process::Command, time::Duration};

use crate::{
    audit::{assert_nothing_left, top},
    client::{Client, UNLIMITED},
    foreign::Foreign,
    program::{Chadthrottle, eventually},
};

/// The mark of the client's connection, which another tool's program sets when it is called.
#[track_caller]
fn mark(client: &Client) -> Option<u32> {
    let output = Command::new("nsenter")
        .args(["--net", "--target", &client.pid().to_string()])
        .args(["ss", "--tcp", "--extended", "--no-header", "--numeric"])
        .output()
        .expect("nsenter(1)");
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, mark) = text.split_once("fwmark:0x")?;
    u32::from_str_radix(mark.split_whitespace().next()?, 16).ok()
}

/// A flag on the socket has the kernel call every program above it. It outlives ours, unless somebody takes it
/// back (kernel 6.12).
#[test]
fn after_sigkill_no_program_is_called_for_headers_on_our_account() {
    let mut client = Client::start();
    client.connect("connect");
    let program = Chadthrottle::new();
    let mut other = Foreign::marking(77);
    other.attach(&top(), &["multi"]);
    client.ask("upload 0.2");
    assert_eq!(mark(&client), None, "without us nobody is called");
    let mut limit = program.spawn(&format!("limit {} --up 1MB", client.pid()));
    eventually("the limit holds", Duration::from_secs(5), || {
        client.options()[0].pacing != UNLIMITED
    });
    client.ask("upload 0.2");
    assert_eq!(mark(&client), Some(77), "with us everybody is");
    drop(other);
    program.kill_engine(&mut limit);
    eventually("the guard has put back", Duration::from_secs(5), || {
        client.options()[0].pacing == UNLIMITED
    });
    let mut other = Foreign::marking(78);
    other.attach(&top(), &["multi"]);
    client.ask("upload 0.2");
    assert_eq!(mark(&client), Some(77), "it was called once more");
    drop((client, other));
    assert_nothing_left();
}
