//! Reads an OpenAI stream and passes its events through, the model name replaced.
//!
//! Events of one stream begin alike, so the place of the model name is found once by a scan and
//! afterwards by comparing the bytes in front of it.

use std::ops::Range;

use bytes::Bytes;
use memchr::memmem::{self, Finder};

use super::{failure_inside, usage};
use crate::{
    dialect::{AnswerEvent, AnswerReader, Garbage, passing::json_string, spoken::Speech},
    wire::{
        json::{Kind, Scanner, TopLevel, Watch},
        sse::{self, SseFramer},
    },
};

const EVENT: &[Watch] = &[
    Watch::kept("model", 1024),
    Watch::kept("error", 16384),
    Watch::kept("usage", 8192),
    Watch::place("choices"),
];

/// Under which keys the model's words stand: of chats, of reasoning by various names, of tools, of completions.
const TEXTS: &[&str] = &[
    "\"content\":",
    "\"reasoning_content\":",
    "\"reasoning\":",
    "\"arguments\":",
    "\"refusal\":",
    "\"text\":",
];

/// How much of the last event is remembered, in bytes.
const LONGEST_LAST: usize = 64 << 10;

/// See the module's sentence.
pub struct StreamReader {
    framer: SseFramer,
    /// The client's name for the model, as a JSON string.
    model: Bytes,
    /// Whether the usage event is hidden: the gateway asked for it, the client did not.
    hide_usage: bool,
    /// An event's bytes up to and with its model name, and where the name stands.
    opening: Option<Opening>,
    /// The last event that held choices, to tell an end without `[DONE]` from a cut. A copy: a slice of the
    /// chunk would keep its buffer from being used again.
    last: Vec<u8>,
    /// What was passed on.
    speech: Speech,
    done: bool,
    finders: Finders,
}

struct Opening {
    bytes: Bytes,
    model_at: usize,
    is_ours: bool,
}

/// Made once a stream: most events hold neither word, and need no scan then.
struct Finders {
    error: Finder<'static>,
    usage: Finder<'static>,
}

impl StreamReader {
    /// Makes a reader whose events name `model`; events hold at most `cap` bytes.
    pub fn new(model: &str, cap: usize, usage_wanted: bool) -> Self {
        Self {
            framer: SseFramer::new(cap),
            model: json_string(model),
            hide_usage: !usage_wanted,
            opening: None,
            last: Vec::new(),
            speech: Speech::new(TEXTS),
            done: false,
            finders: Finders { error: Finder::new("\"error\""), usage: Finder::new("\"usage\"") },
        }
    }

    /// What one frame means.
    fn frame(&mut self, frame: Bytes, out: &mut Passed<'_>) {
        if self.done {
            return;
        }
        let event = sse::parse(&frame);
        let Some(data) = event.data.filter(|d| !d.is_empty()) else {
            out.push(AnswerEvent::Aside(frame));
            return;
        };
        if &data[..] == b"[DONE]" {
            self.done = true;
            out.pass(&frame);
            out.push(AnswerEvent::Done);
            return;
        }
        let is_error = event.event == b"error";
        if is_error || self.finders.error.find(&data).is_some() {
            let inside =
                scan(&data).and_then(|top| top.field("error").filter(|e| e.kind != Kind::Null).cloned());
            let raw = match &inside {
                Some(field) => &field.raw,
                None => &data[..],
            };
            if is_error || inside.is_some() {
                self.done = true;
                out.push(AnswerEvent::Failed(failure_inside(raw)));
                return;
            }
        }
        if self.has_usage(&data)
            && let Some(top) = scan(&data)
            && let Some(field) = top.field("usage").filter(|f| f.kind == Kind::Object)
        {
            out.extend(usage(&field.raw).map(AnswerEvent::Usage));
            let no_choices = top.field("choices").is_none_or(|c| {
                c.kind == Kind::Array
                    && data[c.start as usize + 1..c.end as usize - 1].iter().all(u8::is_ascii_whitespace)
            });
            if !no_choices {
                self.remember(&data);
            } else if self.hide_usage {
                return;
            }
        } else {
            self.remember(&data);
        }
        self.speech.hear(&data);
        match self.renamed(&frame, &data) {
            None => out.pass(&frame),
            Some(renamed) => out.push(AnswerEvent::Bytes(renamed)),
        }
    }

    fn remember(&mut self, data: &[u8]) {
        self.last.clear();
        self.last.extend_from_slice(&data[..data.len().min(LONGEST_LAST)]);
    }

