//! The settings of a key.

use super::{Comment, Default, Example, List, Number, Setting, Switch, Text, set};

pub(super) const KEY: &[Setting] = &[
    set("name", Text, Example("\"example\""), ""),
    set("secret", Text, Example("\"env:PENSTOCK_EXAMPLE_KEY\""), "The key itself, env:NAME or file:PATH."),
    set("sha256", Text, Comment("\"...\""), "Or only its hash, of the key without its sk-."),
    set("group", Text, Default("\"default\""), ""),
    set(
        "models",
        List,
        Example("[\"gpt-latest\"]"),
        "Models it may ask for; without this line, all of its group.",
    ),
    set(
        "quota",
        Number,
        Comment("12.50"),
        "Dollars that it may spend in all; without this line, no limit. A raised quota adds the difference.",
    ),
    set(
        "expires",
        Text,
        Comment("\"2027-01-31\""),
        "When it ends, in UTC: a day's beginning, or \"2027-01-31T12:00:00Z\"; without this line, never.",
    ),
    set(
        "parent",
        Text,
        Comment("\"example-team\""),
        "The key it stands under, whose account pays too; given once, and never changed.",
    ),
    set("may_pin", Switch, Default("false"), "May name a channel in the key: sk-KEY-1."),
    set(
        "may_see_routing",
        Switch,
        Default("false"),
        "Is told which channel answered (x-penstock-channel, x-penstock-attempts), may read /metrics and\n\
         /api/runtime, and may ask for /api/reload and /api/explain.",
    ),
    set(
        "backup_models",
        List,
        Example("[\"gpt-5.2\"]"),
        "Models that its calls fall back to where none of those asked for can serve.",
    ),
    set(
        "limits",
        List,
        Example("[\"60 requests per minute\", \"100_000 tokens per minute\", \"5.00 USD per day\"]"),
        "What it may take in a time; without this line, what [limits] says of every key. [] for no limit.",
    ),
];
