//! What a provider's headers say of its limits and of when to come back. Pure: texts in, plain values out;
//! whatever is odd says nothing.
//!
//! Sources: OpenAI's guide to rate limits (`x-ratelimit-*`, durations as Go writes them; Azure, Groq, xAI and most
//! imitators), Anthropic's (`anthropic-ratelimit-*`, moments of RFC 3339), Cerebras' and Mistral's (a time in the
//! name, plain seconds), Together's (`x-tokenlimit-*`), OpenRouter's (a reset as a moment since 1970), the draft
//! draft-ietf-httpapi-ratelimit-headers-07 (`ratelimit-*`), and RFC 9110, section 10.2.3 (`retry-after`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use penstock_actors::domain::{Hint, Told};

/// Longest hint that is believed.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// A reset that is a larger number than this is a moment, in seconds or milliseconds since 1970.
const MOMENT: f64 = 1e9;
const MOMENT_MS: f64 = 1e12;

/// What is said of one limit, as it was read.
#[derive(Clone, Copy, Default)]
struct Said {
    limit: Option<u64>,
    remaining: Option<u64>,
    reset: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Requests,
    Tokens,
}

#[derive(Clone, Copy)]
enum Part {
    Limit,
    Remaining,
    Reset,
}

/// Kinds of one limit that are told apart: that of a minute, or of no time; of part of the tokens; of a longer time.
const KINDS: usize = 3;

/// Reads lines of `name: value`, the names in lower case.
pub fn limits(lines: &str, now: impl Fn() -> SystemTime) -> Hint {
    let mut said = [[Said::default(); KINDS]; 2];
    for (name, value) in lines.lines().filter_map(|line| line.split_once(':')) {
        let Some((of, kind, part)) = named(name.trim()) else { continue };
        let (said, value) = (&mut said[of as usize][kind], value.trim());
        match part {
            Part::Limit => said.limit = said.limit.or(number(value)),
            Part::Remaining => said.remaining = said.remaining.or(number(value)),
            Part::Reset => said.reset = said.reset.or_else(|| reset(value, &now)),
        }
    }
    // The one of which least is left binds first; of equals, the one that is first here.
    let told = |said: &[Said; KINDS]| said.iter().filter_map(told).min_by_key(|told| told.remaining);
    Hint { requests: told(&said[Of::Requests as usize]), tokens: told(&said[Of::Tokens as usize]) }
}

fn told(said: &Said) -> Option<Told> {
    let limit = said.limit.filter(|limit| *limit > 0)?;
    Some(Told { limit, remaining: said.remaining?.min(limit), reset: said.reset })
}

/// What a header is about.
fn named(name: &str) -> Option<(Of, usize, Part)> {
    let (rest, alone) = match name {
        _ if name.starts_with("x-ratelimit-") => (&name[12..], Of::Requests),
        _ if name.starts_with("anthropic-ratelimit-") => (&name[20..], Of::Requests),
        _ if name.starts_with("ratelimit-") => (&name[10..], Of::Requests),
        _ if name.starts_with("x-tokenlimit-") => (&name[13..], Of::Tokens),
        _ => return None,
    };
    let (mut part, mut of, mut kind) = (None, None, 0);
    for word in rest.split('-') {
        match word {
            "limit" => part = Some(Part::Limit),
            "remaining" => part = Some(Part::Remaining),
            "reset" => part = Some(Part::Reset),
            "requests" | "req" => of = Some(Of::Requests),
            "tokens" => of = Some(Of::Tokens),
            "minute" => {}
            "input" | "prompt" => kind = 1,
            "hour" | "day" => kind = 2,
            // Images, output alone, a second: nothing that a request can be held against.
            _ => return None,
        }
    }
    Some((of.unwrap_or(alone), kind, part?))
}

/// The first number of a value; the draft writes lists.
fn number(text: &str) -> Option<u64> {
    let first = text.split([',', ';']).next()?.trim();
    let number: f64 = first.parse().ok()?;
    // Whatever is above is no limit at all.
    (number.is_finite() && number >= 0.0).then(|| number.min(1e15) as u64)
}

/// The time until a limit is whole again, in whatever form.
fn reset(text: &str, now: &impl Fn() -> SystemTime) -> Option<Duration> {
    let until = |at: SystemTime| at.duration_since(now()).unwrap_or_default();
    let found = match text.parse::<f64>() {
        Ok(seconds) if seconds >= MOMENT => {
            let seconds = if seconds >= MOMENT_MS { seconds / 1e3 } else { seconds };
            let since = Duration::try_from_secs_f64(seconds).ok()?;
            UNIX_EPOCH.checked_add(since).map(until)
        }
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => span(text).or_else(|| humantime::parse_rfc3339_weak(text).ok().map(until)),
    };
    found.map(|reset| reset.min(LONGEST))
}

