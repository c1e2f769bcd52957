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

/// What it says; nothing of what was not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Whether what is sent over the network that the machine is on costs money, as far as it knows or guesses.
    pub metered: bool,
    /// Names of the wireless networks that the machine is on. They need not be text: what is none has been replaced.
    pub ssids: BTreeSet<String>,
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
    async fn answer(&mut self, _wanted: Wanted) -> Result<Said, Silence> {
        Err(Silence::NotBuilt)
    }

    fn hang_up(&mut self) {}
}

impl NetworkManager {
    /// Asks it, for a second at most. Where nothing is wanted, nobody is asked, and the connection is closed.
    ///
    /// # Errors
    /// Why it does not answer. The next time the bus is connected to anew.
    pub async fn ask(&mut self, wanted: Wanted) -> Result<Said, Silence> {
        let answer = match wanted.any() {
            true => timeout(PATIENCE, self.answer(wanted)).await,
            false => Ok(Err(Silence::NotAsked)),
        };
        let answer = answer.unwrap_or(Err(Silence::TooSlow));
        // A bus without NetworkManager is as good as any.
        if !matches!(answer, Ok(_) | Err(Silence::NotRunning)) {
            self.hang_up();
        }
        answer
    }
}

#[cfg(feature = "network-manager")]
mod bus {
    use serde::Serialize;
    use zbus::{Connection, DynamicType, Message, OwnedObjectPath, OwnedVariant, fdo};

    use super::{NetworkManager, Said, Silence, Wanted};

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
        pub(super) async fn answer(&mut self, wanted: Wanted) -> Result<Said, Silence> {
            let bus = match &self.bus {
                Some(bus) => bus,
                None => self.bus.insert(Connection::system().await?),
            };
            Ok(Asked::find(bus).await?.say(wanted).await?)
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
                error => Self::Failed(crate::text::escape(&error.to_string()).into_owned()),
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

        async fn say(&self, wanted: Wanted) -> zbus::Result<Said> {
            let mut said = Said::default();
            if wanted.metered {
                let metered = self.get(PATH, SERVICE, "Metered").await?;
                said.metered = METERED.contains(&metered);
            }
            if wanted.ssids {
                let active: Vec<OwnedObjectPath> =
                    self.get(PATH, SERVICE, "ActiveConnections").await?;
                for connection in active {
                    // Whoever has gone meanwhile is on no network.
                    let ssids = self.ssids(&connection).await.unwrap_or_default();
                    said.ssids.extend(ssids);
                }
            }
            Ok(said)
        }

        /// The wireless networks of a connection.
        async fn ssids(&self, connection: &str) -> zbus::Result<Vec<String>> {
            let mut ssids = Vec::new();
            let kind: String = self.get(connection, ACTIVE, "Type").await?;
            if kind != "802-11-wireless" {
                return Ok(ssids);
            }
            let state: u32 = self.get(connection, ACTIVE, "State").await?;
            if state != ACTIVATED {
                return Ok(ssids);
            }
            let devices: Vec<OwnedObjectPath> = self.get(connection, ACTIVE, "Devices").await?;
            for device in devices {
                let point: OwnedObjectPath =
                    self.get(&device, WIRELESS, "ActiveAccessPoint").await?;
                let ssid: Vec<u8> = self.get(&point, ACCESS_POINT, "Ssid").await?;
                ssids.push(String::from_utf8_lossy(&ssid).into_owned());
            }
            Ok(ssids)
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
