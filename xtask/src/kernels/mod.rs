//! `kernels`: the committed kernel programs on the kernels that users have, each booted in a
//! virtual machine with nothing but the program, busybox and a script.

mod image;
mod machine;

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};

use crate::{
    packages,
    shell::{cargo, find, root, run},
};

/// The oldest that the program is for.
const OLDEST: &str = "5.10";
/// Whatever release that is when it is fetched.
const NEWEST: &str = "newest";

/// Kernels by release, and the Debian suite whose archive has them.
const KERNELS: [(&str, &str); 4] = [
    (OLDEST, "bullseye"),
    ("6.1", "bookworm"),
    ("6.12", "trixie"),
    (NEWEST, "sid"),
];

/// A tool, and the package that has it.
const TOOLS: [(&str, &str); 4] = [
    ("busybox", "busybox-static"),
    ("cpio", "cpio"),
    ("gzip", "gzip"),
    ("qemu-system-x86_64", "qemu-system-x86"),
];

/// Emulated, since not every machine can virtualise: it takes minutes, and must end.
const PATIENCE: Duration = Duration::from_secs(600);

/// So often a machine boots again that the emulator has brought down.
const RETRIES: usize = 3;

/// Boots each kernel that is named, or all, and fails where any check in it does.
pub fn kernels(releases: &[String]) -> anyhow::Result<()> {
    for release in releases {
        if !KERNELS.iter().any(|(known, _)| known == release) {
            let known: Vec<_> = KERNELS.iter().map(|(release, _)| *release).collect();
            bail!("no such kernel: {release}; there are {}", known.join(", "));
        }
    }
    let chosen = KERNELS.iter().filter(|(known, _)| {
        releases.is_empty() || releases.iter().any(|release| release == known)
    });
    let missing: Vec<_> = TOOLS
        .iter()
        .filter(|(tool, _)| find(tool).is_none())
        .map(|(_, package)| *package)
        .collect();
    if !missing.is_empty() {
        packages::install(&missing)?;
    }
    let programs = build()?;
    for (release, suite) in chosen {
        println!("-- Linux {release}");
        let directory = root().join("target/kernels").join(release);
        let kernel = image::fetch(release, suite, &directory)
            .with_context(|| format!("getting Linux {release}"))?;
        let mut console = machine::boot(&kernel, &programs, &directory, PATIENCE)?;
        for _ in 0..RETRIES {
            if !ran_stale_code(&console) {
                break;
            }
            println!("   the emulator ran code that the kernel had replaced; once more");
            console = machine::boot(&kernel, &programs, &directory, PATIENCE)?;
        }
        if let Err(error) = judge(&console) {
            // As a kernel test that failed beside others is tried again.
            println!("{error:#}\n-- Linux {release}, again");
            let console = machine::boot(&kernel, &programs, &directory, PATIENCE)?;
            judge(&console).with_context(|| format!("on Linux {release}, twice"))?;
        }
    }
    Ok(())
}

/// Boots the oldest kernel: new ones are under the kernel tests.
pub fn oldest() -> anyhow::Result<()> {
    kernels(&[OLDEST.to_owned()])
}

/// Static, so that a machine needs no libraries: the program and its load.
fn build() -> anyhow::Result<[std::path::PathBuf; 2]> {
    let target = root().join("target/static");
    let triple = "x86_64-unknown-linux-gnu";
    run(cargo()
        .args(["build", "--locked", "--quiet", "--package", "chadthrottle"])
        .args(["--bin", "chadthrottle", "--example", "load"])
        .args(["--target", triple])
        .env("CARGO_TARGET_DIR", &target)
        .env(
            "RUSTFLAGS",
            "-C target-feature=+crt-static -C strip=symbols",
        ))?;
    let built = target.join(triple).join("debug");
    Ok([built.join("chadthrottle"), built.join("examples/load")])
}

/// Reads what the machine has said: a line for each check, and one at the end.
fn judge(console: &str) -> anyhow::Result<()> {
    let lines = || console.lines().map(str::trim);
    let mut passed = 0;
    let mut failed = Vec::new();
    for line in lines() {
        if let Some(check) = line.strip_prefix("PASSED ") {
            println!("   {check}");
            passed += 1;
        } else if line.starts_with("FAILED ") {
            failed.push(line.to_owned());
        }
    }
    if !failed.is_empty() || passed == 0 || !lines().any(|line| line == "END OF CHECKS") {
        // What failed stands last, where somebody looks first.
        bail!(
            "{}\n{passed} checks passed; {}",
            tail(console),
            match failed.as_slice() {
                [] => "it did not come to the end of them".to_owned(),
                failed => failed.join("; "),
            }
        );
    }
    Ok(())
}

/// Whether a processor met the breakpoint that a kernel puts where it is replacing an instruction, after the kernel
/// had taken it away: emulators with a thread for each processor may still have the old code. It happens where a
/// kernel switches a static key, mostly while it boots. Nothing of ours has breakpoints.
fn ran_stale_code(console: &str) -> bool {
    console.lines().any(|line| line.contains("int3: 0000 [#"))
}

fn tail(console: &str) -> String {
    let lines: Vec<&str> = console.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// The script that the machine runs.
fn init() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/kernels/init.sh"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_boots_again_for_the_emulators_faults_only() {
        assert!(ran_stale_code(
            "[    1.141728] Oops: int3: 0000 [#2] SMP NOPTI\r\n[    1.142118] Kernel panic"
        ));
        assert!(!ran_stale_code(
            "PASSED one\n[    9.1] BUG: kernel NULL pointer dereference\n[    9.2] Oops: 0000 [#1] SMP"
        ));
        assert!(!ran_stale_code("FAILED two\nEND OF CHECKS"));
    }
}
