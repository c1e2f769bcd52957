//! The rules of this machine: which of them are on, and what a sample says of them.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{ZonedDateTime, civil::Date};
use tokio::{sync::Notify, task::spawn_blocking, time::timeout};

use super::{Server, changes::Changes, intervals::SHORTEST};
use crate::{
    engine::InForce,
    model::{Both, LimitId, Origin, RuleSample, Snapshot},
    protocol::{Edited, RequestError},
    rules::{
        NetworkManager, Networks, Places, Rule, Rules, Stamp, UnitRules, Wanted, Why, WriteError,
        edit::Edit, running,
    },
};

/// Between looks at the clock, which may have been set while the machine slept, and at the files of units.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// Between questions to NetworkManager, so that with what an answer may take two seconds pass at most.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(1);

/// How long who changes them waits at most for a sample that shows the change.
const UNTIL_SHOWN: Duration = Duration::from_secs(1);

/// The rules, as they were read.
#[derive(Debug)]
pub struct Book {
    places: Places,
    state: Mutex<State>,
    /// They have changed.
    changed: Notify,
    /// Whoever reads the files does so alone: what was read later counts.
    reading: tokio::sync::Mutex<()>,
    /// Likewise whoever tells the engine.
    telling: tokio::sync::Mutex<()>,
    network_manager: tokio::sync::Mutex<NetworkManager>,
    /// What is to be asked of it may be another thing now.
    wanted: Notify,
    /// What clients have changed in their file.
    changes: Mutex<Changes>,
}

#[derive(Debug, Default)]
struct State {
    rules: Rules,
    /// The files when they were last looked at.
    files: Stamp,
    /// Whether they say other things than these rules.
    files_differ: bool,
    /// Those of units that run, which come after all others.
    units: UnitRules,
    /// Where the machine is.
    networks: Networks,
    /// Of each rule, those of units last, whether it is on.
    why: Vec<Why>,
    /// What there is to say of them that no engine has to be asked for.
    samples: Vec<RuleSample>,
    /// The engine has not been told of them as they are.
    is_new: bool,
    /// What is wrong with the files, each in a line.
    problems: Vec<String>,
    /// What members of each have carried in all.
    carried: BTreeMap<Arc<str>, Both<u64>>,
    /// What they had when the day began.
    before_today: BTreeMap<Arc<str>, Both<u64>>,
    today: Option<Date>,
}

