//! Limits as operators write them: `"60 requests per minute"`, `"5.00 USD per day"`.

use std::collections::HashMap;

use penstock_actors::limiter::{Kind, LimitSet, MOST, Measure, Rules, Span, Zone};

use super::{Resolver, is_model, is_name};
use crate::config::{decimal, problem::At, raw};

const FORM: &str = "write a number, requests, tokens or USD, and per minute, hour, day or month: \
                    \"60 requests per minute\", \"5.00 USD per day\"";

impl Resolver<'_> {
    /// Every limit of the file.
    pub(super) fn limits(&mut self, file: &raw::File) -> Rules {
        let setting = |name: &str| At::Setting(name.to_owned());
        let mut rules = Rules {
            every_key: self.limit_set(&setting("limits.key"), &file.limits.key),
            space: self.limit_set(&setting("limits.space"), &file.limits.space),
            zone: self.zone(file.limits.time_zone.as_deref()),
            groups: HashMap::new(),
            models: HashMap::new(),
            keys: HashMap::new(),
            channels: HashMap::new(),
        };
        for (group, written) in &file.group_limits {
            let at = setting(&format!("group_limits.{group}"));
            if !is_name(group) {
                self.refuse(&at, "a group must be a name");
            }
            rules.groups.insert(group.clone(), self.limit_set(&at, written));
        }
        for (model, written) in &file.model_limits {
            let at = setting(&format!("model_limits.\"{model}\""));
            if !is_model(model) {
                self.refuse(&at, "a model must be a name");
            } else if let Some(target) = file.aliases.get(model) {
                self.refuse(&at, format!("is an alias; limit the model that it names, \"{target}\""));
            }
            rules.models.insert(model.clone(), self.limit_set(&at, written));
        }
        for (index, key) in file.keys.iter().enumerate() {
            if let Some(written) = &key.limits {
                let at = At::Key(index, key.name.clone(), "limits".to_owned());
                rules.keys.insert(key.name.clone(), self.limit_set(&at, written));
            }
        }
        for (index, channel) in file.channels.iter().enumerate() {
            if let Some(written) = &channel.limits {
                let at = At::Channel(index, channel.name.clone(), "limits".to_owned());
                rules.channels.insert(channel.name.clone(), self.limit_set(&at, written));
            }
        }
        rules
    }

    fn limit_set(&mut self, at: &At, written: &[String]) -> LimitSet {
        let mut set = LimitSet::default();
        for text in written {
            match limit(text) {
                Ok((kind, _)) if set.of(kind).is_some() => {
                    self.refuse(at, format!("\"{text}\": there is a limit of this kind already"));
                }
                Ok((kind, limit)) => set = set.with(kind, Some(limit)),
                Err(problem) => self.refuse(at, format!("\"{text}\": {problem}")),
            }
        }
        set
    }

    fn zone(&mut self, written: Option<&str>) -> Zone {
        let name = written.unwrap_or("UTC");
        zone(name).unwrap_or_else(|| {
            let problem =
                format!("there is no time zone \"{name}\"; write one as \"UTC\" or \"Asia/Shanghai\"");
            self.refuse(&At::Setting("limits.time_zone".to_owned()), problem);
            Zone::default()
        })
    }
}

/// Reads limits that stand outside the settings: a key's in the store.
///
/// # Errors
/// A sentence that quotes the first that is none.
pub fn limit_set(written: &[String]) -> Result<LimitSet, String> {
    written.iter().try_fold(LimitSet::default(), |set, text| match limit(text) {
        Ok((kind, _)) if set.of(kind).is_some() => {
            Err(format!("\"{text}\": there is a limit of this kind already"))
        }
        Ok((kind, limit)) => Ok(set.with(kind, Some(limit))),
        Err(problem) => Err(format!("\"{text}\": {problem}")),
    })
}

/// Reads one limit.
fn limit(text: &str) -> Result<(Kind, u64), String> {
    let (amount, span) = text.split_once(" per ").or_else(|| text.split_once('/')).ok_or(FORM)?;
    let (number, measure) = amount.trim().split_once(' ').ok_or(FORM)?;
    let span = match span.trim() {
        "minute" => Span::Minute,
        "hour" => Span::Hour,
        "day" => Span::Day,
        "month" => Span::Month,
        _ => return Err(FORM.to_owned()),
    };
    let (measure, places) = match measure.trim() {
        "request" | "requests" => (Measure::Requests, 0),
        "token" | "tokens" => (Measure::Tokens, 0),
        "USD" => (Measure::Spend, 6),
        _ => return Err(FORM.to_owned()),
    };
    let limit = decimal::parse(number.trim(), places, decimal::Beyond::Refuse)?;
    match u64::try_from(limit) {
        Ok(limit) if limit <= MOST => Ok((Kind { measure, span }, limit)),
        _ => Err("is too large: leave it out for no limit".to_owned()),
    }
}

/// The last year whose shifts of clocks are reckoned with, in seconds since 1970: 2100.
const LAST_SHIFT: i64 = 4_102_444_800;
/// The first: 2020.
const FIRST_SHIFT: i64 = 1_577_836_800;

fn zone(name: &str) -> Option<Zone> {
    if name == "UTC" {
        return Some(Zone::default());
    }
    let zone = jiff::tz::TimeZone::get(name).ok()?;
    let first = jiff::Timestamp::from_second(FIRST_SHIFT).ok()?;
    let mut shifts = vec![(i64::MIN, zone.to_offset(first).seconds())];
    let later = zone.following(first).take_while(|shift| shift.timestamp().as_second() < LAST_SHIFT);
    shifts.extend(later.map(|shift| (shift.timestamp().as_millisecond(), shift.offset().seconds())));
    Some(Zone::new(name, shifts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_in_words() {
        use {Measure::*, Span::*};
        for (text, measure, span, amount) in [
            ("60 requests per minute", Requests, Minute, 60),
            ("1 request/hour", Requests, Hour, 1),
            ("2_000_000 tokens / day", Tokens, Day, 2_000_000),
            ("0 tokens per month", Tokens, Month, 0),
            ("5.00 USD per day", Spend, Day, 5_000_000),
            ("0.000001 USD per month", Spend, Month, 1),
        ] {
            assert_eq!(limit(text), Ok((Kind { measure, span }, amount)), "{text}");
        }
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for text in [
            "",
            "60",
            "60 requests",
            "60 requests per",
            "60 requests per second",
            "requests per minute",
            "-1 requests per minute",
            "1.5 requests per minute",
            "5 EUR per day",
            "0.0000001 USD per day",
            "2000000 USD per day",
            "99999999999999999999 tokens per day",
            "sixty requests per minute",
        ] {
            assert!(limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn zones_know_their_shifts() {
        assert_eq!(zone("UTC"), Some(Zone::default()));
        assert_eq!(zone("Nowhere/Land"), None);
        let (shanghai, berlin) =
            (zone("Asia/Shanghai").expect("known"), zone("Europe/Berlin").expect("known"));
        assert_eq!(shanghai.day(16 * 3_600_000), 1);
        assert_eq!(shanghai.day(16 * 3_600_000 - 1), 0);
        // The day on which clocks went on has 23 hours.
        let began = 1_774_738_800_000;
        assert_eq!(berlin.next_day(began), began + 23 * 3_600_000);
    }
}
