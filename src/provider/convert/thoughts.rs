//! Reasoning in the text of an answer: `<think>` tags split out into reasoning, or reasoning written as tags.
//!
//! Event by event: what may still become a tag is held back, nothing else. A tag counts only where an answer,
//! or what follows a tool call, begins: an answer that speaks of tags stays as it is.

use super::{
    change::Change,
    tags::{self, Found},
};
use crate::{
    conversation::{Delta, Part, Reply},
    provider::Quirk,
};

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// What becomes of reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thoughts {
    /// Tags become reasoning.
    Split,
    /// The same, where an answer begins inside a tag, which the model's template has opened in the prompt.
    SplitOpened,
    /// Reasoning becomes tags.
    Merge,
}

impl Thoughts {
    /// What a channel's quirks say; nothing where reasoning stays as it is.
    pub(super) fn of(quirks: &[Quirk]) -> Option<Self> {
        match () {
            () if quirks.contains(&Quirk::ThinkTagOpened) => Some(Self::SplitOpened),
            () if quirks.contains(&Quirk::SplitThinkTags) => Some(Self::Split),
            () if quirks.contains(&Quirk::MergeReasoning) => Some(Self::Merge),
            () => None,
        }
    }

    /// Does it to a whole answer.
    pub(super) fn change(self, reply: &mut Reply) {
        // An answer that never closes the tag has not reasoned: of a whole one that is known.
        let closes = |part: &Part| matches!(part, Part::Text { text, .. } if text.contains(CLOSE));
        let never_closed = self == Self::SplitOpened && !reply.parts.iter().any(closes);
        let mut changer = Changer::new(if never_closed { Self::Split } else { self });
        let mut parts = Vec::new();
        for part in reply.parts.drain(..) {
            let mut deltas = Vec::new();
            match part {
                // Citations name places in the text, which may not move.
                Part::Text { text, citations, .. } if citations.is_empty() => {
                    changer.take(Delta::Text(text), &mut deltas);
                }
                Part::Thinking { text, signature } if self == Self::Merge => {
                    drop(signature);
                    changer.take(Delta::Thinking(text), &mut deltas);
                }
                Part::RedactedThinking { .. } if self == Self::Merge => {}
                other => {
                    changer.flush(&mut deltas);
                    gather(deltas, &mut parts);
                    parts.push(other);
                    continue;
                }
            }
            gather(deltas, &mut parts);
        }
        let mut deltas = Vec::new();
        changer.flush(&mut deltas);
        gather(deltas, &mut parts);
        reply.parts = parts;
    }
}

/// Appends texts and reasoning to parts, each to the last one where it is of the same kind.
fn gather(deltas: Vec<Delta>, parts: &mut Vec<Part>) {
    for delta in deltas {
        match delta {
            Delta::Text(more) => match parts.last_mut() {
                Some(Part::Text { text, citations, .. }) if citations.is_empty() => text.push_str(&more),
                _ => parts.push(Part::text(more)),
            },
            Delta::Thinking(more) => match parts.last_mut() {
                Some(Part::Thinking { text, signature: None }) => text.push_str(&more),
                _ => parts.push(Part::Thinking { text: more, signature: None }),
            },
            _ => {}
        }
    }
}

/// Changes deltas one by one.
pub(super) struct Changer {
    thoughts: Thoughts,
    place: Place,
    /// What may still become a tag.
    held: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Where a tag is open, and may be written all the same.
    Opened,
    /// Where a tag may open.
    Start,
    /// Inside a tag.
    Inside,
    /// Behind one, where white space is left out.
    Behind,
    /// In the text.
    Outside,
}

impl Changer {
    pub(super) fn new(thoughts: Thoughts) -> Self {
        let place = if thoughts == Thoughts::SplitOpened { Place::Opened } else { Place::Start };
        Self { thoughts, place, held: String::new() }
    }

    /// Gives what is held back; a tag that is open ends here.
    fn flush(&mut self, out: &mut Vec<Delta>) {
        let held = std::mem::take(&mut self.held);
        match (self.thoughts, self.place) {
            (Thoughts::Merge, Place::Inside) => out.push(Delta::Text(format!("\n{CLOSE}\n\n"))),
            (Thoughts::Split | Thoughts::SplitOpened, Place::Inside | Place::Opened) => {
                say(Delta::Thinking, &held, out);
            }
            _ => say(Delta::Text, &held, out),
        }
        self.place = Place::Start;
    }

