//! On which networks a rule is on: by the interfaces that lead out of the machine.

use std::{collections::BTreeSet, fmt, str::FromStr};

use glob::Pattern;

use super::route;

/// Conditions, any of which is enough. Without any, the network does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnNetworks(Vec<OnNetwork>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OnNetwork {
    interface: Pattern,
}

/// Where the machine is: the interfaces that lead to the Internet now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    interfaces: BTreeSet<String>,
}

/// Why a condition could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It is none.
    #[error("'{0}' is no network. Write 'interface:GLOB', such as 'interface:tun*'")]
    NotANetwork(String),
    /// Only NetworkManager would know.
    #[error(
        "'{0}' would have to be asked of NetworkManager, which is not done. Write 'interface:GLOB'"
    )]
    NotAsked(String),
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

    /// Whether any holds.
    pub fn hold(&self, networks: &Networks) -> bool {
        let any = |condition: &OnNetwork| {
            let mut interfaces = networks.interfaces.iter();
            interfaces.any(|interface| condition.interface.matches(interface))
        };
        self.0.is_empty() || self.0.iter().any(any)
    }

    /// As they are written.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        let all = self.0.iter();
        all.map(|condition| format!("interface:{}", condition.interface))
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
        if text == "metered" || text.starts_with("ssid:") {
            return Err(NetworkError::NotAsked(shown()));
        }
        let pattern = text.strip_prefix("interface:").filter(|it| !it.is_empty());
        let pattern = pattern.and_then(|pattern| Pattern::new(pattern).ok());
        let interface = pattern.ok_or_else(|| NetworkError::NotANetwork(shown()))?;
        Ok(Self { interface })
    }
}

impl Networks {
    /// Those of the network namespace that the calling thread is in.
    pub fn look() -> Self {
        let interfaces = route::to_the_internet().unwrap_or_else(|error| {
            log::warn!("asking the kernel for its routes: {error}");
            BTreeSet::new()
        });
        Self { interfaces }
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
        let networks = Networks {
            interfaces: ["eth0", "wlan0"].map(str::to_owned).into(),
        };
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
    fn what_is_no_network_is_refused_and_what_is_not_asked_said() {
        let mut networks = OnNetworks::default();
        for text in ["", "eth0", "interface:", "interface:[", "route:eth0"] {
            let error = networks.add(text).unwrap_err().to_string();
            assert!(error.contains("interface:tun*"), "{error}");
        }
        for text in ["metered", "ssid:Hotel*"] {
            let error = networks.add(text).unwrap_err().to_string();
            assert!(error.contains("NetworkManager"), "{error}");
        }
        assert!(networks.is_empty());
    }
}
