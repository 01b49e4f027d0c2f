//! The settings of the queue.

use super::{
    super::{
        Form::{Names, Table},
        Kind::{Number, Text},
        Section,
        Shown::{Default, Example},
    },
    set,
};

/// What holds for all calls.
pub(super) const ALL: Section = Section {
    name: "queue",
    form: Table,
    about: "Where every channel for its model is full, a call waits, fairly by key. Changes are in force at once.",
    settings: &[
        set(
            "max_wait",
            Text,
            Default("\"30s\""),
            "How long a call may wait, all in all; then 429, and at once where it would take longer. 0 for no waiting.\n\
                 A request says otherwise with X-Penstock-Max-Wait (milliseconds) or X-BELLA-MAX-WAIT (seconds); that is\n\
                 then the time for waiting and for the answer to begin.",
        ),
        set(
            "longest_wait",
            Text,
            Default("\"10m\""),
            "The longest that a request may ask for; more is cut to this.",
        ),
        set(
            "overflow_after",
            Text,
            Default("\"0s\""),
            "How long channels of the highest priority are waited for before those of the next are, too.",
        ),
        set(
            "comments_after",
            Text,
            Example("\"10s\""),
            "A stream that waits longer gets its head, and a comment each time this passes (: queued position=3 eta=2.1s);\n\
                 what fails then is an event of the stream. Without this line, it waits for its head.",
        ),
        set("max_calls", Number, Default("10000"), "Calls that may wait at once; more are refused."),
        set(
            "max_calls_of_key",
            Number,
            Default("7500"),
            "Those of one key; without this line, three quarters.",
        ),
        set("max_bytes", Text, Default("\"512MiB\""), "Bytes of the bodies of calls that wait."),
        set(
            "shed_above",
            Text,
            Default("\"10s\""),
            "Where every call has waited longer than this for a second, calls of the band \"low\" give way, ever faster.",
        ),
    ],
};

/// What holds for all calls together.
pub(super) const OF_SPACE: Section = Section {
    name: "queue.space",
    form: Table,
    about: "All calls together.",
    settings: &[
        set("concurrency", Number, Example("512"), "Calls in flight at once, over all channels."),
        set("on_limit", Text, Example("\"refuse\""), "More are refused; without this line they wait."),
    ],
};

/// What holds for a model.
pub(super) const OF_MODEL: Section = Section {
    name: "queue.model.\"gpt-5.2\"",
    form: Names,
    about: "How calls for a model wait, by the name that channels serve.",
    settings: &[
        set("max_wait", Text, Example("\"2m\""), ""),
        set("overflow_after", Text, Example("\"5s\""), ""),
        set("concurrency", Number, Example("128"), "Its calls in flight at once, over all channels."),
        set("on_limit", Text, Example("\"refuse\""), "More are refused; without this line they wait."),
    ],
};

/// What holds for a group.
pub(super) const OF_GROUP: Section = Section {
    name: "queue.group.\"vip\"",
    form: Names,
    about: "How the calls of a group wait.",
    settings: &[
        set("max_wait", Text, Example("\"1m\""), ""),
        set(
            "band",
            Text,
            Example("\"high\""),
            "\"high\" goes before \"normal\", which is everybody's, before \"low\"; lower bands get one turn in twenty.",
        ),
        set("weight", Number, Example("2"), "Tokens for each token of another key, while both wait."),
        set(
            "concurrency",
            Number,
            Example("32"),
            "Calls in flight at once: of the key and of those that stand under it, or of the whole group.",
        ),
        set("on_limit", Text, Example("\"refuse\""), "More are refused; without this line they wait."),
    ],
};

/// What holds for a key.
pub(super) const OF_KEY: Section = Section {
    name: "queue.key.\"example\"",
    form: Names,
    about: "The same of one key, by its name; it comes before its group's.",
    settings: &[set("concurrency", Number, Example("8"), "")],
};