    /// The frame with the client's model name; `None` where it has it already.
    fn renamed(&mut self, frame: &[u8], data: &[u8]) -> Option<Bytes> {
        let known = self.opening.as_ref().is_some_and(|o| data.starts_with(&o.bytes));
        if !known {
            self.opening = scan_opening(data, &self.model);
        }
        let opening = self.opening.as_ref().filter(|o| !o.is_ours)?;
        Some(sse::rewritten(frame, data, opening.model_at..opening.bytes.len(), &self.model))
    }

    /// Whether the event may hold a usage object; `"usage":null`, which most events carry, is none.
    fn has_usage(&self, data: &[u8]) -> bool {
        self.finders.usage.find_iter(data).any(|at| {
            let rest = data[at + 7..].trim_ascii_start();
            rest.strip_prefix(b":").is_some_and(|value| !value.trim_ascii_start().starts_with(b"null"))
        })
    }
}

/// Collects events; frames of one chunk that follow each other unchanged go out as one piece.
struct Passed<'o> {
    chunk: Bytes,
    run: Range<usize>,
    out: &'o mut Vec<AnswerEvent>,
}

impl<'o> Passed<'o> {
    fn new(chunk: Bytes, out: &'o mut Vec<AnswerEvent>) -> Self {
        Self { chunk, run: 0..0, out }
    }

    /// Passes a frame on as it came.
    fn pass(&mut self, frame: &Bytes) {
        match (frame.as_ptr() as usize).checked_sub(self.chunk.as_ptr() as usize) {
            Some(at) if at + frame.len() <= self.chunk.len() => {
                if at != self.run.end {
                    self.flush();
                    self.run.start = at;
                }
                self.run.end = at + frame.len();
            }
            // The frame began in an earlier chunk.
            _ => self.push(AnswerEvent::Bytes(frame.clone())),
        }
    }

    fn push(&mut self, event: AnswerEvent) {
        self.flush();
        self.out.push(event);
    }

    fn extend(&mut self, event: Option<AnswerEvent>) {
        event.into_iter().for_each(|e| self.push(e));
    }

    fn flush(&mut self) {
        if !self.run.is_empty() {
            self.out.push(AnswerEvent::Bytes(self.chunk.slice(self.run.clone())));
        }
        self.run = self.run.end..self.run.end;
    }
}

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Scans a whole event; `None` where it is not strict JSON, which then passes unread.
fn scan(data: &[u8]) -> Option<TopLevel> {
    let mut scanner = Scanner::new(EVENT);
    scanner.push(data).ok()?;
    scanner.finish().ok()
}

/// Finds the model name at the event's top level, reading no further than it must.
fn scan_opening(data: &[u8], wanted: &[u8]) -> Option<Opening> {
    let mut scanner = Scanner::new(EVENT);
    for piece in data.chunks(64) {
        scanner.push(piece).ok()?;
        if let Some(field) = scanner.field("model") {
            let (start, end) = (field.start as usize, field.end as usize);
            let is_ours = field.kind != Kind::String || field.raw == wanted;
            return Some(Opening { bytes: Bytes::copy_from_slice(&data[..end]), model_at: start, is_ours });
        }
    }
    None
}

/// Whether the event ends a choice: a `finish_reason` that is a text.
fn has_finish(data: &[u8]) -> bool {
    memmem::find_iter(data, b"\"finish_reason\"").any(|at| {
        let rest = data[at + 15..].trim_ascii_start();
        rest.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"\""))
    })
}

impl AnswerReader for StreamReader {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        let mut framer = std::mem::replace(&mut self.framer, SseFramer::new(0));
        let mut passed = Passed::new(chunk.clone(), out);
        let pushed = framer.push(chunk, |frame| self.frame(frame, &mut passed));
        self.framer = framer;
        pushed.map_err(|e| Garbage(format!("The provider's stream cannot be read: {e}.")))
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        if self.done {
            return Ok(());
        }
        // Some providers leave the last blank line out; half an event is still a cut.
        let tail = self.framer.finish();
        let data = sse::parse(&tail).data.unwrap_or_default();
        if &data[..] == b"[DONE]" || scan(&data).is_some() {
            self.frame([&tail[..], b"\n\n"].concat().into(), &mut Passed::new(Bytes::new(), out));
        }
        match self.done {
            true => Ok(()),
            false if has_finish(&self.last) => {
                self.done = true;
                out.push(AnswerEvent::Bytes(Bytes::from_static(b"data: [DONE]\n\n")));
                out.push(AnswerEvent::Done);
                Ok(())
            }
            false => Err(Garbage("The provider's stream ended before the answer did.".to_owned())),
        }
    }

    fn tokens(&self) -> Option<u64> {
        Some(self.speech.tokens())
    }
}

#[cfg(test)]
mod tests {
    use penstock_actors::domain::Usage;

    use super::*;