impl Book {
    /// With the rules of these places, none of which is read yet.
    pub fn of(places: Places) -> Self {
        Self {
            places,
            state: Mutex::default(),
            changed: Notify::new(),
            reading: tokio::sync::Mutex::default(),
            telling: tokio::sync::Mutex::default(),
            network_manager: tokio::sync::Mutex::default(),
            wanted: Notify::new(),
            changes: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, rules: Rules) {
        self.rules = rules;
        self.files_differ = false;
        self.is_new = true;
    }

    /// Decides which rules are on, and gives those, where that has changed, and when it changes next.
    fn decide(&mut self, now: &ZonedDateTime) -> (Option<Vec<InForce>>, Option<ZonedDateTime>) {
        let profile = self.rules.profile.as_deref();
        let whys = self
            .rules()
            .map(|rule| rule.why(now, &self.networks, profile));
        let why: Vec<Why> = whys.collect();
        let next = self.rules().filter_map(|rule| rule.when.next_change(now));
        let next = next.min();
        let is_news = std::mem::take(&mut self.is_new) || why != self.why;
        self.why = why;
        if is_news {
            let rules = self.rules().zip(&self.why);
            self.samples = rules.map(|(rule, why)| rule.sample(why)).collect();
        }
        (is_news.then(|| self.in_force()), next)
    }

    fn in_force(&self) -> Vec<InForce> {
        let on = self.rules().zip(&self.why);
        let on = on.filter(|(_, why)| why.is_on());
        let in_force = on.map(|(rule, why)| InForce {
            name: Arc::clone(&rule.name),
            targets: rule.targets.clone(),
            limit: rule.limit,
            share: rule.share,
            interfaces: match why {
                Why::Connections(_) => rule.on.interfaces(),
                _ => Vec::new(),
            },
        });
        in_force.collect()
    }

    /// All rules, in the order in which they are tried.
    fn rules(&self) -> impl Iterator<Item = &Rule> {
        let is_taken = |rule: &&Rule| self.rules.rules.iter().any(|it| it.name == rule.name);
        let units = self.units.rules().filter(move |rule| !is_taken(rule));
        self.rules.rules.iter().chain(units)
    }

    /// Has a sample tell of the rules, and of limits where they come from.
    fn write_to(&mut self, snapshot: &mut Snapshot, today: Date) {
        if self.today.replace(today).is_some_and(|day| day != today) {
            self.before_today = std::mem::take(&mut self.carried);
        }
        self.carried = std::mem::take(&mut snapshot.carried_by_rule);
        let mut limits: HashMap<&str, Vec<LimitId>> = HashMap::new();
        for ruled in &snapshot.ruled {
            limits.entry(&ruled.rule).or_default().push(ruled.id);
        }
        let members = snapshot.limits.iter();
        let members: HashMap<LimitId, usize> = members.map(|it| (it.id, it.members)).collect();
        let mut samples = self.samples.clone();
        for sample in &mut samples {
            let of = |carried: &BTreeMap<_, Both<u64>>| carried.get(&sample.name).copied();
            let before = of(&self.before_today).unwrap_or_default();
            let carried = of(&self.carried).unwrap_or_default();
            sample.carried_today =
                Both::from_fn(|direction| carried[direction].saturating_sub(before[direction]));
            sample.limits = limits.remove(&*sample.name).unwrap_or_default();
            let of_each = sample.limits.iter().filter_map(|id| members.get(id));
            sample.members = of_each.sum();
            let origins = sample.limits.iter().map(|id| origin(*id, sample));
            snapshot.origins.extend(origins);
        }
        let of_units = self.units.problems();
        let of_units =
            of_units.map(|problem| format!("{problem}: the unit has no limit of its own"));
        for problem in self.problems.iter().cloned().chain(of_units) {
            // When it is news, the log has it too.
            if !snapshot.warnings.contains(&problem) {
                snapshot.warnings.push(problem);
            }
        }
        snapshot.origins.sort_by_key(|origin| origin.id);
        snapshot.rules = samples;
        snapshot.profiles.clone_from(&self.rules.profiles);
        snapshot.profile.clone_from(&self.rules.profile);
        snapshot.rules_changed = self.files_differ;
    }
}

fn origin(id: LimitId, rule: &RuleSample) -> Origin {
    Origin {
        id,
        targets: rule.targets.clone(),
        children: false,
        uid: 0,
        user: "root".to_owned(),
        pid: 0,
        since_ns: 0,
        until_ns: None,
        detached: true,
        rule: Some(Arc::clone(&rule.name)),
    }
}

impl Server {
    /// Reads the rules for the first time, and has those hold that are on. Of a file with mistakes, it says so.
    pub async fn begin_rules(&self) {
        let places = self.0.book.places.clone();
        let Ok(rules) = spawn_blocking(move || places.load()).await else {
            return;
        };
        let problems: Vec<String> = rules.problems.iter().map(ToString::to_string).collect();
        self.note_problems(&problems, "its rules do not hold");
        // Rules that were on with the engine before go on without a gap.
        self.ask_network_manager(Wanted::by(&rules.rules)).await;
        self.0.book.state().take(rules);
        self.tell_rules().await;
    }

    /// Reads the rules anew. Where a file has mistakes, all stays as it was, and everybody who watches is told. Gives
    /// what is wrong, when whoever asks next is given a sample that shows the rules as they are now.
    pub async fn reload_rules(&self) -> Vec<String> {
        let problems = self.read_rules().await;
        let told = self.sequence();
        let _wanted = self.0.intervals.want(SHORTEST, &self.0.engine);
        // Where samples take long, it is true that the rules hold.
        let _ = timeout(UNTIL_SHOWN, self.0.samples.later_than(told)).await;
        problems
    }

    async fn read_rules(&self) -> Vec<String> {
        let _alone = self.0.book.reading.lock().await;
        let places = self.0.book.places.clone();
        let Ok(rules) = spawn_blocking(move || places.load()).await else {
            return Vec::new();
        };
        let problems: Vec<String> = rules.problems.iter().map(ToString::to_string).collect();
        self.note_problems(&problems, "the rules stay as they were");
        if problems.is_empty() {
            self.0.book.state().take(rules);
            self.tell_rules().await;
            self.0.book.changed.notify_one();
            self.0.book.wanted.notify_one();
        }
        problems
    }

