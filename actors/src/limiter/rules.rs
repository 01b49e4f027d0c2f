//! Which limits hold for whom. Plain values; what is taken of them is in the cells.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use super::{calendar::Zone, cells::Claim};
use crate::domain::{KeyId, Money};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measure {
    /// Calls.
    Requests,
    /// Tokens, of prompt and answer together.
    Tokens,
    /// Money, in millionths of a dollar.
    Spend,
}

impl Measure {
    /// Every measure.
    pub const ALL: [Self; 3] = [Self::Requests, Self::Tokens, Self::Spend];
}

/// In which time it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Span {
    /// The last 60 seconds.
    Minute,
    /// The last 60 minutes.
    Hour,
    /// The day of the calendar.
    Day,
    /// The month of the calendar.
    Month,
}

impl Span {
    /// The length of a sliding window; `None` for a calendar's period.
    pub fn length(self) -> Option<Duration> {
        match self {
            Self::Minute => Some(Duration::from_secs(60)),
            Self::Hour => Some(Duration::from_secs(3600)),
            Self::Day | Self::Month => None,
        }
    }
}

/// What is counted in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    /// What.
    pub measure: Measure,
    /// In which time.
    pub span: Span,
}

impl Kind {
    /// Every kind, by its index.
    pub const ALL: [Self; 12] = {
        use {Measure::*, Span::*};
        const fn kind(measure: Measure, span: Span) -> Kind {
            Kind { measure, span }
        }
        [
            kind(Requests, Minute),
            kind(Requests, Hour),
            kind(Requests, Day),
            kind(Requests, Month),
            kind(Tokens, Minute),
            kind(Tokens, Hour),
            kind(Tokens, Day),
            kind(Tokens, Month),
            kind(Spend, Minute),
            kind(Spend, Hour),
            kind(Spend, Day),
            kind(Spend, Month),
        ]
    };

    /// The name in settings and codes: `tokens_per_minute`.
    pub fn as_str(self) -> &'static str {
        const NAMES: [&str; 12] = [
            "requests_per_minute",
            "requests_per_hour",
            "requests_per_day",
            "requests_per_month",
            "tokens_per_minute",
            "tokens_per_hour",
            "tokens_per_day",
            "tokens_per_month",
            "spend_per_minute",
            "spend_per_hour",
            "spend_per_day",
            "spend_per_month",
        ];
        NAMES[self.index()]
    }

    fn index(self) -> usize {
        self.measure as usize * 4 + self.span as usize
    }
}

/// Whose limit it is. A call takes of the wider scopes' cells first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Everyone's together.
    Space,
    /// A group's.
    Group(Arc<str>),
    /// A model's, by the name it is served under.
    Model(Arc<str>),
    /// A channel's.
    Channel(Arc<str>),
    /// A key's.
    Key(KeyId),
}

impl Scope {
    /// The word in codes.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Space => "space",
            Self::Group(_) => "group",
            Self::Model(_) => "model",
            Self::Channel(_) => "channel",
            Self::Key(_) => "key",
        }
    }
}

/// Which cell: cells are taken in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellId {
    /// Whose.
    pub scope: Scope,
    /// Of what.
    pub kind: Kind,
}

/// As codes name a limit: `key_tokens_per_minute`.
impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.scope.as_str(), self.kind.as_str())
    }
}

/// What a call takes, or took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Calls.
    pub requests: u64,
    /// Tokens.
    pub tokens: u64,
    /// Millionths of a dollar.
    pub spend: u64,
}

impl Amounts {
    /// Money in millionths of a dollar, rounded up: what counts against a limit is never less than what is paid.
    pub fn of_money(amount: Money) -> u64 {
        u64::try_from(amount.nanos()).unwrap_or_default().div_ceil(1_000)
    }

    /// The amount of one measure.
    pub fn of(&self, measure: Measure) -> u64 {
        match measure {
            Measure::Requests => self.requests,
            Measure::Tokens => self.tokens,
            Measure::Spend => self.spend,
        }
    }
}

/// The limits of one scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitSet([Option<u64>; 12]);

impl LimitSet {
    /// Sets a limit; `None` for none.
    pub fn with(mut self, kind: Kind, limit: Option<u64>) -> Self {
        self.0[kind.index()] = limit;
        self
    }

    /// A kind's limit.
    pub fn of(&self, kind: Kind) -> Option<u64> {
        self.0[kind.index()]
    }

    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// What is limited, and to what.
    pub fn limits(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        Kind::ALL.into_iter().filter_map(|kind| Some((kind, self.of(kind)?)))
    }
}

