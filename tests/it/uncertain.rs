//! A provider that cuts the connection may have done its work: whether another is asked, and what is written down.

use super::support::{TestApp, Upstream, chat, upstream::After};

const PRICE: &str = "[[price]]\nmodel = \"m\"\ninput = 3\noutput = 15\n";

/// An upstream that takes requests and says nothing.
async fn cutting() -> Upstream {
    Upstream::start(|_| async { After::Close }).await
}

async fn well() -> Upstream {
    Upstream::start(|exchange| exchange.answer_well("hi")).await
}

#[tokio::test]
async fn a_call_that_was_cut_off_is_tried_elsewhere_and_both_attempts_are_written_down() {
    let (first, second) = (cutting().await, well().await);
    let app = TestApp::start(&format!(
        "{PRICE}{}{}",
        first.channel("a", "priority = 1\n"),
        second.channel("b", "")
    ));
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!((answer.status, answer.header("x-penstock-channel")), (200, Some("b")));
    let call = super::calls::settled(&app.client(), answer.header("x-request-id").unwrap()).await;
    let attempts: Vec<_> = call["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| (a["channel"].as_str().unwrap(), a["code"].as_str().unwrap(), a["may_be_billed"].as_bool()))
        .collect();
    assert_eq!(attempts, [("a", "upstream_closed", Some(true)), ("b", "", Some(false))]);
    assert!(call["money"]["charge_nanos"].as_i64() > Some(0), "the answer is paid once: {call}");
}

#[tokio::test]
async fn what_may_be_billed_is_lost_rather_than_paid_twice_where_settings_say_so() {
    let (first, second) = (cutting().await, well().await);
    let (tells, goes_on) = ("uncertain = false", "uncertain = true");
    for (global, of_channel, of_model, fails_over) in [
        (tells, "", "", false),
        (tells, "failover_uncertain = true\n", "", true),
        (goes_on, "failover_uncertain = false\n", "", false),
        (goes_on, "failover_uncertain = true\n", "m = false\n", false),
        (tells, "failover_uncertain = false\n", "m = true\n", true),
        (goes_on, "", "n = false\n", true),
    ] {
        let settings = format!(
            "[failover]\n{global}\n[failover_uncertain]\n{of_model}[backup_models]\nm = [\"n\"]\n{}{}",
            first.channel("a", &format!("priority = 1\n{of_channel}")),
            second.channel("b", "models = [\"m\", \"n\"]\n")
        );
        let app = TestApp::start(&settings);
        let before = second.count();
        let answer = app.client().chat(&chat("m")).await;
        let case = format!("{global} {of_channel} {of_model}");
        if fails_over {
            assert_eq!((answer.status, second.count()), (200, before + 1), "{case}");
        } else {
            let told = (answer.status, answer.error_code());
            assert_eq!(told, (502, "upstream_closed".to_owned()), "{case}");
            assert_eq!(answer.header("x-should-retry"), Some("false"), "{case}");
            assert_eq!(second.count(), before, "neither another channel nor another model: {case}");
        }
        let explained = app.client().post("/api/explain", br#"{"model":"m"}"#).await.json();
        assert_eq!(
            explained["data"]["models"][0]["candidates"][0]["failover_uncertain"], fails_over,
            "{case}"
        );
    }
}

#[tokio::test]
async fn what_never_reached_a_provider_is_tried_elsewhere_in_any_case() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let second = well().await;
    let nowhere = super::support::upstream::channel("a", &format!("http://{free}"), "priority = 1\n");
    let app = TestApp::start(&format!(
        "[failover]\nuncertain = false\n{PRICE}{nowhere}{}",
        second.channel("b", "")
    ));
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!((answer.status, answer.header("x-penstock-channel")), (200, Some("b")));
    let call = super::calls::settled(&app.client(), answer.header("x-request-id").unwrap()).await;
    assert_eq!(call["attempts"][0]["may_be_billed"], false);
}
