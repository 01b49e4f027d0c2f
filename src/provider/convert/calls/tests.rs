//! Answers with blocks in them, wherever they are cut, and answers without.

use penstock_actors::domain::Usage;
use proptest::prelude::*;

use super::*;

fn naming() -> Naming {
    Naming { tools: vec!["weather".to_owned(), "clock".to_owned()], prefix: "call_x".to_owned() }
}

/// What an answer says that comes in these pieces: its text, its calls, and why it stopped.
fn heard<'a>(pieces: impl IntoIterator<Item = &'a str>) -> (String, Vec<(String, String)>, StopReason) {
    let (mut calls, mut out) = (Calls::new(naming()), Vec::new());
    for piece in pieces {
        calls.take(Delta::Text(piece.to_owned()), &mut out);
    }
    calls.take(Delta::Stop(StopReason::End), &mut out);
    let (mut text, mut made, mut stop) = (String::new(), Vec::new(), None);
    for delta in out {
        match delta {
            Delta::Text(more) => text.push_str(&more),
            Delta::ToolCallStart { index, id, name } => {
                assert_eq!((index as usize, id), (made.len(), format!("call_x_{}", made.len())));
                made.push((name, String::new()));
            }
            Delta::ToolCallArguments { index, fragment } => made[index as usize].1.push_str(&fragment),
            Delta::Stop(reason) => stop = Some(reason),
            other => panic!("{other:?}"),
        }
    }
    (text, made, stop.expect("a stop"))
}

const CALL: &str = r#"<tool_call>{"name":"weather","arguments":{"city":"K\u00f6ln"}}</tool_call>"#;

