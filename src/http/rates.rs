//! How a caller's limits stand, in the headers of its client's dialect: `x-ratelimit-*` in the forms of OpenAI's
//! API, `anthropic-ratelimit-*` in those of Anthropic's. Gemini's API has none; its clients get OpenAI's.

use std::{fmt::Write as _, time::Duration};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use penstock_actors::limiter::{Rate, Rates};

use crate::{clock::now_ms, dialect::Dialect};

/// Limit, remaining and reset of requests, and those of tokens.
type Names = [[HeaderName; 3]; 2];

const OPENAI: Names = [
    [
        HeaderName::from_static("x-ratelimit-limit-requests"),
        HeaderName::from_static("x-ratelimit-remaining-requests"),
        HeaderName::from_static("x-ratelimit-reset-requests"),
    ],
    [
        HeaderName::from_static("x-ratelimit-limit-tokens"),
        HeaderName::from_static("x-ratelimit-remaining-tokens"),
        HeaderName::from_static("x-ratelimit-reset-tokens"),
    ],
];

const ANTHROPIC: Names = [
    [
        HeaderName::from_static("anthropic-ratelimit-requests-limit"),
        HeaderName::from_static("anthropic-ratelimit-requests-remaining"),
        HeaderName::from_static("anthropic-ratelimit-requests-reset"),
    ],
    [
        HeaderName::from_static("anthropic-ratelimit-tokens-limit"),
        HeaderName::from_static("anthropic-ratelimit-tokens-remaining"),
        HeaderName::from_static("anthropic-ratelimit-tokens-reset"),
    ],
];

/// Puts on an answer how the limits stand; nothing where the caller is under none.
pub(super) fn tell(headers: &mut HeaderMap, rates: &Rates, face: Dialect) {
    let names = if face == Dialect::AnthropicMessages { ANTHROPIC } else { OPENAI };
    for (names, rate) in names.into_iter().zip([rates.requests, rates.tokens]) {
        let Some(Rate { limit, remaining, reset }) = rate else { continue };
        let [name_of_limit, name_of_remaining, name_of_reset] = names;
        headers.insert(name_of_limit, HeaderValue::from(limit));
        headers.insert(name_of_remaining, HeaderValue::from(remaining));
        let reset = match face {
            Dialect::AnthropicMessages => moment(now_ms(), reset),
            _ => duration(reset),
        };
        if let Ok(reset) = HeaderValue::from_str(&reset) {
            headers.insert(name_of_reset, reset);
        }
    }
}

/// The time after a while as Anthropic writes it, which is RFC 3339, in whole seconds.
fn moment(now_ms: i64, after: Duration) -> String {
    let ms = now_ms.saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX));
    let second = ms.saturating_add(999).div_euclid(1000);
    jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// A duration as OpenAI writes it, which is Go's form: `350ms`, `1s`, `6m0s`, `1h12m30.5s`.
fn duration(of: Duration) -> String {
    let (ms, mut text) = (of.as_millis(), String::new());
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let (hours, minutes, seconds, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(text, "{minutes}m");
    }
    let _ = write!(text, "{seconds}");
    if ms > 0 {
        let _ = write!(text, ".{}", format!("{ms:03}").trim_end_matches('0'));
    }
    text + "s"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_in_whole_seconds_that_have_come_by_then() {
        for (now_ms, after_ms, text) in [
            (1_795_000_000_000, 0, "2026-11-18T11:06:40Z"),
            (1_795_000_000_001, 0, "2026-11-18T11:06:41Z"),
            (1_795_000_000_000, 59_500, "2026-11-18T11:07:40Z"),
        ] {
            assert_eq!(moment(now_ms, Duration::from_millis(after_ms)), text);
        }
        assert!(moment(i64::MAX, Duration::MAX).ends_with('Z'));
    }

    #[test]
    fn durations_are_written_as_go_does() {
        for (ms, text) in [
            (0, "0ms"),
            (350, "350ms"),
            (1_000, "1s"),
            (8_640, "8.64s"),
            (360_000, "6m0s"),
            (4_350_500, "1h12m30.5s"),
            (3_600_001, "1h0m0.001s"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }
}
