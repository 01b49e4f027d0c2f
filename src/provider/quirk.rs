//! Quirks: small named rewrites that a provider's row, or an operator, switches on.
//!
//! Most apply where the provider speaks OpenAI's dialect, the last few in every dialect; they touch only what they
//! name.

mod rewrite;

pub(super) use rewrite::{apply, edits};

/// A small named rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quirk {
    /// Asks for usage in streams, and hides its event from clients that did not ask.
    RequestStreamUsage,
    /// Drops `stream_options`.
    DropStreamOptions,
    /// Sends `max_completion_tokens` as `max_tokens`.
    MaxTokensOnly,
    /// Sends `seed` as `random_seed`.
    RandomSeed,
    /// Sends a `temperature` above 1 as 1.
    ClampTemperature,
    /// Sends messages of the role `developer` as `system`.
    SystemForDeveloper,
    /// Drops `user` and `safety_identifier`.
    DropUser,
    /// Drops `store`.
    DropStore,
    /// Drops `metadata`.
    DropMetadata,
    /// Drops `prompt_cache_key` and `prompt_cache_retention`.
    DropCacheHints,
    /// Takes `<think>` tags at the start of an answer's text for reasoning.
    SplitThinkTags,
    /// Takes an answer's text up to `</think>` for reasoning, too where no tag opens it.
    ThinkTagOpened,
    /// Writes reasoning into the text, between `<think>` tags.
    MergeReasoning,
    /// Tells tools in text, and reads calls from text.
    EmulateTools,
    /// Sends media as bytes that the request names by address.
    FetchMedia,
}

/// A quirk, its name in settings, and what a reader is told of it.
type Entry = (Quirk, &'static str, &'static str);

const ENTRIES: [Entry; 15] = [
    (
        Quirk::RequestStreamUsage,
        "request-stream-usage",
        "asks for usage in streams, and hides it from clients that did not ask",
    ),
    (
        Quirk::DropStreamOptions,
        "drop-stream-options",
        "drops `stream_options`; not with request-stream-usage",
    ),
    (
        Quirk::MaxTokensOnly,
        "max-tokens-only",
        "sends `max_completion_tokens` as `max_tokens`, unless that is there too",
    ),
    (Quirk::RandomSeed, "random-seed", "sends `seed` as `random_seed`"),
    (Quirk::ClampTemperature, "clamp-temperature", "sends a `temperature` above 1 as 1"),
    (Quirk::SystemForDeveloper, "system-for-developer", "sends messages of the role `developer` as `system`"),
    (Quirk::DropUser, "drop-user", "drops `user` and `safety_identifier`"),
    (Quirk::DropStore, "drop-store", "drops `store`"),
    (Quirk::DropMetadata, "drop-metadata", "drops `metadata`"),
    (Quirk::DropCacheHints, "drop-cache-hints", "drops `prompt_cache_key` and `prompt_cache_retention`"),
    (
        Quirk::SplitThinkTags,
        "split-think-tags",
        "takes `<think>...</think>` at the start of an answer's text for reasoning; answers are converted then",
    ),
    (
        Quirk::ThinkTagOpened,
        "think-tag-opened",
        "as split-think-tags, for a model whose template opens the tag in the prompt: an answer's text up to \
         `</think>` is reasoning, in a stream all of it where that never comes",
    ),
    (
        Quirk::MergeReasoning,
        "merge-reasoning",
        "writes reasoning into the answer's text, between `<think>` tags; answers are converted then",
    ),
    (
        Quirk::EmulateTools,
        "emulate-tools",
        "for models without tools, in any dialect: tools are told in the instructions, and blocks in the answer's \
         text become tool calls; requests and answers are converted then",
    ),
    (
        Quirk::FetchMedia,
        "fetch-media",
        "for providers that fetch nothing, in any dialect: images and files that a request names by address are \
         fetched (see `[media]`) and sent as bytes; such requests are converted then",
    ),
];

impl Quirk {
    /// Every quirk.
    pub const ALL: [Self; ENTRIES.len()] = {
        let mut all = [Self::RequestStreamUsage; ENTRIES.len()];
        let mut at = 0;
        while at < ENTRIES.len() {
            assert!(ENTRIES[at].0 as usize == at, "entries stand in the enum's order");
            all[at] = ENTRIES[at].0;
            at += 1;
        }
        all
    };

    /// The name in settings.
    pub fn name(self) -> &'static str {
        ENTRIES[self as usize].1
    }

    /// What it does, in a few words.
    pub fn about(self) -> &'static str {
        ENTRIES[self as usize].2
    }

    /// The quirk of a name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|q| q.name() == name)
    }

    /// The quirks of these names.
    ///
    /// # Errors
    /// A sentence, where a name is none or two quirks contradict.
    pub fn by_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Self>, String> {
        let mut quirks = Vec::new();
        for name in names {
            let known = || Self::ALL.map(Self::name).join(", ");
            let quirk = Self::by_name(name)
                .ok_or_else(|| format!("there is no quirk \"{name}\"; known are {}", known()))?;
            if !quirks.contains(&quirk) {
                quirks.push(quirk);
            }
        }
        if [Self::RequestStreamUsage, Self::DropStreamOptions].iter().all(|q| quirks.contains(q)) {
            return Err("request-stream-usage and drop-stream-options contradict each other".to_owned());
        }
        for splits in [Self::SplitThinkTags, Self::ThinkTagOpened] {
            if [splits, Self::MergeReasoning].iter().all(|q| quirks.contains(q)) {
                return Err(format!("{} and merge-reasoning contradict each other", splits.name()));
            }
        }
        Ok(quirks)
    }
}

/// Whether a channel's requests are written anew, even for a provider that speaks the client's dialect.
pub fn writes_anew(quirks: &[Quirk]) -> bool {
    super::convert::emulates_tools(quirks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quirk_is_found_by_its_name_and_explained() {
        for quirk in Quirk::ALL {
            assert_eq!(Quirk::by_name(quirk.name()), Some(quirk));
            assert!(!quirk.about().is_empty());
        }
    }

    #[test]
    fn unknown_and_contradicting_names_are_refused() {
        for (names, words) in [
            (&["sing"][..], "there is no quirk \"sing\"; known are request-stream-usage, "),
            (&["drop-stream-options", "request-stream-usage"], "contradict each other"),
            (&["merge-reasoning", "think-tag-opened"], "think-tag-opened and merge-reasoning contradict"),
        ] {
            let said = Quirk::by_names(names.iter().copied()).expect_err("refused");
            assert!(said.contains(words), "{said}");
        }
        let twice = Quirk::by_names(["drop-user", "drop-user"]).expect("known");
        assert_eq!(twice, [Quirk::DropUser]);
    }
}
