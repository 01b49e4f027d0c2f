//! What a scan looks for, and what it finds.

use super::Inner;

/// A top-level field worth knowing, and how many bytes of its value to keep.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// The field's name.
    pub name: &'static str,
    /// Raw bytes of the value kept; a longer value is an error. Zero keeps only place and kind.
    pub keep: usize,
    /// What to find in the objects of its array.
    pub inner: Option<Inner>,
}

impl Watch {
    /// Watches a field's place and kind.
    pub const fn place(name: &'static str) -> Self {
        Self::kept(name, 0)
    }

    /// Watches a field and keeps its value.
    pub const fn kept(name: &'static str, keep: usize) -> Self {
        Self { name, keep, inner: None }
    }

    /// Looks into the objects of the field's array, too.
    pub const fn with_inner(self, inner: Inner) -> Self {
        Self { inner: Some(inner), ..self }
    }
}

/// What kind of value a field has, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{...}`
    Object,
    /// `[...]`
    Array,
    /// `"..."`
    String,
    /// A number.
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

impl Kind {
    /// The word for error messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::String => "a string",
            Self::Number => "a number",
            Self::Bool => "a boolean",
            Self::Null => "null",
        }
    }
}

/// A watched field that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, as watched.
    pub name: &'static str,
    /// Offset of its key's opening quote.
    pub key: u64,
    /// Offset of the comma before it; `None` for the first member.
    pub comma_before: Option<u64>,
    /// Offset of the comma after it; `None` for the last member.
    pub comma_after: Option<u64>,
    /// Offset of the value's first byte.
    pub start: u64,
    /// Offset after the value's last byte.
    pub end: u64,
    /// The value's kind.
    pub kind: Kind,
    /// The value's bytes, where they are kept.
    pub raw: Vec<u8>,
}

/// The top level of a scanned object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopLevel {
    pub(super) fields: Vec<Field>,
    /// Offset after the opening brace.
    pub first_member: u64,
    /// Whether the object has members at all.
    pub has_members: bool,
    /// Length of the body in bytes.
    pub len: u64,
    /// First byte and end of each value that a watch's [`Inner`] describes.
    pub inner: Vec<(u64, u64)>,
}

impl TopLevel {
    /// The watched field of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.name == name)
    }
}
