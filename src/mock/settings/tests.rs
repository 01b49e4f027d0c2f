//! Knobs and fields, and headers that are malformed.

use actix_web::http::header::{HeaderName, HeaderValue};

use super::*;

fn turn(name: &'static str, value: &str) -> Result<Option<MockSettings>, BadHeader> {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("accept"), HeaderValue::from_static("*/*"));
    headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header value"));
    MockSettings { status: Some(500), ..MockSettings::default() }.turned_by(&headers)
}

#[test]
fn the_knobs_are_the_fields() {
    let fields = serde_json::to_value(MockSettings::default()).expect("plain fields");
    let mut names: Vec<_> = KNOBS.iter().map(|knob| knob.name.to_owned()).collect();
    names.sort();
    let mut keys: Vec<_> = fields.as_object().expect("an object").keys().cloned().collect();
    keys.sort();
    assert_eq!(names, keys);
}

#[test]
fn headers_win_and_malformed_ones_are_named() {
    let turned = turn("x-penstock-mock-cut", "after-frames=3").expect("well formed").expect("turned");
    assert_eq!((turned.cut, turned.status), (Some(Cut::AfterFrames(3)), Some(500)));
    assert_eq!(turn("x-penstock-mock-status", "off").map(|s| s.map(|s| s.status)), Ok(Some(None)));
    assert_eq!(turn("x-request-id", "7"), Ok(None));
    for (name, value) in [
        ("x-penstock-mock-latency-ms", "soon"),
        ("x-penstock-mock-status", "200"),
        ("x-penstock-mock-status-every", "0"),
        ("x-penstock-mock-cut", "after-frames"),
        ("x-penstock-mock-stall", "mid-frame"),
        ("x-penstock-mock-garbage", "huge-line=-1"),
        ("x-penstock-mock-garbage", "huge-line=99999999"),
        ("x-penstock-mock-tokens", "100001"),
        ("x-penstock-mock-close", "maybe"),
        ("x-penstock-mock-latency", "1"),
    ] {
        let refused = turn(name, value).expect_err(value);
        assert!(refused.to_string().contains(name), "{refused}");
    }
}

#[test]
fn a_whole_answer_takes_as_long_as_its_tokens() {
    let settings = MockSettings { ttft_ms: 100, pace_ms: 10, ..MockSettings::default() };
    assert_eq!(settings.time_for(0), Duration::from_millis(100));
    assert_eq!(settings.time_for(11), Duration::from_millis(200));
}
