//! Which commit is built, for `chadthrottle --version --verbose`.

use std::{env, fs, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CHADTHROTTLE_COMMIT");
    let package = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let package = Path::new(&package);
    // `cargo xtask dist` says whether what it builds has been changed since.
    let commit = env::var("CHADTHROTTLE_COMMIT")
        .ok()
        .or_else(|| packed(package))
        .or_else(|| checked_out(package));
    if let Some(commit) = commit {
        println!("cargo::rustc-env=CHADTHROTTLE_COMMIT={commit}");
    }
}

/// What `cargo package` has noted, where a registry has the sources from.
fn packed(package: &Path) -> Option<String> {
    let noted = fs::read_to_string(package.join(".cargo_vcs_info.json")).ok()?;
    let (_, rest) = noted.split_once("\"sha1\": \"")?;
    let (commit, _) = rest.split_once('"')?;
    let changed = noted.contains("\"dirty\": true");
    Some(format!("{commit}{}", if changed { "-dirty" } else { "" }))
}

/// What git says, where the sources are a repository and not a part of somebody else's.
fn checked_out(package: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .current_dir(package)
            .args(arguments)
            .output()
            .ok()?;
        let said = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| said.trim_end().to_owned())
    };
    let top = fs::canonicalize(git(&["rev-parse", "--show-toplevel"])?).ok()?;
    if top != fs::canonicalize(package.parent()?).ok()? {
        return None;
    }
    // Git adds a line to its log of HEAD whenever that moves; where it keeps none, all references are looked at.
    let watch = |name: &str| {
        let path = git(&["rev-parse", "--git-path", name])?;
        let path = package.join(path);
        path.exists()
            .then(|| println!("cargo::rerun-if-changed={}", path.display()))
    };
    if watch("logs/HEAD").is_none() {
        for name in ["HEAD", "packed-refs", "refs"] {
            watch(name);
        }
    }
    git(&["rev-parse", "HEAD"])
}
