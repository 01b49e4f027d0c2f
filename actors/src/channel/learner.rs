//! Learns a provider's limits from answers and refusals: which kind of limit a refusal shows, and what follows.
//! The part of a supervisor that does this; time is an argument.

use std::time::Duration;

use super::{
    adaptive::{AdaptiveLimit, CLASSES, FirstBytes, Seen, Sure},
    learning::{Cause, Learning, Refusal},
    rate::{Answers, InferredRate, Shows},
};
use crate::domain::{Adaptive, LearningRules, Pacing};

/// For how long it counts that the provider bore so many at once.
const BORNE: Duration = Duration::from_secs(10);
/// How long nothing is sent after a refusal that nothing explains.
const UNEXPLAINED: Duration = Duration::from_secs(1);

/// How many calls' time, at most a second, nothing is sent after a refusal.
const REST: f64 = 2.0;

/// What gives occasion to a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Something may have happened.
    Rung,
    /// Time has passed.
    Tick,
}

/// See the module's sentence.
#[derive(Debug)]
pub struct Learner {
    limit: AdaptiveLimit,
    rate: InferredRate,
    /// The most that were borne at once, now and in the time before.
    borne: [u32; 2],
    turned: Duration,
    answered: u64,
    /// Of the last tick.
    answered_at_tick: u64,
    first_bytes: [FirstBytes; CLASSES],
    generation: u64,
    /// Whether calls waited for their turn by the rate, and not for a slot.
    is_paced: bool,
}

impl Learner {
    /// Begins with what is published. `most` is the configured limit, `answered` the answers so far.
    pub fn new(learning: &Learning, rules: &LearningRules, most: u32, answered: u64, now: Duration) -> Self {
        Self {
            limit: AdaptiveLimit::new(rules.adaptive, most, learning.limit()),
            rate: InferredRate::new(learning.pacer.inferred(now), now),
            borne: [0; 2],
            turned: now,
            answered,
            answered_at_tick: answered,
            first_bytes: learning.first_bytes(),
            generation: learning.pacer.generation(),
            is_paced: false,
        }
    }

    /// Notes that a call had to wait for its turn by the rate: more slots would have served nobody.
    pub fn paced(&mut self) {
        self.is_paced = true;
    }

    /// Looks at what happened, publishes what it shows, and gives the limit in force.
    pub fn look(
        &mut self,
        learning: &Learning,
        rules: &LearningRules,
        most: u32,
        answered: u64,
        (occasion, now): (Occasion, Duration),
    ) -> u32 {
        if self.generation != learning.pacer.generation() {
            // Another account, or another place: refusals of the old one tell nothing.
            while learning.next_refusal().is_some() {}
            learning.publish_limit(None);
            learning.cut(now);
            *self = Self::new(learning, rules, most, answered, now);
        }
        if self.limit.kind() != rules.adaptive {
            self.limit = AdaptiveLimit::new(rules.adaptive, most, None);
        }
        self.limit.set_most(most);
        if occasion == Occasion::Rung && !learning.has_refusals() {
            return self.limit.limit();
        }
        let all = answered.saturating_sub(self.answered);
        self.rate.observe(Answers { all, after: learning.take_answered() }, now);
        self.answered = answered;
        if occasion == Occasion::Tick {
            self.tick(learning, now);
        }
        while let Some(refusal) = learning.next_refusal() {
            self.refused(&refusal, learning, rules, now);
        }
        if rules.pacing == Pacing::On {
            learning.pacer.infer(self.rate.per_second(), now);
        }
        learning.publish_limit(self.limit.learned());
        self.limit.limit()
    }

    fn tick(&mut self, learning: &Learning, now: Duration) {
        let first_bytes = learning.first_bytes();
        let since = std::array::from_fn(|class| FirstBytes {
            count: first_bytes[class].count - self.first_bytes[class].count,
            micros: first_bytes[class].micros - self.first_bytes[class].micros,
        });
        let answered = self.answered - self.answered_at_tick;
        let peak = learning.take_borne();
        let answered_for_slots = if std::mem::take(&mut self.is_paced) { 0 } else { answered };
        self.limit.observe(&Seen { answered: answered_for_slots, peak, first_bytes: since });
        (self.first_bytes, self.answered_at_tick) = (first_bytes, self.answered);
        if now.saturating_sub(self.turned) >= BORNE {
            (self.turned, self.borne) = (now, [0, self.borne[0]]);
        }
        self.borne[0] = self.borne[0].max(peak);
    }

    fn refused(&mut self, refusal: &Refusal, learning: &Learning, rules: &LearningRules, now: Duration) {
        let (adapts, paces) = (rules.adaptive != Adaptive::Fixed, rules.pacing == Pacing::On);
        let borne = self.borne[0].max(self.borne[1]).max(learning.borne());
        match refusal.cause {
            Cause::Spent => {}
            Cause::Overloaded => self.limit.overloaded(refusal.level, now),
            // As many at once as it was seen to bear, or more: that it is what it refuses. Otherwise it is the rate.
            Cause::Unsaid | Cause::ComeBack if adapts && refusal.others > 0 && is_much(refusal, borne) => {
                let sure = if learning.pacer.is_told(now) { Sure::Told } else { Sure::Guessed };
                self.limit.refused_beside(refusal.others, sure);
            }
            Cause::Unsaid | Cause::ComeBack if !paces => self.limit.overloaded(refusal.level, now),
            Cause::Unsaid | Cause::ComeBack if learning.pacer.is_told(now) => {
                self.limit.overloaded(refusal.level, now);
                if refusal.cause == Cause::Unsaid {
                    learning.pacer.pause(UNEXPLAINED, now);
                }
            }
            Cause::Unsaid | Cause::ComeBack => {
                let shows = self.rate.refused(refusal.sent, now);
                if shows == Shows::Empty {
                    learning.cut(now);
                    self.borne = [0; 2];
                }
                if shows != Shows::Nothing && refusal.cause == Cause::Unsaid {
                    // The next one finds something there.
                    let rate = self.rate.per_second().unwrap_or(1.0);
                    learning.pacer.pause(Duration::from_secs_f64(REST / rate.max(REST)), now);
                }
            }
        }
    }
}

