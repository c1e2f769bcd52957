//! The bill of materials: what is compiled into the program, in the format of CycloneDX.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::Context;
use serde_json::{Value, json};

use crate::shell::{cargo, output};

/// Writes it.
pub fn write(into: &Path) -> anyhow::Result<()> {
    let target = "x86_64-unknown-linux-gnu";
    let mut metadata = cargo();
    metadata.args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform",
        target,
    ]);
    let metadata = output(&mut metadata).context("cargo metadata")?;
    let bill = bill(&serde_json::from_str(&metadata)?)?;
    let path = into.join("chadthrottle.cdx.json");
    fs::write(&path, serde_json::to_string_pretty(&bill)? + "\n")
        .with_context(|| path.display().to_string())
}

/// What the metadata of cargo says of the program and all that it needs at run time.
fn bill(metadata: &Value) -> anyhow::Result<Value> {
    let packages = metadata["packages"].as_array().context("packages")?;
    let nodes = metadata["resolve"]["nodes"].as_array().context("nodes")?;
    let ours = packages
        .iter()
        .find(|package| package["name"] == "chadthrottle")
        .context("our package")?;
    let mut reached = BTreeSet::new();
    let mut next = vec![ours["id"].as_str().context("its id")?];
    while let Some(id) = next.pop() {
        if !reached.insert(id) {
            continue;
        }
        let node = nodes
            .iter()
            .find(|node| node["id"] == id)
            .context("a node")?;
        let needed = node["deps"].as_array().into_iter().flatten();
        // Without kind: neither for tests nor for building.
        let needed = needed.filter(|need| {
            need["dep_kinds"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
        });
        next.extend(needed.filter_map(|need| need["pkg"].as_str()));
    }
    let components: Vec<_> = packages
        .iter()
        .filter(|package| {
            package["id"]
                .as_str()
                .is_some_and(|id| reached.contains(id))
        })
        .filter(|package| package["name"] != "chadthrottle")
        .map(component)
        .collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component(ours) },
        "components": components,
    }))
}

fn component(package: &Value) -> Value {
    let (name, version) = (&package["name"], &package["version"]);
    let purl = format!(
        "pkg:cargo/{}@{}",
        name.as_str().unwrap_or_default(),
        version.as_str().unwrap_or_default()
    );
    json!({
        "type": if name == "chadthrottle" { "application" } else { "library" },
        "name": name,
        "version": version,
        "purl": purl,
        "licenses": [{ "expression": package["license"] }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_tests_need_is_not_in_the_program() {
        let package =
            |name: &str| json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT" });
        let need =
            |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "packages": (["chadthrottle", "used", "below", "tests", "other"].map(package)),
            "resolve": { "nodes": [
                { "id": "chadthrottle", "deps": [need("used", Value::Null), need("tests", json!("dev"))] },
                { "id": "used", "deps": [need("below", Value::Null)] },
                { "id": "below", "deps": [] },
                { "id": "tests", "deps": [] },
            ] },
        });
        let bill = bill(&metadata).unwrap();
        let names: Vec<_> = bill["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["used", "below"]);
    }
}
