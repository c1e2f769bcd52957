//! Who may do what: decided from the user at the other end of a connection, in one place and without I/O.

use crate::{
    config::Others,
    model::{LimitId, Snapshot},
    protocol::{Method, RequestError},
};

/// The group whose members may do what root may.
pub const GROUP: &str = "chadthrottle";

/// What a client may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Everything.
    All,
    /// What users may who are neither root nor in the group.
    Other(Others),
}

impl Standing {
    /// Of a user in these groups, where the group has that id.
    pub fn of(uid: u32, groups: &[u32], group: Option<u32>, others: Others) -> Self {
        let is_member = group.is_some_and(|group| groups.contains(&group));
        if uid == 0 || is_member {
            Self::All
        } else {
            Self::Other(others)
        }
    }

    /// Whether a call is the client's to make, which is that user; `owner` says whose limit one is.
    ///
    /// # Errors
    /// Where it is not: what to do instead.
    pub fn allows(
        self,
        uid: u32,
        method: &Method,
        owner: impl Fn(LimitId) -> Option<u32>,
    ) -> Result<(), RequestError> {
        let Self::Other(others) = self else {
            return Ok(());
        };
        let refused = |what: &str| {
            Err(RequestError::NotAllowed(format!(
                "{what}. Join the group {GROUP} (sudo usermod -aG {GROUP} NAME, and log in again), or use sudo"
            )))
        };
        let limit = match method {
            Method::ServiceInfo | Method::Description(_) | Method::Leave => return Ok(()),
            _ if others == Others::Nothing => {
                return refused("this engine serves root and its group only");
            }
            // Who watches sees what is theirs.
            Method::GetInfo
            | Method::Watch(_)
            | Method::GetHistory
            | Method::GetConnections(_)
            | Method::Doctor => {
                return Ok(());
            }
            Method::EditRules(_) | Method::TakeRulesBack(_) | Method::ReloadRules => {
                return refused("rules are for root and its group to change");
            }
            _ if others == Others::See => return refused("you may watch, and set no limits"),
            Method::SetLimit(_) => return Ok(()),
            Method::ChangeLimit(change) => change.id,
            Method::SetChildren(set) => set.id,
            Method::RemoveLimit(named)
            | Method::GetCarried(named)
            | Method::GetUnmatched(named) => named.id,
        };
        match owner(limit) {
            Some(owner) if owner == uid => Ok(()),
            // Who sees none of it does not learn whether it is there.
            _ => refused("this limit is not yours"),
        }
    }

