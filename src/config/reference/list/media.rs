//! The settings of what is fetched for clients.

use super::{
    super::{
        Form::Table,
        Kind::{List, Number, Switch, Text},
        Section,
        Shown::{Default, Example},
    },
    set,
};

/// What may be fetched.
pub(super) const ALL: Section = Section {
    name: "media",
    form: Table,
    about: "Images and files that a request names by address, where the model's provider wants bytes: the gateway fetches\n\
            them, from public hosts alone. Changes are in force at once.",
    settings: &[
        set(
            "fetch",
            Switch,
            Default("true"),
            "false fetches nothing: providers get the addresses, and what they cannot be told is refused.",
        ),
        set(
            "max_bytes",
            Text,
            Default("\"20MiB\""),
            "Longest image or file; more is refused. What is held counts against server.max_bytes_in_flight.",
        ),
        set("max_count", Number, Default("20"), "Images and files of one request."),
        set("timeout", Text, Default("\"10s\""), "How long a request may wait for all of them."),
        set("max_redirects", Number, Default("3"), "Redirects that are followed; each is checked anew."),
        set(
            "allow_hosts",
            List,
            Example("[\"files.intern.example\"]"),
            "Hosts that may be asked though they are not public: names, wherever they lead, addresses, ranges (10.1.0.0/16).",
        ),
    ],
};