    /// Tells everybody who watches of what is wrong with the files, for as long as it is.
    fn note_problems(&self, problems: &[String], consequence: &str) {
        let mut lines = Vec::new();
        for problem in problems {
            let first = problem.lines().next().unwrap_or_default();
            let line = format!("{first}: {consequence}. 'chadthrottle rule check' says more");
            log::warn!("{line}");
            log::info!("{problem}");
            lines.push(line);
        }
        self.0.book.state().problems = lines;
    }

    /// Makes a change in the file of rules, and has it hold. Gives a number by which it is taken back.
    pub(super) async fn edit_rules(&self, edit: Edit) -> Result<Edited, RequestError> {
        let (change, problems) = self.write_file(move |places| places.edit(&edit)).await?;
        let change = change.map(|change| self.0.book.changes().remember(change));
        Ok(Edited { problems, change })
    }

    /// Takes a change back, and has the rules hold as they are then.
    pub(super) async fn take_rules_back(&self, change: u64) -> Result<Vec<String>, RequestError> {
        let Some(made) = self.0.book.changes().get(change) else {
            let words = "the engine does not know of that change any more: nothing taken back";
            return Err(RequestError::NoChange(words.to_owned()));
        };
        let ((), problems) = self
            .write_file(move |places| places.take_back(&made))
            .await?;
        self.0.book.changes().forget(change);
        Ok(problems)
    }

