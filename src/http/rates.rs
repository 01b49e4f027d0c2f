//! `x-ratelimit-*`: how a caller's limits stand, in the names and forms of OpenAI's API.

use std::{fmt::Write as _, time::Duration};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use penstock_actors::limiter::{Rate, Rates};

const NAMES: [[HeaderName; 3]; 2] = [
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

/// Puts on an answer how the limits stand; nothing where the caller is under none.
pub(super) fn tell(headers: &mut HeaderMap, rates: &Rates) {
    for (names, rate) in NAMES.into_iter().zip([rates.requests, rates.tokens]) {
        let Some(Rate { limit, remaining, reset }) = rate else { continue };
        let [name_of_limit, name_of_remaining, name_of_reset] = names;
        headers.insert(name_of_limit, HeaderValue::from(limit));
        headers.insert(name_of_remaining, HeaderValue::from(remaining));
        if let Ok(reset) = HeaderValue::from_str(&duration(reset)) {
            headers.insert(name_of_reset, reset);
        }
    }
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
