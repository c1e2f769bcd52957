//! What there is for `unlimit`: the limits that are set, as the engine says.

use std::{ffi::OsStr, path::PathBuf};

use clap::Parser;
use clap_complete::{ArgValueCompleter, CompletionCandidate};
use tokio::{runtime, time::timeout};

use super::{PATIENCE, given, is_word};
use crate::{
    cli::Cli,
    model::Origin,
    protocol::Field,
    reversal::EngineLock,
    session::{self, Settings},
};

/// Limits that are set by hand: their ids and targets.
pub fn limits() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let current = current.to_str().unwrap_or_default();
        candidates(&set(), current)
    })
}

/// Where the limits come from that are set; none where nobody answers at once.
fn set() -> Vec<Origin> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let answer =
        runtime.map(|runtime| runtime.block_on(async { timeout(PATIENCE, asked()).await }));
    answer
        .ok()
        .and_then(Result::ok)
        .flatten()
        .unwrap_or_default()
}

async fn asked() -> Option<Vec<Origin>> {
    let mut global = Cli::try_parse_from(["chadthrottle"]).ok()?.global;
    if let Some(directory) = given("--state-dir") {
        global.state_dir = PathBuf::from(directory);
    }
    // Where a service manager has the socket, coming to it would start an engine.
    if !EngineLock::is_held(&global.state_dir) {
        return None;
    }
    let settings = Settings {
        fields: Some(vec![Field::Origins]),
        ..global.settings(session::AT_ONCE)
    };
    let mut session = session::open_running(settings).await.ok()??;
    Some(session.engine.sample().await?.origins.clone())
}

fn candidates(origins: &[Origin], current: &str) -> Vec<CompletionCandidate> {
    // `unlimit` does not end those of rules.
    let by_hand = origins.iter().filter(|origin| origin.rule.is_none());
    let mut found: Vec<CompletionCandidate> = Vec::new();
    for origin in by_hand {
        let targets = origin.targets.iter().filter(|target| is_word(target));
        let targets: Vec<&str> = targets.map(String::as_str).collect();
        let id = CompletionCandidate::new(origin.id.0.to_string());
        found.push(id.help(Some(targets.join(" ").into())));
        found.extend(targets.into_iter().map(CompletionCandidate::new));
    }
    found.retain(|it| it.get_value().to_string_lossy().starts_with(current));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::origin;

    fn offered(origins: &[Origin], current: &str) -> Vec<String> {
        let found = candidates(origins, current).into_iter();
        found
            .map(|it| it.get_value().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn limits_by_hand_are_offered_by_id_and_target() {
        let of = |id, targets: &[&str], rule: Option<&str>| Origin {
            targets: targets.iter().map(ToString::to_string).collect(),
            rule: rule.map(Into::into),
            ..origin(id)
        };
        let origins = [
            of(1, &["name:firefox", "1234"], None),
            of(12, &["name:a;reboot"], None),
            of(3, &["name:restic"], Some("backup")),
        ];
        let all = ["1", "name:firefox", "1234", "12"];
        assert_eq!(offered(&origins, ""), all);
        assert_eq!(offered(&origins, "n"), ["name:firefox"]);
        assert_eq!(offered(&origins, "12"), ["1234", "12"]);
        let help = candidates(&origins, "1")[0].get_help().unwrap().to_string();
        assert_eq!(help, "name:firefox 1234");
    }
}
