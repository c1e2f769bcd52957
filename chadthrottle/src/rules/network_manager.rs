//! What NetworkManager says of the networks that the machine is on: whether they are metered, and what wireless ones
//! are called.
//!
//! It is asked over D-Bus, by whoever decides which rules are on, and never where no rule wants to know. Nothing is
//! ever started by that, neither a bus nor NetworkManager.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::timeout;

use super::Rule;

/// How long it may take to answer. It may stand still, and so may the bus.
const PATIENCE: Duration = Duration::from_secs(1);

/// So many of its connections are looked at, and so many devices of these: a host of containers has hundreds, none of
/// which is wireless.
#[cfg(feature = "network-manager")]
const MOST: usize = 64;

/// What is to be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Whether networks are metered.
    pub metered: bool,
    /// What wireless networks are called.
    pub ssids: bool,
}

impl Wanted {
    /// What these rules want to know.
    pub fn by<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Self {
        let wanted = rules.into_iter().map(|rule| rule.on.wanted());
        wanted.fold(Self::default(), |all, one| Self {
            metered: all.metered || one.metered,
            ssids: all.ssids || one.ssids,
        })
    }

    /// Whether anything is.
    pub fn any(self) -> bool {
        self.metered || self.ssids
    }
}

/// What it says, or why it does not, of each by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether what is sent over the network that the machine is on costs money, as far as it knows or guesses.
    pub metered: Result<bool, Silence>,
    /// Names of the wireless networks that the machine is on. They need not be text: what is none has been replaced.
    pub ssids: Result<BTreeSet<String>, Silence>,
}

impl Default for Said {
    fn default() -> Self {
        Self {
            metered: Err(Silence::NotAsked),
            ssids: Err(Silence::NotAsked),
        }
    }
}

impl Said {
    /// That, of all that was wanted and has no answer yet.
    fn silent(mut self, wanted: Wanted, silence: &Silence) -> Self {
        let is_open = |asked: bool, so_far: Option<&Silence>| {
            asked && matches!(so_far, Some(Silence::NotAsked))
        };
        if is_open(wanted.metered, self.metered.as_ref().err()) {
            self.metered = Err(silence.clone());
        }
        if is_open(wanted.ssids, self.ssids.as_ref().err()) {
            self.ssids = Err(silence.clone());
        }
        self
    }

    /// Why it does not say something of that.
    pub fn silence(&self, wanted: Wanted) -> Option<&Silence> {
        let metered = self.metered.as_ref().err().filter(|_| wanted.metered);
        metered.or(self.ssids.as_ref().err().filter(|_| wanted.ssids))
    }
}

/// Why it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// Nobody has asked.
    #[default]
    #[error("NetworkManager has not been asked")]
    NotAsked,
    /// The feature `network-manager` was left out.
    #[error("this chadthrottle was built without asking NetworkManager")]
    NotBuilt,
    /// Where there is none, no service connects to the bus as it.
    #[error("NetworkManager is not running")]
    NotRunning,
    /// It, or the bus, stands still.
    #[error("NetworkManager does not answer")]
    TooSlow,
    /// There is no bus, or no answer that we understand.
    #[error("NetworkManager cannot be asked: {0}")]
    Failed(String),
}

/// Asks NetworkManager. The connection to the bus stays open from one question to the next.
#[derive(Debug, Default)]
pub struct NetworkManager {
    #[cfg(feature = "network-manager")]
    bus: Option<zbus::Connection>,
}

#[cfg(not(feature = "network-manager"))]
impl NetworkManager {
    async fn answer(&mut self, _wanted: Wanted, _said: &mut Said) -> Result<(), Silence> {
        Err(Silence::NotBuilt)
    }

    fn hang_up(&mut self) {}
}

impl NetworkManager {
    /// Asks it, for a second at most, and gives what it has answered until then. Where nothing is wanted, nobody is
    /// asked, and the connection is closed; after a failure, the bus is connected to anew the next time.
    pub async fn ask(&mut self, wanted: Wanted) -> Said {
        let mut said = Said::default();
        if !wanted.any() {
            self.hang_up();
            return said;
        }
        let answer = timeout(PATIENCE, self.answer(wanted, &mut said)).await;
        let Err(silence) = answer.unwrap_or(Err(Silence::TooSlow)) else {
            return said;
        };
        // A bus without NetworkManager is as good as any.
        if silence != Silence::NotRunning {
            self.hang_up();
        }
        said.silent(wanted, &silence)
    }
}

#[cfg(feature = "network-manager")]
mod bus {
    use std::collections::BTreeSet;

    use serde::Serialize;
    use zbus::{Connection, DynamicType, Message, OwnedObjectPath, OwnedVariant, fdo};

    use super::{MOST, NetworkManager, Said, Silence, Wanted};

    const SERVICE: &str = "org.freedesktop.NetworkManager";
    const PATH: &str = "/org/freedesktop/NetworkManager";
    const ACTIVE: &str = "org.freedesktop.NetworkManager.Connection.Active";
    const WIRELESS: &str = "org.freedesktop.NetworkManager.Device.Wireless";
    const ACCESS_POINT: &str = "org.freedesktop.NetworkManager.AccessPoint";

    /// Values of its property Metered (`NMMetered`): somebody has said so, or it is likely.
    const METERED: [u32; 2] = [1, 3];

