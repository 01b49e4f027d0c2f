//! A strict JSON scanner (RFC 8259) that is fed chunks and keeps nothing but a few top-level fields.
//!
//! It finds where `model`, `stream` and their like stand in a body of any size, so that the body
//! can pass through with those places rewritten, never parsed into values, never held whole.

mod inner;
mod number;
mod skim;
mod top_level;
mod utf8;

use std::borrow::Cow;

pub use inner::Inner;
use inner::InnerScan;
use number::NumberState;
pub use skim::Skim;
pub use top_level::{Field, Kind, TopLevel, Watch};
use utf8::Utf8;

/// Why a body is no acceptable JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// A byte that cannot stand where it stands.
    #[error("the body is not valid JSON: unexpected byte at offset {0}")]
    Syntax(u64),
    /// The body ended inside the value.
    #[error("the body is not valid JSON: it ends too early, at offset {0}")]
    Incomplete(u64),
    /// Nothing but white space.
    #[error("the body is empty; a JSON object is expected")]
    Empty,
    /// The top level is not an object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("the body is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Bytes that are not UTF-8.
    #[error("the body is not valid UTF-8, at offset {0}")]
    NotUtf8(u64),
    /// A watched field that stands twice: two readers could take different ones.
    #[error("the field '{0}' stands twice in the body")]
    Duplicate(&'static str),
    /// A watched value longer than is kept.
    #[error("the value of '{0}' is too long")]
    TooLong(&'static str),
}

/// Levels of nesting allowed.
pub const MAX_DEPTH: u32 = 128;

/// Where the members of a watched array's objects stand.
const INNER_DEPTH: u32 = 3;

/// A key longer than this is no watched one.
const LONGEST_KEY: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the top-level value.
    Start,
    Value,
    ValueOrClose,
    KeyOrClose,
    Key,
    Colon,
    AfterValue,
    InString(Role),
    Escape(Role),
    Unicode(Role, u8),
    Literal(&'static [u8]),
    Number(NumberState),
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Key,
    Value,
}

/// What is being copied out of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Capture {
    Nothing,
    /// A key of the top level.
    Key,
    /// The value of a watched field.
    Value,
}

/// The scanner. Feed it with [`Scanner::push`], end with [`Scanner::finish`].
#[derive(Debug)]
pub struct Scanner {
    watches: &'static [Watch],
    state: State,
    /// One bit a level: set where the level is an object.
    objects: u128,
    depth: u32,
    /// Offset of the current chunk's first byte.
    base: u64,
    capture: Capture,
    /// Where in the current chunk the captured bytes begin that are not copied yet.
    from: usize,
    key: Vec<u8>,
    /// Where the current top-level key begins.
    key_start: u64,
    /// The last comma of the top level.
    comma: Option<u64>,
    /// The watched field whose value is being passed, and how much of it is kept.
    open: Option<(Field, usize)>,
    inner: InnerScan,
    utf8: Utf8,
    top: TopLevel,
}

impl Scanner {
    /// Makes a scanner that looks for `watches` at the top level.
    pub fn new(watches: &'static [Watch]) -> Self {
        Self {
            watches,
            state: State::Start,
            objects: 0,
            depth: 0,
            base: 0,
            capture: Capture::Nothing,
            from: 0,
            key: Vec::with_capacity(24),
            key_start: 0,
            comma: None,
            open: None,
            inner: InnerScan::default(),
            utf8: Utf8::default(),
            top: TopLevel { fields: Vec::with_capacity(watches.len().min(8)), ..TopLevel::default() },
        }
    }

