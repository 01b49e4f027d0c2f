//! What is publicly known of models: windows, longest answers, capabilities. Facts that `/v1/models` shows;
//! nothing is decided by them.

use std::{collections::BTreeMap, sync::OnceLock};

use serde::{Deserialize, Serialize};

/// Facts of one model. What is not known is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelFacts {
    /// Who makes it.
    pub owner: Option<String>,
    /// Tokens of request and answer together, or of the request where only that is known.
    pub context_window: Option<u64>,
    /// Tokens of the longest answer.
    pub max_output_tokens: Option<u64>,
    /// What it can do.
    pub capabilities: Option<Vec<Capability>>,
}

/// What a model can do beyond text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// Calls tools.
    Tools,
    /// Sees images.
    Vision,
    /// Thinks before it answers.
    Reasoning,
    /// Answers in JSON of a given schema.
    Json,
    /// Hears audio.
    Audio,
    /// Reads PDF files.
    Pdf,
}

/// Facts by model: Penstock's own, and an operator's over them.
#[derive(Debug, Default)]
pub struct KnownModels {
    own: BTreeMap<String, ModelFacts>,
}

const BUILTIN: &str = include_str!("../config/catalog.toml");

impl KnownModels {
    /// Penstock's own, and these over them.
    pub fn with(own: BTreeMap<String, ModelFacts>) -> Self {
        Self { own }
    }

    /// What is known of a model by the first of these names that says anything.
    ///
    /// Where a host puts the maker before the name (`openai/gpt-5`), the name alone is looked up too.
    pub fn facts<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> ModelFacts {
        let builtin = builtin();
        let mut facts = ModelFacts::default();
        for name in names {
            let bare = name.rsplit_once('/').map_or(name, |(_, bare)| bare);
            for known in [self.own.get(name), builtin.get(name), builtin.get(bare)].into_iter().flatten() {
                facts.complete(known);
            }
        }
        facts
    }
}

impl ModelFacts {
    /// Takes what is not known yet.
    fn complete(&mut self, other: &Self) {
        if self.owner.is_none() {
            self.owner.clone_from(&other.owner);
        }
        if self.capabilities.is_none() {
            self.capabilities.clone_from(&other.capabilities);
        }
        self.context_window = self.context_window.or(other.context_window);
        self.max_output_tokens = self.max_output_tokens.or(other.max_output_tokens);
    }
}

fn builtin() -> &'static BTreeMap<String, ModelFacts> {
    static TABLE: OnceLock<BTreeMap<String, ModelFacts>> = OnceLock::new();
    TABLE.get_or_init(|| toml::from_str(BUILTIN).unwrap_or_else(|e| panic!("config/catalog.toml: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_facts_are_valid_and_plausible() {
        assert!((150..=400).contains(&builtin().len()), "{}", builtin().len());
        for (name, facts) in builtin() {
            let window = facts.context_window.unwrap_or(0);
            assert!((512..=20_000_000).contains(&window), "{name}: {window}");
            assert!(facts.max_output_tokens.is_none_or(|out| out > 0 && out <= window), "{name}");
            assert!(facts.owner.is_some(), "{name}");
        }
    }

    #[test]
    fn an_operators_word_stands_over_ours_field_by_field() {
        let own = ModelFacts { context_window: Some(7), ..ModelFacts::default() };
        let models = KnownModels::with(BTreeMap::from([("gpt-4o".to_owned(), own)]));
        let facts = models.facts(["gpt-4o"]);
        assert_eq!((facts.context_window, facts.max_output_tokens), (Some(7), Some(16384)));
        assert_eq!(models.facts(["nobody", "openai/gpt-4o-mini"]).context_window, Some(128_000));
        assert_eq!(models.facts(["nobody"]), ModelFacts::default());
    }
}
