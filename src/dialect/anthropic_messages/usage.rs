//! What an answer consumed: Anthropic's `Usage` and `MessageDeltaUsage` into disjoint buckets.

use penstock_actors::domain::Usage;
use serde::Deserialize;

use crate::dialect::count::Count;

/// The `usage` object of a message, of its start, or of a delta. Anything may be absent.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage {
    input_tokens: Count,
    output_tokens: Count,
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_creation: Option<CacheCreation>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Count,
    ephemeral_1h_input_tokens: Count,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    thinking_tokens: Count,
}

/// The counts of one answer so far. Each count is cumulative, so a larger one replaces a smaller
/// one, and an absent or zero count says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    input: u64,
    output: u64,
    thinking: u64,
    cache_read: u64,
    /// All cache writes, whatever their lifetime.
    cache_write: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
}

impl Tally {
    /// Takes the next report.
    pub(super) fn report(&mut self, usage: &WireUsage) {
        let raise = |count: &mut u64, said: Count| *count = (*count).max(said.get());
        raise(&mut self.input, usage.input_tokens);
        raise(&mut self.output, usage.output_tokens);
        raise(&mut self.cache_read, usage.cache_read_input_tokens);
        raise(&mut self.cache_write, usage.cache_creation_input_tokens);
        raise(&mut self.thinking, usage.output_tokens_details.unwrap_or_default().thinking_tokens);
        if let Some(split) = usage.cache_creation {
            raise(&mut self.cache_write_5m, split.ephemeral_5m_input_tokens);
            raise(&mut self.cache_write_1h, split.ephemeral_1h_input_tokens);
        }
    }

    /// The buckets. Cache writes of unsaid lifetime are the default's, five minutes; thinking is
    /// part of the output and never more.
    pub(super) fn usage(&self) -> Usage {
        let reasoning = self.thinking.min(self.output);
        Usage {
            input: self.input,
            cached_read: self.cache_read,
            cache_write_5m: self.cache_write_5m.max(self.cache_write.saturating_sub(self.cache_write_1h)),
            cache_write_1h: self.cache_write_1h,
            output: self.output - reasoning,
            reasoning,
            ..Usage::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reports: &[&str]) -> Usage {
        let mut tally = Tally::default();
        for report in reports {
            tally.report(&serde_json::from_str(report).expect("valid"));
        }
        tally.usage()
    }

    #[test]
    fn no_token_is_in_two_buckets() {
        let usage = check(&[
            r#"{"input_tokens":10,"output_tokens":1,"cache_read_input_tokens":20,"cache_creation_input_tokens":7,
                "cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":4}}"#,
            r#"{"output_tokens":50,"output_tokens_details":{"thinking_tokens":30},"cache_creation_input_tokens":7}"#,
        ]);
        assert_eq!(usage, Usage::of([10, 20, 3, 4, 20, 30, 0, 0, 0, 0]));
        assert_eq!((usage.prompt(), usage.completion()), (37, 50));
    }

    #[test]
    fn absent_and_zero_counts_take_nothing_away() {
        let usage = check(&[r#"{"input_tokens":0}"#, r#"{"input_tokens":9,"output_tokens":4}"#, "{}"]);
        assert_eq!(usage, Usage { input: 9, output: 4, ..Default::default() });
        let usage = check(&[r#"{"cache_creation_input_tokens":5,"cache_creation":null}"#]);
        assert_eq!(usage.cache_write_5m, 5);
        let usage = check(&[&format!(r#"{{"input_tokens":{0},"cache_read_input_tokens":{0}}}"#, u64::MAX)]);
        assert_eq!(usage.prompt(), 2 << 40);
    }
}
