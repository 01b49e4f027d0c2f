//! The settings of what calls fall back to and of what they may take.

use super::super::{
    Form::{Names, Table},
    Kind::{List, Number, Switch, Text},
    Section,
    Shown::{Default, Example},
};
use super::set;

pub(super) const BACKUP_MODELS: Section = Section {
    name: "backup_models",
    form: Names,
    about: "Models that a model's calls fall back to, in order, before the first byte.",
    settings: &[set("\"gpt-5.2\"", List, Example("[\"text-embedding-3-small\"]"), "")],
};

pub(super) const FAILOVER: Section = Section {
    name: "failover",
    form: Table,
    about: "When channels are passed over, and how much is tried again.",
    settings: &[
        set(
            "breaker_percent",
            Number,
            Default("50"),
            "A model of a channel of which so many percent of attempts failed is passed over, where another channel\n\
             serves it; 0 for never.",
        ),
        set("breaker_attempts", Number, Default("20"), "Out of at least so many attempts,"),
        set("breaker_window", Text, Default("\"30s\""), "in so long a time."),
        set(
            "breaker_open",
            Text,
            Default("\"10s\""),
            "For so long at first, and twice as long each time that the calls which try it fail.",
        ),
        set(
            "switch_off",
            Switch,
            Default("true"),
            "Whether a channel is switched off whose credential the provider refuses, or whose account is empty. A\n\
             call tries it again after a minute, then ever more seldom; a new credential puts it back at once.",
        ),
        set(
            "retry_percent",
            Number,
            Default("20"),
            "Attempts that a channel takes over from failed ones, in percent of its others; three a second in any case.",
        ),
        set(
            "uncertain",
            Switch,
            Default("true"),
            "Whether a call is tried elsewhere that its provider may have worked on: it sent no answer in time, or cut the\n\
             connection. Both may be billed then. With false, its client is told instead, and told not to try again.",
        ),
        set(
            "max_models",
            Number,
            Default("3"),
            "Models that one request may list, \"model\": \"a,b,c\", to be tried one after another.",
        ),
    ],
};

pub(super) const FAILOVER_UNCERTAIN: Section = Section {
    name: "failover_uncertain",
    form: Names,
    about: "The same of a model, by the name that channels serve; it comes before what its channels say.",
    settings: &[set("\"gpt-5.2\"", Switch, Example("true"), "")],
};

pub(super) const LIMITS: Section = Section {
    name: "limits",
    form: Table,
    about: "What may be taken in a time: requests, tokens (of prompt and answer) or USD, per minute, hour, day or month.\n\
            Minutes and hours slide; days and months are the calendar's. A call over a limit is refused with 429 and\n\
            the time to come back, and whose limit it is. Calls count as they begin and are put right when they end, and those\n\
            of a key that stands under another count with that one, too. A limit that is set counts what was taken\n\
            before it was.",
    settings: &[
        set(
            "time_zone",
            Text,
            Default("\"UTC\""),
            "By whose clocks days and months begin: \"Europe/Berlin\", \"Asia/Shanghai\".",
        ),
        set("key", List, Default("[]"), "Of every key that says nothing of its own."),
        set("space", List, Default("[]"), "Of all calls together."),
    ],
};

pub(super) const GROUP_LIMITS: Section = Section {
    name: "group_limits",
    form: Names,
    about: "The same for the keys of a group together.",
    settings: &[set("\"default\"", List, Example("[\"6_000 requests per minute\"]"), "")],
};

pub(super) const MODEL_LIMITS: Section = Section {
    name: "model_limits",
    form: Names,
    about: "The same for all calls of a model, whatever alias they used.",
    settings: &[set("\"gpt-5.2\"", List, Example("[\"2_000_000 tokens per minute\"]"), "")],
};
