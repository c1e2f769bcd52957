//! One rule.

use std::{fmt, path::Path, sync::Arc};

use glob::Pattern;
use jiff::ZonedDateTime;
use serde::{Deserialize, Serialize};

use super::{Calendar, Networks, OnNetworks, Silence};
use crate::{
    model::{Both, Limit, RuleSample},
    process::Selector,
};

/// A limit for all that match, whenever it is on.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Which one; no two have the same.
    pub name: Arc<str>,
    /// For whom: all that match any of these.
    pub targets: Vec<Selector>,
    /// How much.
    pub limit: Limit,
    /// Who shares it.
    pub share: Share,
    /// When it is on; always where it is empty.
    pub when: Calendar,
    /// On which networks it is on; on all where it is empty.
    pub on: OnNetworks,
    /// Whether it may be on at all.
    pub enabled: bool,
    /// Profiles that have it; in all cases where there are none.
    pub profiles: Vec<String>,
    /// The file that it is in.
    pub file: Arc<Path>,
    /// Its first line there, counted from 1.
    pub line: usize,
}

/// Which of those that match a rule share one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// All of them.
    #[default]
    All,
    /// Each process has its own.
    Process,
    /// Those of one executable.
    Program,
    /// Those of one user.
    User,
    /// Those of one unit of systemd, or of one container.
    Unit,
}

impl Share {
    /// All of them, with their words in a file.
    pub const WORDS: [(&str, Self); 5] = [
        ("all", Self::All),
        ("process", Self::Process),
        ("program", Self::Program),
        ("user", Self::User),
        ("unit", Self::Unit),
    ];

    /// Its word in a file.
    pub fn word(self) -> &'static str {
        let mut words = Self::WORDS.iter();
        words
            .find(|(_, share)| *share == self)
            .map_or("all", |(word, _)| word)
    }
}

/// Why a rule is on, or is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It is on.
    On,
    /// It is on for processes that have a connection by one of these interfaces, and for no others. The words say where
    /// nobody knows more.
    Connections(String),
    /// It is switched off.
    Disabled,
    /// It belongs to profiles, none of which is chosen: these.
    Profile(Vec<String>),
    /// It is not its time: when that is.
    Time(String),
    /// The machine is not on such a network: these. The words say where nobody knows.
    Network(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On => f.write_str("on"),
            Self::Connections(by) => write!(f, "on for connections by {by}"),
            Self::Disabled => f.write_str("disabled"),
            Self::Profile(profiles) => write!(f, "only with profile {}", profiles.join(", ")),
            Self::Time(when) => write!(f, "only {when}"),
            Self::Network(on) => write!(f, "only on {on}"),
        }
    }
}

impl Why {
    /// Whether it is on, be it for some processes only.
    pub fn is_on(&self) -> bool {
        matches!(self, Self::On | Self::Connections(_))
    }
}

impl Rule {
    /// Whether it is on at that time and on these networks, with that profile chosen.
    pub fn why(&self, now: &ZonedDateTime, networks: &Networks, profile: Option<&str>) -> Why {
        let is_chosen = |name: &String| profile == Some(name);
        if !self.enabled {
            Why::Disabled
        } else if !self.profiles.is_empty() && !self.profiles.iter().any(is_chosen) {
            Why::Profile(self.profiles.clone())
        } else if !self.when.is_on(now) {
            Why::Time(self.when.to_string())
        } else if self.on.hold(networks) {
            Why::On
        } else {
            let silence = self.silence(networks);
            let silence = silence.map_or_else(String::new, |silence| format!(" ({silence})"));
            let interfaces = self.on.interfaces();
            let globs: Vec<&str> = interfaces.iter().map(Pattern::as_str).collect();
            match globs.is_empty() {
                true => Why::Network(format!("{}{silence}", self.on)),
                false => Why::Connections(format!("{}{silence}", globs.join(", "))),
            }
        }
    }

    /// Why NetworkManager does not say what this rule wants to know, where that is so.
    pub fn silence<'a>(&self, networks: &'a Networks) -> Option<&'a Silence> {
        networks.said().silence(self.on.wanted())
    }

    /// Its targets, as they are typed.
    pub fn texts(&self) -> Vec<String> {
        self.targets.iter().cloned().map(String::from).collect()
    }

    /// What there is to say of it that no engine has to be asked for.
    pub fn sample(&self, why: &Why) -> RuleSample {
        RuleSample {
            name: Arc::clone(&self.name),
            targets: self.texts(),
            limit: self.limit,
            share: self.share.word().to_owned(),
            when: self.when.texts().map(str::to_owned).collect(),
            on: self.on.texts().collect(),
            profiles: self.profiles.clone(),
            is_on: why.is_on(),
            why: why.to_string(),
            enabled: self.enabled,
            file: self.file.display().to_string(),
            line: self.line,
            limits: Vec::new(),
            members: 0,
            carried_today: Both::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_for_an_interface_is_on_for_all_or_for_connections_by_it() {
        let now: ZonedDateTime = "2026-11-27T07:00[UTC]".parse().unwrap();
        let (home, tunnel) = (&["wlan0"][..], &["wlan0", "tun0"][..]);
        for (on, when, interfaces, expected) in [
            (&[][..], "", home, "on"),
            (&["interface:wlan*"], "", home, "on"),
            (&["interface:tun*"], "", tunnel, "on"),
            (&["interface:tun*"], "", home, "on for connections by tun*"),
            (&["interface:tun*"], "", &[], "on for connections by tun*"),
            (&["interface:tun*", "interface:wlan0"], "", home, "on"),
            (
                &["interface:tun*", "interface:wg0"],
                "",
                home,
                "on for connections by tun*, wg0",
            ),
            (&["interface:tun*"], "Sat", home, "only Sat"),
            (
                &["interface:tun*"],
                "Fri",
                home,
                "on for connections by tun*",
            ),
        ] {
            let mut rule = Rule {
                name: "rule".into(),
                targets: Vec::new(),
                limit: Limit::NONE,
                share: Share::All,
                when: Calendar::default(),
                on: OnNetworks::default(),
                enabled: true,
                profiles: Vec::new(),
                file: Path::new("/rules").into(),
                line: 1,
            };
            for network in on {
                rule.on.add(network).unwrap();
            }
            if !when.is_empty() {
                rule.when.add(when).unwrap();
            }
            let networks = Networks::by(interfaces);
            let why = rule.why(&now, &networks, None);
            assert_eq!(why.to_string(), expected, "{on:?} {interfaces:?}");
            assert_eq!(why.is_on(), !expected.starts_with("only"));
            rule.on.add("metered").unwrap();
            let said = rule.why(&now, &networks, None).to_string();
            let silent = match why {
                Why::Connections(_) => format!("{expected} ({})", rule.silence(&networks).unwrap()),
                _ if on.is_empty() => {
                    format!("only on metered ({})", rule.silence(&networks).unwrap())
                }
                _ => expected.to_owned(),
            };
            assert_eq!(said, silent);
            rule.enabled = false;
            assert_eq!(rule.why(&now, &networks, None), Why::Disabled);
        }
    }
}
