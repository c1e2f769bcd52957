//! Sets, changes and removes limits: their rules in the kernel, and the slots of the processes that they are for.

use std::collections::HashSet;

use chadthrottle_common::{
    abi::{ProcessSlot, Rule},
    ownership::{RuleId, inheritance},
};

use super::{Engine, active::Active, in_force::RulesInForce, membership};
use crate::{
    engine::EngineError,
    model::{Carried, Limit, LimitId},
    process::{Targets, cgroup_of, process_of_thread},
    sys::clock::now_ns,
    text,
    units::Rate,
};

/// How much time's worth of traffic may pass at once after a rest, in nanoseconds.
///
/// More than the smallest retransmission timeout of TCP (200 ms): with less, a sender on a fast
/// network that has lost a window waits longer than the bucket takes to fill, and gets a third of
/// its limit.
const BURST_NS: u64 = 250_000_000;

/// How long a bucket may save, in nanoseconds, at so many bytes a second: long enough for packets of
/// several senders that come together, or what it saves between them is lost. It starts with
/// [`BURST_NS`], whatever it may save.
fn longest_burst_ns(rate: u64) -> u64 {
    const FULL_PACKETS: u64 = 4 * 1_500;
    const LONGEST_NS: u64 = 2 * BURST_NS;
    let ns = FULL_PACKETS * 1_000_000_000 / rate.max(1);
    ns.clamp(BURST_NS, LONGEST_NS)
}

/// Slots for processes that are to be limited count for nobody.
pub(super) const NO_SHARE: u32 = 0;

impl Carried {
    fn add(&mut self, slot: &ProcessSlot) {
        self.passed.down += slot.ingress.bytes.count();
        self.passed.up += slot.egress.bytes.count();
        self.dropped.down += slot.ingress.dropped_bytes.get();
        self.dropped.up += slot.egress.dropped_bytes.get();
    }
}

impl Engine {
    /// Sets a limit for the targets.
    pub(super) fn set_limit(
        &mut self,
        targets: Targets,
        limit: Limit,
    ) -> Result<LimitId, EngineError> {
        // A target may have started a moment ago. Those that are known are asked themselves.
        let mut named = targets.processes.iter();
        let all_known = named.all(|key| self.processes.contains(*key));
        let is_for_others = !targets.selectors.is_empty() || targets.children;
        // Whose they are now counts, for who may only have their own.
        let is_of_user = targets.of_user.is_some();
        if (is_for_others || is_of_user || !all_known)
            && let Err(error) = self.refresh_processes()
        {
            log::warn!("{error}");
        }
        // They are asked themselves: a look at all of them may have missed them.
        for key in &targets.processes {
            if !self.lives(*key)? {
                return Err(EngineError::NoTarget(format!(
                    "process {} has ended",
                    key.pid
                )));
            }
            // /proc has a directory for each thread too, which it does not list.
            if let Some(process) = process_of_thread(self.processes.root(), key.pid) {
                return Err(EngineError::NoTarget(format!(
                    "{} is a thread of process {process}",
                    key.pid
                )));
            }
            let cgroup = cgroup_of(self.processes.root(), key.pid);
            let point = self.attached_to.as_ref();
            if let Some(cgroup) = cgroup.filter(|cgroup| membership::is_outside(point, cgroup)) {
                return Err(EngineError::OutOfReach(format!(
                    "process {} is in cgroup {}, outside of the one that the programs are attached \
                     to, where they see nothing of it. {}",
                    key.pid,
                    text::escape(&cgroup),
                    membership::where_to_run(point, &cgroup)
                )));
            }
        }
        if targets.is_for_nobody() {
            return Err(EngineError::NoTarget(
                "all processes that it was for have ended".to_owned(),
            ));
        }
        if targets.of_user.is_some() {
            self.check_user(&targets)?;
        }
        self.hold(targets, limit, None)
    }

    /// Refuses processes that are not the user's, and those that somebody else's limit or a rule holds, or will as soon as
    /// they have a socket.
    fn check_user(&self, targets: &Targets) -> Result<(), EngineError> {
        for key in &targets.processes {
            let pid = key.pid;
            let info = self.processes.get(pid).filter(|info| info.key == *key);
            if !info.is_some_and(|info| targets.may_have(info.uid)) {
                return Err(EngineError::NotAllowed(format!(
                    "process {pid} is another user's"
                )));
            }
            let holder = self.limits.active.get(&self.rule_over(*key));
            let claims = |active: &&Active| {
                let mut selectors = active.targets.selectors.iter();
                info.is_some_and(|info| {
                    active.targets.may_have(info.uid)
                        && selectors.any(|selector| selector.matches(info, &self.processes))
                })
            };
            let all = self.limits.active.values();
            let mut holders = holder.into_iter().chain(all.filter(claims));
            if self.ruled.wanted.contains_key(key)
                || holders.any(|active| active.targets.of_user != targets.of_user)
            {
                return Err(EngineError::NotAllowed(format!(
                    "process {pid} is held by a limit that somebody else has set"
                )));
            }
        }
        Ok(())
    }

