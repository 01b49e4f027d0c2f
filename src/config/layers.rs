//! The settings file as a tree that knows its lines, with what environment and flags set laid over it.
//!
//! Says what is misspelt or of the wrong type, all of it at once; what values mean is `resolve`'s.

mod words;

use std::path::Path;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::{
    nearest::did_you_mean,
    problem::{Place, Problem, Step},
    provider::ProvidersRefused,
    raw, reference,
};

/// One setting that does not come from the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    /// Its name: `server.max_body`.
    pub(super) setting: String,
    /// Its value, as the file would write it.
    pub(super) literal: String,
    /// Where it does come from.
    pub(super) origin: Origin,
}

/// Where a value comes from that is not in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Variable(String),
    Flag(&'static str),
}

/// The file and what was laid over it.
pub(super) struct Document<'a> {
    path: Option<&'a Path>,
    text: &'a str,
    root: Spanned<DeTable<'a>>,
    /// Of the values whose spans lie behind the text.
    origins: Vec<&'a Origin>,
}

/// What names and types say of a document.
pub(super) struct Checked {
    /// The settings without those that are wrong, nor what stands beside them in the same table.
    pub(super) file: raw::File,
    pub(super) problems: Vec<Problem>,
    /// Whether a channel was left out, so that what refers to it cannot be judged.
    pub(super) incomplete: bool,
}

type Way = Vec<Step>;