    fn split(&mut self, text: &str, out: &mut Vec<Delta>) {
        self.held.push_str(text);
        loop {
            match self.place {
                Place::Opened => {
                    let begun = self.held.trim_start();
                    if let Some(rest) = begun.strip_prefix(OPEN) {
                        self.held = rest.to_owned();
                    } else if OPEN.starts_with(begun) {
                        return;
                    }
                    self.place = Place::Inside;
                }
                Place::Start => {
                    let begun = self.held.trim_start();
                    if let Some(rest) = begun.strip_prefix(OPEN) {
                        (self.place, self.held) = (Place::Inside, rest.to_owned());
                    } else if OPEN.starts_with(begun) {
                        return;
                    } else {
                        self.place = Place::Outside;
                    }
                }
                Place::Inside => match tags::find(&self.held, CLOSE) {
                    Found::Tag { before, behind } => {
                        say(Delta::Thinking, before, out);
                        (self.place, self.held) = (Place::Behind, behind.to_owned());
                    }
                    Found::None { sure, maybe } => {
                        say(Delta::Thinking, sure, out);
                        self.held = maybe.to_owned();
                        return;
                    }
                },
                Place::Behind => {
                    self.held = self.held.trim_start().to_owned();
                    if self.held.is_empty() {
                        return;
                    }
                    self.place = Place::Outside;
                }
                Place::Outside => {
                    say(Delta::Text, &self.held, out);
                    self.held.clear();
                    return;
                }
            }
        }
    }
}

impl Change for Changer {
    fn take(&mut self, delta: Delta, out: &mut Vec<Delta>) {
        match (self.thoughts, delta) {
            (Thoughts::Split | Thoughts::SplitOpened, Delta::Text(text)) => self.split(&text, out),
            (Thoughts::Merge, Delta::Thinking(text)) => {
                if self.place != Place::Inside {
                    self.place = Place::Inside;
                    out.push(Delta::Text(format!("{OPEN}\n")));
                }
                out.push(Delta::Text(text));
            }
            (Thoughts::Merge, Delta::ThinkingSignature(_) | Delta::RedactedThinking(_)) => {}
            (
                _,
                delta @ (Delta::Start { .. } | Delta::Usage(_) | Delta::Logprobs(_) | Delta::Citation(_)),
            ) => {
                out.push(delta);
            }
            (_, delta) => {
                self.flush(out);
                out.push(delta);
            }
        }
    }
}

