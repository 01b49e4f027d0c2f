//! Finds tags in text that comes piece by piece.

/// What a text says of a tag.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'t> {
    /// It is there: what stands before it, and behind it.
    Tag { before: &'t str, behind: &'t str },
    /// It is not: what is sure to be text, and an end with which the tag may begin.
    None { sure: &'t str, maybe: &'t str },
}

/// Looks for the first such tag.
pub(super) fn find<'t>(text: &'t str, tag: &str) -> Found<'t> {
    match text.split_once(tag) {
        Some((before, behind)) => Found::Tag { before, behind },
        None => {
            let (sure, maybe) = text.split_at(text.len() - may_become(text, tag));
            Found::None { sure, maybe }
        }
    }
}

/// Bytes at the end of `text` that a tag may begin with.
fn may_become(text: &str, tag: &str) -> usize {
    (1..tag.len()).rev().find(|n| text.ends_with(&tag[..*n])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_or_its_beginning_is_told_apart() {
        for (text, wanted) in [
            ("a<b>c<b>", Found::Tag { before: "a", behind: "c<b>" }),
            ("a<", Found::None { sure: "a", maybe: "<" }),
            ("a<b", Found::None { sure: "a", maybe: "<b" }),
            ("a<bc", Found::None { sure: "a<bc", maybe: "" }),
            ("\u{e9}<<", Found::None { sure: "\u{e9}<", maybe: "<" }),
            ("", Found::None { sure: "", maybe: "" }),
        ] {
            assert_eq!(find(text, "<b>"), wanted, "{text}");
        }
    }
}
