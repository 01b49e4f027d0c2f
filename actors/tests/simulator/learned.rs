//! What learning comes to: throughput against the ideal, refusals after the first minute, and how soon a channel
//! follows limits that halve and double.

use penstock_actors::domain::Adaptive;

use crate::learning::{Course, Provider, Says, run};

/// The provider of the figures: 600 requests and 100,000 tokens a minute, 12 in flight.
const PROVIDER: Provider = Provider {
    says: Says::Headers,
    requests: 600.0,
    tokens: 100_000.0,
    slots: 12,
    service: 600.0,
    size: 150,
    estimates: (90, 60),
    scale: |_| 1.0,
};

/// What bounds it, and the calls a minute that it serves then.
fn kinds() -> [(&'static str, Provider, f64); 4] {
    let large = Provider { size: 300, ..PROVIDER };
    [
        ("requests", PROVIDER, 600.0),
        ("tokens", large, 100_000.0 / 299.5),
        ("tokens that are known", Provider { estimates: (100, 1), ..large }, 100_000.0 / 299.5),
        ("slots", Provider { service: 2_400.0, ..PROVIDER }, 12.0 / 2.4 * 60.0),
    ]
}

/// Shares of the ideal and of refusals, from the second minute on.
fn shares(course: &Course, per_minute: f64, seconds: usize) -> (f64, f64) {
    let (served, refused) = (course.served(60, seconds), course.refused(60, seconds));
    (served / (per_minute * (seconds - 60) as f64 / 60.0), refused / (served + refused))
}

#[test]
fn a_provider_is_used_to_its_limits_and_refuses_hardly_anything() {
    const SECONDS: usize = 900;
    println!("600 requests and 100,000 tokens a minute, 12 in flight; 15 minutes, calls always waiting");
    for (bound, provider, per_minute) in kinds() {
        for says in [Says::Headers, Says::RetryAfter, Says::Nothing] {
            for adaptive in [Adaptive::Aimd, Adaptive::Gradient] {
                let course = run(Provider { says, ..provider }, adaptive, SECONDS as u64);
                let (used, refused) = shares(&course, per_minute, SECONDS);
                println!(
                    "  bound by {bound:21} {:8} {:10}: {:5.1} % of the ideal, refused {:.2} % ({} and before {})",
                    adaptive.as_str(),
                    format!("{says:?}"),
                    used * 100.0,
                    refused * 100.0,
                    course.refused(60, SECONDS),
                    course.refused(0, 60),
                );
                // What is left is one more at once, tried now and then: of that no header tells. And a call that
                // takes more tokens than it was estimated to may be one too many.
                let most = match (says, bound) {
                    (Says::Headers, "requests" | "tokens that are known") => 0.0,
                    (Says::Headers, "tokens") => 0.002,
                    _ => 0.01,
                };
                assert!(used >= 0.97 && refused <= most, "{bound} {says:?}: {used} {refused}");
            }
        }
    }
}

#[test]
fn limits_that_halve_and_double_are_followed() {
    for says in [Says::Headers, Says::RetryAfter, Says::Nothing] {
        let scale = |second| if (300..600).contains(&second) { 0.5 } else { 1.0 };
        let course = run(Provider { says, scale, ..PROVIDER }, Adaptive::Aimd, 900);
        println!(
            "  {:10}: halved, followed after {} s with {} refusals in 30 s; doubled, after {} s with {}",
            format!("{says:?}"),
            course.follows(300, 5.0),
            course.refused(300, 330),
            course.follows(600, 10.0),
            course.refused(600, 630),
        );
        let most = if says == Says::Headers { 30 } else { 100 };
        assert!(course.follows(300, 5.0) <= 30 && course.refused(300, 330) <= 10.0, "{says:?}");
        assert!(course.follows(600, 10.0) <= most && course.refused(600, 630) <= 3.0, "{says:?}");
    }
}