    const STREAM: &str = concat!(
        ": note\n\n",
        "data: {\"id\":\"1\",\"model\":\"up\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null,\"x\":1}\n\n",
        "data: {\"id\":\"1\",\"model\":\"up\",\"choices\":[{\"delta\":{\"content\":\"say \\\"usage\\\": {}\"}}]}\r\n\r\n",
        "data:{\"model\":\"up\",\"id\":\"1\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"id\":\"1\",\"model\":\"up\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
        "data: [DONE]\n\n",
    );

    fn read(parts: &[&[u8]], usage_wanted: bool) -> (String, Vec<AnswerEvent>, Result<(), Garbage>) {
        let mut reader = StreamReader::new("mine", 1 << 20, usage_wanted);
        let mut out = Vec::new();
        let mut ended = Ok(());
        for part in parts {
            ended = ended.and_then(|()| reader.push(Bytes::copy_from_slice(part), &mut out));
        }
        let ended = ended.and_then(|()| reader.finish(&mut out));
        let mut text = String::new();
        let mut rest = Vec::new();
        for event in out {
            match event {
                AnswerEvent::Bytes(b) | AnswerEvent::Aside(b) => {
                    text.push_str(std::str::from_utf8(&b).expect("text"));
                }
                other => rest.push(other),
            }
        }
        (text, rest, ended)
    }

    #[test]
    fn only_the_model_name_changes_wherever_the_stream_is_cut() {
        let wanted = STREAM.replace("\"up\"", "\"mine\"");
        let usage = AnswerEvent::Usage(Usage { input: 1, output: 2, ..Usage::default() });
        let bytes = STREAM.as_bytes();
        for cut in 0..=bytes.len() {
            let (text, rest, ended) = read(&[&bytes[..cut], &bytes[cut..]], true);
            assert_eq!((text.as_str(), ended), (wanted.as_str(), Ok(())), "cut at {cut}");
            assert_eq!(rest, [usage.clone(), AnswerEvent::Done]);
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single, true).0, wanted);
    }

    #[test]
    fn the_usage_event_is_hidden_from_who_did_not_ask() {
        let (text, rest, _) = read(&[STREAM.as_bytes()], false);
        assert!(!text.contains("prompt_tokens") && text.ends_with("data: [DONE]\n\n"), "{text}");
        assert_eq!(text.matches("\"id\"").count(), 3);
        assert_eq!(rest.len(), 2, "it is still read");
    }

    #[test]
    fn a_stream_cut_before_its_end_is_garbage_and_never_done() {
        let finish =
            STREAM.find("finish_reason\":\"stop").expect("there") + "finish_reason\":\"stop\"}]}".len();
        for end in 0..finish {
            let (text, rest, ended) = read(&[&STREAM.as_bytes()[..end]], true);
            assert!(ended.is_err(), "ends at {end}");
            assert!(!rest.contains(&AnswerEvent::Done) && !text.contains("[DONE]"));
        }
    }

    #[test]
    fn a_finished_stream_without_its_last_word_gets_it() {
        let until_done = STREAM.find("data: [DONE]").expect("there");
        let (text, rest, ended) = read(&[&STREAM.as_bytes()[..until_done]], true);
        assert!(ended.is_ok() && text.ends_with("data: [DONE]\n\n"));
        assert_eq!(rest.last(), Some(&AnswerEvent::Done));
    }

    #[test]
    fn usage_beside_the_last_choice_ends_the_stream_all_the_same() {
        let stream = "data: {\"model\":\"up\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
        let (text, rest, ended) = read(&[stream.as_bytes()], false);
        assert!(
            ended.is_ok() && text.contains("finish_reason") && text.ends_with("data: [DONE]\n\n"),
            "{text}"
        );
        assert_eq!(rest.len(), 2);
    }

    #[test]
    fn what_is_no_content_is_told_apart() {
        let mut reader = StreamReader::new("m", 1 << 20, true);
        let mut out = Vec::new();
        reader
            .push(Bytes::from_static(b": c\n\nretry: 3000\n\n\n\ndata:\n\nid: 1\n\n"), &mut out)
            .expect("frames");
        assert!(!out.is_empty() && out.iter().all(|e| matches!(e, AnswerEvent::Aside(_))), "{out:?}");
    }

    #[test]
    fn an_error_event_is_a_failure_and_ends_the_reading() {
        let stream =
            b"data: {\"error\":{\"message\":\"boom\",\"code\":\"server_error\"}}\n\ndata: [DONE]\n\n";
        let (text, rest, _) = read(&[stream], true);
        assert_eq!(text, "");
        assert!(matches!(&rest[..], [AnswerEvent::Failed(f)] if f.message == "boom"), "{rest:?}");
    }
}
