//! Reasoning inside the text of an answer, as a channel's quirks have it.

use super::support::{TestApp, Upstream, chat, chat_stream};

#[tokio::test]
async fn think_tags_are_split_out_or_reasoning_is_merged_as_the_channel_says() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("<think>hm</think>so")).await;
    let quirks = |quirk: &str| format!("quirks = [\"request-stream-usage\", \"{quirk}\"]");
    let app = TestApp::start(&upstream.channel("up", &quirks("split-think-tags")));
    let answer = app.client().chat(&chat("m")).await;
    let message = answer.json()["choices"][0]["message"].clone();
    assert_eq!(
        (&message["content"], &message["reasoning_content"]),
        (&"so".into(), &"hm".into()),
        "{answer:?}"
    );
    let answer = app.client().chat(&chat_stream("m")).await;
    assert!(answer.body.contains(r#""reasoning_content":"hm""#), "{}", answer.body);
    assert!(answer.body.contains(r#""content":"so""#) && !answer.body.contains("think>"), "{}", answer.body);
    assert!(answer.complete && answer.body.ends_with("data: [DONE]\n\n"), "{}", answer.body);
    drop(app);
    let app = TestApp::start(&upstream.channel("up", ""));
    assert!(app.client().chat(&chat("m")).await.body.contains("<think>hm</think>so"), "as it is");
}

#[tokio::test]
async fn an_answer_that_begins_inside_a_tag_is_split_where_the_channel_says_so() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hm</think>so")).await;
    let app = TestApp::start(&upstream.channel("up", "quirks = [\"think-tag-opened\"]"));
    let message = app.client().chat(&chat("m")).await.json()["choices"][0]["message"].clone();
    assert_eq!(
        (&message["content"], &message["reasoning_content"]),
        (&"so".into(), &"hm".into()),
        "{message}"
    );
    let answer = app.client().chat(&chat_stream("m")).await;
    assert!(answer.body.contains(r#""reasoning_content":"hm""#), "{}", answer.body);
    assert!(answer.body.contains(r#""content":"so""#) && !answer.body.contains("think>"), "{}", answer.body);
}
