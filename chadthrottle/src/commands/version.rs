//! `--version`: which build this is.

use crate::error::Error;

/// Hashes of the kernel programs and of what they were built from, as `cargo xtask build-ebpf` writes them.
const HASHES: &str = include_str!("../../ebpf/chadthrottle.bpf.sha256");

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
        // `cargo xtask dist` knows it; other builds do not ask git, so that no commit has all compiled anew.
        let commit = option_env!("CHADTHROTTLE_COMMIT");
        text += &format!(
            "commit   {}\n",
            commit.unwrap_or("not recorded in this build")
        );
        for line in HASHES.lines() {
            let (name, hash) = line.split_once(' ').unwrap_or((line, ""));
            text += &format!("{name:<8} sha256 {hash}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

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
