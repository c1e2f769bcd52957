//! For the tests: runs a program under a seccomp filter that answers commands of bpf(2) with an
//! error, as kernels without them and sandboxes do.
//!
//! Usage: `deny_bpf COMMAND=ERRNO[,COMMAND=ERRNO] PROGRAM [ARG…]`; COMMAND is a number of
//! `enum bpf_cmd`, or `all`.

use std::{error::Error, os::unix::process::CommandExt, process::Command};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Number of bpf(2), which differs by architecture.
const SYS_BPF: i64 = libc::SYS_bpf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let denied = arguments.next().ok_or("no commands are given")?;
    let program = arguments.next().ok_or("no program is given")?;
    for denial in denied.to_str().ok_or("not UTF-8")?.split(',') {
        let (command, errno) = denial.split_once('=').ok_or("COMMAND=ERRNO")?;
        // Each its own filter: the kernel takes the strictest answer of all.
        seccompiler::apply_filter(&filter(command, errno.parse()?)?)?;
    }
    Err(Command::new(program).args(arguments).exec().into())
}

fn filter(command: &str, errno: u32) -> Result<BpfProgram, Box<dyn Error>> {
    let rules = if command == "all" {
        Vec::new()
    } else {
        let number = command.parse()?;
        let is_command =
            SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, number)?;
        vec![SeccompRule::new(vec![is_command])?]
    };
    let filter = SeccompFilter::new(
        [(SYS_BPF, rules)].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(filter.try_into()?)
}
