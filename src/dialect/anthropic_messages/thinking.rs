//! How much to reason, in the words the model wants.

use serde::Serialize;

use super::turns::calls_without_thinking;
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

/// How a model is asked to reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// `thinking.type` is `adaptive`, with `output_config.effort`: Claude since 4.6.
    ByEffort,
    /// `thinking.type` is `enabled`, with a budget of tokens: Claude before, and the models of
    /// others that speak this dialect.
    ByBudget,
}

/// The Claude models that know only budgets. No new ones are made, so the list is complete.
const BY_BUDGET: [&str; 9] = [
    "claude-3",
    "claude-sonnet-4-0",
    "claude-sonnet-4-2025",
    "claude-sonnet-4-5",
    "claude-opus-4-0",
    "claude-opus-4-1",
    "claude-opus-4-2025",
    "claude-opus-4-5",
    "claude-haiku-4-5",
];

fn asked(model: &str) -> Asked {
    let by_effort = model.contains("claude") && !BY_BUDGET.iter().any(|old| model.contains(old));
    if by_effort { Asked::ByEffort } else { Asked::ByBudget }
}

/// What the conversation's effort is for this model: `thinking`, and `output_config.effort`.
///
/// A forced tool call excludes thinking, so then only the effort is said.
pub(super) fn thinking(
    conversation: &Conversation,
    model: &str,
    max_tokens: u64,
) -> (Option<Thinking>, Option<&'static str>) {
    let Some(effort) = conversation.effort else { return (None, None) };
    let forced = conversation.tool_choice.as_ref().is_some_and(ToolChoice::forces);
    match asked(model) {
        Asked::ByEffort if effort == Effort::None => (Some(Thinking::Disabled), None),
        Asked::ByEffort => {
            ((!forced).then_some(Thinking::Adaptive { display: "summarized" }), effort_word(effort))
        }
        Asked::ByBudget if forced || calls_without_thinking(conversation) => (None, None),
        Asked::ByBudget => (budget(effort, max_tokens), None),
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

/// A share of the answer's tokens: the budget counts towards `max_tokens` and must be below it.
fn budget(effort: Effort, max_tokens: u64) -> Option<Thinking> {
    let percent = match effort {
        Effort::None => return None,
        Effort::Minimal => 10,
        Effort::Low => 20,
        Effort::Medium => 50,
        Effort::High => 80,
        Effort::ExtraHigh | Effort::Max => 95,
    };
    let share = (max_tokens / 100 * percent + max_tokens % 100 * percent / 100).max(LEAST_BUDGET);
    (share < max_tokens).then_some(Thinking::Enabled { budget_tokens: share })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(model: &str, effort: Effort, max_tokens: u64) -> (Option<Thinking>, Option<&'static str>) {
        thinking(&Conversation { effort: Some(effort), ..Default::default() }, model, max_tokens)
    }

    #[test]
    fn recent_models_are_asked_by_effort() {
        let adaptive = || Some(Thinking::Adaptive { display: "summarized" });
        for model in
            ["claude-opus-5-5", "claude-sonnet-4-6", "claude-haiku-5-5", "anthropic.claude-opus-4-8-v1:0"]
        {
            assert_eq!(check(model, Effort::Minimal, 4096), (adaptive(), Some("low")), "{model}");
        }
        assert_eq!(check("claude-opus-5", Effort::None, 4096), (Some(Thinking::Disabled), None));
        let forced = Conversation {
            effort: Some(Effort::High),
            tool_choice: Some(ToolChoice::Required),
            ..Default::default()
        };
        assert_eq!(thinking(&forced, "claude-opus-5", 4096), (None, Some("high")));
    }

    #[test]
    fn older_models_are_asked_by_budget_where_there_is_room() {
        for model in
            ["claude-haiku-4-5-20251001", "claude-opus-4-20250514", "claude-3-7-sonnet-latest", "glm-5"]
        {
            let half = Thinking::Enabled { budget_tokens: 2048 };
            assert_eq!(check(model, Effort::Medium, 4096), (Some(half), None), "{model}");
        }
        let model = "claude-sonnet-4-5";
        assert_eq!(check(model, Effort::None, 4096), (None, None));
        assert_eq!(check(model, Effort::Max, 1024), (None, None));
        let least = Thinking::Enabled { budget_tokens: 1024 };
        assert_eq!(check(model, Effort::Low, 1025), (Some(least), None));
        assert!(check(model, Effort::Max, u64::MAX).0.is_some());
    }
}