fn say(kind: impl FnOnce(String) -> Delta, text: &str, out: &mut Vec<Delta>) {
    if !text.is_empty() {
        out.push(kind(text.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use penstock_actors::domain::Usage;

    use super::*;
    use crate::conversation::StopReason;

    /// Reasoning and text of an answer that comes in these pieces.
    fn heard<'a>(thoughts: Thoughts, pieces: impl IntoIterator<Item = &'a str>) -> (String, String) {
        let (mut changer, mut out) = (Changer::new(thoughts), Vec::new());
        for piece in pieces {
            changer.take(Delta::Text(piece.to_owned()), &mut out);
        }
        changer.take(Delta::Stop(StopReason::End), &mut out);
        let (mut thinking, mut text) = (String::new(), String::new());
        for delta in out {
            match delta {
                Delta::Thinking(more) => thinking.push_str(&more),
                Delta::Text(more) => text.push_str(&more),
                Delta::Stop(StopReason::End) => {}
                other => panic!("{other:?}"),
            }
        }
        (thinking, text)
    }

    #[test]
    fn tags_are_split_out_wherever_they_are_cut() {
        for (said, thinking, text) in [
            ("<think>hm\u{e9} <b></think>\n\nso", "hm\u{e9} <b>", "so"),
            (" \n<think></think>so", "", "so"),
            ("<think>never closed </thin", "never closed </thin", ""),
            ("so <think>quoted</think>", "", "so <think>quoted</think>"),
            ("<thin", "", "<thin"),
            ("<thinking>x", "", "<thinking>x"),
            ("", "", ""),
            ("  plain", "", "  plain"),
            ("<think>a</think> ", "a", ""),
        ] {
            let wanted = (thinking.to_owned(), text.to_owned());
            assert_eq!(heard(Thoughts::Split, [said]), wanted, "{said}");
            for cut in (0..=said.len()).filter(|at| said.is_char_boundary(*at)) {
                assert_eq!(heard(Thoughts::Split, [&said[..cut], &said[cut..]]), wanted, "{said} at {cut}");
            }
            let letters: Vec<String> = said.chars().map(String::from).collect();
            assert_eq!(heard(Thoughts::Split, letters.iter().map(String::as_str)), wanted, "{said}");
        }
    }

    #[test]
    fn an_answer_may_begin_inside_a_tag_that_the_prompt_opened() {
        for (said, thinking, text) in [
            ("hm\u{e9}</think>\n\nso", "hm\u{e9}", "so"),
            ("<think>hm</think>so", "hm", "so"),
            ("\n <think>\nhm</think>so", "\nhm", "so"),
            ("<thinking hard</think>so </think> x", "<thinking hard", "so </think> x"),
            ("</think>so", "", "so"),
            ("never closed", "never closed", ""),
            ("<thi", "<thi", ""),
            ("", "", ""),
        ] {
            let wanted = (thinking.to_owned(), text.to_owned());
            for cut in (0..=said.len()).filter(|at| said.is_char_boundary(*at)) {
                let pieces = [&said[..cut], &said[cut..]];
                assert_eq!(heard(Thoughts::SplitOpened, pieces), wanted, "{said} at {cut}");
            }
        }
    }

    #[test]
    fn what_cannot_become_a_tag_is_not_held_back() {
        let (mut changer, mut out) = (Changer::new(Thoughts::Split), Vec::new());
        for piece in ["<think>", "one ", "two</", "b>", "</think>", "so"] {
            changer.take(Delta::Text(piece.to_owned()), &mut out);
        }
        let thought = |text: &str| Delta::Thinking(text.to_owned());
        let wanted = [thought("one "), thought("two"), thought("</b>"), Delta::Text("so".to_owned())];
        assert_eq!(out, wanted);
    }

    #[test]
    fn a_tag_may_open_again_behind_a_tool_call() {
        let (mut changer, mut out) = (Changer::new(Thoughts::Split), Vec::new());
        let call = Delta::ToolCallStart { index: 0, id: "c".into(), name: "f".into() };
        for delta in [Delta::Text("<think>a".into()), call.clone(), Delta::Text("<think>b</think>c".into())] {
            changer.take(delta, &mut out);
        }
        let thought = |text: &str| Delta::Thinking(text.to_owned());
        assert_eq!(out, [thought("a"), call, thought("b"), Delta::Text("c".into())]);
    }

    #[test]
    fn reasoning_becomes_tags() {
        let (mut changer, mut out) = (Changer::new(Thoughts::Merge), Vec::new());
        let proof = Delta::ThinkingSignature("p".into());
        let deltas =
            [Delta::Thinking("a".into()), Delta::Thinking("b".into()), proof, Delta::Text("c".into())];
        for delta in deltas.into_iter().chain([Delta::Stop(StopReason::End)]) {
            changer.take(delta, &mut out);
        }
        let text: String = out
            .iter()
            .filter_map(|delta| if let Delta::Text(text) = delta { Some(text.as_str()) } else { None })
            .collect();
        assert_eq!(text, "<think>\nab\n</think>\n\nc");
        assert!(matches!(out.last(), Some(Delta::Stop(_))));
    }

    #[test]
    fn whole_answers_are_changed_alike() {
        let reply = |parts| Reply {
            id: "r".into(),
            parts,
            logprobs: Vec::new(),
            stop: StopReason::End,
            usage: Usage::default(),
        };
        let thought = Part::Thinking { text: "a".into(), signature: None };
        let mut split = reply(vec![Part::text("<think>a</think>\nb")]);
        Thoughts::Split.change(&mut split);
        assert_eq!(split.parts, [thought.clone(), Part::text("b")]);
        let mut merged = reply(vec![thought, Part::text("b")]);
        Thoughts::Merge.change(&mut merged);
        assert_eq!(merged.parts, [Part::text("<think>\na\n</think>\n\nb")]);
        for thoughts in [Thoughts::Split, Thoughts::SplitOpened] {
            let mut plain = reply(vec![Part::text("b")]);
            thoughts.change(&mut plain);
            assert_eq!(plain.parts, [Part::text("b")]);
        }
        let mut opened = reply(vec![Part::text("a</think>\nb")]);
        Thoughts::SplitOpened.change(&mut opened);
        assert_eq!(opened.parts, [Part::Thinking { text: "a".into(), signature: None }, Part::text("b")]);
    }
}