    /// What of a sample the client sees, which is that user.
    pub fn sees(self, uid: u32, snapshot: &Snapshot) -> Option<Snapshot> {
        if self == Self::All {
            return None;
        }
        let processes = snapshot.processes.iter();
        let origins = snapshot.origins.iter();
        let origins: Vec<_> = origins
            .filter(|origin| origin.uid == uid)
            .cloned()
            .collect();
        let processes: Vec<_> = processes
            .filter(|process| process.uid == uid)
            .cloned()
            .collect();
        // Limits of others that hold their processes are on those.
        let is_own = |id: LimitId| origins.iter().any(|origin| origin.id == id);
        let limits = snapshot.limits.iter().filter(|limit| is_own(limit.id));
        let unmatched = snapshot.unmatched.iter().filter(|it| is_own(it.id));
        Some(Snapshot {
            sequence: snapshot.sequence,
            interval: snapshot.interval,
            limits: limits.copied().collect(),
            unmatched: unmatched.cloned().collect(),
            processes,
            origins,
            // Of everybody together, or for who keeps the engine.
            ..Snapshot::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            Limit, Origin, ProcessSample,
            testing::{self, limit},
        },
        process::Targets,
        protocol::{
            ChangeLimit, EditRules, Named, OfProcesses, SetChildren, SetLimit, TakeRulesBack, Watch,
        },
        rules::edit::Edit,
    };

    const ANNA: u32 = 1000;

    #[test]
    fn root_and_members_of_the_group_stand_above_all_others() {
        for (uid, groups, group, expected) in [
            (0, &[][..], None, Standing::All),
            (ANNA, &[5, 77], Some(77), Standing::All),
            (ANNA, &[5], Some(77), Standing::Other(Others::Own)),
            // The group is not there.
            (ANNA, &[0, 77], None, Standing::Other(Others::Own)),
        ] {
            let standing = Standing::of(uid, groups, group, Others::Own);
            assert_eq!(standing, expected, "{uid} {groups:?} {group:?}");
        }
    }

    /// Each method, for a limit of that id where it is about one.
    fn methods(id: u32) -> Vec<(&'static str, Method)> {
        let id = LimitId(id);
        let limit = Limit::NONE;
        let set = SetLimit {
            targets: Targets::default(),
            limit,
            for_ns: None,
            detach: false,
        };
        let edit = EditRules {
            edit: Edit::Profile { name: None },
        };
        vec![
            ("service", Method::ServiceInfo),
            ("describe", Method::Description(String::new())),
            ("leave", Method::Leave),
            ("info", Method::GetInfo),
            ("watch", Method::Watch(Watch::default())),
            ("history", Method::GetHistory),
            ("set", Method::SetLimit(set)),
            ("change", Method::ChangeLimit(ChangeLimit { id, limit })),
            (
                "children",
                Method::SetChildren(SetChildren { id, children: true }),
            ),
            ("remove", Method::RemoveLimit(Named { id })),
            ("carried", Method::GetCarried(Named { id })),
            ("unmatched", Method::GetUnmatched(Named { id })),
            ("doctor", Method::Doctor),
            ("reload", Method::ReloadRules),
            ("edit", Method::EditRules(edit)),
            (
                "take back",
                Method::TakeRulesBack(TakeRulesBack { change: 1 }),
            ),
            (
                "connections",
                Method::GetConnections(OfProcesses {
                    processes: Vec::new(),
                }),
            ),
        ]
    }

    #[test]
    fn every_cell_of_the_table() {
        // Limit 1 is Anna's, limit 2 root's, and there is no limit 3.
        let owner = |id: LimitId| {
            [(1, ANNA), (2, 0)]
                .iter()
                .find(|(it, _)| *it == id.0)
                .map(|(_, uid)| *uid)
        };
        let always = ["service", "describe", "leave"];
        let watching = ["info", "watch", "history", "connections", "doctor"];
        let each = [
            "set",
            "change",
            "children",
            "remove",
            "carried",
            "unmatched",
            "reload",
            "edit",
            "take back",
        ];
        let (own, see) = (Standing::Other(Others::Own), Standing::Other(Others::See));
        let nothing = Standing::Other(Others::Nothing);
        for (standing, limit, more) in [
            (Standing::All, 1, &each[..]),
            (Standing::All, 2, &each),
            (own, 1, &each[..each.len() - 3]),
            (own, 2, &["set"]),
            (own, 3, &["set"]),
            (see, 1, &[]),
            (see, 2, &[]),
            (nothing, 1, &[]),
            (nothing, 2, &[]),
        ] {
            for (name, method) in methods(limit) {
                let sees = standing != nothing && watching.contains(&name);
                let expected = always.contains(&name) || sees || more.contains(&name);
                let result = standing.allows(ANNA, &method, owner);
                assert_eq!(result.is_ok(), expected, "{standing:?}: {name} of {limit}");
                if let Err(error) = result {
                    assert_eq!(error.exit_code(), 3);
                    let words = error.to_string();
                    assert!(
                        words.contains("usermod") && words.contains("sudo"),
                        "{words}"
                    );
                }
            }
        }
    }

    #[test]
    fn others_see_their_own_processes_and_limits_and_nothing_of_anybody_else() {
        let process = |pid, uid, limit| ProcessSample {
            uid,
            limit,
            ..testing::process(pid)
        };
        let origin = |id, uid| Origin {
            uid,
            ..testing::origin(id)
        };
        let held = Some((LimitId(2), Limit::NONE));
        let snapshot = Snapshot {
            sequence: 9,
            processes: vec![process(10, ANNA, held), process(11, 0, None)],
            limits: vec![limit(1), limit(2)],
            origins: vec![origin(1, ANNA), origin(2, 0)],
            warnings: vec!["of the engine".to_owned()],
            unattributed: crate::model::Both { down: 5, up: 5 },
            ..Snapshot::default()
        };
        assert_eq!(Standing::All.sees(ANNA, &snapshot), None, "all of it");
        let seen = Standing::Other(Others::Own).sees(ANNA, &snapshot).unwrap();
        let expected = Snapshot {
            sequence: 9,
            processes: vec![process(10, ANNA, held)],
            limits: vec![limit(1)],
            origins: vec![origin(1, ANNA)],
            ..Snapshot::default()
        };
        assert_eq!(seen, expected);
    }
}
