//! Limits that the mock keeps, as a provider does: requests and tokens in a minute, requests at once.
//!
//! Requests and tokens are buckets that fill all the time and hold what a minute gives. They can be changed while
//! the mock runs; what is under way stays.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::dialect::Dialect;

/// What it lets through. Where nothing is said, everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MockLimits {
    /// Requests that it takes in a minute.
    #[arg(long, value_name = "N")]
    pub requests_per_minute: Option<u64>,
    /// Tokens, of prompt and answer.
    #[arg(long, value_name = "N")]
    pub tokens_per_minute: Option<u64>,
    /// Requests that it serves at once.
    #[arg(long, value_name = "N")]
    pub in_flight: Option<u32>,
    /// What it says of its limits.
    #[arg(long, value_enum, default_value_t)]
    pub tells: Tells,
}

/// What the mock says of its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Tells {
    /// How they stand, with each answer, and when to come back with a 429.
    #[default]
    Headers,
    /// When to come back, with a 429.
    RetryAfter,
    /// Nothing.
    Nothing,
}

/// The limits, and how they stand.
#[derive(Debug)]
pub struct Quota(Mutex<State>);

#[derive(Debug)]
struct State {
    limits: MockLimits,
    /// Requests and tokens left.
    left: [f64; 2],
    filled: Instant,
    inside: u32,
    counts: Counts,
}

/// How many requests came to what.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Counts {
    admitted: u64,
    refused_by_requests: u64,
    refused_by_tokens: u64,
    refused_by_in_flight: u64,
}

/// A place among the requests that are served at once. Dropping it gives it back.
#[derive(Debug)]
pub struct Place(Arc<Quota>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.state().inside -= 1;
    }
}

/// How the limits stand after a request.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    limits: MockLimits,
    left: [f64; 2],
    /// Where it was refused, after how long it would not be.
    retry: Option<Duration>,
}

impl MockLimits {
    fn per_minute(&self) -> [Option<u64>; 2] {
        [self.requests_per_minute, self.tokens_per_minute]
    }

    fn are_none(&self) -> bool {
        self.per_minute() == [None; 2] && self.in_flight.is_none()
    }
}

