//! The settings of the journal, and of what age takes.

use super::{Default, Setting, Text, set};

pub(super) const JOURNAL: &[Setting] = &[
    set(
        "mode",
        Text,
        Default("\"group\""),
        "\"group\": a power cut may lose the last settlements, and charge their calls as abandoned. \"power\": the last\n\
         byte of each answer waits until its settlement is on the disk, some milliseconds.",
    ),
    set(
        "sync",
        Text,
        Default("\"50ms\""),
        "How often it is synced to the disk: a power cut may lose so much. A crash of Penstock loses nothing.",
    ),
    set(
        "slow_write",
        Text,
        Default("\"5ms\""),
        "A write that takes longer moves its worker's records to a thread, so that calls do not wait.",
    ),
    set("segment", Text, Default("\"64MiB\""), "A file that would grow longer is followed by the next."),
    set(
        "spare",
        Text,
        Default("\"1MiB\""),
        "Allocated ahead for each worker, for the settlements of running calls once the disk is full.",
    ),
    set("queue", Text, Default("\"8MiB\""), "How much of each worker waits in memory for a slow disk."),
    set(
        "on_failure",
        Text,
        Default("\"refuse\""),
        "When the disk takes nothing: \"refuse\" calls, or \"go-on\" without a record, at the risk of not charging them.",
    ),
    set(
        "keep",
        Text,
        Default("\"24h\""),
        "How long a file is kept after its last write, once everything of it is in the database.",
    ),
    set(
        "log_lag",
        Text,
        Default("\"4GiB\""),
        "Once the request log's database is further behind than this, its oldest rows are left out, and counted;\n\
         never their money.",
    ),
];

pub(super) const RETENTION: &[Setting] = &[
    set("requests", Text, Default("\"90d\""), "How long a call stands in the request log."),
    set(
        "ledger",
        Text,
        Default("\"400d\""),
        "How long single entries of usage stand in the ledger; older ones become one closing entry an account.",
    ),
    set("every", Text, Default("\"10m\""), "How often what is too old is looked for."),
];
