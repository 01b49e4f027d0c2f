//! When which channel is asked for its models, and what an answer changes. Time is an argument.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use penstock_actors::domain::{ChannelName, ChannelSpec, ModelName};
use tokio::time::Instant;

/// The first wait after a failure; each further one doubles it, up to the refresh.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// What is known of every channel that is asked.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    entries: BTreeMap<ChannelName, Entry>,
    refresh: Duration,
    asked: u64,
}

#[derive(Debug)]
struct Entry {
    spec: Arc<ChannelSpec>,
    known: Option<Arc<[ModelName]>>,
    failures: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be asked then.
    Due(Instant),
    /// The question of this number is out.
    Asked(u64),
}

/// A channel to be asked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) spec: Arc<ChannelSpec>,
    /// Tells its answer from those to earlier questions.
    pub(super) number: u64,
}

/// What came of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// Other models than before.
    New(Arc<[ModelName]>),
    /// The same models.
    Same,
    /// None; asked again after a while. As many models as before stay.
    Failed { problem: String, again: Duration, known: usize },
    /// The answer to a question that no longer matters.
    Late,
}

impl Schedule {
    /// Takes the channels that should be asked. Who changed is asked at once.
    pub(super) fn want(&mut self, wanted: Vec<Arc<ChannelSpec>>, refresh: Duration, now: Instant) {
        let mut old = std::mem::take(&mut self.entries);
        for spec in wanted {
            let entry = match old.remove(&spec.name) {
                Some(mut entry) if same_server(&entry.spec, &spec) => {
                    if entry.spec.credentials != spec.credentials || entry.spec.headers != spec.headers {
                        (entry.state, entry.failures) = (State::Due(now), 0);
                    }
                    entry.spec = spec;
                    entry
                }
                _ => Entry { spec, known: None, failures: 0, state: State::Due(now) },
            };
            self.entries.insert(entry.spec.name.clone(), entry);
        }
        if refresh < self.refresh {
            for entry in self.entries.values_mut() {
                if let State::Due(at) = &mut entry.state {
                    *at = (*at).min(now + refresh);
                }
            }
        }
        self.refresh = refresh;
    }

    /// Whether models of this channel are known.
    pub(super) fn knows(&self, channel: &ChannelName) -> bool {
        self.entries.get(channel).is_some_and(|entry| entry.known.is_some())
    }

    /// The channels to ask now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Question> {
        let mut questions = Vec::new();
        for entry in self.entries.values_mut() {
            if matches!(entry.state, State::Due(at) if at <= now) {
                self.asked += 1;
                entry.state = State::Asked(self.asked);
                questions.push(Question { spec: Arc::clone(&entry.spec), number: self.asked });
            }
        }
        questions
    }

    /// When to look again, where that is not up to an answer.
    pub(super) fn wake(&self) -> Option<Instant> {
        let due = self.entries.values().filter_map(|entry| match entry.state {
            State::Due(at) => Some(at),
            State::Asked(_) => None,
        });
        due.min()
    }

    /// Whether every channel answered or failed once.
    pub(super) fn is_settled(&self) -> bool {
        self.entries.values().all(|entry| entry.known.is_some() || entry.failures > 0)
    }

    /// Takes an answer.
    pub(super) fn answered(
        &mut self,
        channel: &ChannelName,
        number: u64,
        answer: Result<Arc<[ModelName]>, String>,
        now: Instant,
    ) -> Answered {
        let Some(entry) = self.entries.get_mut(channel).filter(|e| e.state == State::Asked(number)) else {
            return Answered::Late;
        };
        match answer {
            Ok(models) => {
                entry.failures = 0;
                entry.state = State::Due(now + self.refresh);
                if entry.known.as_ref() == Some(&models) {
                    return Answered::Same;
                }
                entry.known = Some(Arc::clone(&models));
                Answered::New(models)
            }
            Err(problem) => {
                let again = (FIRST_WAIT * 2u32.pow(entry.failures.min(16))).min(self.refresh);
                entry.failures += 1;
                entry.state = State::Due(now + again);
                let known = entry.known.as_ref().map_or(0, |models| models.len());
                Answered::Failed { problem, again, known }
            }
        }
    }
}

/// Whether what one said holds for the other.
fn same_server(a: &ChannelSpec, b: &ChannelSpec) -> bool {
    a.row == b.row && a.base_url == b.base_url && a.params == b.params
}

#[cfg(test)]
mod tests {
    use penstock_actors::domain::{Credential, Credentials, PoolSettings, Timeouts};

