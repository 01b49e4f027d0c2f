//! The rows in force: Penstock's own, from `config/providers.toml`, and an operator's.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use super::row::{self, Row, RowError, Written};

/// Providers by id.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    rows: BTreeMap<Arc<str>, Arc<Row>>,
}

/// Why an operator's rows were refused.
#[derive(Debug, thiserror::Error)]
pub enum OwnRowsError {
    /// A misspelt key or a wrong type, with its place.
    #[error(transparent)]
    Malformed(#[from] toml::de::Error),
    /// A value that cannot be.
    #[error(transparent)]
    Invalid(#[from] RowError),
}

const BUILTIN: &str = include_str!("../../config/providers.toml");

impl Registry {
    /// Penstock's own providers, read once.
    ///
    /// # Panics
    /// Where the embedded file is wrong, which a test rules out.
    pub fn builtin() -> &'static Self {
        static TABLE: OnceLock<Registry> = OnceLock::new();
        TABLE.get_or_init(|| {
            Self::default().with_own(BUILTIN).unwrap_or_else(|e| panic!("config/providers.toml: {e}"))
        })
    }

    /// These and the tables `[[provider]]` of a settings file's text.
    ///
    /// # Errors
    /// [`OwnRowsError`], also where an id is taken already.
    pub fn with_own(&self, text: &str) -> Result<Self, OwnRowsError> {
        let mut all = self.clone();
        for row in row::read(text)?.into_iter().map(Written::into_row) {
            let row = row?;
            if all.rows.contains_key(&row.id) {
                let problem = match self.rows.contains_key(&row.id) {
                    true => "is a provider of Penstock's own; take another id",
                    false => "another provider has this id",
                };
                let id = row.id.to_string();
                return Err(RowError { id, field: "id", problem: problem.to_owned() }.into());
            }
            all.rows.insert(Arc::clone(&row.id), Arc::new(row));
        }
        Ok(all)
    }

    /// The row of a provider.
    pub fn row(&self, id: &str) -> Option<&Arc<Row>> {
        self.rows.get(id)
    }

    /// Every row, by id.
    pub fn rows(&self) -> impl Iterator<Item = &Arc<Row>> {
        self.rows.values()
    }

    /// The id that was probably meant, where one is near.
    pub fn near(&self, id: &str) -> Option<&str> {
        let id: String = id.chars().take(64).collect();
        let ranked = self.rows.keys().map(|known| (distance(&id, known), &**known));
        ranked.min().filter(|(far, known)| *far <= 2 && *far < known.len()).map(|(_, known)| known)
    }
}

/// Letters to change, add or take away to make `b` of `a` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = i;
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let changed = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Quirk;

    #[test]
    fn the_embedded_rows_are_valid_and_each_number_of_one_api_has_one() {
        let registry = Registry::builtin();
        let mut numbers: Vec<u32> = registry.rows().flat_map(|row| row.one_api.clone()).collect();
        numbers.sort_unstable();
        let mut once = numbers.clone();
        once.dedup();
        assert_eq!(numbers, once, "a number stands twice");
        // Every type of its table that is a chat's.
        let wanted = [
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 25, 26, 27,
            28, 29, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 44, 45, 46, 47, 48, 49, 50, 51,
        ];
        let missing: Vec<_> = wanted.iter().filter(|n| !numbers.contains(n)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        for row in registry.rows() {
            assert!(
                row.docs.is_some() || !row.needs_credential || row.base_url.is_none(),
                "{}: docs",
                row.id
            );
        }
    }

    #[test]
    fn every_quirk_is_needed_by_a_row() {
        let registry = Registry::builtin();
        // What a model cannot, and how reasoning is shown, operators know.
        let choices = [
            Quirk::SplitThinkTags,
            Quirk::ThinkTagOpened,
            Quirk::MergeReasoning,
            Quirk::EmulateTools,
            Quirk::FetchMedia,
        ];
        for quirk in Quirk::ALL.into_iter().filter(|quirk| !choices.contains(quirk)) {
            assert!(registry.rows().any(|row| row.quirks.contains(&quirk)), "{}", quirk.name());
        }
    }

    #[test]
    fn own_rows_are_added_and_clashes_refused() {
        let own = Registry::builtin().with_own("[[provider]]\nid = \"acme\"\n").expect("valid");
        assert!(own.row("acme").is_some() && own.row("openai").is_some());
        for (text, words) in [
            ("[[provider]]\nid = \"openai\"\n", "provider \"openai\": id: is a provider of Penstock's own"),
            ("[[provider]]\nid = \"a\"\n[[provider]]\nid = \"a\"\n", "another provider has this id"),
        ] {
            let said = Registry::builtin().with_own(text).expect_err("refused").to_string();
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn the_reference_files_example_is_a_valid_row() {
        let text = include_str!("../../config/penstock.toml");
        let rows = Registry::builtin().with_own(text).expect("valid");
        assert_eq!(rows.row("example").map(|row| &*row.prefix), Some("/api/v2"));
    }

    #[test]
    fn a_misspelt_id_is_recognised() {
        let registry = Registry::builtin();
        for (id, wanted) in
            [("opnai", Some("openai")), ("deepseak", Some("deepseek")), ("whatever", None), ("", None)]
        {
            assert_eq!(registry.near(id), wanted, "{id}");
        }
    }
}