/// What is said, the text that is left, and the calls.
type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const CASES: &[Case] = &[
    (CALL, "", &[("weather", r#"{"city":"K\u00f6ln"}"#)]),
    (
        "Let me see\u{1f30a}.\n<tool_call>\n{\"name\": \"clock\"}\n</tool_call>\n",
        "Let me see\u{1f30a}.\n",
        &[("clock", "{}")],
    ),
    (
        "<tool_call>{\"name\":\"clock\",\"arguments\":{}}</tool_call>\n <tool_call>{\"name\":\"weather\",\"arguments\":{\"a\":1.50}}</tool_call>  ",
        "",
        &[("clock", "{}"), ("weather", r#"{"a":1.50}"#)],
    ),
    ("<tool_call>{\"name\":\"clock\"}</tool_call>\n\nand so", "\n\nand so", &[("clock", "{}")]),
    (
        "<tool_call>\n```json\n{\"name\":\"clock\",\"parameters\":{\"z\":[]}}\n```\n</tool_call>",
        "",
        &[("clock", r#"{"z":[]}"#)],
    ),
    (
        "<tool_call>[{\"name\":\"clock\"},{\"name\":\"weather\",\"input\":\"{\\\"a\\\":2}\"}]</tool_call>",
        "",
        &[("clock", "{}"), ("weather", r#"{"a":2}"#)],
    ),
    (
        "<tool_call>{\"name\":\"clock\"}\n{\"name\":\"weather\"}</tool_call>",
        "",
        &[("clock", "{}"), ("weather", "{}")],
    ),
    (
        "<tool_call>{\"name\":\"clock\",\"arguments\":{\"t\":\"a </tool_call> b\"}}</tool_call>",
        "",
        &[("clock", "{\"t\":\"a </tool_call> b\"}")],
    ),
    // Not closed, but whole.
    ("<tool_call>{\"name\":\"clock\"}", "", &[("clock", "{}")]),
    // Quoted before it is used.
    (
        "Use <tool_call> so: <tool_call>{\"name\":\"clock\"}</tool_call>",
        "Use <tool_call> so: ",
        &[("clock", "{}")],
    ),
    // Not closed and not whole; another tool; no object; no JSON; half a tag.
    ("<tool_call>{\"name\":\"clo", "<tool_call>{\"name\":\"clo", &[]),
    (
        "<tool_call>{\"name\":\"rm\",\"arguments\":{}}</tool_call>",
        "<tool_call>{\"name\":\"rm\",\"arguments\":{}}</tool_call>",
        &[],
    ),
    (
        "<tool_call>{\"name\":\"clock\",\"arguments\":[1]}</tool_call> x",
        "<tool_call>{\"name\":\"clock\",\"arguments\":[1]}</tool_call> x",
        &[],
    ),
    (
        "<tool_call>{\"name\":\"clock\",\"arguments\":\"no\"}</tool_call>",
        "<tool_call>{\"name\":\"clock\",\"arguments\":\"no\"}</tool_call>",
        &[],
    ),
    ("<tool_call>{oh}</tool_call>", "<tool_call>{oh}</tool_call>", &[]),
    ("<tool_call></tool_call>", "<tool_call></tool_call>", &[]),
    ("<tool_call>[]</tool_call>", "<tool_call>[]</tool_call>", &[]),
    ("<tool_call>```</tool_call>", "<tool_call>```</tool_call>", &[]),
    ("a <tool_call", "a <tool_call", &[]),
    ("a </tool_call> b", "a </tool_call> b", &[]),
    ("<tool_call>", "<tool_call>", &[]),
    ("", "", &[]),
    // A good one before and behind a bad one.
    (
        "<tool_call>{\"name\":\"clock\"}</tool_call>\n<tool_call>{bad}</tool_call><tool_call>{\"name\":\"clock\"}</tool_call>",
        "\n<tool_call>{bad}</tool_call>",
        &[("clock", "{}"), ("clock", "{}")],
    ),
];

#[test]
fn blocks_become_calls_wherever_they_are_cut_and_all_else_stays() {
    for (said, text, calls) in CASES {
        let calls: Vec<(String, String)> =
            calls.iter().map(|(name, args)| ((*name).to_owned(), (*args).to_owned())).collect();
        let stop = if calls.is_empty() { StopReason::End } else { StopReason::ToolCalls };
        let wanted = ((*text).to_owned(), calls, stop);
        assert_eq!(heard([*said]), wanted, "{said}");
        for cut in (0..=said.len()).filter(|at| said.is_char_boundary(*at)) {
            assert_eq!(heard([&said[..cut], &said[cut..]]), wanted, "{said} at {cut}");
        }
        let letters: Vec<String> = said.chars().map(String::from).collect();
        assert_eq!(heard(letters.iter().map(String::as_str)), wanted, "{said}");
    }
}

#[test]
fn whole_answers_are_changed_alike() {
    for (said, text, calls) in CASES {
        let mut reply = Reply {
            id: "r".into(),
            parts: vec![Part::text(*said)],
            logprobs: Vec::new(),
            stop: StopReason::End,
            usage: Usage::default(),
        };
        Calls::new(naming()).change(&mut reply);
        let (mut left, mut made) = (String::new(), Vec::new());
        for part in &reply.parts {
            match part {
                Part::Text { text, .. } => left.push_str(text),
                Part::ToolCall(call) => made.push((call.name.as_str(), call.arguments.as_str())),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((left.as_str(), &made[..]), (*text, *calls), "{said}");
    }
}

#[test]
fn what_cannot_become_a_tag_is_not_held_back() {
    let (mut calls, mut out) = (Calls::new(naming()), Vec::new());
    for piece in ["one ", "two <", "b>", "<tool_call> is", " a tag"] {
        calls.take(Delta::Text(piece.to_owned()), &mut out);
    }
    let text = |text: &str| Delta::Text(text.to_owned());
    let wanted = ["one ", "two ", "<b>", "<tool_call>", " is", " a tag"].map(text);
    assert_eq!(out, wanted);
}

#[test]
fn an_answer_that_was_cut_short_says_so() {
    let (mut calls, mut out) = (Calls::new(naming()), Vec::new());
    calls.take(Delta::Text(CALL.to_owned()), &mut out);
    calls.take(Delta::Stop(StopReason::Length), &mut out);
    assert_eq!(out.last(), Some(&Delta::Stop(StopReason::Length)));
}

#[test]
fn a_block_without_end_is_given_up_and_stays_text() {
    let said = format!("<tool_call>{{\"name\":\"{}", "a".repeat(2 * MOST));
    let (mut calls, mut text) = (Calls::new(naming()), String::new());
    for piece in said.as_bytes().chunks(4096) {
        let mut out = Vec::new();
        calls.take(Delta::Text(String::from_utf8_lossy(piece).into_owned()), &mut out);
        assert!(calls.held.len() <= MOST + 4096, "no more is held");
        for delta in out {
            if let Delta::Text(more) = delta {
                text.push_str(&more);
            }
        }
    }
    assert_eq!(text, said);
}

proptest! {
    #[test]
    fn text_without_a_block_passes_unchanged(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "<", "tool_call", ">", "</", "<tool_call>", "</tool_call>", "{", "}", "\"name\"", ":", "\"rm\"",
                "\"clock", "[", "]", "```", "json", " ", "\n", "\u{e9}", "x", "\u{1f30a}",
            ]),
            0..24,
        )
    ) {
        let said = pieces.concat();
        let (text, calls, _) = heard(pieces.iter().copied());
        prop_assert_eq!(&calls, &Vec::<(String, String)>::new());
        prop_assert_eq!(text, said);
    }

    #[test]
    fn calls_are_heard_between_any_texts(before in "[a-z<>/_ \u{e9}]{0,20}", behind in "[a-z<>/_\u{e9}]{1,20}", cut in 0usize..80) {
        prop_assume!(!before.contains(OPEN) && !before.contains(CLOSE));
        let said = format!("{before}{CALL}{behind}");
        let cut = (0..=cut.min(said.len())).rev().find(|at| said.is_char_boundary(*at)).unwrap_or(0);
        let (text, calls, stop) = heard([&said[..cut], &said[cut..]]);
        prop_assert_eq!(text, format!("{before}{behind}"));
        prop_assert_eq!(calls.len(), 1);
        prop_assert_eq!(stop, StopReason::ToolCalls);
    }
}