    /// State of an active connection that is more than begun, and has not begun to end (`NMActiveConnectionState`).
    const ACTIVATED: u32 = 2;

    impl NetworkManager {
        /// Has it say what is wanted, one after the other.
        pub(super) async fn answer(
            &mut self,
            wanted: Wanted,
            said: &mut Said,
        ) -> Result<(), Silence> {
            let bus = match &self.bus {
                Some(bus) => bus,
                None => self.bus.insert(Connection::system().await?),
            };
            let asked = Asked::find(bus).await?;
            if wanted.metered {
                let metered = asked.get(PATH, SERVICE, "Metered").await?;
                said.metered = Ok(METERED.contains(&metered));
            }
            if wanted.ssids {
                said.ssids = Ok(asked.ssids().await?);
            }
            Ok(())
        }

        pub(super) fn hang_up(&mut self) {
            self.bus = None;
        }
    }

    impl From<zbus::Error> for Silence {
        fn from(error: zbus::Error) -> Self {
            match error {
                // It has gone since it was found.
                zbus::Error::FDO(error)
                    if matches!(
                        *error,
                        fdo::Error::NameHasNoOwner(_) | fdo::Error::ServiceUnknown(_)
                    ) =>
                {
                    Self::NotRunning
                }
                error => Self::Failed(error.to_string()),
            }
        }
    }

    /// A process that is NetworkManager on a bus. What is sent to its own name has the bus start nothing, as what is sent
    /// to the service's may.
    struct Asked<'a> {
        bus: &'a Connection,
        name: String,
    }

    impl<'a> Asked<'a> {
        async fn find(bus: &'a Connection) -> zbus::Result<Self> {
            let name = "org.freedesktop.DBus";
            let call = bus.call_method(
                Some(name),
                "/org/freedesktop/DBus",
                Some(name),
                "GetNameOwner",
                &SERVICE,
            );
            let name = call.await?.body().deserialize()?;
            Ok(Self { bus, name })
        }

        /// The wireless networks that the machine is on. What has gone since it was named, or gives no answer that we
        /// understand, is none.
        async fn ssids(&self) -> zbus::Result<BTreeSet<String>> {
            let mut connections: Vec<OwnedObjectPath> =
                self.get(PATH, SERVICE, "ActiveConnections").await?;
            // That of the default route is looked at, however many there are.
            let primary: Option<OwnedObjectPath> =
                self.get(PATH, SERVICE, "PrimaryConnection").await.ok();
            connections.sort_by_key(|it| Some(it) != primary.as_ref());
            connections.truncate(MOST);
            let mut devices = Vec::new();
            for connection in connections {
                devices.extend(self.wireless(&connection).await.unwrap_or_default());
            }
            devices.truncate(MOST);
            let mut ssids = BTreeSet::new();
            for device in devices {
                ssids.extend(self.ssid(&device).await);
            }
            Ok(ssids)
        }

        /// The devices of a connection, where that is a wireless one.
        async fn wireless(&self, connection: &str) -> zbus::Result<Vec<OwnedObjectPath>> {
            let kind: String = self.get(connection, ACTIVE, "Type").await?;
            if kind != "802-11-wireless" {
                return Ok(Vec::new());
            }
            let state: u32 = self.get(connection, ACTIVE, "State").await?;
            if state != ACTIVATED {
                return Ok(Vec::new());
            }
            self.get(connection, ACTIVE, "Devices").await
        }

        /// The network that a device is on.
        async fn ssid(&self, device: &str) -> zbus::Result<String> {
            let point: OwnedObjectPath = self.get(device, WIRELESS, "ActiveAccessPoint").await?;
            let ssid: Vec<u8> = self.get(&point, ACCESS_POINT, "Ssid").await?;
            Ok(String::from_utf8_lossy(&ssid).into_owned())
        }

        async fn get<T>(&self, path: &str, interface: &str, property: &str) -> zbus::Result<T>
        where
            T: TryFrom<OwnedVariant, Error = zbus::Error>,
        {
            let reply = self.call(path, &(interface, property)).await?;
            reply.body().deserialize::<OwnedVariant>()?.try_into()
        }

        async fn call<B: Serialize + DynamicType>(
            &self,
            path: &str,
            body: &B,
        ) -> zbus::Result<Message> {
            let (to, interface) = (self.name.as_str(), "org.freedesktop.DBus.Properties");
            let call = self
                .bus
                .call_method(Some(to), path, Some(interface), "Get", body);
            call.await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_stays_where_the_rest_has_no_answer() {
        let both = Wanted {
            metered: true,
            ssids: true,
        };
        let half = Said {
            metered: Ok(true),
            ..Said::default()
        };
        let said = half.silent(both, &Silence::TooSlow);
        assert_eq!(said.metered, Ok(true));
        assert_eq!(said.ssids, Err(Silence::TooSlow));
        let metered = Wanted {
            ssids: false,
            ..both
        };
        assert_eq!(said.silence(metered), None);
        assert_eq!(said.silence(both), Some(&Silence::TooSlow));
        // What nobody wanted has not been asked.
        let said = Said::default().silent(metered, &Silence::NotRunning);
        assert_eq!(said.metered, Err(Silence::NotRunning));
        assert_eq!(said.ssids, Err(Silence::NotAsked));
    }
}
