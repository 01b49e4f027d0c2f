//! The journal and what age takes: defaults and bounds.

use std::time::Duration;

use penstock_actors::limiter::{Rules, Span};

use super::Resolver;
use crate::config::{Journal, Retention, problem::At, raw, units};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Longer is for ever.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Resolver<'_> {
    pub(super) fn journal(&mut self, raw: &raw::Journal) -> Journal {
        let journal = Journal {
            mode: raw.mode,
            sync: raw.sync.map_or(Duration::from_millis(50), |s| s.0),
            slow_write: raw.slow_write.map_or(Duration::from_millis(5), |s| s.0),
            segment: raw.segment.map_or(64 * MIB, |s| s.0),
            spare: raw.spare.map_or(MIB, |s| s.0),
            queue: raw.queue.map_or(8 * MIB, |s| s.0),
            on_failure: raw.on_failure,
            keep: raw.keep.map_or(DAY, |s| s.0),
            log_lag: raw.log_lag.map_or(4 * GIB, |s| s.0),
        };
        let at = |key: &str| At::Setting(format!("journal.{key}"));
        for (key, span) in [("sync", journal.sync), ("slow_write", journal.slow_write)] {
            if !(Duration::from_millis(1)..=Duration::from_secs(10)).contains(&span) {
                self.refuse(&at(key), "must be at least 1 ms and at most 10 seconds");
            }
        }
        for (key, bytes) in [("segment", journal.segment), ("queue", journal.queue)] {
            if !(MIB..=GIB).contains(&bytes) {
                self.refuse(&at(key), "must be at least 1MiB and at most 1GiB");
            }
        }
        if !(64 << 10..=journal.segment).contains(&journal.spare) {
            self.refuse(&at("spare"), "must be at least 64KiB and at most journal.segment");
        }
        if journal.log_lag < MIB {
            self.refuse(&at("log_lag"), "must be at least 1MiB");
        }
        if journal.keep > LONGEST {
            self.refuse(&at("keep"), "must be at most 100 years");
        }
        journal
    }

    /// What limits count in a month or a day is read from the request log after a start.
    pub(super) fn retention(&mut self, raw: &raw::Retention, limits: &Rules) -> Retention {
        let days = |span: Option<units::Span>, default: u32| {
            Some(span.map_or(DAY * default, |s| s.0)).filter(|span| !span.is_zero())
        };
        let retention = Retention {
            requests: days(raw.requests, 90),
            ledger: days(raw.ledger, 400),
            every: raw.every.map_or(Duration::from_secs(600), |s| s.0),
        };
        let at = |key: &str| At::Setting(format!("retention.{key}"));
        for (key, span) in [("requests", retention.requests), ("ledger", retention.ledger)] {
            if span.is_some_and(|span| span > LONGEST) {
                self.refuse(&at(key), "must be at most 100 years; 0 keeps for ever");
            }
        }
        let counted = [(Span::Month, 31, "31 days", "month"), (Span::Day, 1, "a day", "day")];
        let counted = counted.into_iter().find(|(span, ..)| limits.limits_any(*span));
        if let (Some(kept), Some((_, days, said, span))) = (retention.requests, counted)
            && kept < DAY * days
        {
            let problem = format!(
                "must be at least {said} while there are limits per {span}, which a start counts anew"
            );
            self.refuse(&at("requests"), problem);
        }
        if !(Duration::from_secs(1)..=DAY).contains(&retention.every) {
            self.refuse(&at("every"), "must be at least 1 second and at most a day");
        }
        retention
    }
}