    /// Writes the file of rules, and has them hold. Gives what is wrong with the files then.
    async fn write_file<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Places) -> Result<T, WriteError> + Send + 'static,
    ) -> Result<(T, Vec<String>), RequestError> {
        let places = self.0.book.places.clone();
        let written = spawn_blocking(move || write(&places)).await;
        let written = written.map_err(|_| RequestError::Gone)?;
        if let Err(error) = &written
            && error.is_changed_since()
        {
            return Err(RequestError::NoChange(error.to_string()));
        }
        // Where the file is wrong as it is, everybody who watches is to hear of it.
        let problems = self.reload_rules().await;
        match written {
            Ok(written) => Ok((written, problems)),
            Err(error) => Err(RequestError::Failed {
                message: error.to_string(),
                exit_code: error.exit_code(),
            }),
        }
    }

    /// Has rules begin and end at their times, and with the units that have them.
    ///
    /// Units are those whose cgroups are at `mount`.
    pub async fn keep_rules(&self, mount: &Path) -> Infallible {
        // It may stand still, for which nothing else waits.
        tokio::select! {
            never = self.keep_asking() => never,
            never = self.keep_telling(mount) => never,
        }
    }

    /// Asks NetworkManager, for as long as a rule wants to know.
    async fn keep_asking(&self) -> Infallible {
        loop {
            let wanted = Wanted::by(self.0.book.state().rules());
            self.ask_network_manager(wanted).await;
            let wanted = self.0.book.wanted.notified();
            let _ = timeout(BETWEEN_QUESTIONS, wanted).await;
        }
    }

    async fn keep_telling(&self, mount: &Path) -> Infallible {
        loop {
            self.look_at_files().await;
            self.look_at_units(mount).await;
            let next = self.tell_rules().await;
            let left = next.map(|next| ZonedDateTime::now().duration_until(&next));
            let left = left.and_then(|left| Duration::try_from(left).ok());
            let wait = left.unwrap_or(BETWEEN_LOOKS).min(BETWEEN_LOOKS);
            // Either it is time, or something has changed.
            let _ = timeout(wait, self.0.book.changed.notified()).await;
        }
    }

    /// Asks NetworkManager what rules want to know, and has them told of where that is news.
    async fn ask_network_manager(&self, wanted: Wanted) {
        let mut manager = self.0.book.network_manager.lock().await;
        let said = manager.ask(wanted).await;
        let mut state = self.0.book.state();
        if *state.networks.said() != said {
            state.networks = std::mem::take(&mut state.networks).with(said);
            self.0.book.changed.notify_one();
        }
    }

    /// Finds out where the machine is, where a rule asks for that.
    fn look_at_networks(&self) {
        let mut state = self.0.book.state();
        if state.rules().any(|rule| !rule.on.is_empty()) {
            let said = state.networks.said().clone();
            state.networks = Networks::look().with(said);
        }
    }

    /// Finds out whether the files say other things than what was read from them. They are read where they may.
    async fn look_at_files(&self) {
        let _alone = self.0.book.reading.lock().await;
        let places = self.0.book.places.clone();
        let before = self.0.book.state().files.clone();
        let looked = spawn_blocking(move || {
            let now = places.stamp();
            (now != before).then(|| (now, places.load()))
        });
        if let Ok(Some((files, rules))) = looked.await {
            let mut state = self.0.book.state();
            state.files_differ = rules != state.rules;
            state.files = files;
        }
    }

    /// Reads what the files of units say that run, where those or the files have changed.
    async fn look_at_units(&self, mount: &Path) {
        let (mut units, is_wanted) = {
            let state = self.0.book.state();
            (state.units.clone(), state.rules.units)
        };
        let (places, mount) = (self.0.book.places.clone(), mount.to_owned());
        let looked = spawn_blocking(move || {
            let running = match is_wanted {
                true => running(&mount),
                false => BTreeMap::new(),
            };
            units.refresh(&places, &running).then_some(units)
        });
        if let Ok(Some(units)) = looked.await {
            let mut state = self.0.book.state();
            state.units = units;
            state.is_new = true;
        }
    }

    /// Tells the engine which rules are on, where that has changed, and gives when it changes next.
    async fn tell_rules(&self) -> Option<ZonedDateTime> {
        let _alone = self.0.book.telling.lock().await;
        self.look_at_networks();
        let now = ZonedDateTime::now();
        let (in_force, next) = self.0.book.state().decide(&now);
        if let Some(in_force) = in_force
            && let Err(error) = self.0.engine.set_rules(in_force).await
        {
            log::warn!("having rules hold: {error}");
        }
        next
    }

    /// Has a sample tell of the rules.
    pub(super) fn write_rules(&self, snapshot: &mut Snapshot) {
        let today = ZonedDateTime::now().date();
        self.0.book.state().write_to(snapshot, today);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Ruled, testing};

    fn rule(name: &str, enabled: bool) -> Rule {
        Rule {
            name: name.into(),
            targets: vec!["name:x".parse().unwrap()],
            limit: crate::model::Limit::NONE,
            share: Default::default(),
            when: Default::default(),
            on: Default::default(),
            enabled,
            profiles: Vec::new(),
            file: Path::new("/rules").into(),
            line: 1,
        }
    }

    #[test]
    fn rules_are_on_by_their_times_and_profiles_and_carry_day_by_day() {
        let mut state = State::default();
        let mut timed = rule("timed", true);
        timed.when.add("Fri 08:00-18:00").unwrap();
        let mut hotel = rule("hotel", true);
        hotel.profiles = vec!["hotel".to_owned()];
        state.rules.rules = vec![rule("always", true), rule("off", false), timed, hotel];
        let at = |text: &str| -> ZonedDateTime { format!("{text}[UTC]").parse().unwrap() };
        let names = |state: &mut State, now: &str| {
            let (_, next) = state.decide(&at(now));
            let names: Vec<String> = state
                .in_force()
                .iter()
                .map(|rule| rule.name.to_string())
                .collect();
            (names.join(" "), next)
        };
        // A Friday.
        let (on, next) = names(&mut state, "2026-11-27T07:00");
        assert_eq!(
            (on.as_str(), next),
            ("always", Some(at("2026-11-27T08:00")))
        );
        assert_eq!(names(&mut state, "2026-11-27T08:00").0, "always timed");
        state.rules.profile = Some("hotel".to_owned());
        assert_eq!(names(&mut state, "2026-11-27T18:00").0, "always hotel");

        let mut limit = testing::limit(4);
        limit.members = 2;
        let sample = |down| Snapshot {
            carried_by_rule: [("always".into(), Both { down, up: 0 })].into(),
            limits: vec![testing::limit(1), limit],
            ruled: vec![Ruled {
                rule: "always".into(),
                id: LimitId(4),
            }],
            ..Snapshot::default()
        };
        let day = |day| jiff::civil::date(2026, 11, day);
        // Nobody has seen the sample before the last.
        for (today, carried, down) in [(27, 2_000, 2_000), (27, 5_000, 5_000), (28, 6_000, 1_000)] {
            let mut sample = sample(carried);
            state.write_to(&mut sample, day(today));
            let always = &sample.rules[0];
            assert_eq!((always.members, always.carried_today.down), (2, down));
            assert_eq!(sample.origins[0].rule.as_deref(), Some("always"));
            assert!(!sample.rules[1].is_on && sample.rules[1].why == "disabled");
            assert_eq!(sample.rules[2].why, "only Fri 08:00-18:00");
        }
    }
}
