//! `--version`: which build this is.

use crate::error::Error;

/// Hashes of the kernel programs and of what they were built from, as `cargo xtask build-ebpf` writes them.
const HASHES: &str = include_str!("../../ebpf/chadthrottle.bpf.sha256");

/// What build.rs has found out: `None` where the sources are no repository, or there is no git.
const COMMIT: Option<&str> = option_env!("CHADTHROTTLE_COMMIT");
const NOT_RECORDED: &str = "not recorded in this build";

/// Prints the version and, where asked to, what else tells builds apart.
///
/// # Errors
/// Where it cannot be written.
pub fn run(verbose: bool) -> Result<(), Error> {
    super::print(text(verbose).as_bytes())
}

fn text(verbose: bool) -> String {
    let mut text = format!("chadthrottle {}\n", env!("CARGO_PKG_VERSION"));
    if verbose {
        text += &format!("commit   {}\n", COMMIT.unwrap_or(NOT_RECORDED));
        for line in HASHES.lines() {
            let (name, hash) = line.split_once(' ').unwrap_or((line, ""));
            text += &format!("{name:<8} sha256 {hash}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Command};

    use super::*;

    #[test]
    fn the_commit_is_the_one_that_is_checked_out() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut git = Command::new("git");
        git.current_dir(sources).args(["rev-parse", "HEAD"]);
        let expected = match git.output() {
            Ok(said) if said.status.success() && sources.join(".git").exists() => {
                String::from_utf8(said.stdout).unwrap()
            }
            _ => NOT_RECORDED.to_owned(),
        };
        let recorded = COMMIT.unwrap_or(NOT_RECORDED);
        assert_eq!(recorded.trim_end_matches("-dirty"), expected.trim_end());
    }

    #[test]
    fn verbose_adds_the_commit_and_both_hashes() {
        assert_eq!(text(false).lines().count(), 1);
        let verbose = text(true);
        let starts: Vec<_> = verbose
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(starts, ["chadthrottle", "commit", "sources", "object"]);
        for line in verbose.lines().skip(2) {
            assert_eq!(line.rsplit(' ').next().unwrap().len(), 64, "{line}");
        }
    }
}
