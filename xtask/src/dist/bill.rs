//! The bill of materials, in the format of CycloneDX: what the program and the kernel programs in it are compiled from,
//! macros included.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::shell::{cargo, output};

/// What is compiled, and what for. The features are the default ones, as of the packages.
const COMPILED: [(&str, &str); 2] = [
    ("chadthrottle", "x86_64-unknown-linux-gnu"),
    ("chadthrottle-ebpf", "bpfel-unknown-none"),
];

/// The program itself.
const PROGRAM: &str = COMPILED[0].0;

/// Licences by name and version.
type Packages = BTreeMap<(String, String), String>;

/// Writes it.
pub fn write(into: &Path) -> anyhow::Result<()> {
    let mut packages = Packages::new();
    for (package, target) in COMPILED {
        packages.extend(reached(&tree(package, target)?)?);
    }
    let bill = bill(&packages)?;
    let path = into.join("chadthrottle.cdx.json");
    fs::write(&path, serde_json::to_string_pretty(&bill)? + "\n")
        .with_context(|| path.display().to_string())
}

/// What cargo would compile, a line each. `cargo metadata` knows the whole workspace only, with features that nothing
/// but tests asks for.
fn tree(package: &str, target: &str) -> anyhow::Result<String> {
    let mut tree = cargo();
    tree.args(["tree", "--locked", "--package", package]);
    tree.args(["--target", target, "--edges", "normal"]);
    tree.args(["--prefix", "none", "--format", "{p}|{l}"]);
    output(&mut tree).with_context(|| format!("cargo tree of {package}"))
}

/// Reads those lines: `name v1.2.3 (its directory) (proc-macro)|licence (*)`, where only the name, the version and the
/// licence are always there. What comes more than once has the mark at its end.
fn reached(tree: &str) -> anyhow::Result<Packages> {
    let mut packages = Packages::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let read = || {
            let (package, license) = line.split_once('|')?;
            let mut words = package.split(' ');
            let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
            let license = license.strip_suffix(" (*)").unwrap_or(license);
            Some(((name.to_owned(), version.to_owned()), expression(license)))
        };
        let (package, license) =
            read().with_context(|| format!("what does cargo tree mean by '{line}'?"))?;
        if license.is_empty() {
            bail!("{} names no licence", package.0);
        }
        packages.insert(package, license);
    }
    Ok(packages)
}

/// A licence as SPDX has it: cargo once took `MIT/Apache-2.0` for a choice.
fn expression(license: &str) -> String {
    let choices: Vec<_> = license.split('/').map(str::trim).collect();
    choices.join(" OR ")
}

fn bill(packages: &Packages) -> anyhow::Result<Value> {
    let (ours, others): (Vec<_>, Vec<_>) = packages
        .iter()
        .partition(|((name, _), _)| name.as_str() == PROGRAM);
    let [ours] = ours.as_slice() else {
        bail!("there is not one {PROGRAM}");
    };
    let components: Vec<_> = others.into_iter().map(component).collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component(*ours) },
        "components": components,
    }))
}

fn component(((name, version), license): (&(String, String), &String)) -> Value {
    json!({
        "type": if name == PROGRAM { "application" } else { "library" },
        "name": name,
        "version": version,
        "purl": format!("pkg:cargo/{name}@{version}"),
        "licenses": [{ "expression": license }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(bill: &Value) -> Vec<&str> {
        let components = bill["components"].as_array().unwrap();
        let names = components.iter().map(|it| it["name"].as_str().unwrap());
        names.collect()
    }

    #[test]
    fn each_package_of_the_trees_is_in_it_once_but_the_program() {
        let program = "chadthrottle v0.2.0 (/some where/chadthrottle)|MIT\nused v1.0.0|MIT\n\
                       macros v2.0.0+of.c (proc-macro)|Apache-2.0/MIT\nused v1.0.0|MIT (*)\n";
        let kernel = "chadthrottle-ebpf v0.2.0 (/k)|MIT OR GPL-2.0-only\n\nused v1.0.0|MIT\nused v0.9.0|MIT\n";
        let mut packages = reached(program).unwrap();
        packages.extend(reached(kernel).unwrap());
        let bill = bill(&packages).unwrap();
        assert_eq!(
            names(&bill),
            ["chadthrottle-ebpf", "macros", "used", "used"]
        );
        assert_eq!(bill["metadata"]["component"]["version"], "0.2.0");
        assert_eq!(bill["components"][1]["version"], "2.0.0+of.c");
        assert_eq!(
            bill["components"][1]["licenses"][0]["expression"],
            "Apache-2.0 OR MIT"
        );
        assert_eq!(bill["components"][3]["licenses"][0]["expression"], "MIT");
    }

    #[test]
    fn what_no_licence_is_named_for_is_refused() {
        assert!(reached("used v1.0.0|").is_err());
        assert!(reached("used").is_err());
    }

    #[test]
    fn licences_are_expressions_of_spdx() {
        for (license, wanted) in [
            ("MIT/Apache-2.0", "MIT OR Apache-2.0"),
            ("Apache-2.0 / MIT", "Apache-2.0 OR MIT"),
            (
                "(MIT OR Apache-2.0) AND Unicode-3.0",
                "(MIT OR Apache-2.0) AND Unicode-3.0",
            ),
        ] {
            assert_eq!(expression(license), wanted);
        }
    }

    #[test]
    fn what_only_tests_need_is_not_in_the_program_and_what_the_kernel_programs_need_is() {
        let written = tempfile::tempdir().unwrap();
        write(written.path()).unwrap();
        let path = written.path().join("chadthrottle.cdx.json");
        let bill: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let names = names(&bill);
        for needed in ["aya", "aya-ebpf", "chadthrottle-ebpf", "ratatui", "zbus"] {
            assert!(names.contains(&needed), "{needed} is missing");
        }
        for unneeded in ["insta", "proptest", "vt100", "termwiz", "phf", "regex"] {
            assert!(!names.contains(&unneeded), "{unneeded} is in it");
        }
        let licenses = bill["components"].as_array().unwrap().iter();
        let mut licenses = licenses.map(|it| it["licenses"][0]["expression"].as_str().unwrap());
        assert!(licenses.all(|it| !it.contains('/') && !it.is_empty()));
    }
}