    /// The same where the targets are known to be there, or to have been a moment ago. In the place of
    /// another limit with the same rates, what is owed and saved goes on.
    fn hold(
        &mut self,
        targets: Targets,
        limit: Limit,
        in_place_of: Option<LimitId>,
    ) -> Result<LimitId, EngineError> {
        let id = self.limits.add(targets, limit)?;
        let index = id.index;
        self.begin(id, limit, in_place_of);
        self.offer_patterns();
        if let Err(error) = self.enroll(index) {
            self.drop_limit(index);
            return Err(error);
        }
        self.slow_down(index, limit, None);
        Ok(LimitId(index))
    }

    /// Has a limit's buckets be there: members are held from the moment in which they are enrolled, and finding them
    /// all may take a while.
    pub(super) fn begin(&mut self, id: RuleId, limit: Limit, in_place_of: Option<LimitId>) {
        self.configure(id.index, limit, None);
        if let Some(rule) = self.rule(id.index) {
            if let Some(old) = in_place_of.and_then(|old| self.rule(old.0)) {
                rule.ingress.tat_ns.set(old.ingress.tat_ns.get());
                rule.egress.tat_ns.set(old.egress.tat_ns.get());
            }
            rule.identity.serial.set(u64::from(id.serial));
        }
    }

    /// Changes a limit for all its members.
    pub(super) fn change_limit(&mut self, id: LimitId, limit: Limit) -> Result<(), EngineError> {
        self.refuse_of_rule(id)?;
        self.change(id.0, limit)
    }

    /// The same whatever it comes from.
    pub(super) fn change(&mut self, index: u32, limit: Limit) -> Result<(), EngineError> {
        let active = self.limits.active.get_mut(&index);
        let active = active.ok_or(EngineError::NoLimit)?;
        let before = std::mem::replace(&mut active.limit, limit);
        self.configure(index, limit, Some(now_ns()));
        self.slow_down(index, limit, Some(before));
        Ok(())
    }

    /// Refuses to change or end a limit that comes from a rule: it would be set again.
    fn refuse_of_rule(&self, id: LimitId) -> Result<(), EngineError> {
        match self.limits.rule_of(id.0) {
            Some(rule) => Err(EngineError::OfRule(text::escape(rule).into_owned())),
            None => Ok(()),
        }
    }

    /// Has the connections of a limit's members slow down by themselves, anew or after a change.
    pub(super) fn slow_down(&mut self, rule: u32, limit: Limit, before: Option<Limit>) {
        let members = self.member_pids(rule);
        // Nothing slows down what is blocked.
        let (limit, before) = (limit.without_blocks(), before.map(Limit::without_blocks));
        if let Some(bucket) = self.throttle.maps.rules.get(rule as usize) {
            self.levers.begin(rule, bucket, &limit, before, &members);
        }
    }

    /// Has a limit hold for what its members start too, or no longer: a new one takes its place, so
    /// that descendants leave it with their sockets as they were.
    pub(super) fn set_children(
        &mut self,
        id: LimitId,
        children: bool,
    ) -> Result<LimitId, EngineError> {
        // Who has ended is no target any more, and must not keep the others from the limit.
        if let Err(error) = self.refresh_processes() {
            log::warn!("{error}");
        }
        self.refuse_of_rule(id)?;
        let active = self.limits.active.get(&id.0).ok_or(EngineError::NoLimit)?;
        if active.targets.children == children {
            return Ok(id);
        }
        let (limit, mut targets) = (active.limit, active.targets.clone());
        targets.children = children;
        targets.processes.retain(|key| self.is_alive(*key));
        targets.members.clear();
        // The new one first: nobody is to be free in between.
        let new = self.hold(targets, limit, Some(id))?;
        self.drop_limit(id.0);
        Ok(new)
    }

    /// What the limit's members have carried.
    pub(super) fn carried(&self, id: LimitId) -> Result<Carried, EngineError> {
        let mut carried = self
            .limits
            .active
            .get(&id.0)
            .ok_or(EngineError::NoLimit)?
            .carried;
        for (_, index) in self.slots.iter() {
            if self.rule_of(index) == id.0
                && let Some(slot) = self.throttle.maps.slots.get(index as usize)
            {
                carried.add(slot);
            }
        }
        Ok(carried)
    }

    /// Remembers what a member has carried whose slot is about to be given back.
    pub(super) fn member_released(&mut self, slot: u32) {
        let rule = self.rule_of(slot);
        if let Some(active) = self.limits.active.get_mut(&rule)
            && let Some(slot) = self.throttle.maps.slots.get(slot as usize)
        {
            active.carried.add(slot);
        }
    }