impl<'a> Document<'a> {
    /// Reads a file's text; no file is an empty text.
    ///
    /// # Errors
    /// Every place where the text is no TOML. The lines are not shown: they may hold secrets.
    pub(super) fn parse(path: Option<&'a Path>, text: &'a str) -> Result<Self, Vec<Problem>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let document = Self { path, text, root, origins: Vec::new() };
        if errors.is_empty() {
            return Ok(document);
        }
        let mut problems: Vec<Problem> = Vec::new();
        for error in errors {
            let start = error.span().map_or(0, |s| s.start);
            let (place, key) = (document.place_of(start), document.key_in_line(start));
            // One slip makes the parser stumble more than once on its line.
            if problems.iter().all(|p| p.place != place) {
                problems.push(Problem { place, key, problem: words::of_syntax(error.message()) });
            }
        }
        Err(problems)
    }

    /// Lays values over the file's, the last one on top.
    pub(super) fn lay(&mut self, layers: &'a [Layer]) {
        for layer in layers {
            let Ok(value) = DeValue::parse(&layer.literal) else { continue };
            let start = self.text.len() + 1 + 2 * self.origins.len();
            self.origins.push(&layer.origin);
            let mut table = self.root.get_mut();
            let mut steps = layer.setting.split('.').peekable();
            while let Some(step) = steps.next() {
                let key: DeString<'a> = step.to_owned().into();
                if steps.peek().is_none() {
                    table.remove(step);
                    table.insert(
                        Spanned::new(start..start + 1, key),
                        Spanned::new(start..start + 1, value.into_inner()),
                    );
                    break;
                }
                if !table.contains_key(step) {
                    let empty = DeValue::Table(DeTable::new());
                    table.insert(Spanned::new(start..start + 1, key), Spanned::new(start..start + 1, empty));
                }
                match table.get_mut(step).map(Spanned::get_mut) {
                    Some(DeValue::Table(inner)) => table = inner,
                    // The file writes something else there, which is refused by its type.
                    _ => break,
                }
            }
        }
    }

    /// Where secrets stand in the file itself, not in a variable or a file of their own.
    pub(super) fn clear_secrets(&self) -> Vec<Place> {
        let mut found = Vec::new();
        for (table, field) in [("channel", "credential"), ("channel", "credentials"), ("key", "secret")] {
            let items = self.root.get_ref().get(table).and_then(|v| v.get_ref().as_array());
            for item in items.into_iter().flatten() {
                let Some(value) = item.get_ref().as_table().and_then(|table| table.get(field)) else {
                    continue;
                };
                let texts: Vec<&str> = match value.get_ref().as_array() {
                    Some(all) => all.iter().filter_map(|one| one.get_ref().as_str()).collect(),
                    None => value.get_ref().as_str().into_iter().collect(),
                };
                if texts.iter().any(|text| !text.starts_with("env:") && !text.starts_with("file:")) {
                    found.push(self.place_of(value.span().start));
                }
            }
        }
        found
    }

    /// Every text of the tree that begins with `prefix`, without it.
    pub(super) fn references(&self, prefix: &str) -> Vec<&str> {
        let mut found = Vec::new();
        let mut left: Vec<&DeValue<'_>> = self.root.get_ref().values().map(Spanned::get_ref).collect();
        while let Some(value) = left.pop() {
            match value {
                DeValue::String(text) => found.extend(text.strip_prefix(prefix)),
                DeValue::Table(table) => left.extend(table.values().map(Spanned::get_ref)),
                DeValue::Array(items) => left.extend(items.iter().map(Spanned::get_ref)),
                _ => {}
            }
        }
        found
    }

    /// Reads the tree by names and types; finds every mistake of both kinds.
    pub(super) fn check(&mut self) -> Checked {
        let mut problems = Vec::new();
        let mut wrong: Vec<Way> = Vec::new();
        for (way, problem) in self.misspelt() {
            problems.push(self.problem_at(&way, problem));
            wrong.push(way);
        }
        for way in &wrong {
            self.remove(way);
        }
        // One mistake at a time is told; so each is taken out, and the rest read again.
        let file = loop {
            let error = match raw::File::deserialize(toml::de::Deserializer::from(self.root.clone())) {
                Ok(file) if wrong.is_empty() => break file,
                // Once more, without what stands beside a mistake: it cannot be judged alone.
                Ok(_) => {
                    let mut tops: Vec<Way> = wrong.iter().map(|way| top(way)).collect();
                    tops.sort();
                    tops.dedup();
                    tops.iter().rev().for_each(|top| self.remove(top));
                    let file = raw::File::deserialize(toml::de::Deserializer::from(self.root.clone()));
                    break file.unwrap_or_default();
                }
                Err(error) => error,
            };
            let start = error.span().map_or(0, |s| s.start);
            let way = self.way_to(start);
            // What is missing because a mistake was taken out is none of its own.
            let spoilt = wrong.iter().any(|other| top(other) == top(&way));
            if !(spoilt && error.message().starts_with("missing field")) {
                problems.push(self.problem_at(&way, words::of(error.message())));
            }
            match way.as_slice() {
                [] => break raw::File::default(),
                // A whole channel or key: those behind it move up.
                [Step::Key(_), Step::Item(_)] => self.remove_item(&way, &mut wrong),
                _ => {
                    self.remove(&way);
                    wrong.push(way);
                }
            }
        };
        let is_channel = |way: &Way| matches!(way.first(), Some(Step::Key(key)) if key == "channel");
        let incomplete = wrong.iter().any(is_channel);
        Checked { file, problems, incomplete }
    }

    /// Why an operator's own providers were refused, with the place.
    pub(super) fn row_refused(&self, refused: ProvidersRefused) -> Problem {
        match refused {
            ProvidersRefused::Malformed(error) => {
                let way = self.way_to(error.span().map_or(0, |s| s.start));
                self.problem_at(&way, words::of(error.message()))
            }
            ProvidersRefused::Invalid { key, problem } => {
                let rows = self.root.get_ref().get("provider").and_then(|v| v.get_ref().as_array());
                let named = |row: &Spanned<DeValue<'_>>| {
                    let id = row.get_ref().get("id").and_then(|id| id.get_ref().as_str());
                    id.is_some_and(|id| key.contains(&format!("\"{id}\"")))
                };
                // Of two with one id it is the second that is wrong.
                let index = rows.and_then(|rows| rows.iter().rposition(named));
                let field = key.rsplit(": ").next().unwrap_or_default().to_owned();
                let way = index
                    .map(|index| vec![Step::Key("provider".to_owned()), Step::Item(index), Step::Key(field)]);
                Problem { place: self.place(&way.unwrap_or_default()), key, problem }
            }
        }
    }

    /// Where a setting stands; the nearest table above it where it is not written.
    pub(super) fn place(&self, way: &[Step]) -> Place {
        let mut span = None;
        let mut value: Option<&DeValue<'_>> = None;
        for step in way {
            let next = match (value, step) {
                (None, Step::Key(key)) => self.root.get_ref().get_key_value(key.as_str()),
                (Some(DeValue::Table(table)), Step::Key(key)) => table.get_key_value(key.as_str()),
                (Some(DeValue::Array(items)), Step::Item(index)) => {
                    let Some(item) = items.get(*index) else { break };
                    span = Some(item.span().start);
                    value = Some(item.get_ref());
                    continue;
                }
                _ => None,
            };
            let Some((key, found)) = next else { break };
            span = Some(key.span().start);
            value = Some(found.get_ref());
        }
        span.map_or(Place::Nowhere, |start| self.place_of(start))
    }

    fn place_of(&self, start: usize) -> Place {
        if start > self.text.len() {
            return match self.origins.get((start - self.text.len() - 1) / 2) {
                Some(Origin::Variable(name)) => Place::Variable(name.clone()),
                Some(Origin::Flag(name)) => Place::Flag(name),
                None => Place::Nowhere,
            };
        }
        let Some(path) = self.path else { return Place::Nowhere };
        let before = self.text.get(..start).unwrap_or_default();
        Place::Line { path: path.to_owned(), line: before.matches('\n').count() + 1 }
    }

    /// Of the line, what stands before the equals sign: a key, never a value.
    fn key_in_line(&self, start: usize) -> String {
        let line_start = self.text[..start.min(self.text.len())].rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        line.split_once('=').map(|(key, _)| key.trim().to_owned()).unwrap_or_default()
    }

    fn problem_at(&self, way: &[Step], problem: String) -> Problem {
        Problem { place: self.place(way), key: self.name_of(way), problem }
    }

    /// The way as people read it: `channel "a": timeouts.idle`.
    fn name_of(&self, way: &[Step]) -> String {
        let keys = |steps: &[Step]| {
            let keys = steps.iter().filter_map(|step| match step {
                Step::Key(key) => Some(key.as_str()),
                Step::Item(_) => None,
            });
            keys.collect::<Vec<_>>().join(".")
        };
        let [Step::Key(table), Step::Item(index), rest @ ..] = way else { return keys(way) };
        let items = self.root.get_ref().get(table.as_str()).and_then(|v| v.get_ref().as_array());
        let item = items.and_then(|items| items.get(*index)).and_then(|item| item.get_ref().as_table());
        let name = item
            .and_then(|item| item.get("name").or(item.get("id")))
            .and_then(|name| name.get_ref().as_str());
        let item = match name {
            Some(name) => format!("{table} \"{name}\""),
            None => format!("a {table}"),
        };
        match keys(rest) {
            rest if rest.is_empty() => item,
            rest => format!("{item}: {rest}"),
        }
    }

    /// Keys that no setting has, with the nearest one that some has.
    fn misspelt(&self) -> Vec<(Way, String)> {
        let mut found = Vec::new();
        let mut left: Vec<(Way, String, &DeTable<'_>)> =
            vec![(Vec::new(), String::new(), self.root.get_ref())];
        while let Some((way, section, table)) = left.pop() {
            let Some(known) = reference::keys_of(&section) else { continue };
            for (key, value) in table {
                let way = [way.as_slice(), &[Step::Key(key.get_ref().to_string())]].concat();
                if !known.contains(&&**key.get_ref()) {
                    let near = did_you_mean(key.get_ref(), known.iter().copied());
                    let elsewhere = match (&*section, near.is_empty()) {
                        (_, false) => near,
                        ("", true) => format!("; sections are {}", known.join(", ")),
                        (_, true) => format!("; known here are {}", known.join(", ")),
                    };
                    found.push((way, format!("there is no such setting{elsewhere}")));
                    continue;
                }
                let section = match &*section {
                    "" => key.get_ref().to_string(),
                    above => format!("{above}.{}", key.get_ref()),
                };
                match value.get_ref() {
                    DeValue::Table(inner) => left.push((way, section, inner)),
                    DeValue::Array(items) => {
                        for (index, item) in items.iter().enumerate() {
                            if let DeValue::Table(inner) = item.get_ref() {
                                let way = [way.as_slice(), &[Step::Item(index)]].concat();
                                left.push((way, section.clone(), inner));
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        found.sort_by_key(|(way, _)| self.place(way));
        found
    }

    /// The innermost setting whose key or value begins at or spans this byte.
    fn way_to(&self, start: usize) -> Way {
        let mut way = Way::new();
        let mut table = self.root.get_ref();
        loop {
            let spans =
                |span: std::ops::Range<usize>| span.start <= start && start < span.end.max(span.start + 1);
            let deeper = table.iter().find_map(|(key, value)| {
                let step = Step::Key(key.get_ref().to_string());
                match value.get_ref() {
                    DeValue::Array(items) if items.iter().all(|i| i.get_ref().is_table()) => {
                        let index = items.iter().position(|i| contains(i, start))?;
                        Some((vec![step, Step::Item(index)], items[index].get_ref()))
                    }
                    inner @ DeValue::Table(_) if contains(value, start) => Some((vec![step], inner)),
                    leaf if spans(key.span()) || spans(value.span()) => Some((vec![step], leaf)),
                    _ => None,
                }
            });
            let Some((steps, value)) = deeper else { return way };
            way.extend(steps);
            match value {
                DeValue::Table(inner) => table = inner,
                _ => return way,
            }
        }
    }

    /// Takes out a whole channel or key; mistakes in those behind it move up with them.
    fn remove_item(&mut self, way: &Way, wrong: &mut Vec<Way>) {
        self.remove(way);
        let [Step::Key(table), Step::Item(removed)] = way.as_slice() else { return };
        for other in wrong.iter_mut() {
            if let [Step::Key(t), Step::Item(index), ..] = other.as_mut_slice()
                && t == table
                && *index >= *removed
            {
                // One in the item itself leads nowhere from now on.
                *index = if *index == *removed { usize::MAX } else { *index - 1 };
            }
        }
        wrong.push(vec![Step::Key(table.clone()), Step::Item(usize::MAX)]);
    }

    fn remove(&mut self, way: &[Step]) {
        let Some((Step::Key(first), mut rest)) = way.split_first() else { return };
        if rest.is_empty() {
            self.root.get_mut().remove(first.as_str());
            return;
        }
        let Some(mut value) = self.root.get_mut().get_mut(first.as_str()).map(Spanned::get_mut) else {
            return;
        };
        while let Some((step, after)) = rest.split_first() {
            let next = match (value, step, after.is_empty()) {
                (DeValue::Table(table), Step::Key(key), true) => return drop(table.remove(key.as_str())),
                (DeValue::Array(items), Step::Item(index), true) => {
                    let all = std::mem::replace(items, DeArray::new());
                    let left = all.into_iter().enumerate().filter(|(at, _)| at != index);
                    *items = left.map(|(_, item)| item).collect();
                    return;
                }
                (DeValue::Table(table), Step::Key(key), false) => table.get_mut(key.as_str()),
                (DeValue::Array(items), Step::Item(index), false) => items.get_mut(*index),
                _ => None,
            };
            let Some(next) = next else { return };
            (value, rest) = (next.get_mut(), after);
        }
    }
}

/// Whether a value, or anything in it, spans this byte: a table's own span may be its header alone.
fn contains(value: &Spanned<DeValue<'_>>, start: usize) -> bool {
    let span = value.span();
    let inside = match value.get_ref() {
        DeValue::Table(table) => table.iter().any(|(k, v)| k.span().contains(&start) || contains(v, start)),
        DeValue::Array(items) => items.iter().any(|item| contains(item, start)),
        _ => false,
    };
    inside || (span.start <= start && start < span.end.max(span.start + 1))
}

/// The table that a mistake spoils: a section, one channel, one key, one alias.
fn top(way: &[Step]) -> Way {
    let length = match way {
        [_, Step::Item(_), ..] => 2,
        [Step::Key(section), ..] if section == "aliases" => 2,
        _ => 1,
    };
    way.iter().take(length).cloned().collect()
}