impl Quota {
    /// Limits of which nothing is used.
    pub fn new(limits: MockLimits) -> Arc<Self> {
        let left = limits.per_minute().map(|limit| limit.unwrap_or(0) as f64);
        let counts = Counts::default();
        Arc::new(Self(Mutex::new(State { limits, left, filled: Instant::now(), inside: 0, counts })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts other limits in force; what is left stays, as far as they allow.
    pub fn set(&self, limits: MockLimits) {
        let mut state = self.state();
        state.fill(Instant::now());
        let before = state.limits.per_minute();
        for (at, limit) in limits.per_minute().into_iter().enumerate() {
            let limit = limit.unwrap_or(0) as f64;
            state.left[at] = if before[at].is_none() { limit } else { state.left[at].min(limit) };
        }
        state.limits = limits;
    }

    /// The limits and how they stand, as JSON.
    pub fn shown(&self) -> serde_json::Value {
        let mut state = self.state();
        state.fill(Instant::now());
        serde_json::json!({
            "limits": state.limits,
            "requests_left": state.left[0],
            "tokens_left": state.left[1],
            "inside": state.inside,
            "counts": state.counts,
        })
    }

    /// Takes a request of so many tokens in, where there are limits at all.
    ///
    /// # Errors
    /// How they stand, where one does not let it through.
    pub fn admit(self: &Arc<Self>, tokens: u64) -> Result<Option<(Place, Standing)>, Standing> {
        let mut state = self.state();
        if state.limits.are_none() {
            return Ok(None);
        }
        state.fill(Instant::now());
        let limits = state.limits;
        let wants = [1.0, tokens as f64];
        // After how long each of them would be there; a request that is larger than a minute's gets a minute.
        let waits = [0, 1].map(|at| match limits.per_minute()[at] {
            Some(limit) if state.left[at] < wants[at].min(limit as f64) || limit == 0 => {
                (wants[at] - state.left[at]).max(0.0) / (limit as f64).max(1.0) * 60.0
            }
            _ => 0.0,
        });
        let is_full = limits.in_flight.is_some_and(|most| state.inside >= most);
        let standing = |state: &State, retry: Option<f64>| Standing {
            limits,
            left: state.left,
            retry: retry.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
        };
        let counts = &mut state.counts;
        if waits[0] > 0.0 {
            counts.refused_by_requests += 1;
            return Err(standing(&state, Some(waits[0].max(waits[1]))));
        }
        if waits[1] > 0.0 {
            counts.refused_by_tokens += 1;
            return Err(standing(&state, Some(waits[1])));
        }
        if is_full {
            counts.refused_by_in_flight += 1;
            return Err(standing(&state, Some(1.0)));
        }
        counts.admitted += 1;
        for (at, want) in wants.into_iter().enumerate() {
            if limits.per_minute()[at].is_some() {
                state.left[at] -= want;
            }
        }
        state.inside += 1;
        let standing = standing(&state, None);
        drop(state);
        Ok(Some((Place(Arc::clone(self)), standing)))
    }
}

impl State {
    fn fill(&mut self, now: Instant) {
        let minutes = now.saturating_duration_since(self.filled).as_secs_f64() / 60.0;
        self.filled = now;
        for (left, limit) in self.left.iter_mut().zip(self.limits.per_minute()) {
            let limit = limit.unwrap_or(0) as f64;
            *left = (*left + minutes * limit).min(limit);
        }
    }
}

impl Standing {
    /// Says it in headers, as a dialect's provider does.
    pub fn write(&self, dialect: Dialect, headers: &mut HeaderMap) {
        let mut put = |name: &str, value: String| {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        };
        if let Some(retry) =
            self.retry.filter(|_| self.limits.tells != Tells::Nothing && dialect != Dialect::Gemini)
        {
            put("retry-after", retry.as_secs_f64().ceil().max(1.0).to_string());
        }
        if self.limits.tells != Tells::Headers {
            return;
        }
        for (at, what) in ["requests", "tokens"].into_iter().enumerate() {
            let Some(limit) = self.limits.per_minute()[at].filter(|limit| *limit > 0) else { continue };
            let left = (self.left[at].max(0.0) as u64).min(limit);
            let reset = (limit as f64 - self.left[at]).max(0.0) / limit as f64 * 60.0;
            let reset = Duration::from_secs_f64(reset);
            match dialect {
                Dialect::AnthropicMessages => {
                    let at = humantime::format_rfc3339_seconds(SystemTime::now() + reset).to_string();
                    put(&format!("anthropic-ratelimit-{what}-limit"), limit.to_string());
                    put(&format!("anthropic-ratelimit-{what}-remaining"), left.to_string());
                    put(&format!("anthropic-ratelimit-{what}-reset"), at);
                }
                // Its provider says nothing in headers.
                Dialect::Gemini => {}
                _ => {
                    put(&format!("x-ratelimit-limit-{what}"), limit.to_string());
                    put(&format!("x-ratelimit-remaining-{what}"), left.to_string());
                    put(&format!("x-ratelimit-reset-{what}"), go_duration(reset));
                }
            }
        }
    }

    /// Where it is said in the body when to come back: after so many seconds.
    pub fn retry_in_body(&self, dialect: Dialect) -> Option<f64> {
        let says = dialect == Dialect::Gemini && self.limits.tells != Tells::Nothing;
        self.retry.filter(|_| says).map(|retry| retry.as_secs_f64())
    }
}

/// As Go writes durations.
fn go_duration(duration: Duration) -> String {
    let (seconds, ms) = (duration.as_secs(), duration.subsec_millis());
    match (seconds / 60, seconds % 60, ms) {
        (0, 0, ms) => format!("{ms}ms"),
        (0, seconds, ms) => format!("{seconds}.{ms:03}s"),
        (minutes, seconds, ms) => format!("{minutes}m{seconds}.{ms:03}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: MockLimits = MockLimits {
        requests_per_minute: Some(3),
        tokens_per_minute: Some(100),
        in_flight: Some(2),
        tells: Tells::Headers,
    };

    fn headers(standing: &Standing, dialect: Dialect) -> String {
        let mut headers = HeaderMap::new();
        standing.write(dialect, &mut headers);
        let mut lines: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        lines.sort();
        lines.join("\n")
    }

    #[test]
    fn what_does_not_fit_is_refused_by_the_limit_that_it_breaks() {
        let quota = Quota::new(LIMITS);
        let (first, _) = quota.admit(10).expect("room").expect("limits");
        let _second = quota.admit(10).expect("room");
        assert!(quota.admit(10).is_err(), "two at once");
        drop(first);
        assert!(quota.admit(90).is_err(), "tokens");
        assert!(quota.admit(10).is_ok());
        assert!(quota.admit(1).is_err(), "requests");
        let shown = quota.shown();
        for (name, wanted) in [
            ("admitted", 3),
            ("refused_by_requests", 1),
            ("refused_by_tokens", 1),
            ("refused_by_in_flight", 1),
        ] {
            assert_eq!(shown["counts"][name], wanted, "{shown}");
        }
    }

    #[test]
    fn limits_can_be_changed_and_taken_away_while_it_runs() {
        let quota = Quota::new(LIMITS);
        quota.set(MockLimits { requests_per_minute: Some(1), ..LIMITS });
        assert!(quota.admit(1).is_ok() && quota.admit(1).is_err());
        quota.set(MockLimits::default());
        assert!((0..100).all(|_| quota.admit(1_000_000).is_ok_and(|admitted| admitted.is_none())));
        quota.set(LIMITS);
        assert!(quota.admit(1).is_ok(), "a limit that is new is whole");
        quota.set(MockLimits { requests_per_minute: Some(0), ..LIMITS });
        assert!(quota.admit(1).is_err());
    }

    #[test]
    fn each_dialect_says_it_in_its_own_way() {
        let quota = Quota::new(LIMITS);
        let (_place, standing) = quota.admit(40).expect("room").expect("limits");
        let openai = headers(&standing, Dialect::OpenAi);
        assert!(openai.contains("x-ratelimit-remaining-tokens: 60"), "{openai}");
        assert!(openai.contains("x-ratelimit-reset-requests: 20.000s"), "{openai}");
        assert!(
            headers(&standing, Dialect::AnthropicMessages).contains("anthropic-ratelimit-requests-limit: 3")
        );
        assert_eq!(headers(&standing, Dialect::Gemini), "");
        let refused = quota.admit(99).expect_err("too many tokens");
        assert!(headers(&refused, Dialect::OpenAi).contains("retry-after: 24"));
        assert!(refused.retry_in_body(Dialect::Gemini).is_some());
        let bare = Standing { limits: MockLimits { tells: Tells::Nothing, ..LIMITS }, ..refused };
        assert_eq!(
            (headers(&bare, Dialect::OpenAi).as_str(), bare.retry_in_body(Dialect::Gemini)),
            ("", None)
        );
        let hint = Standing { limits: MockLimits { tells: Tells::RetryAfter, ..LIMITS }, ..refused };
        assert_eq!(headers(&hint, Dialect::OpenAi), "retry-after: 24");
    }

    #[test]
    fn durations_are_as_go_writes_them() {
        for (ms, text) in [(0, "0ms"), (350, "350ms"), (6_500, "6.500s"), (66_000, "1m6.000s")] {
            assert_eq!(go_duration(Duration::from_millis(ms)), text);
        }
    }
}
