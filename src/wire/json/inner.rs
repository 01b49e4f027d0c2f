//! Finds short words two levels down: the messages whose `role` is `developer`.

use super::Role;

/// A member worth finding in the objects of a watched array: `key` with exactly the text `value`.
///
/// Both are at most [`LONGEST`] bytes and are met only where they are written without escapes.
#[derive(Clone, Copy, Debug)]
pub struct Inner {
    /// The member's key.
    pub key: &'static str,
    /// Its value.
    pub value: &'static str,
}

/// Bytes of a key or value that are looked at.
const LONGEST: usize = 16;

/// Follows the strings of one level.
#[derive(Debug, Default)]
pub(super) struct InnerScan {
    /// What is looked for; `None` outside the watched array.
    wanted: Option<Inner>,
    /// The current string so far, where it came in pieces.
    text: [u8; LONGEST],
    /// More than [`LONGEST`] where the string cannot be a wanted one.
    len: usize,
    key_met: bool,
}

impl InnerScan {
    /// Begins, or ends, to look.
    pub(super) fn look_for(&mut self, wanted: Option<Inner>) {
        if wanted.is_some() || self.wanted.is_some() {
            *self = Self { wanted, ..Self::default() };
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.wanted.is_some()
    }

    /// Takes the next bytes of a string, which ends before `ended` or goes on in another piece.
    ///
    /// Gives first byte and end of a value that is looked for.
    #[inline]
    pub(super) fn take(&mut self, role: Role, bytes: &[u8], ended: Option<u64>) -> Option<(u64, u64)> {
        let wanted = self.wanted?;
        let Some(end) = ended else {
            self.keep(bytes);
            return None;
        };
        let word = if role == Role::Key { wanted.key } else { wanted.value };
        let is_word = match self.len {
            0 => bytes == word.as_bytes(),
            _ => {
                self.keep(bytes);
                self.text.get(..self.len) == Some(word.as_bytes())
            }
        };
        self.len = 0;
        let after_key = std::mem::replace(&mut self.key_met, role == Role::Key && is_word);
        // Both quotes belong to the place.
        (role == Role::Value && is_word && after_key).then(|| (end - word.len() as u64 - 2, end))
    }

    /// The string holds an escape, so it is no wanted one.
    pub(super) fn spoil(&mut self) {
        self.len = LONGEST + 1;
    }

    /// Something else than a string follows the key.
    pub(super) fn forget_key(&mut self) {
        self.key_met = false;
    }

    /// Keeps a piece, as long as the whole may be a wanted word.
    fn keep(&mut self, bytes: &[u8]) {
        if let Some(room) = self.text.get_mut(self.len..).and_then(|room| room.get_mut(..bytes.len())) {
            room.copy_from_slice(bytes);
        }
        self.len = (self.len + bytes.len()).min(LONGEST + 1);
    }
}
