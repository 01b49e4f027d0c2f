//! Streams whose clients leave in the middle: they pay for what was delivered, as near as can be told from its text,
//! however long the form around it is.

use serde_json::json;
use tokio::io::AsyncReadExt as _;

use super::{
    calls::settled,
    support::{TestApp, Upstream, upstream::After},
};

/// Pieces that go out before the client leaves, and what each says: a token.
const PIECES: usize = 60;
const PIECE: &str = " river";

/// How a stream of each provider begins, and an event with a piece, in the form of today's services.
const STREAMS: [(&str, &str, &str); 4] = [
    (
        "openai-compatible",
        "data: {\"id\":\"chatcmpl-CkzcaVYJ0XBgVJVvFJqzpNAdLlGHU\",\"object\":\"chat.completion.chunk\",\"created\":1763800000,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_560af6e559\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null,\"obfuscation\":\"d5qT8N\"}\n\n",
        "data: {\"id\":\"chatcmpl-CkzcaVYJ0XBgVJVvFJqzpNAdLlGHU\",\"object\":\"chat.completion.chunk\",\"created\":1763800000,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_560af6e559\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" river\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null,\"obfuscation\":\"d5qT8N\"}\n\n",
    ),
    (
        "anthropic",
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-sonnet-4-5-20250929\",\"id\":\"msg_01XFDUDYJgAACzvnptvVoYEL\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":25,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":1,\"service_tier\":\"standard\"}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" river\"}}\n\n",
    ),
    (
        "gemini",
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\"}],\"role\":\"model\"},\"index\":0}],\"modelVersion\":\"gemini-2.5-flash\",\"responseId\":\"k1YhaZ_nGZ6Dm9IP0ZyW4Ac\"}\r\n\r\n",
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\" river\"}],\"role\":\"model\"},\"index\":0}],\"modelVersion\":\"gemini-2.5-flash\",\"responseId\":\"k1YhaZ_nGZ6Dm9IP0ZyW4Ac\"}\r\n\r\n",
    ),
    (
        "openai-responses",
        "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_68f0\",\"object\":\"response\",\"created_at\":1763800000,\"status\":\"in_progress\",\"model\":\"gpt-4o-mini-2024-07-18\",\"output\":[],\"usage\":null}}\n\nevent: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"sequence_number\":1,\"output_index\":0,\"item\":{\"id\":\"msg_68f0\",\"type\":\"message\",\"status\":\"in_progress\",\"content\":[],\"role\":\"assistant\"}}\n\nevent: response.content_part.added\ndata: {\"type\":\"response.content_part.added\",\"sequence_number\":2,\"item_id\":\"msg_68f0\",\"output_index\":0,\"content_index\":0,\"part\":{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"\"}}\n\n",
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":4,\"item_id\":\"msg_68f0\",\"output_index\":0,\"content_index\":0,\"delta\":\" river\",\"logprobs\":[],\"obfuscation\":\"d5qT8N\"}\n\n",
    ),
];

/// A client's path and body.
fn asks() -> [(&'static str, String); 4] {
    let messages = json!([{"role": "user", "content": "hello"}]);
    [
        ("/v1/chat/completions", json!({"model": "m", "stream": true, "messages": messages}).to_string()),
        (
            "/v1/messages",
            json!({"model": "m", "stream": true, "max_tokens": 500, "messages": messages}).to_string(),
        ),
        (
            "/v1beta/models/m:streamGenerateContent?alt=sse",
            json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}).to_string(),
        ),
        (
            "/v1/responses",
            json!({"model": "m", "stream": true, "store": false, "input": messages}).to_string(),
        ),
    ]
}

#[tokio::test]
async fn who_leaves_pays_for_the_text_that_was_delivered() {
    for (provider, begin, piece) in STREAMS {
        let upstream = Upstream::start(move |mut exchange| async move {
            exchange.begin_stream().await;
            exchange.chunk(begin).await;
            for _ in 0..PIECES {
                if !exchange.chunk(piece).await {
                    return After::Close;
                }
            }
            exchange.until_left().await
        })
        .await;
        let setting = upstream.channel("up", "").replace("openai-compatible", provider);
        let prices = "[[price]]\nmodel = \"*\"\ninput = 1.0\noutput = 2.0\n";
        let app = TestApp::start(&(setting + prices));
        for (path, body) in asks() {
            let place = format!("{path} over {provider}");
            let mut tcp = app.client().open(&app.client().request("POST", path, body.as_bytes())).await;
            let mut heard = Vec::new();
            while String::from_utf8_lossy(&heard).matches(PIECE).count() < PIECES {
                assert!(tcp.read_buf(&mut heard).await.unwrap() > 0, "{place}");
            }
            drop(tcp);
            let heard = String::from_utf8_lossy(&heard);
            let id = heard.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
            let call = settled(&app.client(), id).await;
            let usage = &call["usage"];
            assert_eq!(
                (&call["outcome"], &usage["source"]),
                (&json!("abandoned"), &json!("estimated")),
                "{place}"
            );
            assert_eq!(usage["output"], PIECES, "{place}: {call}");
            let input = usage["input"].as_u64().unwrap();
            assert!(if provider == "anthropic" { input == 25 } else { input < 40 }, "{place}: {call}");
        }
    }
}