/// Whether as much was in flight as was borne at once lately. Requests overtake each other on their way, so that
/// both figures are a little off.
fn is_much(refusal: &Refusal, borne: u32) -> bool {
    u64::from(refusal.level) * 10 >= u64::from(borne) * 9
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::{super::gate::UNLIMITED, *};
    use crate::domain::{Hint, Told};

    const RULES: LearningRules = LearningRules {
        adaptive: Adaptive::Aimd,
        pacing: Pacing::On,
        longest_pause: Duration::from_secs(60),
    };

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn refusal(sent: u64, level: u32, others: u32) -> Refusal {
        Refusal { cause: Cause::Unsaid, sent: secs(sent), level, others }
    }

    fn look(learner: &mut Learner, learning: &Learning, rules: LearningRules, at: u64) -> u32 {
        learner.look(learning, &rules, UNLIMITED, 0, (Occasion::Rung, secs(at)))
    }

    #[test]
    fn more_at_once_than_was_borne_is_a_limit_at_once_and_else_it_is_the_rate() {
        let learning = Learning::default();
        let mut learner = Learner::new(&learning, &RULES, UNLIMITED, 0, secs(1));
        learning.answered(12, secs(2));
        learning.refused(refusal(2, 20, 14));
        assert_eq!(look(&mut learner, &learning, RULES, 3), 14);
        assert!(!learning.pacer.is_on());
        learning.refused(refusal(4, 9, 8));
        assert_eq!(look(&mut learner, &learning, RULES, 5), 14);
        assert!(learning.pacer.learned(secs(5)).requests_per_minute.is_some());
        // What was borne before the cut says nothing of what is borne after it.
        learning.answered(12, secs(4));
        learning.answered(5, secs(6));
        learning.refused(refusal(7, 9, 8));
        assert_eq!((look(&mut learner, &learning, RULES, 8), learning.limit()), (8, Some(8)));
    }

    #[test]
    fn a_refusal_that_the_providers_words_explain_changes_nothing_else() {
        let learning = Learning::default();
        let mut learner = Learner::new(&learning, &RULES, 30, 0, secs(1));
        learning.refused(Refusal { cause: Cause::Spent, ..refusal(2, 20, 19) });
        assert_eq!(learner.look(&learning, &RULES, 30, 0, (Occasion::Tick, secs(3))), 30);
        assert_eq!((learning.pacer.is_on(), learning.times_refused()), (false, 1));
    }

    #[test]
    fn a_refusal_against_the_providers_words_is_waited_off() {
        let learning = Learning::default();
        let rules = LearningRules { adaptive: Adaptive::Fixed, ..RULES };
        let mut learner = Learner::new(&learning, &rules, 30, 0, secs(1));
        let told = Told { limit: 600, remaining: 500, reset: None };
        let of = super::super::pacer::Heard::Unpaced { generation: 0, in_flight: 0, tokens: 0 };
        learning.pacer.learn(&Hint { requests: Some(told), tokens: None }, of, secs(1));
        learning.refused(refusal(2, 20, 19));
        assert_eq!(learner.look(&learning, &rules, 30, 0, (Occasion::Rung, secs(3))), 30);
        assert_eq!(learning.pacer.learned(secs(3)).paused, Some(UNEXPLAINED));
    }

    #[test]
    fn without_pacing_nothing_is_paced_and_a_fixed_limit_stays() {
        let learning = Learning::default();
        let rules = LearningRules { adaptive: Adaptive::Fixed, pacing: Pacing::Off, ..RULES };
        let mut learner = Learner::new(&learning, &rules, 30, 0, secs(1));
        learning.refused(refusal(2, 20, 19));
        learning.refused(Refusal { cause: Cause::Overloaded, ..refusal(2, 20, 19) });
        assert_eq!(learner.look(&learning, &rules, 30, 0, (Occasion::Tick, secs(3))), 30);
        assert!(!learning.pacer.is_on());
    }

    #[test]
    fn another_account_begins_afresh_and_a_restart_does_not() {
        let learning = Learning::default();
        let mut learner = Learner::new(&learning, &RULES, 30, 0, secs(1));
        learning.refused(refusal(2, 20, 9));
        learning.refused(Refusal { cause: Cause::Spent, ..refusal(2, 1, 0) });
        assert_eq!(learner.look(&learning, &RULES, 30, 0, (Occasion::Rung, secs(3))), 9);
        let mut restarted = Learner::new(&learning, &RULES, 30, 0, secs(4));
        assert_eq!(restarted.look(&learning, &RULES, 30, 0, (Occasion::Tick, secs(4))), 9);
        learning.refused(refusal(4, 20, 5));
        learning.pacer.forget();
        assert_eq!(restarted.look(&learning, &RULES, 30, 0, (Occasion::Rung, secs(5))), 30);
        assert_eq!(learning.limit(), None);
    }
}
