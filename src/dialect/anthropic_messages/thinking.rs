//! How much to reason, in the words the model wants.

use serde::Serialize;

use super::{models::Generation, turns::calls_without_thinking};
use crate::conversation::{Conversation, Effort, ToolChoice};

/// The request's `thinking`.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Thinking {
    /// As much as the effort allows. Without `display`, recent models hide the text.
    Adaptive {
        display: &'static str,
    },
    Enabled {
        budget_tokens: u64,
    },
    Disabled,
}

/// What the conversation's effort is for this model: `thinking`, and `output_config.effort`.
///
/// A forced tool call excludes thinking, so then only the effort is said.
pub(super) fn thinking(
    conversation: &Conversation,
    generation: Generation,
    max_tokens: u64,
) -> (Option<Thinking>, Option<&'static str>) {
    let Some(effort) = conversation.reasoning.effort_or_budget() else { return (None, None) };
    let forced = conversation.tool_choice.as_ref().is_some_and(ToolChoice::forces);
    match generation {
        Generation::Effort | Generation::Untuned if effort == Effort::None => {
            (Some(Thinking::Disabled), None)
        }
        Generation::Effort | Generation::Untuned => {
            ((!forced).then_some(Thinking::Adaptive { display: "summarized" }), effort_word(effort))
        }
        Generation::Budget if forced || calls_without_thinking(conversation) => (None, None),
        Generation::Budget => (budget(effort, conversation.reasoning.budget, max_tokens), None),
    }
}

fn effort_word(effort: Effort) -> Option<&'static str> {
    match effort {
        Effort::None => None,
        Effort::Minimal | Effort::Low => Some("low"),
        Effort::Medium => Some("medium"),
        Effort::High => Some("high"),
        Effort::ExtraHigh => Some("xhigh"),
        Effort::Max => Some("max"),
    }
}

/// The least budget the API takes.
const LEAST_BUDGET: u64 = 1024;

/// The budget wanted, or a share of the answer's tokens: it counts towards `max_tokens` and must be below it.
fn budget(effort: Effort, wanted: Option<u64>, max_tokens: u64) -> Option<Thinking> {
    let percent = match effort {
        Effort::None => return None,
        Effort::Minimal => 10,
        Effort::Low => 20,
        Effort::Medium => 50,
        Effort::High => 80,
        Effort::ExtraHigh | Effort::Max => 95,
    };
    let share = max_tokens / 100 * percent + max_tokens % 100 * percent / 100;
    let share = wanted.unwrap_or(share).max(LEAST_BUDGET);
    (share < max_tokens).then_some(Thinking::Enabled { budget_tokens: share })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::Reasoning;

    fn check(
        generation: Generation,
        effort: Effort,
        max_tokens: u64,
    ) -> (Option<Thinking>, Option<&'static str>) {
        thinking(
            &Conversation {
                reasoning: Reasoning { effort: Some(effort), ..Default::default() },
                ..Default::default()
            },
            generation,
            max_tokens,
        )
    }

    #[test]
    fn recent_models_are_asked_by_effort() {
        let adaptive = || Some(Thinking::Adaptive { display: "summarized" });
        for generation in [Generation::Effort, Generation::Untuned] {
            assert_eq!(check(generation, Effort::Minimal, 4096), (adaptive(), Some("low")));
            assert_eq!(check(generation, Effort::ExtraHigh, 4096), (adaptive(), Some("xhigh")));
            assert_eq!(check(generation, Effort::None, 4096), (Some(Thinking::Disabled), None));
        }
        let forced = Conversation {
            reasoning: Reasoning { effort: Some(Effort::High), ..Default::default() },
            tool_choice: Some(ToolChoice::Required),
            ..Default::default()
        };
        assert_eq!(thinking(&forced, Generation::Untuned, 4096), (None, Some("high")));
    }

    #[test]
    fn older_models_are_asked_by_budget_where_there_is_room() {
        let enabled = |budget_tokens| (Some(Thinking::Enabled { budget_tokens }), None);
        assert_eq!(check(Generation::Budget, Effort::Medium, 4096), enabled(2048));
        assert_eq!(check(Generation::Budget, Effort::Low, 1025), enabled(1024));
        assert_eq!(check(Generation::Budget, Effort::Max, 1024), (None, None));
        assert_eq!(check(Generation::Budget, Effort::None, 4096), (None, None));
        assert!(check(Generation::Budget, Effort::Max, u64::MAX).0.is_some());
    }
}