/// A duration as Go writes it: `6m0s`, `1m26.4s`, `350ms`.
fn span(text: &str) -> Option<Duration> {
    let (mut rest, mut sum) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|at| *at > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        sum += number
            * match &rest[digits..unit] {
                "d" => 86_400.0,
                "h" => 3_600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "\u{b5}s" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(sum).ok() }
}

/// Reads `retry-after-ms` (milliseconds) and `retry-after` (seconds, or a date).
pub fn retry_after(
    ms: Option<&str>,
    after: Option<&str>,
    now: impl FnOnce() -> SystemTime,
) -> Option<Duration> {
    let positive = |x: f64| (x.is_finite() && x >= 0.0).then_some(x);
    let from_ms = ms.and_then(|m| m.trim().parse().ok()).and_then(positive).map(|m| m / 1000.0);
    let seconds = from_ms.or_else(|| after.and_then(|s| s.trim().parse().ok()).and_then(positive));
    let hint = match seconds {
        Some(s) => Duration::try_from_secs_f64(s).unwrap_or(LONGEST),
        None => {
            let date = httpdate::parse_http_date(after?.trim()).ok()?;
            date.duration_since(now()).unwrap_or_default()
        }
    };
    Some(hint.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hints(lines: &[&str]) -> Hint {
        let now = humantime::parse_rfc3339("2026-01-27T12:00:00Z").expect("a moment");
        limits(&lines.join("\n"), || now)
    }

    fn told(limit: u64, remaining: u64, ms: u64) -> Option<Told> {
        Some(Told { limit, remaining, reset: Some(Duration::from_millis(ms)) })
    }

    #[test]
    fn every_family_is_understood() {
        for (lines, requests, tokens) in [
            (
                // OpenAI, Azure, Groq.
                &[
                    "x-ratelimit-limit-requests: 60",
                    "x-ratelimit-remaining-requests: 59",
                    "x-ratelimit-reset-requests: 1s",
                    "x-ratelimit-limit-tokens: 150000",
                    "x-ratelimit-remaining-tokens: 149984",
                    "x-ratelimit-reset-tokens: 6m0s",
                ][..],
                told(60, 59, 1_000),
                told(150_000, 149_984, 360_000),
            ),
            (
                &[
                    "x-ratelimit-limit-requests: 14400",
                    "x-ratelimit-remaining-requests: 14370",
                    "x-ratelimit-reset-requests: 2m59.56s",
                ],
                told(14_400, 14_370, 179_560),
                None,
            ),
            (
                // Anthropic: of all tokens, and of the prompt's; the answer's are left out.
                &[
                    "anthropic-ratelimit-requests-limit: 50",
                    "anthropic-ratelimit-requests-remaining: 0",
                    "anthropic-ratelimit-requests-reset: 2026-01-27T12:00:30Z",
                    "anthropic-ratelimit-input-tokens-limit: 40000",
                    "anthropic-ratelimit-input-tokens-remaining: 900",
                    "anthropic-ratelimit-input-tokens-reset: 2026-01-27T12:00:59Z",
                    "anthropic-ratelimit-output-tokens-limit: 8000",
                    "anthropic-ratelimit-output-tokens-remaining: 1",
                    "anthropic-ratelimit-output-tokens-reset: 2026-01-27T12:00:01Z",
                    "anthropic-ratelimit-tokens-limit: 48000",
                    "anthropic-ratelimit-tokens-remaining: 47000",
                    "anthropic-ratelimit-tokens-reset: 2026-01-27T11:59:00Z",
                ],
                told(50, 0, 30_000),
                told(40_000, 900, 59_000),
            ),
            (
                // Cerebras.
                &[
                    "x-ratelimit-limit-requests-day: 14400",
                    "x-ratelimit-remaining-requests-day: 14370",
                    "x-ratelimit-reset-requests-day: 33011.382867",
                    "x-ratelimit-limit-tokens-minute: 60000",
                    "x-ratelimit-remaining-tokens-minute: 59000",
                    "x-ratelimit-reset-tokens-minute: 11.5",
                ],
                told(14_400, 14_370, 33_011_382),
                told(60_000, 59_000, 11_500),
            ),
            (
                // Mistral: no reset.
                &[
                    "x-ratelimit-limit-req-minute: 300",
                    "x-ratelimit-remaining-req-minute: 299",
                    "x-ratelimit-limit-tokens-minute: 500000",
                    "x-ratelimit-remaining-tokens-minute: 499000",
                ],
                Some(Told { limit: 300, remaining: 299, reset: None }),
                Some(Told { limit: 500_000, remaining: 499_000, reset: None }),
            ),
            (
                // Together.
                &[
                    "x-ratelimit-limit: 10",
                    "x-ratelimit-remaining: 9",
                    "x-ratelimit-reset: 1",
                    "x-tokenlimit-limit: 1000",
                    "x-tokenlimit-remaining: 900",
                ],
                told(10, 9, 1_000),
                Some(Told { limit: 1_000, remaining: 900, reset: None }),
            ),
            (
                // OpenRouter: milliseconds since 1970. Another: seconds.
                &["x-ratelimit-limit: 20", "x-ratelimit-remaining: 0", "x-ratelimit-reset: 1769515260000"],
                told(20, 0, 60_000),
                None,
            ),
            (
                &["x-ratelimit-limit: 20", "x-ratelimit-remaining: 0", "x-ratelimit-reset: 1769515260"],
                told(20, 0, 60_000),
                None,
            ),
            (
                // The draft.
                &["ratelimit-limit: 100, 100;w=60", "ratelimit-remaining: 50", "ratelimit-reset: 50"],
                told(100, 50, 50_000),
                None,
            ),
        ] {
            let hint = hints(lines);
            let about = |at: Option<Told>| at.map(|t| (t.limit, t.remaining, t.reset.map(|r| r.as_millis())));
            assert_eq!(about(hint.requests), about(requests), "{lines:?}");
            assert_eq!(about(hint.tokens), about(tokens), "{lines:?}");
        }
    }

    #[test]
    fn durations_of_every_make_are_read_and_garbage_is_none() {
        for (text, ms) in [
            ("1s", Some(1_000)),
            ("350ms", Some(350)),
            ("1m26.4s", Some(86_400)),
            ("1h0m1s", Some(3_601_000)),
            ("1d", Some(86_400_000)),
            ("8.5", Some(8_500)),
            ("0", Some(0)),
            ("86400", Some(86_400_000)),
            ("999999h", Some(86_400_000)),
            ("", None),
            ("-1s", None),
            ("-1", None),
            ("s", None),
            ("1x", None),
            ("NaN", None),
            ("inf", None),
            ("99999999999999999999999h", None),
            ("2026-13-01T00:00:00Z", None),
        ] {
            let got = reset(text, &|| UNIX_EPOCH).map(|d| d.as_millis());
            assert_eq!(got, ms, "{text}");
        }
    }

    #[test]
    fn odd_headers_say_nothing() {
        for lines in [
            &["x-ratelimit-limit-requests: 60"][..],
            &["x-ratelimit-limit-requests: 0", "x-ratelimit-remaining-requests: 0"],
            &["x-ratelimit-limit-requests: -5", "x-ratelimit-remaining-requests: 1"],
            &["x-ratelimit-limit-requests: sixty", "x-ratelimit-remaining-requests: 1"],
            &["x-ratelimit-limit-requests: 60", "x-ratelimit-remaining-requests: NaN"],
            &["x-ratelimit-limit-images: 60", "x-ratelimit-remaining-images: 1"],
            &["x-ratelimit-", "x-ratelimit-:", "no line at all", ":", ""],
        ] {
            assert_eq!(hints(lines), Hint::default(), "{lines:?}");
        }
        let much = hints(&["x-ratelimit-limit-tokens: 10", "x-ratelimit-remaining-tokens: 99"]);
        assert_eq!(much.tokens, Some(Told { limit: 10, remaining: 10, reset: None }));
    }

    #[test]
    fn hints_are_read_in_every_form_and_garbage_is_none() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        for (ms, after, wanted) in [
            (Some("1500"), Some("9"), Some(1500)),
            (None, Some("2"), Some(2000)),
            (None, Some("0.5"), Some(500)),
            (None, Some("Sun, 06 Nov 1994 08:49:40 GMT"), Some(3000)),
            (None, Some("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0)),
            (None, Some("86400000"), Some(86_400_000)),
            (None, Some("-5"), None),
            (None, Some("soon"), None),
            (Some("NaN"), None, None),
            (Some("x"), Some("1"), Some(1000)),
            (None, None, None),
        ] {
            let got = retry_after(ms, after, || now).map(|d| d.as_millis());
            assert_eq!(got, wanted, "{ms:?} {after:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_told_is_in_bounds(text in "([a-z-]{0,30}(limit|remaining|reset)?[a-z-]{0,9}: ?[0-9a-z.:;, +-]{0,20}\n){0,6}") {
            let hint = limits(&text, || UNIX_EPOCH);
            for told in [hint.requests, hint.tokens].into_iter().flatten() {
                prop_assert!(told.remaining <= told.limit && told.limit > 0);
                prop_assert!(told.reset.is_none_or(|reset| reset <= LONGEST));
            }
        }
    }
}