    use super::*;

    const REFRESH: Duration = Duration::from_secs(600);

    fn spec(name: &str, base_url: &str, credential: &str) -> Arc<ChannelSpec> {
        Arc::new(ChannelSpec {
            name: ChannelName(name.into()),
            id: None,
            provider: "openai".into(),
            row: Default::default(),
            base_url: base_url.into(),
            params: Vec::new(),
            credentials: Credentials::one(Credential::new(credential)),
            headers: Vec::new(),
            quirks: Vec::new(),
            models: Vec::new(),
            groups: vec!["default".into()],
            priority: 0,
            weight: 1,
            concurrency: None,
            learning: Default::default(),
            enabled: true,
            timeouts: Timeouts::default(),
            pool: PoolSettings::default(),
            transport: Default::default(),
            proxy: None,
            cost_ratio: Default::default(),
            care: Default::default(),
        })
    }

    fn models(names: &[&str]) -> Arc<[ModelName]> {
        names.iter().map(|n| ModelName::from(*n)).collect()
    }

    fn asked(schedule: &mut Schedule, now: Instant) -> Option<u64> {
        schedule.due(now).first().map(|question| question.number)
    }

    #[test]
    fn a_channel_is_asked_at_once_and_then_by_the_clock() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let name = ChannelName("a".into());
        schedule.want(vec![spec("a", "http://a", "k")], REFRESH, now);
        let first = asked(&mut schedule, now).expect("due");
        assert_eq!((asked(&mut schedule, now), schedule.wake()), (None, None), "one question at a time");
        assert!(!schedule.is_settled());
        assert_eq!(schedule.answered(&name, first, Ok(models(&["m"])), now), Answered::New(models(&["m"])));
        assert!(schedule.is_settled() && schedule.knows(&name));
        assert_eq!(schedule.wake(), Some(now + REFRESH));
        assert_eq!(asked(&mut schedule, now + REFRESH - Duration::from_secs(1)), None);
        let second = asked(&mut schedule, now + REFRESH).expect("due");
        assert_eq!(schedule.answered(&name, second, Ok(models(&["m"])), now), Answered::Same);
    }

    #[test]
    fn failures_are_waited_out_longer_and_longer_and_what_is_known_stays() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let name = ChannelName("a".into());
        schedule.want(vec![spec("a", "http://a", "k")], Duration::from_secs(20), now);
        let mut clock = now;
        for seconds in [2, 4, 8, 16, 20, 20] {
            let number = asked(&mut schedule, clock).expect("due");
            let again = Duration::from_secs(seconds);
            let failed = schedule.answered(&name, number, Err("no".into()), clock);
            assert_eq!(failed, Answered::Failed { problem: "no".into(), again, known: 0 });
            assert!(schedule.is_settled(), "the start waits no longer");
            clock += again;
        }
        let number = asked(&mut schedule, clock).expect("due");
        schedule.answered(&name, number, Ok(models(&["m"])), clock);
        clock += Duration::from_secs(20);
        let number = asked(&mut schedule, clock).expect("due");
        let failed = schedule.answered(&name, number, Err("no".into()), clock);
        let again = Duration::from_secs(2);
        assert_eq!(failed, Answered::Failed { problem: "no".into(), again, known: 1 });
        assert!(schedule.knows(&name));
    }

    #[test]
    fn changed_settings_are_asked_for_at_once_and_late_answers_are_dropped() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let name = ChannelName("a".into());
        schedule.want(vec![spec("a", "http://a", "k")], REFRESH, now);
        let old = asked(&mut schedule, now).expect("due");
        schedule.want(vec![spec("a", "http://b", "k")], REFRESH, now);
        let new = asked(&mut schedule, now).expect("due");
        assert_eq!(schedule.answered(&name, old, Ok(models(&["old"])), now), Answered::Late);
        schedule.answered(&name, new, Ok(models(&["new"])), now);
        schedule.want(vec![spec("a", "http://b", "k")], REFRESH, now);
        assert_eq!(asked(&mut schedule, now), None, "nothing changed");
        schedule.want(vec![spec("a", "http://b", "other")], REFRESH, now);
        assert!(schedule.knows(&name), "the same server has the same models until it says otherwise");
        assert!(asked(&mut schedule, now).is_some());
        schedule.want(Vec::new(), REFRESH, now);
        assert!(!schedule.knows(&name) && schedule.wake().is_none());
    }
}
