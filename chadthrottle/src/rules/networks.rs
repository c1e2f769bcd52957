//! On which networks a rule is on: by the interfaces that lead out of the machine.

use std::{collections::BTreeSet, fmt, fs, path::Path, str::FromStr};

use glob::Pattern;

/// Conditions, any of which is enough. Without any, the network does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnNetworks(Vec<OnNetwork>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OnNetwork {
    interface: Pattern,
}

/// The interfaces that default routes lead to now.
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
    /// Those of the machine, or of a test's file system: of IPv4 and IPv6 the default routes with the lowest metric
    /// each.
    pub fn look(proc_root: &Path) -> Self {
        let read = |name: &str| fs::read_to_string(proc_root.join("net").join(name));
        let mut interfaces = BTreeSet::new();
        interfaces.extend(best(
            read("route")
                .unwrap_or_default()
                .lines()
                .filter_map(default_v4),
        ));
        interfaces.extend(best(
            read("ipv6_route")
                .unwrap_or_default()
                .lines()
                .filter_map(default_v6),
        ));
        Self { interfaces }
    }
}

/// The interfaces of the lowest metric.
fn best(routes: impl Iterator<Item = (u32, String)>) -> Vec<String> {
    let routes: Vec<_> = routes.collect();
    let lowest = routes.iter().map(|(metric, _)| *metric).min();
    let best = routes
        .into_iter()
        .filter(|(metric, _)| Some(*metric) == lowest);
    best.map(|(_, interface)| interface).collect()
}

/// Metric and interface of a line of /proc/net/route that is a default route (`fib_route_seq_show`).
fn default_v4(line: &str) -> Option<(u32, String)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [interface, destination, _, _, _, _, metric, mask, ..] = *fields else {
        return None;
    };
    let is_default = destination == "00000000" && mask == "00000000";
    let metric = metric.parse().ok()?;
    is_default.then(|| (metric, interface.to_owned()))
}

/// The same of /proc/net/ipv6_route (`rt6_info_route` in net/ipv6/route.c). What is refused is listed there, too.
fn default_v6(line: &str) -> Option<(u32, String)> {
    const REFUSED: u32 = 0x200;
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [destination, length, _, _, _, metric, _, _, flags, interface] = *fields else {
        return None;
    };
    let is_default = length == "00" && destination.bytes().all(|digit| digit == b'0');
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let metric = u32::from_str_radix(metric, 16).ok()?;
    (is_default && flags & REFUSED == 0 && interface != "lo")
        .then(|| (metric, interface.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
        eth0\t00000000\t0102A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
        tun0\t0000000A\t00000000\t0001\t0\t0\t50\t000000FF\t0\t0\t0\n";
    const V6: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
        fe800000000000000000000000000001 00000400 00000001 00000000 00000003    wlan0\n\
        00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
        00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n\
        fe800000000000000000000000000000 40 00000000000000000000000000000000 00 \
        00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n";

    fn on(texts: &[&str]) -> OnNetworks {
        let mut on = OnNetworks::default();
        for text in texts {
            on.add(text).unwrap();
        }
        on
    }

    #[test]
    fn default_routes_of_the_lowest_metric_lead_out() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Networks::look(root.path()), Networks::default());
        fs::create_dir(root.path().join("net")).unwrap();
        fs::write(root.path().join("net/route"), V4).unwrap();
        fs::write(root.path().join("net/ipv6_route"), V6).unwrap();
        let networks = Networks::look(root.path());
        assert_eq!(Vec::from_iter(&networks.interfaces), ["eth0", "wlan0"]);
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
        fs::write(root.path().join("net/route"), "nonsense\n\n\u{fffd} 1 2\n").unwrap();
        fs::write(root.path().join("net/ipv6_route"), "x\n").unwrap();
        assert_eq!(Networks::look(root.path()), Networks::default());
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
