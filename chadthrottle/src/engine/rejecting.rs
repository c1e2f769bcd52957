//! Limits that reset what they block: whose connections are to be looked at.

use std::{collections::HashMap, sync::Arc};

use chadthrottle_common::scope::Scope;

use super::{Engine, slots::owner_of};
use crate::backends::throttle::resets::{Rejected, Resets};

impl Engine {
    /// Has connections be reset of those whose limits do that: of all that there are, and of new ones within a tenth of a
    /// second.
    pub(super) fn reset_rejected(&mut self) {
        let resetting = self
            .limits
            .iter()
            .filter(|(_, limit, _)| limit.resets())
            .map(|(id, limit, _)| (id.0, limit.scope));
        let resetting: HashMap<u32, Scope> = resetting.collect();
        if let Some(resets) = &self.resets {
            resets.set_limits(resetting.keys().copied().collect());
        }
        if resetting.is_empty() {
            return;
        }
        if let Some(reach) = self.throttle.maps.reach.take() {
            match Resets::start(self.processes.root(), reach, self.doubts.clone()) {
                Ok(resets) => {
                    resets.set_limits(resetting.keys().copied().collect());
                    self.resets = Some(Arc::new(resets));
                }
                Err(error) => log::warn!("no connection is reset: starting a thread: {error}"),
            }
        }
        let Some(resets) = self.resets.clone() else {
            return;
        };
        resets.look_soon(|| {
            // The kernel programs may have taken somebody in a moment ago.
            self.scan_slots();
            self.rejected(&resetting)
        });
    }

    fn rejected(&self, resetting: &HashMap<u32, Scope>) -> Vec<Rejected> {
        let members = self.slots.iter().filter_map(|(key, slot)| {
            let rule = self.rule_id_of(slot);
            Some(Rejected {
                key,
                owner: owner_of(&self.throttle.maps.slots, slot),
                rule: rule.word(),
                scope: *resetting.get(&rule.index)?,
            })
        });
        members.collect()
    }
}