    /// A watched field whose value has been passed already.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.top.field(name)
    }

    /// Where the watched value that is being passed begins.
    pub fn open_from(&self) -> Option<u64> {
        self.open.as_ref().map(|(field, _)| field.start)
    }

    /// Bytes taken so far.
    pub fn len(&self) -> u64 {
        self.base
    }

    /// Whether no byte was taken.
    pub fn is_empty(&self) -> bool {
        self.base == 0
    }

    /// Whether the top-level object is closed.
    pub fn is_complete(&self) -> bool {
        self.state == State::End
    }

    /// Goes on from here without checking or looking for fields.
    pub fn skim(&self) -> Skim {
        let in_string = matches!(self.state, State::InString(_) | State::Escape(_) | State::Unicode(..));
        Skim::new(self.depth, in_string, matches!(self.state, State::Escape(_)))
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`JsonError`] at the first byte that makes the body unacceptable.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), JsonError> {
        let mut at = 0;
        while at < chunk.len() {
            at = match self.state {
                State::InString(role) => self.in_string(role, chunk, at)?,
                _ => self.step(chunk, at)?,
            };
        }
        self.copy(chunk, chunk.len())?;
        self.from = 0;
        self.base += chunk.len() as u64;
        self.top.len = self.base;
        Ok(())
    }

    /// Ends the body and gives what was found.
    ///
    /// # Errors
    /// [`JsonError`] where the body ends inside the object or inside a character.
    pub fn finish(self) -> Result<TopLevel, JsonError> {
        match self.state {
            State::End if self.utf8.is_whole() => Ok(self.top),
            State::Start => Err(JsonError::Empty),
            _ => Err(JsonError::Incomplete(self.base)),
        }
    }

    /// Passes string content up to the next quote or backslash.
    fn in_string(&mut self, role: Role, chunk: &[u8], at: usize) -> Result<usize, JsonError> {
        let rest = &chunk[at..];
        let stop = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        let content = &rest[..stop];
        let (least, all) = extremes(content);
        if least < 0x20 {
            let control = content.iter().position(|b| *b < 0x20).unwrap_or(0);
            return Err(self.syntax(at + control));
        }
        let not_utf8 = |read: usize| JsonError::NotUtf8((self.base + (at + read) as u64).saturating_sub(3));
        // Outside of strings, nothing but ASCII is let through.
        if !all.is_ascii() || !self.utf8.is_whole() {
            self.utf8.push(content).map_err(not_utf8)?;
        }
        let next = rest.get(stop);
        if self.depth == INNER_DEPTH && self.inner.is_on() {
            let ended = next.is_some_and(|byte| *byte == b'"').then_some(self.base + (at + stop) as u64 + 1);
            if let Some(place) = self.inner.take(role, content, ended) {
                self.top.inner.push(place);
            }
        }
        let Some(&byte) = next else { return Ok(chunk.len()) };
        if !self.utf8.is_whole() {
            return Err(not_utf8(stop));
        }
        let quote = at + stop;
        if byte == b'\\' {
            self.inner.spoil();
            self.state = State::Escape(role);
        } else if role == Role::Key {
            if self.capture == Capture::Key {
                self.copy(chunk, quote)?;
                self.capture = Capture::Nothing;
            }
            self.state = State::Colon;
        } else {
            self.value_ends(chunk, quote + 1)?;
        }
        Ok(quote + 1)
    }

    /// Takes one byte in any state but [`State::InString`]; gives where to go on.
    fn step(&mut self, chunk: &[u8], at: usize) -> Result<usize, JsonError> {
        let byte = chunk[at];
        match (self.state, byte) {
            (State::Number(number), _) => match number::step(number, byte) {
                Some(next) => self.state = State::Number(next),
                None if number::may_end(number) => {
                    // The byte belongs to what follows the number.
                    self.value_ends(chunk, at)?;
                    return Ok(at);
                }
                None => return Err(self.syntax(at)),
            },
            (State::Escape(role), b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.state = State::InString(role);
            }
            (State::Escape(role), b'u') => self.state = State::Unicode(role, 4),
            (State::Unicode(role, left), _) if byte.is_ascii_hexdigit() => {
                self.state = if left == 1 { State::InString(role) } else { State::Unicode(role, left - 1) };
            }
            (State::Literal([expected, rest @ ..]), _) if byte == *expected => match rest {
                [] => self.value_ends(chunk, at + 1)?,
                more => self.state = State::Literal(more),
            },
            (State::Escape(_) | State::Unicode(..) | State::Literal(_), _) => return Err(self.syntax(at)),
            (_, b' ' | b'\t' | b'\n' | b'\r') => {}
            (State::Start, b'{') => {
                self.open_level(true)?;
                self.top.first_member = self.base + at as u64 + 1;
            }
            (State::Start, b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                return Err(JsonError::NotAnObject);
            }
            (State::ValueOrClose, b']') | (State::KeyOrClose, b'}') => self.close_level(chunk, at)?,
            (State::Value | State::ValueOrClose, _) => self.value_starts(byte, at)?,
            (State::KeyOrClose | State::Key, b'"') => {
                if self.depth == 1 {
                    self.top.has_members = true;
                    self.key_start = self.base + at as u64;
                    self.key.clear();
                    (self.capture, self.from) = (Capture::Key, at + 1);
                }
                self.state = State::InString(Role::Key);
            }
            (State::Colon, b':') => self.state = State::Value,
            (State::AfterValue, b',') => {
                if self.depth == 1 {
                    self.passes_comma(self.base + at as u64);
                }
                self.state = if self.in_object() { State::Key } else { State::Value };
            }
            (State::AfterValue, b'}' | b']') => self.close_level(chunk, at)?,
            _ => return Err(self.syntax(at)),
        }
        Ok(at + 1)
    }

    fn value_starts(&mut self, byte: u8, at: usize) -> Result<(), JsonError> {
        let (kind, state) = match byte {
            b'{' => (Kind::Object, State::KeyOrClose),
            b'[' => (Kind::Array, State::ValueOrClose),
            b'"' => (Kind::String, State::InString(Role::Value)),
            b't' => (Kind::Bool, State::Literal(b"rue")),
            b'f' => (Kind::Bool, State::Literal(b"alse")),
            b'n' => (Kind::Null, State::Literal(b"ull")),
            b'-' => (Kind::Number, State::Number(NumberState::Minus)),
            b'0' => (Kind::Number, State::Number(NumberState::Zero)),
            b'1'..=b'9' => (Kind::Number, State::Number(NumberState::Int)),
            _ => return Err(self.syntax(at)),
        };
        if self.depth == 1 {
            self.watch(kind, at)?;
        }
        match kind {
            Kind::Object | Kind::Array => self.open_level(kind == Kind::Object),
            _ => {
                self.state = state;
                Ok(())
            }
        }
    }

    /// Opens a field's record if the key just read is watched.
    fn watch(&mut self, kind: Kind, at: usize) -> Result<(), JsonError> {
        let key = unescaped(&self.key);
        let Some(watch) = self.watches.iter().find(|w| w.name.as_bytes() == &*key) else { return Ok(()) };
        if self.top.field(watch.name).is_some() {
            return Err(JsonError::Duplicate(watch.name));
        }
        let start = self.base + at as u64;
        let field = Field {
            name: watch.name,
            key: self.key_start,
            comma_before: self.comma,
            comma_after: None,
            start,
            end: start,
            kind,
            raw: Vec::with_capacity(watch.keep.min(32)),
        };
        self.open = Some((field, watch.keep));
        if kind == Kind::Array {
            self.inner.look_for(watch.inner);
        }
        (self.capture, self.from) = (Capture::Value, at);
        Ok(())
    }

    fn value_ends(&mut self, chunk: &[u8], end: usize) -> Result<(), JsonError> {
        if self.depth == 1 && self.capture == Capture::Value {
            self.copy(chunk, end)?;
            self.capture = Capture::Nothing;
            self.inner.look_for(None);
            if let Some((mut field, _)) = self.open.take() {
                field.end = self.base + end as u64;
                self.top.fields.push(field);
            }
        }
        self.state = if self.depth == 0 { State::End } else { State::AfterValue };
        Ok(())
    }

    /// Notes a comma of the top level, also as the end of the member before it if that is watched.
    fn passes_comma(&mut self, at: u64) {
        if let Some(field) = self.top.fields.last_mut()
            && field.comma_before == self.comma
        {
            field.comma_after = Some(at);
        }
        self.comma = Some(at);
    }

    fn open_level(&mut self, object: bool) -> Result<(), JsonError> {
        if self.depth == MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        self.inner.forget_key();
        self.objects = (self.objects << 1) | u128::from(object);
        self.depth += 1;
        self.state = if object { State::KeyOrClose } else { State::ValueOrClose };
        Ok(())
    }

    fn close_level(&mut self, chunk: &[u8], at: usize) -> Result<(), JsonError> {
        if (chunk[at] == b'}') != self.in_object() {
            return Err(self.syntax(at));
        }
        self.objects >>= 1;
        self.depth -= 1;
        self.value_ends(chunk, at + 1)
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// Copies what is captured of the chunk before `end`.
    fn copy(&mut self, chunk: &[u8], end: usize) -> Result<(), JsonError> {
        match (self.capture, &mut self.open) {
            (Capture::Key, _) => {
                let room = LONGEST_KEY.saturating_sub(self.key.len());
                let part = &chunk[self.from..end];
                self.key.extend_from_slice(&part[..part.len().min(room)]);
            }
            (Capture::Value, Some((field, keep))) if *keep > 0 => {
                let part = &chunk[self.from..end];
                if field.raw.len() + part.len() > *keep {
                    return Err(JsonError::TooLong(field.name));
                }
                field.raw.extend_from_slice(part);
            }
            _ => {}
        }
        Ok(())
    }

    fn syntax(&self, at: usize) -> JsonError {
        JsonError::Syntax(self.base + at as u64)
    }
}

/// The least of the bytes, and all of them or-ed: whether there are control characters, and whether all is
/// ASCII. Without an early exit, so that it becomes vector code.
fn extremes(bytes: &[u8]) -> (u8, u8) {
    bytes.iter().fold((u8::MAX, 0), |(least, all), b| (least.min(*b), all | *b))
}

/// A key as it is meant: `mod\u0065l` is `model`.
fn unescaped(key: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', key).is_none() {
        return Cow::Borrowed(key);
    }
    let quoted = [b"\"", key, b"\""].concat();
    match serde_json::from_slice::<String>(&quoted) {
        Ok(text) => Cow::Owned(text.into_bytes()),
        Err(_) => Cow::Borrowed(key),
    }
}

#[cfg(test)]
mod tests;
