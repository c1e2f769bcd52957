//! Changes taken back, with and without others in between.

use super::*;
use crate::rules::edit::NewRule;

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
rules = [
    \"backup\", # the first
    \"b\",
]

[profile.train]
rules = 'b'

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

fn new(name: &str) -> NewRule {
    NewRule {
        name: name.to_owned(),
        targets: vec![format!("name:{name}")],
        down: Some("1MB".to_owned()),
        ..NewRule::default()
    }
}

/// One of each kind, of rule `b`, the new rule `c`, or the profile.
fn edits() -> Vec<Edit> {
    let add = |first| Edit::Add {
        rule: new("c"),
        first,
    };
    vec![
        add(true),
        add(false),
        Edit::Remove { name: name("b") },
        Edit::Change {
            name: name("b"),
            down: Some(name("1MB/s")),
            up: None,
            block: None,
            reject: false,
            scope: None,
        },
        Edit::Enable {
            name: name("b"),
            enabled: false,
        },
        Edit::Move {
            name: name("b"),
            to: 1,
        },
        Edit::Profile {
            name: Some(name("train")),
        },
        Edit::Profile { name: None },
    ]
}

fn made(edit: &Edit, text: &str) -> Change {
    Change {
        edit: edit.clone(),
        before: text.into(),
        after: edit.apply(text).unwrap().into(),
    }
}

#[test]
fn a_file_that_nobody_else_has_changed_is_as_it_was_to_the_byte() {
    let returns = FILE.replace('\n', "\r\n");
    for edit in edits() {
        for text in [FILE, returns.as_str()] {
            let change = made(&edit, text);
            assert_eq!(change.taken_back(&change.after).unwrap(), text, "{edit:?}");
        }
    }
    // The first rule of all.
    for text in ["", "# only words\n", "\n\n"] {
        let change = made(&edits()[0], text);
        assert_eq!(change.taken_back(&change.after).unwrap(), text);
    }
}

#[test]
fn what_others_have_changed_elsewhere_stays() {
    let others = Edit::Add {
        rule: new("theirs"),
        first: true,
    };
    for edit in edits() {
        let change = made(&edit, FILE);
        let now = others.apply(&change.after).unwrap();
        let back = change.taken_back(&now).unwrap();
        // In the order of a file that has never had the change.
        let expected = others.apply(FILE).unwrap();
        let lines = |text: &str| {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let (mut is, mut was) = (lines(&back), lines(&expected));
        if matches!(edit, Edit::Remove { .. }) {
            // Its profiles have it again, in a list of another form.
            let mut back = parsed(&back).unwrap();
            let naming = profiles(&mut back).map(|(_, named)| place_in(named, "b"));
            assert_eq!(naming.collect::<Vec<_>>(), [Some(1), Some(0)]);
            is.retain(|line| !line.contains("rules") && !line.starts_with(['"', ']']));
            was.retain(|line| !line.contains("rules") && !line.starts_with(['"', ']']));
        }
        is.sort();
        was.sort();
        assert_eq!(is, was, "{edit:?}\n{back}");
        let place = |text: &str, name| {
            let mut document = parsed(text).unwrap();
            place_of(rules(&mut document).unwrap(), name)
        };
        for rule in ["theirs", "backup", "b", "c"] {
            assert_eq!(place(&back, rule).is_some(), rule != "c", "{edit:?}");
        }
        assert!(place(&back, "backup") < place(&back, "b"), "{edit:?}");
    }
}

#[test]
fn what_somebody_has_changed_by_hand_is_left_as_it_is() {
    for edit in edits() {
        let change = made(&edit, FILE);
        let now = &*change.after;
        // The same rule or profile, as somebody would have it.
        let by_hand = match &edit {
            Edit::Add { .. } => now.replace("1MB", "3MB"),
            Edit::Remove { .. } => {
                format!("{now}\n[[rule]]\nname = 'b'\nmatch = 'name:other'\nup = '1MB'\n")
            }
            Edit::Profile { name: Some(_) } => now.replace("= \"train\"", "= \"other\""),
            Edit::Profile { name: None } => now.replace("[policy]\n", "[policy]\nprofile = 'x'\n"),
            _ => now.replace("'name:b'", "'name:other'"),
        };
        assert_ne!(by_hand, now, "{edit:?}");
        let what = match edit.rule() {
            Some(name) => format!("rule '{name}'"),
            None => "the profile".to_owned(),
        };
        let refused = Err(EditError::Since(what));
        assert_eq!(change.taken_back(&by_hand), refused, "{edit:?}");
    }
    // Somebody else has moved it on, or had another profile name it.
    let moved = made(
        &Edit::Move {
            name: name("b"),
            to: 1,
        },
        FILE,
    );
    let on = Edit::Move {
        name: name("b"),
        to: 2,
    };
    let now = on.apply(&moved.after).unwrap() + "# Theirs.\n";
    assert!(moved.taken_back(&now).is_err());
    let disabled = made(&edits()[4], FILE);
    let now = disabled.after.replace("rules = 'b'", "rules = 'backup'");
    assert!(disabled.taken_back(&now).is_err());
    // Nor is anything made of a file with a mistake.
    assert!(matches!(moved.taken_back("= 1"), Err(EditError::Broken(_))));
}
