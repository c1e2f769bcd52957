//! Changes to files, and what they leave as it was.

use super::*;
use crate::{process::Accounts, rules::read};
use std::{path::Path, sync::Arc};

const FILE: &str = "\
# Ours.
[policy]
profile = \"hotel\" # at night

# The backup is slow.
[[rule]]
name = \"backup\"   # of all
match = [ \"name:restic\" ]
down = \"5MB/s\" # megabytes

[profile.hotel]
rules = [\"backup\", \"b\"]

# Second.
[[rule]]
name = 'b'
match = 'name:b'
block = 'both'
# The end.
";

fn name(name: &str) -> String {
    name.to_owned()
}

#[test]
fn a_change_leaves_the_rest_of_the_file_as_it_is() {
    let enable = |enabled| Edit::Enable {
        name: name("backup"),
        enabled,
    };
    let disabled = enable(false).apply(FILE).unwrap();
    let expected = FILE.replace("# megabytes\n", "# megabytes\nenabled = false\n");
    assert_eq!(disabled, expected);
    assert_eq!(enable(true).apply(&disabled).unwrap(), FILE);
    let change = Edit::Change {
        name: name("backup"),
        down: Some(name("1MB/s")),
        up: None,
        block: None,
        reject: true,
        scope: None,
    };
    let changed = change.apply(FILE).unwrap();
    assert_eq!(changed, FILE.replace("5MB/s", "1MB/s"));
    // Where nothing is blocked any more, nothing is refused.
    let refusing = FILE.replace("down = \"5MB/s\"", "block = \"down\"\nreject = true");
    let changed = change.apply(&refusing).unwrap();
    assert!(!changed.contains("reject"), "{changed}");
    let change = Edit::Change {
        name: name("backup"),
        down: None,
        up: None,
        block: Some(name("down")),
        reject: true,
        scope: None,
    };
    assert_eq!(change.apply(&refusing).unwrap(), refusing);
    let profile = |to: Option<&str>| {
        let name = to.map(str::to_owned);
        Edit::Profile { name }.apply(FILE).unwrap()
    };
    assert_eq!(
        profile(Some("train")),
        FILE.replace("\"hotel\" #", "\"train\" #")
    );
    assert_eq!(
        profile(None),
        FILE.replace("profile = \"hotel\" # at night\n", "")
    );
}

#[test]
fn rules_move_with_their_comments_and_go_with_what_names_them() {
    let moved = Edit::Move {
        name: name("b"),
        to: 1,
    };
    let moved = moved.apply(FILE).unwrap();
    let order: Vec<usize> = [
        "# Ours.",
        "# Second.",
        "name = 'b'",
        "# The backup",
        "[profile.hotel]",
        "# The end.",
    ]
    .iter()
    .map(|text| {
        moved
            .find(text)
            .unwrap_or_else(|| panic!("{text}: {moved}"))
    })
    .collect();
    assert!(order[1] < order[2] && order[2] < order[3], "{moved}");
    assert_eq!(moved.len(), FILE.len(), "{moved}");
    let back = Edit::Move {
        name: name("b"),
        to: 2,
    };
    assert_eq!(back.apply(&moved).unwrap(), FILE);
    let removed = Edit::Remove { name: name("b") }.apply(FILE).unwrap();
    assert!(
        !removed.contains("name:b") && removed.contains("rules = [\"backup\"]"),
        "{removed}"
    );
}

#[test]
fn the_head_of_a_file_stays_where_it_is() {
    let text = "# Ours.\n\n# Of a.\n[[rule]]\nname = 'a'\n\n# Of b.\n[[rule]]\nname = 'b'\n";
    let edited = |edit: Edit| edit.apply(text).unwrap();
    let removed = edited(Edit::Remove { name: name("a") });
    assert!(removed.starts_with("# Ours.\n\n"), "{removed}");
    assert!(
        !removed.contains("Of a") && removed.contains("# Of b.\n[[rule]]"),
        "{removed}"
    );
    let moved = edited(Edit::Move {
        name: name("b"),
        to: 1,
    });
    let expected = "# Ours.\n\n# Of b.\n[[rule]]\nname = 'b'\n\n# Of a.\n[[rule]]\nname = 'a'\n";
    assert_eq!(moved, expected);
    let switched = "[[rule]]\nname = 'a'\nenabled = false # until Monday\n";
    let enable = Edit::Enable {
        name: name("a"),
        enabled: true,
    };
    let enabled = enable.apply(switched).unwrap();
    assert_eq!(enabled, switched.replace("false", "true"));
}

#[test]
fn what_is_added_is_read_the_same() {
    let new = NewRule {
        name: name("a \u{e4}\"'#"),
        targets: vec![name("name:a*+!user:0"), name("exe:/a \\ b")],
        down: Some(name("5MB/s")),
        up: None,
        block: Some(name("up")),
        reject: true,
        scope: Some(name("internet")),
        share: Some(name("process")),
        when: vec![name("Mon-Fri 08:00-18:00")],
        on: vec![name("interface:tun*"), name("interface:wlan[0-9]")],
    };
    for (before, first) in [
        ("", false),
        (FILE, false),
        (FILE, true),
        ("# only words", true),
    ] {
        let add = Edit::Add {
            rule: new.clone(),
            first,
        };
        let text = add.apply(before).unwrap();
        for line in before.lines() {
            assert!(text.contains(line), "{text}");
        }
        let file = read::read(&text, &Arc::from(Path::new("x")), &mut Accounts::default()).unwrap();
        let place = if first { 0 } else { file.rules.len() - 1 };
        let rule = &file.rules[place];
        assert_eq!(&*rule.name, new.name);
        let targets: Vec<String> = rule.targets.iter().cloned().map(Into::into).collect();
        assert_eq!(targets, new.targets);
        assert!(rule.limit.resets());
        assert_eq!(rule.when.texts().collect::<Vec<_>>(), new.when);
        assert_eq!(rule.on.texts().collect::<Vec<_>>(), new.on);
        let error = add.apply(&text).unwrap_err();
        assert_eq!(error, EditError::Exists(new.name.clone()));
        assert!(error.to_string().contains("remove it first"), "{error}");
    }
}

#[test]
fn who_gives_no_name_learns_what_one_is_and_no_terminal_takes_it_for_its_own() {
    let rule = NewRule {
        name: "a\u{1b}b".to_owned(),
        ..NewRule::default()
    };
    let refused = Edit::Add { rule, first: false }.apply("").unwrap_err();
    let words = refused.to_string();
    assert!(
        words.starts_with("'a\\u{1b}b' cannot be a name; allowed: 1 to 64 "),
        "{words}"
    );
    assert!(words.ends_with("and no space at its ends"), "{words}");
}

#[test]
fn what_cannot_be_done_changes_nothing() {
    let missing = name("none");
    for edit in [
        Edit::Remove {
            name: missing.clone(),
        },
        Edit::Enable {
            name: missing.clone(),
            enabled: true,
        },
        Edit::Move {
            name: missing,
            to: 1,
        },
        Edit::Move {
            name: name("b"),
            to: 3,
        },
        Edit::Move {
            name: name("b"),
            to: 0,
        },
        Edit::Add {
            rule: NewRule::default(),
            first: false,
        },
    ] {
        assert!(edit.apply(FILE).is_err(), "{edit:?}");
    }
    let edit = Edit::Profile { name: None };
    assert!(matches!(edit.apply("= 1"), Err(EditError::Broken(_))));
    assert!(edit.apply("policy = 1").is_err());
}

/// Line ends of other systems, and a mark at the beginning of the file.
#[test]
fn lines_end_as_they_did() {
    let disable = Edit::Enable {
        name: name("b"),
        enabled: false,
    };
    let plain = disable.apply(FILE).unwrap();
    let returns = |text: &str| text.replace('\n', "\r\n");
    assert_eq!(disable.apply(&returns(FILE)).unwrap(), returns(&plain));
    let marked = format!("\u{feff}{}", returns(FILE));
    let expected = format!("\u{feff}{}", returns(&plain));
    assert_eq!(disable.apply(&marked).unwrap(), expected);
    for edit in [
        Edit::Remove {
            name: name("backup"),
        },
        Edit::Move {
            name: name("b"),
            to: 1,
        },
        Edit::Add {
            rule: NewRule {
                name: name("c"),
                targets: vec![name("name:c")],
                down: Some(name("1MB")),
                ..NewRule::default()
            },
            first: true,
        },
    ] {
        let plain = edit.apply(FILE).unwrap();
        assert_eq!(edit.apply(&returns(FILE)).unwrap(), returns(&plain));
    }
    // Of several kinds, each line keeps its own.
    let mixed = FILE.replacen('\n', "\r\n", 3);
    assert_eq!(
        disable.apply(&mixed).unwrap(),
        plain.replacen('\n', "\r\n", 3)
    );
}