/// Every limit in force. Immutable; replaced whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Of all calls together.
    pub space: LimitSet,
    /// Of keys that have none of their own.
    pub every_key: LimitSet,
    /// Of keys that have, by name, with what they leave open filled in.
    pub keys: HashMap<String, LimitSet>,
    /// Of groups.
    pub groups: HashMap<String, LimitSet>,
    /// Of models.
    pub models: HashMap<String, LimitSet>,
    /// Of channels.
    pub channels: HashMap<String, LimitSet>,
    /// By whose clocks days and months begin.
    pub zone: Zone,
}

/// Who calls what, as limits see it.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The key.
    pub key: KeyId,
    /// Its name.
    pub name: &'a str,
    /// Its group.
    pub group: &'a str,
    /// The model, aliases resolved.
    pub model: &'a str,
}

impl Rules {
    /// What a call claims of its caller's cells, its model's and everyone's, of these measures.
    pub fn of_call(&self, who: Who<'_>, amounts: Amounts, measures: &[Measure]) -> Vec<Claim> {
        let mut claims = Vec::new();
        let mut claim = |set: &LimitSet, scope: &dyn Fn() -> Scope| {
            let limits = set.limits().filter(|(kind, _)| measures.contains(&kind.measure));
            claims.extend(limits.map(|limit| claim(limit, scope(), amounts)));
        };
        claim(&self.space, &|| Scope::Space);
        if let Some(set) = self.groups.get(who.group) {
            claim(set, &|| Scope::Group(who.group.into()));
        }
        if let Some(set) = self.models.get(who.model) {
            claim(set, &|| Scope::Model(who.model.into()));
        }
        let own = self.keys.get(who.name).unwrap_or(&self.every_key);
        claim(own, &|| Scope::Key(who.key));
        claims
    }

    /// What an attempt claims of its channel's cells.
    pub fn of_channel(&self, channel: &str, amounts: Amounts) -> Vec<Claim> {
        let Some(set) = self.channels.get(channel) else { return Vec::new() };
        set.limits().map(|limit| claim(limit, Scope::Channel(channel.into()), amounts)).collect()
    }

    /// Whether any limit on such a time is in force.
    pub fn limits_any(&self, span: Span) -> bool {
        let all =
            [&self.keys, &self.groups, &self.models, &self.channels].into_iter().flat_map(HashMap::values);
        all.chain([&self.space, &self.every_key]).any(|set| set.limits().any(|(kind, _)| kind.span == span))
    }
}

fn claim((kind, limit): (Kind, u64), scope: Scope, amounts: Amounts) -> Claim {
    Claim { id: CellId { scope, kind }, limit, amount: amounts.of(kind.measure) }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_at_its_own_index_under_its_own_name() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), index);
            let name = format!("{:?}_per_{:?}", kind.measure, kind.span).to_lowercase();
            assert_eq!(kind.as_str(), name);
        }
    }

    #[test]
    fn claims_come_in_the_order_of_their_cells_and_a_keys_own_limits_replace_the_default() {
        let one = |n| LimitSet::default().with(Kind::ALL[0], Some(n));
        let rules = Rules {
            space: one(1),
            every_key: one(2).with(Kind::ALL[11], Some(7)),
            keys: [("own".to_owned(), one(3))].into(),
            groups: [("g".to_owned(), one(4))].into(),
            models: [("m".to_owned(), one(5))].into(),
            channels: [("c".to_owned(), one(6))].into(),
            zone: Zone::default(),
        };
        let amounts = Amounts { requests: 1, tokens: 10, spend: 20 };
        let of = |name| {
            let claims =
                rules.of_call(Who { key: KeyId(9), name, group: "g", model: "m" }, amounts, &Measure::ALL);
            assert!(claims.is_sorted_by_key(|claim| claim.id.clone()));
            claims.iter().map(|c| (c.id.to_string(), c.limit, c.amount)).collect::<Vec<_>>()
        };
        let shared = [
            ("space_requests_per_minute".to_owned(), 1, 1),
            ("group_requests_per_minute".to_owned(), 4, 1),
            ("model_requests_per_minute".to_owned(), 5, 1),
        ];
        assert_eq!(of("own"), [&shared[..], &[("key_requests_per_minute".to_owned(), 3, 1)]].concat());
        let default =
            [("key_requests_per_minute".to_owned(), 2, 1), ("key_spend_per_month".to_owned(), 7, 20)];
        assert_eq!(of("other"), [&shared[..], &default].concat());
        assert_eq!(rules.of_channel("c", amounts).len(), 1);
        assert!(rules.of_channel("d", amounts).is_empty());
        assert!(rules.limits_any(Span::Month) && !rules.limits_any(Span::Hour));
    }

    #[test]
    fn money_counts_in_millionths_rounded_up() {
        for (nanos, micros) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2), (-5, 0)] {
            assert_eq!(Amounts::of_money(Money::from_nanos(nanos)), micros, "{nanos}");
        }
    }
}
