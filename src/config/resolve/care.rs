//! What `[failover]` says of breakers, of switching off and of retries.

use std::time::Duration;

use penstock_actors::domain::{BreakerRules, Care, SwitchRule, Uncertain};

use super::{Resolver, is_model, server::LONGEST_DURATION};
use crate::config::{Backups, problem::At, raw, units::Span};

/// More models than these in one request are a mistake.
const MOST_MODELS: usize = 16;

/// What `failover.uncertain` means, wherever it is written.
pub(super) fn uncertain(fails_over: bool) -> Uncertain {
    if fails_over { Uncertain::FailsOver } else { Uncertain::IsTold }
}

impl Resolver<'_> {
    /// The models that stand in for others.
    pub(super) fn backups(&mut self, file: &raw::File) -> Backups {
        let mut backups =
            Backups { most_listed: file.failover.max_models.unwrap_or(3), ..Backups::default() };
        if !(1..=MOST_MODELS).contains(&backups.most_listed) {
            let problem = format!("must be 1 to {MOST_MODELS}");
            self.refuse(&At::Setting("failover.max_models".to_owned()), problem);
        }
        for (model, fails_over) in &file.failover_uncertain {
            let at = At::Setting(format!("failover_uncertain.\"{model}\""));
            if let Some(target) = file.aliases.get(model) {
                self.refuse(&at, format!("is an alias; name the model, \"{target}\""));
            }
            backups.uncertain.insert(model.clone(), uncertain(*fails_over));
        }
        let mut check = |at: At, names: &[String], of: &str| {
            if let Some(odd) = names.iter().find(|name| !is_model(name) || *name == of) {
                self.refuse(&at, format!("\"{odd}\" is no other model's name"));
            }
        };
        for (model, names) in &file.backup_models {
            check(At::Setting(format!("backup_models.\"{model}\"")), names, model);
            backups.of_models.insert(model.clone(), names.clone());
        }
        for (index, key) in file.keys.iter().enumerate() {
            if let Some(names) = &key.backup_models {
                check(At::Key(index, key.name.clone(), "backup_models".to_owned()), names, "");
                backups.of_keys.insert(key.name.clone(), names.clone());
            }
        }
        backups
    }

    pub(super) fn care(&mut self, raw: &raw::Failover) -> Care {
        let default = Care::default();
        let percent = |this: &mut Self, name: &str, written: Option<u32>, default: u32| {
            let percent = written.unwrap_or(default);
            if percent > 100 {
                this.refuse(&At::Setting(format!("failover.{name}")), "must be at most 100");
            }
            percent
        };
        let span = |this: &mut Self, name: &str, written: Option<Span>, default: Duration| {
            let span = written.map_or(default, |s| s.0);
            if span < Duration::from_secs(1) || span > LONGEST_DURATION {
                let problem = "must be at least 1s and at most 30 days";
                this.refuse(&At::Setting(format!("failover.{name}")), problem);
            }
            span
        };
        let least = raw.breaker_attempts.unwrap_or(default.breaker.least);
        if least == 0 {
            let problem = "must be more than 0; breaker_percent = 0 turns breakers off";
            self.refuse(&At::Setting("failover.breaker_attempts".to_owned()), problem);
        }
        Care {
            breaker: BreakerRules {
                percent: percent(self, "breaker_percent", raw.breaker_percent, default.breaker.percent),
                least,
                window: span(self, "breaker_window", raw.breaker_window, default.breaker.window),
                open: span(self, "breaker_open", raw.breaker_open, default.breaker.open),
            },
            switch: match raw.switch_off {
                Some(false) => SwitchRule::Never,
                Some(true) | None => SwitchRule::ByEvidence,
            },
            uncertain: raw.uncertain.map_or(default.uncertain, uncertain),
            retry_percent: percent(self, "retry_percent", raw.retry_percent, default.retry_percent),
        }
    }
}
