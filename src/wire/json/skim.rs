//! Follows a JSON value to its end without checking it: strings and brackets, nothing else.

/// Where a value is, as far as its end matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skim {
    depth: u32,
    in_string: bool,
    /// The next byte is escaped.
    escaped: bool,
}

impl Skim {
    pub(super) fn new(depth: u32, in_string: bool, escaped: bool) -> Self {
        Self { depth, in_string, escaped }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        if self.escaped && !bytes.is_empty() {
            self.escaped = false;
            bytes = &bytes[1..];
        }
        while !bytes.is_empty() {
            if self.in_string {
                let Some(at) = memchr::memchr2(b'"', b'\\', bytes) else { return };
                if bytes[at] == b'"' {
                    self.in_string = false;
                    bytes = &bytes[at + 1..];
                } else if at + 1 == bytes.len() {
                    self.escaped = true;
                    return;
                } else {
                    bytes = &bytes[at + 2..];
                }
            } else {
                let mut at = 0;
                while at < bytes.len() {
                    match bytes[at] {
                        b'"' => {
                            self.in_string = true;
                            at += 1;
                            break;
                        }
                        b'{' | b'[' => self.depth += 1,
                        b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                        _ => {}
                    }
                    at += 1;
                }
                bytes = &bytes[at..];
            }
        }
    }

    /// Whether the value is closed.
    pub fn is_complete(&self) -> bool {
        self.depth == 0 && !self.in_string
    }
}
