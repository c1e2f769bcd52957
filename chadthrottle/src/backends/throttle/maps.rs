//! The maps of the loaded object, with their types.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    sync::Arc,
};

use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData, MapError, PerCpuArray, Queue, SkStorage, Stack},
};
use chadthrottle_common::{
    abi::{MAX_PATTERNS, MAX_PROCESSES, MAX_RULES, ProcessSlot, Rule, Totals, Unattributed, names},
    ownership::{Heir, Owner, Pattern},
    shares,
    sys::Shared,
};

use super::{ThrottleError, resets::Reach};
use crate::sys::{
    bpf,
    map::{Mapped, MappedArray, NoteCopy, Value},
};

/// All maps.
pub struct Maps {
    /// Socket to owner.
    pub owners: SkStorage<MapData, Value<NoteCopy>>,
    /// Thread-group id to owner.
    pub processes: HashMap<MapData, u32, Value<Owner>>,
    /// Thread-group id to what that process, which has no slot yet, has inherited.
    pub heirs: HashMap<MapData, u32, Value<Heir>>,
    /// Free slots.
    pub free: Stack<MapData, u32>,
    /// Ids of processes that have called exec.
    pub execs: Queue<MapData, u32>,
    /// Slots, mapped.
    pub slots: Arc<MappedArray<ProcessSlot>>,
    /// Rules, mapped.
    pub rules: Arc<MappedArray<Rule>>,
    /// Which processes limits take in, mapped.
    pub patterns: MappedArray<Pattern>,
    /// How many slots are in use, mapped.
    pub shares: MappedArray<Shared>,
    totals: PerCpuArray<MapData, Value<Totals>>,
    /// The owners once more, for who asks sockets aside.
    pub asked: Option<Owners>,
    /// The same, with slots and rules, for who resets connections.
    pub reach: Option<Reach>,
}

/// Who owns which socket, to be asked anywhere.
pub struct Owners {
    owners: SkStorage<MapData, Value<NoteCopy>>,
    fd: RawFd,
}

impl Owners {
    fn of(map: &MapData) -> Result<Self, MapError> {
        let again = map.fd().as_fd().try_clone_to_owned();
        let again = MapData::from_fd(again.map_err(MapError::IoError)?)?;
        let fd = again.fd().as_fd().as_raw_fd();
        let owners = Map::from_map_data(again)?.try_into()?;
        Ok(Self { owners, fd })
    }

    /// Who is noted on the socket, living or not.
    pub fn noted_on(&self, socket: &OwnedFd) -> Option<Owner> {
        Some(self.note(socket)?.owner())
    }

    /// What is noted on the socket.
    pub fn note(&self, socket: &OwnedFd) -> Option<NoteCopy> {
        let Value(note) = self.owners.get(socket, 0).ok()?;
        Some(note)
    }

    /// Notes something else on it.
    ///
    /// # Errors
    /// `EAGAIN` where somebody else notes something in this moment.
    pub fn set_note(&mut self, socket: &OwnedFd, note: NoteCopy) -> Result<(), MapError> {
        self.owners.insert(socket, Value(note), bpf::ANY)
    }

    /// The number of its descriptor.
    pub fn raw_fd(&self) -> RawFd {
        self.fd
    }
}

