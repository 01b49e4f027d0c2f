//! Tool calls that a stream tells piece by piece, with the provider's own index for each.

use super::upstream::ReadError;
use crate::conversation::Delta;

/// The calls of one answer, in the order they began.
#[derive(Debug, Default)]
pub struct CallPieces {
    /// The provider's index of the call that has ours.
    begun: Vec<u64>,
}

/// A piece of a call; names and ids come with the first one.
#[derive(Clone, Debug, Default)]
pub struct CallPiece {
    /// The provider's index; that of the last call where nothing is said.
    pub index: Option<u64>,
    /// The call's id.
    pub id: Option<String>,
    /// The tool's name.
    pub name: Option<String>,
    /// More of the arguments.
    pub arguments: Option<String>,
}

/// Calls of one answer are few; more than this is no answer.
const MOST: usize = 256;

impl CallPieces {
    /// Whether any call began.
    pub fn any(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Appends the deltas of a piece. A piece with a name where its index has a call already adds to it, for
    /// some providers say the name each time.
    ///
    /// # Errors
    /// [`ReadError::Garbage`] where a call begins without a name, or there are too many.
    pub fn add(&mut self, piece: CallPiece, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let index = piece.index.unwrap_or_else(|| self.begun.last().copied().unwrap_or(0));
        let at = match self.begun.iter().position(|known| *known == index) {
            Some(at) => at,
            None => {
                let Some(name) = piece.name.filter(|name| !name.is_empty()) else {
                    return Err(ReadError::garbage("a tool call begins without a name"));
                };
                if self.begun.len() == MOST {
                    return Err(ReadError::garbage("there are too many tool calls"));
                }
                let at = self.begun.len();
                self.begun.push(index);
                let id = piece.id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{at}"));
                out.push(Delta::ToolCallStart { index: at as u32, id, name });
                at
            }
        };
        if let Some(fragment) = piece.arguments.filter(|fragment| !fragment.is_empty()) {
            out.push(Delta::ToolCallArguments { index: at as u32, fragment });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(index: u64, name: &str, arguments: &str) -> CallPiece {
        let text = |text: &str| Some(text.to_owned());
        CallPiece { index: Some(index), id: text(""), name: text(name), arguments: text(arguments) }
    }

    #[test]
    fn calls_are_numbered_in_the_order_they_begin() {
        let (mut calls, mut out) = (CallPieces::default(), Vec::new());
        for piece in [piece(3, "a", "{"), piece(3, "", "}"), piece(7, "b", ""), piece(3, "a", " ")] {
            calls.add(piece, &mut out).expect("fine");
        }
        let start = |index, name: &str| Delta::ToolCallStart {
            index,
            id: format!("call_{index}"),
            name: name.to_owned(),
        };
        let more = |index, fragment: &str| Delta::ToolCallArguments { index, fragment: fragment.to_owned() };
        assert_eq!(out, [start(0, "a"), more(0, "{"), more(0, "}"), start(1, "b"), more(0, " ")]);
        assert!(calls.add(piece(9, "", "{}"), &mut out).is_err(), "no name");
        assert!((0..300).any(|n| calls.add(piece(n + 10, "x", ""), &mut out).is_err()), "too many");
    }
}
