//! Tool calls in the text of an answer, as `emulation` tells models to write them: blocks between tags become
//! tool calls, event by event.
//!
//! What may still become a tag is held back, and a block until it ends; nothing else. A block that is none (no
//! JSON, no tool of the request, arguments that are no object) stays in the text as it was written.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    change::Change,
    tags::{self, Found},
};
use crate::{
    conversation::{Delta, Part, Reply, StopReason, ToolCall},
    provider::Ask,
};

/// Opens a block.
pub(super) const OPEN: &str = "<tool_call>";
/// Closes it.
pub(super) const CLOSE: &str = "</tool_call>";
/// A longer block is text, in bytes.
const MOST: usize = 1 << 20;
/// Closing tags inside the texts of a block's JSON; more are none.
const MOST_CLOSED: u32 = 16;

/// Which tools may be called, and what calls are known by.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    tools: Vec<String>,
    /// Beginning of their ids, which no other answer's calls have.
    prefix: String,
}

impl Naming {
    /// That of a call whose tools were told in text.
    pub(super) fn of(ask: &Ask<'_>) -> Option<Self> {
        let id = ask.call_id.replace('-', "");
        (!ask.tools.is_empty()).then(|| Self { tools: ask.tools.to_vec(), prefix: format!("call_{id}") })
    }
}

/// Makes calls of the blocks of one answer.
pub(super) struct Calls {
    naming: Naming,
    made: u32,
    place: Place,
    /// What may still become a tag or a block.
    held: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// In the text.
    Text,
    /// Behind an opening tag, and the white space before that which followed another block.
    Inside { space: String, searched: usize, closed: u32 },
    /// Behind a block, where white space is left out unless text follows.
    Behind,
}

/// What a block says: one or several calls.
#[derive(Deserialize)]
struct Written {
    name: String,
    #[serde(alias = "parameters", alias = "input")]
    arguments: Option<Box<RawValue>>,
}

/// What stands behind an opening tag.
enum Block {
    Calls(Vec<(String, String)>, String),
    /// More must come.
    Part,
    /// Nothing that could be one.
    None,
}

impl Calls {
    pub(super) fn new(naming: Naming) -> Self {
        Self { naming, made: 0, place: Place::Text, held: String::new() }
    }

    /// Makes calls of the blocks of a whole answer.
    pub(super) fn change(mut self, reply: &mut Reply) {
        let mut parts = Vec::new();
        let mut deltas = Vec::new();
        for part in reply.parts.drain(..) {
            match part {
                // Citations name places in the text, which may not move.
                Part::Text { text, citations, .. } if citations.is_empty() => {
                    self.take(Delta::Text(text), &mut deltas);
                    gather(&mut deltas, &mut parts);
                }
                other => {
                    self.flush(&mut deltas);
                    gather(&mut deltas, &mut parts);
                    parts.push(other);
                }
            }
        }
        self.flush(&mut deltas);
        gather(&mut deltas, &mut parts);
        reply.parts = parts;
        reply.stop = self.stop(reply.stop.clone());
    }

    /// Why an answer stopped, now that there are calls in it.
    fn stop(&self, stop: StopReason) -> StopReason {
        match stop {
            StopReason::End | StopReason::StopSequence if self.made > 0 => StopReason::ToolCalls,
            stop => stop,
        }
    }

    fn scan(&mut self, out: &mut Vec<Delta>) {
        loop {
            match &self.place {
                Place::Text => match tags::find(&self.held, OPEN) {
                    Found::Tag { before, behind } => {
                        say(before, out);
                        self.held = behind.to_owned();
                        self.enter(String::new());
                    }
                    Found::None { sure, maybe } => {
                        say(sure, out);
                        self.held = maybe.to_owned();
                        return;
                    }
                },
                Place::Inside { .. } => match self.block() {
                    Block::Calls(calls, rest) => {
                        self.call(calls, out);
                        (self.place, self.held) = (Place::Behind, rest);
                    }
                    Block::Part => return,
                    Block::None => self.give_up(out),
                },
                Place::Behind => {
                    let rest = self.held.trim_start();
                    if let Some(behind) = rest.strip_prefix(OPEN) {
                        let space = self.held[..self.held.len() - rest.len()].to_owned();
                        self.held = behind.to_owned();
                        self.enter(space);
                    } else if OPEN.starts_with(rest) {
                        return;
                    } else {
                        self.place = Place::Text;
                    }
                }
            }
        }
    }

    fn enter(&mut self, space: String) {
        self.place = Place::Inside { space, searched: 0, closed: 0 };
    }

    /// The opening tag was text; what follows it is looked through again.
    fn give_up(&mut self, out: &mut Vec<Delta>) {
        if let Place::Inside { space, .. } = std::mem::replace(&mut self.place, Place::Text) {
            say(&(space + OPEN), out);
        }
    }

