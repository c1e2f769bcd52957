//! Whom a limit is for.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::Selector;
use crate::model::ProcessKey;

/// Which processes a limit is for. They share it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// These processes.
    pub processes: Vec<ProcessKey>,
    /// And all that match any of these, now and later: [`MOST_SELECTORS`] at most.
    #[serde(deserialize_with = "read_selectors")]
    pub selectors: Vec<Selector>,
    /// And the descendants of all of them, now and later.
    pub children: bool,
    /// Of all of these only the processes of that user, and none that another user's limit holds. The engine says so,
    /// not who asks.
    #[serde(skip)]
    pub of_user: Option<u32>,
    /// And these, which belonged to it under the engine before, whatever they are now: descendants that have left their
    /// parents, say. The engine says so, not who asks.
    #[serde(skip)]
    pub members: Vec<ProcessKey>,
}

impl Targets {
    /// Whether processes of that user may be among them.
    pub fn may_have(&self, uid: u32) -> bool {
        self.of_user.is_none_or(|user| user == uid)
    }

    /// Whether there is nobody whom it could be for, now or later.
    pub fn is_for_nobody(&self) -> bool {
        self.processes.is_empty() && self.selectors.is_empty() && self.members.is_empty()
    }
}

/// So many selectors has a limit at most: to read one, the engine may look up a user, and each process is compared with
/// all of them.
pub const MOST_SELECTORS: usize = 64;

fn read_selectors<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Selector>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    if texts.len() > MOST_SELECTORS {
        return Err(D::Error::custom(format_args!(
            "a limit may have {MOST_SELECTORS} selectors, not {}",
            texts.len()
        )));
    }
    let selectors = texts.into_iter().map(Selector::try_from);
    selectors
        .collect::<Result<_, _>>()
        .map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Target;

    #[test]
    fn targets_come_through_json_whatever_is_in_their_names() {
        let key = ProcessKey {
            pid: 7,
            start_ticks: 1,
        };
        let user = "user:daemon".parse().unwrap();
        let Target::Selector(user) = user else {
            panic!("a user is no process")
        };
        let targets = Targets {
            processes: vec![key],
            selectors: vec![
                Selector::of_name("[\u{1b}*]? \""),
                Selector::of_exe("/a b/\n:c"),
                "cgroup:/".parse().unwrap(),
                user,
            ],
            children: true,
            of_user: None,
            members: Vec::new(),
        };
        let json = serde_json::to_string(&targets).unwrap();
        assert_eq!(serde_json::from_str::<Targets>(&json).unwrap(), targets);
        let many = serde_json::json!({
            "processes": [], "children": false, "selectors": vec!["name:x"; MOST_SELECTORS + 1],
        });
        let error = serde_json::from_value::<Targets>(many).unwrap_err();
        assert!(error.to_string().contains("64 selectors"), "{error}");
        for (no, why) in [
            (
                r#"{"processes":[],"selectors":["7"],"children":false}"#,
                "not a target",
            ),
            (
                r#"{"processes":[],"selectors":["name:[a"],"children":false}"#,
                "not a pattern",
            ),
            (
                r#"{"processes":[],"selectors":[],"children":false,"x":1}"#,
                "unknown field",
            ),
        ] {
            let error = serde_json::from_str::<Targets>(no).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
