//! `unlimit`: the end of limits, whoever has set them.

use std::collections::BTreeSet;

use crate::{
    cli::{Global, Unlimit},
    error::Error,
    model::{LimitId, LimitSample, Snapshot},
    output,
    process::Target,
    protocol::RequestError,
    session, text,
};

/// Ends them and gives the exit code.
pub async fn run(global: &Global, args: &Unlimit) -> Result<u8, Error> {
    let session = session::open_running(global.settings(session::AT_ONCE)).await?;
    let Some(mut session) = session else {
        return if args.all {
            output::say("nothing is limited");
            Ok(0)
        } else {
            Err(Error::NoTarget("nothing is limited".to_owned()))
        };
    };
    let result = end(&mut session, args).await;
    let clean = session.close().await;
    result.map(|()| u8::from(!clean))
}

async fn end(session: &mut session::Opened, args: &Unlimit) -> Result<(), Error> {
    let snapshot = session.engine.sample().await;
    let snapshot = snapshot.ok_or(RequestError::Gone)?;
    let ids = if args.all {
        // Those of rules would be set again at once.
        let by_hand = snapshot.limits.iter().filter(|limit| {
            let mut origins = snapshot.origins.iter();
            !origins.any(|origin| origin.id == limit.id && origin.rule.is_some())
        });
        by_hand.map(|limit| limit.id).collect()
    } else {
        chosen(&snapshot, &args.which)?
    };
    if ids.is_empty() {
        output::say("nothing is limited by hand");
    }
    if args.all && snapshot.origins.iter().any(|origin| origin.rule.is_some()) {
        output::say(
            "rules stay in effect: 'chadthrottle rule list' shows them, 'rule disable' ends one",
        );
    }
    for id in ids {
        match session.engine.requests().remove_limit(id).await {
            // It has ended by itself meanwhile.
            Ok(()) | Err(RequestError::NoLimit) => {}
            Err(error) => return Err(error.into()),
        }
        output::say(removed(&snapshot, id));
    }
    Ok(())
}

/// What is said of one that has ended: whom it was for, and how many it held where that does not say it.
fn removed(snapshot: &Snapshot, id: LimitId) -> String {
    let mut origins = snapshot.origins.iter();
    let whose = origins.find(|origin| origin.id == id);
    let whose = whose.map_or_else(|| id.0.to_string(), |origin| origin.targets.join(" "));
    let limit = snapshot.limits.iter().find(|limit| limit.id == id);
    let word = match limit {
        Some(LimitSample { limit, .. }) if limit.is_block() => "block",
        _ => "limit",
    };
    let held = match limit.map(|limit| limit.members) {
        Some(members @ 2..) => format!(", which held {members} processes"),
        _ => String::new(),
    };
    format!("{word} removed: {}{held}", text::escape(&whose))
}

/// The limits that are meant.
fn chosen(snapshot: &Snapshot, which: &[String]) -> Result<BTreeSet<LimitId>, Error> {
    let mut all = BTreeSet::new();
    for text in which {
        let found = named(snapshot, text);
        if found.is_empty() {
            return Err(Error::NoTarget(format!(
                "no limit is set for {}: 'chadthrottle limits' lists those that are",
                text::escape(text)
            )));
        }
        all.extend(found);
    }
    Ok(all)
}

/// Those of that id, or else set for that target, or else holding that process.
fn named(snapshot: &Snapshot, text: &str) -> Vec<LimitId> {
    let number: Option<u32> = text.parse().ok();
    let by_id = snapshot.limits.iter().map(|limit| limit.id);
    let by_id: Vec<_> = by_id.filter(|id| Some(id.0) == number).collect();
    if !by_id.is_empty() {
        return by_id;
    }
    // As the engine has it: a cgroup may be typed with or without its mount.
    let target = match text.parse() {
        Ok(Target::Selector(selector)) => String::from(selector),
        Ok(Target::Pid(_)) | Err(_) => text.to_owned(),
    };
    let origins = snapshot.origins.iter();
    let by_target: Vec<_> = origins
        .filter(|origin| origin.targets.contains(&target))
        .map(|origin| origin.id)
        .collect();
    if !by_target.is_empty() {
        return by_target;
    }
    let processes = snapshot.processes.iter();
    let member = processes.filter(|process| Some(process.key.pid) == number);
    member
        .filter_map(|process| Some(process.limit?.0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Limit, Origin, ProcessSample,
        testing::{self, limit},
    };
    use crate::units::Rate;

    fn snapshot() -> Snapshot {
        let origin = |id, targets: &[&str]| Origin {
            targets: targets.iter().map(ToString::to_string).collect(),
            ..testing::origin(id)
        };
        let process = ProcessSample {
            limit: Some((LimitId(2), Limit::NONE)),
            ..testing::process(900)
        };
        Snapshot {
            processes: vec![process],
            limits: vec![limit(1), limit(2), limit(800)],
            origins: vec![
                origin(1, &["800", "900", "cgroup:/a/b"]),
                origin(2, &["name:curl"]),
                origin(800, &["name:wget", "name:curl"]),
            ],
            ..Snapshot::default()
        }
    }

    #[test]
    fn a_number_is_an_id_a_target_or_a_member_in_that_order() {
        let snapshot = snapshot();
        for (text, ids) in [
            ("800", &[800][..]),
            ("900", &[1]),
            ("name:curl", &[2, 800]),
            ("name:wget", &[800]),
            ("901", &[]),
            ("curl", &[]),
            ("cgroup:a/b/", &[1]),
        ] {
            let found: Vec<u32> = named(&snapshot, text).iter().map(|id| id.0).collect();
            assert_eq!(found, ids, "{text}");
        }
        let mut others = snapshot.clone();
        others.origins.clear();
        assert_eq!(named(&others, "900"), [LimitId(2)]);
    }

    #[test]
    fn of_a_limit_of_several_it_is_said_how_many_it_held() {
        let mut snapshot = snapshot();
        snapshot.limits[1].members = 3;
        snapshot.limits[2].members = 1;
        snapshot.limits[2].limit = Limit {
            down: Some(Rate::BLOCKED),
            ..Limit::NONE
        };
        let said = |id| removed(&snapshot, LimitId(id));
        assert_eq!(said(2), "limit removed: name:curl, which held 3 processes");
        assert_eq!(said(800), "block removed: name:wget name:curl");
        assert_eq!(said(3), "limit removed: 3");
    }

    #[test]
    fn one_that_is_not_there_ends_none() {
        let which = ["1".to_owned(), "name:\u{1b}".to_owned()];
        let error = chosen(&snapshot(), &which).unwrap_err();
        assert_eq!(error.exit_code(), 5);
        assert!(
            error.to_string().contains("'chadthrottle limits'"),
            "{error}"
        );
        assert!(!error.to_string().contains('\u{1b}'));
    }
}
