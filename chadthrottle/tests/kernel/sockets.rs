//! What the kernel tells of connections: those of a process, and of a host.

use std::{ops::ControlFlow, path::Path};

use chadthrottle::{
    process::each_socket_of,
    sys::tcp::{self, TcpInfo},
};

use crate::lab::Lab;

/// Of its TCP sockets and others, one after the other; those that are none have nothing to tell.
pub fn infos(pid: u32) -> Vec<TcpInfo> {
    let mut infos = Vec::new();
    let _all = each_socket_of(Path::new("/proc"), pid, &mut 1_000, |socket| {
        infos.push(tcp::info(socket).unwrap_or_default());
        ControlFlow::Continue(())
    });
    infos
}

/// Whether windows may shrink on the limited side of the laboratory.
#[track_caller]
pub fn windows_may_shrink(lab: &Lab) -> bool {
    let output = Lab::command(&lab.client, "cat")
        .arg("/proc/sys/net/ipv4/tcp_shrink_window")
        .output()
        .expect("cat");
    match output.stdout.as_slice() {
        b"0\n" => false,
        b"1\n" => true,
        _ => panic!("{output:?}"),
    }
}