    /// Removes a limit.
    pub(super) fn remove_limit(&mut self, id: LimitId) -> Result<(), EngineError> {
        if !self.limits.active.contains_key(&id.0) {
            return Err(EngineError::NoLimit);
        }
        self.refuse_of_rule(id)?;
        // Rules hold again for whom they are, before the limit is gone: nobody is to be free in between.
        if let Some(active) = self.limits.active.get_mut(&id.0) {
            active.is_ending = true;
        }
        self.follow_rules();
        self.drop_limit(id.0);
        Ok(())
    }

    pub(super) fn drop_limit(&mut self, rule: u32) {
        self.drop_limits(&[rule]);
    }

    /// Several at once: for each of thousands the slots of thousands would be looked at.
    pub(super) fn drop_limits(&mut self, rules: &[u32]) {
        let over: HashSet<u32> = rules.iter().copied().collect();
        let slots = self.slots.iter();
        let members = slots.filter(|(_, slot)| over.contains(&self.rule_of(*slot)));
        for (key, slot) in members.collect::<Vec<_>>() {
            self.credit(key, slot);
        }
        for rule in rules {
            self.limits.active.remove(rule);
            self.unconfigure(*rule);
        }
        self.offer_patterns();
        self.scan_slots();
        for (_, slot) in self.slots.iter() {
            if over.contains(&self.rule_of(slot)) {
                self.assign(slot, RuleId::default(), inheritance::NONE);
            }
        }
        // After the kernel program has no rate any more that it could give to a new connection.
        self.levers.end(rules);
    }

    /// Ends all limits, and leaves no socket as they made it.
    pub(super) fn remove_all_limits(&mut self) {
        let ever_limited = self.limits.reset();
        self.ruled = RulesInForce::default();
        for rule in std::mem::take(&mut self.limits.active).into_keys() {
            self.unconfigure(rule);
        }
        if ever_limited {
            self.levers.end_all();
        }
    }

    fn unconfigure(&self, rule: u32) {
        if let Some(rule) = self.rule(rule) {
            rule.ingress.configure(None, 0, Limit::NONE.scope);
            rule.egress.configure(None, 0, Limit::NONE.scope);
            rule.identity.serial.set(0);
        }
    }

    /// Sets the rule's buckets, anew or, with an instant, as a change of what they are.
    fn configure(&self, rule: u32, limit: Limit, change_at: Option<u64>) {
        let Some(rule) = self.rule(rule) else {
            return;
        };
        for (bucket, rate) in [(&rule.ingress, limit.down), (&rule.egress, limit.up)] {
            let rate = rate.map(Rate::bytes_per_second);
            let burst = rate.map_or(BURST_NS, longest_burst_ns);
            if rate == Some(0) {
                bucket.block(limit.scope);
                continue;
            }
            match change_at {
                None => {
                    bucket.configure(rate, burst, limit.scope);
                    // Whoever the engine before holds may have sent just now what may be sent at once.
                    let tat = if self.levers.are_waiting() {
                        now_ns() + bucket.tolerance_ns.get()
                    } else {
                        now_ns() - BURST_NS
                    };
                    bucket.tat_ns.set(tat);
                }
                Some(now) => bucket.change(rate, burst, limit.scope, now),
            }
        }
    }

    /// What to say of a limit's selectors that match nothing, or nothing that can be limited.
    pub(super) fn unmatched(&self, id: LimitId) -> Result<Vec<String>, EngineError> {
        let active = self.limits.active.get(&id.0).ok_or(EngineError::NoLimit)?;
        Ok(self.without_match(&active.targets))
    }

    pub(super) fn without_match(&self, targets: &Targets) -> Vec<String> {
        let point = self.attached_to.as_ref();
        membership::unmatched(targets, &self.processes.iter(), &self.processes, point)
    }

    pub(super) fn rule(&self, rule: u32) -> Option<&Rule> {
        self.throttle.maps.rules.get(rule as usize)
    }

    /// Index of the rule that a slot has; 0: none.
    pub(super) fn rule_of(&self, slot: u32) -> u32 {
        self.rule_id_of(slot).index
    }

    /// The same with which limit it is.
    pub(super) fn rule_id_of(&self, slot: u32) -> RuleId {
        let slot = self.throttle.maps.slots.get(slot as usize);
        RuleId::from_word(slot.map_or(0, |slot| slot.ingress.rule.get()))
    }

    pub(super) fn assign(&self, slot: u32, rule: RuleId, inherit: u64) {
        if let Some(slot) = self.throttle.maps.slots.get(slot as usize) {
            slot.ingress.rule.set(rule.word());
            slot.egress.rule.set(rule.word());
            slot.identity.inherit.set(inherit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_saves_for_four_packets_and_for_half_a_second_at_most() {
        for (rate, ns) in [
            (0, 500_000_000),
            (1_000, 500_000_000),
            (12_000, 500_000_000),
            (20_000, 300_000_000),
            (24_000, 250_000_000),
            (1_000_000_000, 250_000_000),
        ] {
            assert_eq!(longest_burst_ns(rate), ns, "{rate}");
        }
    }
}
