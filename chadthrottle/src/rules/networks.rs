//! On which networks a rule is on: by the interfaces that lead out of the machine, and by what NetworkManager says. While
//! none of them does, it is on for processes that have a connection by one of the interfaces.

use std::{collections::BTreeSet, fmt, str::FromStr};

use glob::Pattern;

use super::{
    network_manager::{Said, Wanted},
    route,
};

/// Conditions, any of which is enough. Without any, the network does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnNetworks(Vec<OnNetwork>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum OnNetwork {
    /// An interface that leads to the Internet, or by which a connection of a process goes.
    Interface(Pattern),
    /// NetworkManager takes the network to be metered.
    Metered,
    /// The name of a wireless network that the machine is on.
    Ssid(Pattern),
}

/// Where the machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// The interfaces that lead to the Internet now.
    interfaces: BTreeSet<String>,
    /// What NetworkManager has said.
    said: Said,
}

/// Why a condition could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It is none.
    #[error(
        "'{0}' is not a network. Write 'interface:GLOB', such as 'interface:tun*', 'metered' or 'ssid:GLOB'"
    )]
    NotANetwork(String),
}

impl OnNetworks {
    /// Adds a condition, as it is written in a file.
    ///
    /// # Errors
    /// Where it is none.
    pub fn add(&mut self, text: &str) -> Result<(), NetworkError> {
        self.0.push(text.parse()?);
        Ok(())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any holds, for all processes.
    pub fn hold(&self, networks: &Networks) -> bool {
        self.0.is_empty() || self.0.iter().any(|condition| condition.holds(networks))
    }

    /// The interfaces: a rule is on for processes with a connection by one of these, whatever else holds.
    pub fn interfaces(&self) -> Vec<Pattern> {
        let globs = self.0.iter().filter_map(|condition| match condition {
            OnNetwork::Interface(glob) => Some(glob.clone()),
            OnNetwork::Metered | OnNetwork::Ssid(_) => None,
        });
        globs.collect()
    }

    /// What they want to know of NetworkManager.
    pub fn wanted(&self) -> Wanted {
        Wanted {
            metered: self.0.contains(&OnNetwork::Metered),
            ssids: self.0.iter().any(|it| matches!(it, OnNetwork::Ssid(_))),
        }
    }

    /// As they are written.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(ToString::to_string)
    }
}

impl OnNetwork {
    fn holds(&self, networks: &Networks) -> bool {
        let said = &networks.said;
        match self {
            Self::Interface(glob) => networks.interfaces.iter().any(|it| glob.matches(it)),
            Self::Metered => said.metered == Ok(true),
            Self::Ssid(glob) => {
                let mut ssids = said.ssids.iter().flatten();
                ssids.any(|it| glob.matches(it))
            }
        }
    }
}

impl fmt::Display for OnNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(glob) => write!(f, "interface:{glob}"),
            Self::Metered => f.write_str("metered"),
            Self::Ssid(glob) => write!(f, "ssid:{glob}"),
        }
    }
}

impl fmt::Display for OnNetworks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().collect::<Vec<_>>().join(", "))
    }
}

impl FromStr for OnNetwork {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || text.chars().take(60).flat_map(char::escape_debug).collect();
        let not_a_network = || NetworkError::NotANetwork(shown());
        let (kind, glob) = match text {
            "metered" => return Ok(Self::Metered),
            text => text.split_once(':').ok_or_else(not_a_network)?,
        };
        let kind = match kind {
            "interface" => Self::Interface,
            "ssid" => Self::Ssid,
            _ => return Err(not_a_network()),
        };
        // A name may have any bytes; for what cannot be shown there is '?'.
        let glob = Some(glob).filter(|it| !it.is_empty() && !it.contains(char::is_control));
        let glob = glob.and_then(|glob| Pattern::new(glob).ok());
        glob.map(kind).ok_or_else(not_a_network)
    }
}

impl Networks {
    /// On which only these interfaces lead to the Internet, for tests.
    #[cfg(test)]
    pub fn by(interfaces: &[&str]) -> Self {
        let interfaces = interfaces.iter().map(|&name| name.to_owned()).collect();
        Self {
            interfaces,
            ..Self::default()
        }
    }

    /// Those of the network namespace that the calling thread is in.
    pub fn look() -> Self {
        let interfaces = route::to_the_internet().unwrap_or_else(|error| {
            log::warn!("asking the kernel for its routes: {error}");
            BTreeSet::new()
        });
        Self {
            interfaces,
            ..Self::default()
        }
    }

    /// The same, with what NetworkManager says.
    pub fn with(self, said: Said) -> Self {
        Self { said, ..self }
    }

    /// What NetworkManager says.
    pub fn said(&self) -> &Said {
        &self.said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(texts: &[&str]) -> OnNetworks {
        let mut on = OnNetworks::default();
        for text in texts {
            on.add(text).unwrap();
        }
        on
    }

    #[test]
    fn any_interface_that_leads_out_will_do() {
        let networks = Networks::by(&["eth0", "wlan0"]);
        for (texts, holds) in [
            (&[][..], true),
            (&["interface:eth*"], true),
            (&["interface:wlan?"], true),
            (&["interface:tun*"], false),
            (&["interface:tun*", "interface:eth0"], true),
        ] {
            assert_eq!(on(texts).hold(&networks), holds, "{texts:?}");
            assert_eq!(on(texts).hold(&Networks::default()), texts.is_empty());
        }
    }

    #[test]
    fn what_networkmanager_says_counts_and_nothing_holds_without_it() {
        let said = |metered, ssids: &[&str]| {
            let ssids = ssids.iter().map(|&ssid| ssid.to_owned()).collect();
            let (metered, ssids) = (Ok(metered), Ok(ssids));
            Networks::default().with(Said { metered, ssids })
        };
        let hotel = "ssid:Hotel*";
        for (texts, networks, holds) in [
            (&["metered"][..], said(true, &[]), true),
            (&["metered"], said(false, &["metered"]), false),
            (&[hotel], said(false, &["Hotel \u{fffd}/5"]), true),
            (&[hotel], said(true, &["My Hotel"]), false),
            (&[hotel], said(true, &["At home", "Hotel"]), true),
            (
                &["ssid:[HM]otel:?", "metered"],
                said(false, &["Motel:1"]),
                true,
            ),
        ] {
            let on = on(texts);
            assert_eq!(on.hold(&networks), holds, "{texts:?} {networks:?}");
            assert!(Vec::from_iter(on.texts()).iter().eq(texts));
            assert!(!on.hold(&networks.with(Said::default())));
        }
        let wanted = |metered, ssids| Wanted { metered, ssids };
        assert_eq!(on(&["metered"]).wanted(), wanted(true, false));
        assert_eq!(on(&["metered", hotel]).wanted(), wanted(true, true));
        assert!(!on(&["interface:eth0"]).wanted().any());
    }

    #[test]
    fn what_is_no_network_is_refused() {
        let mut networks = OnNetworks::default();
        for text in [
            "",
            "eth0",
            "interface:",
            "interface:[",
            "route:eth0",
            "Metered",
            "metered:yes",
            "ssid",
            "ssid:",
            "ssid:[",
            "ssid:a\u{1b}",
            "interface:a\u{1b}[2J",
            "interface:a\n",
        ] {
            let error = networks.add(text).unwrap_err().to_string();
            assert!(error.contains("'interface:tun*', 'metered'"), "{error}");
        }
        assert!(networks.is_empty());
    }
}
