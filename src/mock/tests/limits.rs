//! Limits over real sockets: who is refused, what is said of it, and how they change while the mock runs.

use super::*;
use crate::mock::Tells;

const LIMITS: MockLimits = MockLimits {
    requests_per_minute: Some(2),
    tokens_per_minute: None,
    in_flight: None,
    tells: Tells::Headers,
};

#[actix_web::test]
async fn what_is_over_a_limit_is_refused_in_the_dialects_own_way() {
    let mock = Mock::within(MockSettings::default(), LIMITS);
    let first = mock.call("/v1/chat/completions", "", CHAT).await;
    assert_eq!(status(&first), 200);
    assert!(first.head.contains("x-ratelimit-remaining-requests: 1"), "{}", first.head);
    let second = mock.call("/v1/messages", "", MESSAGES_STREAM).await;
    assert!(second.head.contains("anthropic-ratelimit-requests-remaining: 0"), "{}", second.head);
    let refused = mock.call("/v1/chat/completions", "", CHAT_STREAM).await;
    assert_eq!((status(&refused), refused.body.contains("rate_limit_exceeded")), (429, true));
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    let counts = mock.json("/_mock/limits", "", "").await;
    assert_eq!(
        (&counts["counts"]["admitted"], &counts["counts"]["refused_by_requests"]),
        (&2.into(), &1.into())
    );
}

#[actix_web::test]
async fn limits_change_while_it_runs_and_nonsense_changes_nothing() {
    let mock = Mock::start();
    for (body, wanted) in [
        (r#"{"requests-per-minute":1,"tells":"nothing"}"#, 200),
        (r#"{"requests-per-minute":-1}"#, 404),
        (r#"{"requests":1}"#, 404),
        ("{", 404),
    ] {
        assert_eq!(status(&mock.call("/_mock/limits", "", body).await), wanted, "{body}");
    }
    assert_eq!(status(&mock.call("/v1/chat/completions", "", CHAT).await), 200);
    let refused = mock.call("/v1/chat/completions", "", CHAT).await;
    assert_eq!(status(&refused), 429);
    assert!(!refused.head.contains("ratelimit") && !refused.head.contains("retry-after"), "{}", refused.head);
}

#[actix_web::test]
async fn a_stream_is_inside_until_its_end_and_a_client_that_leaves_is_not() {
    let limits = MockLimits { in_flight: Some(1), requests_per_minute: None, ..LIMITS };
    let mock = Mock::within(MockSettings { pace_ms: 3_600_000, ..MockSettings::default() }, limits);
    let mut open = mock.open("/v1/messages", "", MESSAGES_STREAM).await;
    read_until(&mut open, "echo:").await;
    assert_eq!(status(&mock.call("/v1/chat/completions", "", CHAT).await), 429);
    drop(open);
    mock.until("client_left", 1).await;
    let prompt = "x-penstock-mock-pace-ms: 0\r\n";
    assert_eq!(status(&mock.call("/v1/chat/completions", prompt, CHAT).await), 200);
}
