//! Which part of the program may know which: a module imports those that stand before it here, and
//! never one that comes after.

#[path = "documents/sources.rs"]
mod sources;

use std::{fs, path::Path};

use sources::sources;

/// From the kernel's side to the user's. Those of one line do not know each other.
const LAYERS: [&[&str]; 17] = [
    &["sys", "units", "text", "restraint"],
    &["model", "output"],
    &["process"],
    &["rules"],
    &["backends", "protocol", "service"],
    &["reversal"],
    &["levers"],
    &["client", "config"],
    &["engine"],
    &["server"],
    &["error"],
    &["session"],
    &["cli", "doctor"],
    &["logging"],
    &["tui"],
    &["commands"],
    &["main", "lib"],
];

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&module))
        .unwrap_or_else(|| panic!("{module} has no place in LAYERS"))
}

/// The modules that the text names after `crate::`, in a path or in a list of imports.
fn imports(text: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && c.is_alphabetic() => {
                    found.push(word(&list[at..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn imports_go_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in files {
        let path = file.strip_prefix(&root).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        // What is compiled for tests only may look from everywhere.
        if name == "tests" || name.ends_with("_tests") || ["fixtures", "testing"].contains(&name) {
            continue;
        }
        let first = path.components().next().unwrap().as_os_str();
        let module = first.to_str().unwrap().trim_end_matches(".rs");
        let text = fs::read_to_string(&file).unwrap();
        let code: String = text
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap()
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .flat_map(|line| [line, "\n"])
            .collect();
        assert!(
            !code.contains("super::super::super"),
            "{}: name it from the crate's root",
            path.display()
        );
        for import in imports(&code) {
            seen += 1;
            if import != module && layer(&import) >= layer(module) {
                wrong.push(format!("{}: crate::{import}", path.display()));
            }
        }
    }
    assert!(seen > 200, "only {seen} imports were found");
    assert!(wrong.is_empty(), "against the order:\n{}", wrong.join("\n"));
}

#[test]
fn imports_are_found_in_paths_and_lists() {
    let text = "use crate::{\n    a::{b, c},\n    d, e::f};\ncrate::g::h(); pub(crate) x";
    assert_eq!(imports(text), ["a", "d", "e", "g"]);
}