    /// Reads what stands behind an opening tag.
    fn block(&mut self) -> Block {
        let Place::Inside { searched, closed, .. } = &mut self.place else { return Block::None };
        let begun = self.held.trim_start();
        if begun.is_empty() {
            return if self.held.len() > MOST { Block::None } else { Block::Part };
        }
        if !begun.starts_with(['{', '[', '`']) {
            return Block::None;
        }
        while let Some(at) = self.held[*searched..].find(CLOSE).map(|at| at + *searched) {
            match read(&self.held[..at], &self.naming.tools) {
                Ok(calls) => return Block::Calls(calls, self.held[at + CLOSE.len()..].to_owned()),
                // The tag stands in a text of the JSON, which goes on.
                Err(Unread::Open) if *closed < MOST_CLOSED => {
                    *closed += 1;
                    *searched = at + CLOSE.len();
                }
                Err(_) => return Block::None,
            }
        }
        // A closing tag may have begun at the end.
        let mut from = self.held.len().saturating_sub(CLOSE.len()).max(*searched);
        while !self.held.is_char_boundary(from) {
            from -= 1;
        }
        *searched = from;
        if self.held.len() > MOST { Block::None } else { Block::Part }
    }

    fn call(&mut self, calls: Vec<(String, String)>, out: &mut Vec<Delta>) {
        for (name, fragment) in calls {
            let index = self.made;
            self.made += 1;
            out.push(Delta::ToolCallStart { index, id: format!("{}_{index}", self.naming.prefix), name });
            out.push(Delta::ToolCallArguments { index, fragment });
        }
    }

    /// Gives what is held back: a block that was not closed counts where it is whole.
    fn flush(&mut self, out: &mut Vec<Delta>) {
        let held = std::mem::take(&mut self.held);
        match std::mem::replace(&mut self.place, Place::Text) {
            Place::Text => say(&held, out),
            Place::Inside { space, .. } => match read(&held, &self.naming.tools) {
                Ok(calls) => self.call(calls, out),
                Err(_) => say(&(space + OPEN + &held), out),
            },
            Place::Behind if held.trim().is_empty() => {}
            Place::Behind => say(&held, out),
        }
    }
}

impl Change for Calls {
    fn take(&mut self, delta: Delta, out: &mut Vec<Delta>) {
        match delta {
            Delta::Text(text) => {
                self.held.push_str(&text);
                self.scan(out);
            }
            Delta::Stop(reason) => {
                self.flush(out);
                out.push(Delta::Stop(self.stop(reason)));
            }
            delta @ (Delta::Start { .. } | Delta::Usage(_) | Delta::Logprobs(_) | Delta::Citation(_)) => {
                out.push(delta);
            }
            delta => {
                self.flush(out);
                out.push(delta);
            }
        }
    }
}

/// Why a block cannot be read.
enum Unread {
    /// Its JSON is not at its end.
    Open,
    /// It is none.
    Wrong,
}

/// Reads a block: an object, several, or an array of them, maybe in a fence.
fn read(body: &str, tools: &[String]) -> Result<Vec<(String, String)>, Unread> {
    let body = unfenced(body.trim());
    let unread = |error: &serde_json::Error| if error.is_eof() { Unread::Open } else { Unread::Wrong };
    let written: Vec<Written> = match body.starts_with('[') {
        true => serde_json::from_str(body).map_err(|e| unread(&e))?,
        false => {
            let each = serde_json::Deserializer::from_str(body).into_iter::<Written>();
            each.collect::<Result<_, _>>().map_err(|e| unread(&e))?
        }
    };
    if written.is_empty() {
        return Err(Unread::Wrong);
    }
    let call = |Written { name, arguments }| {
        let known = tools.contains(&name);
        object(arguments).filter(|_| known).map(|arguments| (name, arguments)).ok_or(Unread::Wrong)
    };
    written.into_iter().map(call).collect()
}

/// Takes a fence off: three backticks, maybe with a word behind them, and three at the end if they have come.
fn unfenced(body: &str) -> &str {
    match body.strip_prefix("```") {
        Some(fenced) => {
            let within = fenced.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
            within.trim_end().trim_end_matches('`').trim()
        }
        None => body,
    }
}

/// Arguments as an object's text; some models write that as a text of JSON.
fn object(arguments: Option<Box<RawValue>>) -> Option<String> {
    let Some(raw) = arguments.filter(|raw| raw.get() != "null") else { return Some("{}".to_owned()) };
    if raw.get().starts_with('{') {
        return Some(raw.get().to_owned());
    }
    let text: String = serde_json::from_str(raw.get()).ok()?;
    let inner: &RawValue = serde_json::from_str(&text).ok()?;
    inner.get().starts_with('{').then(|| inner.get().to_owned())
}

fn say(text: &str, out: &mut Vec<Delta>) {
    if !text.is_empty() {
        out.push(Delta::Text(text.to_owned()));
    }
}

/// Appends texts and calls to parts, a text to the last one where that is one.
fn gather(deltas: &mut Vec<Delta>, parts: &mut Vec<Part>) {
    for delta in deltas.drain(..) {
        match delta {
            Delta::Text(more) => match parts.last_mut() {
                Some(Part::Text { text, citations, .. }) if citations.is_empty() => text.push_str(&more),
                _ => parts.push(Part::text(more)),
            },
            Delta::ToolCallStart { id, name, .. } => {
                parts.push(Part::ToolCall(ToolCall { id, name, arguments: String::new() }));
            }
            Delta::ToolCallArguments { fragment, .. } => {
                if let Some(Part::ToolCall(call)) = parts.last_mut() {
                    call.arguments.push_str(&fragment);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
