//! The lever that docs/development.md adds, compiled.

use std::{fs, path::Path, process::Command};

use crate::shell::{cargo, root};

/// The block of code below the mark that names the file that it is for.
fn block<'a>(document: &'a str, file: &str) -> &'a str {
    let mark = format!("<!-- example: {file} -->\n```");
    let (_, rest) = document.split_once(&mark).expect("the mark");
    let (_, rest) = rest.split_once('\n').expect("a block");
    rest.split_once("\n```").expect("its end").0
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn the_lever_of_the_documents_compiles() {
    const MOD: &str = "chadthrottle-ebpf/src/levers/mod.rs";
    const EXAMPLE: &str = "chadthrottle-ebpf/src/levers/example.rs";
    let document = fs::read_to_string(root().join("docs/development.md")).unwrap();
    // Built for this machine: whether the verifier takes it is another matter.
    let workspace = tempfile::tempdir().unwrap();
    let at = |path: &str| workspace.path().join(path);
    for package in ["chadthrottle-common", "chadthrottle-ebpf"] {
        copy(&root().join(package), &at(package));
    }
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(root().join(file), at(file)).unwrap();
    }
    let manifest = fs::read_to_string(at("Cargo.toml")).unwrap();
    let mut manifest: toml::Table = manifest.parse().unwrap();
    let workspace_of = manifest["workspace"].as_table_mut().unwrap();
    for key in ["members", "default-members"] {
        let members = ["chadthrottle-common", "chadthrottle-ebpf"];
        workspace_of.insert(key.to_owned(), members.to_vec().into());
    }
    fs::write(at("Cargo.toml"), manifest.to_string()).unwrap();

    fs::write(at(EXAMPLE), block(&document, EXAMPLE)).unwrap();
    let levers = fs::read_to_string(at(MOD)).unwrap();
    let last = "    2: flight::Flight,\n";
    assert!(levers.contains(last), "another lever is the last");
    let line = format!("{last}{}\n", block(&document, MOD));
    let levers = levers
        .replace("mod flight;\n", "mod example;\nmod flight;\n")
        .replace(last, &line);
    fs::write(at(MOD), levers).unwrap();

    let mut check: Command = cargo();
    check.current_dir(workspace.path());
    check.args(["check", "--quiet", "--package", "chadthrottle-ebpf"]);
    check.env("RUSTFLAGS", "-C panic=abort --deny warnings");
    check.env("CARGO_TARGET_DIR", root().join("target/example"));
    let output = check.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
