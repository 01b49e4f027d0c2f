//! Coze's requests, streams and errors.

use penstock_actors::domain::Usage;

use super::*;
use crate::{
    conversation::StopReason,
    dialect::checks::{self, hear, heard, refusal},
};

const STREAM: &str = "event:conversation.chat.created\ndata:{\"id\":\"z-1\",\"conversation_id\":\"c\",\"bot_id\":\"7\",\"last_error\":{\"code\":0,\"msg\":\"\"},\"status\":\"created\"}\n\n\
event:conversation.chat.in_progress\ndata:{\"id\":\"z-1\",\"status\":\"in_progress\"}\n\n\
event:conversation.message.completed\ndata:{\"id\":\"m0\",\"role\":\"assistant\",\"type\":\"function_call\",\"content\":\"{}\",\"content_type\":\"text\"}\n\n\
event:conversation.message.delta\ndata:{\"id\":\"m1\",\"role\":\"assistant\",\"type\":\"answer\",\"content\":\"\",\"reasoning_content\":\"I look\",\"content_type\":\"text\"}\n\n\
event:conversation.message.delta\ndata:{\"id\":\"m1\",\"role\":\"assistant\",\"type\":\"answer\",\"content\":\"Gr\u{fc}ezi\",\"content_type\":\"text\"}\n\n\
event:conversation.audio.delta\ndata:{\"id\":\"m1\",\"content_type\":\"audio\",\"content\":\"AAA=\"}\n\n\
event:conversation.message.completed\ndata:{\"id\":\"m1\",\"role\":\"assistant\",\"type\":\"answer\",\"content\":\"Gr\u{fc}ezi\",\"content_type\":\"text\"}\n\n\
event:conversation.message.completed\ndata:{\"id\":\"m2\",\"role\":\"assistant\",\"type\":\"answer\",\"content\":\" \\\"so\\\"\\n\",\"content_type\":\"text\"}\n\n\
event:conversation.message.completed\ndata:{\"id\":\"m3\",\"role\":\"assistant\",\"type\":\"verbose\",\"content\":\"{\\\"msg_type\\\":\\\"generate_answer_finish\\\"}\",\"content_type\":\"text\"}\n\n\
event:conversation.message.completed\ndata:{\"id\":\"m4\",\"role\":\"assistant\",\"type\":\"follow_up\",\"content\":\"more?\",\"content_type\":\"text\"}\n\n\
event:conversation.chat.completed\ndata:{\"id\":\"z-1\",\"status\":\"completed\",\"usage\":{\"token_count\":25,\"output_count\":5,\"input_count\":20}}\n\n";

#[test]
fn a_request_holds_all_that_was_said_and_the_bots_id() {
    let request = r#"{"model":"m","max_tokens":5,"custom_variables":{"a":"b"},"messages":[
        {"role":"system","content":"Be brief."},{"role":"user","content":"hi"},{"role":"assistant","content":"yes?"},
        {"role":"user","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"https://x/a.png"}}]}]}"#;
    for model in ["bot-7381", "7381"] {
        assert_eq!(
            checks::written(&Coze, request, model, Delivery::Whole).expect("it can be said"),
            r#"{"bot_id":"7381","user_id":"penstock","additional_messages":[{"role":"user","type":"question","content":"Be brief.\nhi","content_type":"text"},{"role":"assistant","type":"answer","content":"yes?","content_type":"text"},{"role":"user","type":"question","content":"[{\"type\":\"text\",\"text\":\"see\"},{\"type\":\"image\",\"file_url\":\"https://x/a.png\"}]","content_type":"object_string"}],"stream":true,"auto_save_history":false,"custom_variables":{"a":"b"}}"#
        );
    }
    let picture = request.replace("https://x/a.png", "data:image/png;base64,iVBORw0KGgo=");
    let refused = checks::written(&Coze, &picture, "7", Delivery::Whole);
    assert_eq!(refused, Err("messages[3].content".to_owned()));
}

#[test]
fn a_stream_is_read_wherever_it_is_cut() {
    let heard = hear(&Coze, STREAM.as_bytes(), 0);
    assert_eq!(
        (heard.id.as_str(), heard.text.as_str(), heard.thinking.as_str()),
        ("z-1", "Gr\u{fc}ezi \"so\"\n", "I look")
    );
    assert_eq!(heard.usage, Usage { input: 20, output: 5, ..Usage::default() });
    assert_eq!(heard.stop, Some(StopReason::End));
}

#[test]
fn errors_are_told_by_code_wherever_they_stand() {
    for (bytes, wanted) in [
        ("event:error\ndata:{\"code\":4020,\"msg\":\"slow\"}\n\n", 429),
        (
            "event:conversation.chat.failed\ndata:{\"id\":\"z\",\"last_error\":{\"code\":5000,\"msg\":\"x\"}}\n\n",
            502,
        ),
        ("event:conversation.chat.requires_action\ndata:{\"id\":\"z\",\"required_action\":{}}\n\n", 404),
        ("data:{\"code\":4100,\"msg\":\"authentication is invalid\"}\n\n", 401),
        ("{\"code\":4028,\"msg\":\"used up\",\"detail\":{\"logid\":\"l\"}}", 402),
    ] {
        let ended = heard(&Coze, [bytes.as_bytes()]);
        assert!(
            matches!(&ended.error, Some(ReadError::Failed(f)) if f.status == wanted),
            "{bytes}: {ended:?}"
        );
    }
    for garbage in
        ["event:conversation.message.delta\ndata:{\n\n", "data:x\n\n", "event:done\ndata:\"[DONE]\"\n\n"]
    {
        let ended = heard(&Coze, [garbage.as_bytes()]);
        assert!(matches!(ended.error, Some(ReadError::Garbage(_))), "{garbage}");
    }
    for (status, code, wanted) in [
        (200, 4000, 400),
        (401, 4100, 401),
        (200, 4101, 403),
        (200, 4200, 404),
        (200, 4105, 400),
        (200, 777, 502),
    ] {
        let body = format!(r#"{{"code":{code},"msg":"no"}}"#);
        let refused = refusal(&Coze, status, &body);
        assert_eq!((refused.status, refused.code), (wanted, code.to_string()), "{status} {code}");
        let whole = Coze.read_whole(body.as_bytes());
        assert!(matches!(whole, Err(ReadError::Failed(f)) if f.status == wanted), "{code}");
    }
    assert_eq!(refusal(&Coze, 503, "<html>").status, 503);
    for garbage in ["", "{}", r#"{"code":0,"data":{}}"#] {
        assert!(matches!(Coze.read_whole(garbage.as_bytes()), Err(ReadError::Garbage(_))), "{garbage}");
    }
}
