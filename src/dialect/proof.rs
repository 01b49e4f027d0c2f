//! Proofs of reasoning that pass through another dialect: whose they are must be known when they come back.
//!
//! A provider refuses a proof that is not its own. Anthropic's travel bare, as they always have; others carry
//! the name of their dialect and a colon, which base64 has not.

/// Marks a proof as this dialect's.
pub fn mark(dialect: &str, proof: &str) -> String {
    format!("{dialect}:{proof}")
}

/// The proof, if it is this dialect's.
pub fn unmark<'p>(dialect: &str, proof: &'p str) -> Option<&'p str> {
    proof.strip_prefix(dialect)?.strip_prefix(':')
}

/// Whether a proof carries a mark.
pub fn is_marked(proof: &str) -> bool {
    proof.contains(':')
}