impl Maps {
    /// Takes the maps out of the object.
    pub fn take(object: &mut Ebpf) -> Result<Self, ThrottleError> {
        // A mapping outlives the descriptor, but the programs that are loaded later still need
        // it, so these stay in the object.
        let slots = Arc::new(mapped(object, names::SLOTS, MAX_PROCESSES)?);
        let rules = Arc::new(mapped(object, names::RULES, MAX_RULES)?);
        let patterns = mapped(object, names::PATTERNS, MAX_PATTERNS)?;
        let shares = mapped(object, names::SHARES, shares::WORDS)?;
        let owners = data(object, names::OWNERS)?;
        let again = || {
            Owners::of(owners).map_err(|source| ThrottleError::Map {
                map: names::OWNERS,
                source,
            })
        };
        let asked = again()?;
        let reach = Reach {
            owners: again()?,
            slots: Arc::clone(&slots),
            rules: Arc::clone(&rules),
        };
        Ok(Self {
            asked: Some(asked),
            reach: Some(reach),
            owners: typed(object, names::OWNERS)?,
            processes: typed(object, names::PROCESSES)?,
            heirs: typed(object, names::HEIRS)?,
            free: typed(object, names::FREE_SLOTS)?,
            execs: typed(object, names::EXECS)?,
            slots,
            rules,
            patterns,
            shares,
            totals: typed(object, names::TOTALS)?,
        })
    }

    /// What belongs to no process, summed over the CPUs.
    pub fn totals(&self) -> Result<Totals, MapError> {
        let per_cpu = self.totals.get(&0, 0)?;
        let of_each = per_cpu.iter().map(|Value(totals)| *totals);
        Ok(of_each.fold(Totals::default(), sum))
    }
}

fn sum(one: Totals, other: Totals) -> Totals {
    let unattributed = |one: Unattributed, other: Unattributed| Unattributed {
        bytes: one.bytes.wrapping_add(other.bytes),
        packets: one.packets.wrapping_add(other.packets),
        loopback_bytes: one.loopback_bytes.wrapping_add(other.loopback_bytes),
        loopback_packets: one.loopback_packets.wrapping_add(other.loopback_packets),
    };
    Totals {
        ingress: unattributed(one.ingress, other.ingress),
        egress: unattributed(one.egress, other.egress),
        slots_exhausted: one.slots_exhausted.wrapping_add(other.slots_exhausted),
        heirs_exhausted: one.heirs_exhausted.wrapping_add(other.heirs_exhausted),
    }
}

/// The word that says whether levers may be set: 1, or 0.
///
/// # Errors
/// Where it cannot be mapped.
pub fn levers(object: &Ebpf) -> Result<MappedArray<Shared>, ThrottleError> {
    mapped(object, names::LEVERS, 1)
}

fn typed<M>(object: &mut Ebpf, name: &'static str) -> Result<M, ThrottleError>
where
    M: TryFrom<Map, Error = MapError>,
{
    object
        .take_map(name)
        .ok_or(ThrottleError::Missing(name))?
        .try_into()
        .map_err(|source| ThrottleError::Map { map: name, source })
}

fn mapped<T: Mapped>(
    object: &Ebpf,
    map: &'static str,
    len: u32,
) -> Result<MappedArray<T>, ThrottleError> {
    MappedArray::of(data(object, map)?.fd(), len)
        .map_err(|source| ThrottleError::Mapping { map, source })
}

/// The bare map, of which only the descriptor is used.
fn data<'a>(object: &'a Ebpf, name: &'static str) -> Result<&'a MapData, ThrottleError> {
    match object.map(name) {
        Some(Map::Array(data) | Map::SkStorage(data)) => Ok(data),
        _ => Err(ThrottleError::Missing(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_of_all_cpus_add_up_field_by_field() {
        let totals = |n: u64| {
            let unattributed = |first: u64| Unattributed {
                bytes: first * n,
                packets: (first + 1) * n,
                loopback_bytes: (first + 2) * n,
                loopback_packets: (first + 3) * n,
            };
            Totals {
                ingress: unattributed(1),
                egress: unattributed(5),
                slots_exhausted: 9 * n,
                heirs_exhausted: 10 * n,
            }
        };
        assert_eq!(sum(totals(3), totals(4)), totals(7));
        // A byte that turned out to be somebody's was taken off on another CPU.
        let (mut less, mut more) = (Totals::default(), Totals::default());
        less.egress.bytes = u64::MAX;
        more.egress.bytes = 5;
        assert_eq!(sum(less, more).egress.bytes, 4);
    }
}
