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
    /// Its usual length, in seconds.
    pub fn seconds(self) -> f64 {
        match self {
            Self::Minute => 60.0,
            Self::Hour => 3_600.0,
            Self::Day => 86_400.0,
            Self::Month => 30.0 * 86_400.0,
        }
    }

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

    /// The word in codes that this key's client is told: another key's limit is that of one above it.
    pub fn as_seen_by(&self, key: KeyId) -> &'static str {
        match self {
            Self::Key(other) if *other != key => "parent",
            scope => scope.as_str(),
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

    /// Lets nothing through.
    pub fn nothing() -> Self {
        Self([Some(0); 12])
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

    /// Whether anything is limited in such a time.
    pub fn limits_any(&self, span: Span) -> bool {
        self.limits().any(|(kind, _)| kind.span == span)
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

/// A key that another one stands under: what that one's calls take, they take of this one's limits, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The key.
    pub id: KeyId,
    /// Its name.
    pub name: String,
    /// Its own limits, where it was given some when it was made.
    pub limits: Option<Box<LimitSet>>,
}

/// Who calls what, as limits see it.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The key.
    pub key: KeyId,
    /// Its name.
    pub name: &'a str,
    /// Its own limits, where it was given some when it was made. Those of the settings come first.
    pub own: Option<&'a LimitSet>,
    /// The keys above it.
    pub above: &'a [Owner],
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
        for above in who.above {
            claim(self.of_key(&above.name, above.limits.as_deref()), &|| Scope::Key(above.id));
        }
        claim(self.of_key(who.name, who.own), &|| Scope::Key(who.key));
        claims
    }

    /// Whether keys are limited as by those other rules.
    pub fn limit_keys_alike(&self, other: &Self) -> bool {
        self.every_key == other.every_key && self.keys == other.keys
    }

    /// The limits of one key: those of the settings, its own, or every key's.
    pub fn of_key<'s>(&'s self, name: &str, own: Option<&'s LimitSet>) -> &'s LimitSet {
        self.keys.get(name).or(own).unwrap_or(&self.every_key)
    }

    /// What an attempt claims of its channel's cells, of these measures; `None` where the channel has no limits.
    pub fn of_channel(&self, channel: &str, amounts: Amounts, measures: &[Measure]) -> Option<Vec<Claim>> {
        let set = self.channels.get(channel)?;
        let limits = set.limits().filter(|(kind, _)| measures.contains(&kind.measure));
        Some(limits.map(|limit| claim(limit, Scope::Channel(channel.into()), amounts)).collect())
    }

    /// Whether any limit on such a time is in force.
    pub fn limits_any(&self, span: Span) -> bool {
        let all =
            [&self.keys, &self.groups, &self.models, &self.channels].into_iter().flat_map(HashMap::values);
        all.chain([&self.space, &self.every_key]).any(|set| set.limits_any(span))
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
            let who = Who { key: KeyId(9), name, own: None, above: &[], group: "g", model: "m" };
            let claims = rules.of_call(who, amounts, &Measure::ALL);
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
        let of_channel = |channel, measures| rules.of_channel(channel, amounts, measures).map(|c| c.len());
        assert_eq!(of_channel("c", &Measure::ALL), Some(1));
        assert_eq!((of_channel("c", &[Measure::Spend]), of_channel("d", &Measure::ALL)), (Some(0), None));
        assert!(rules.limits_any(Span::Month) && !rules.limits_any(Span::Hour));
    }

    #[test]
    fn a_child_takes_of_its_own_limits_and_of_those_of_every_key_above_it() {
        let one = |n| LimitSet::default().with(Kind::ALL[0], Some(n));
        let rules =
            Rules { every_key: one(2), keys: [("eldest".to_owned(), one(3))].into(), ..Rules::default() };
        let above = |id, name: &str, limits| Owner { id: KeyId(id), name: name.to_owned(), limits };
        let above = [above(2, "team", Some(Box::new(one(5)))), above(1, "eldest", Some(Box::new(one(9))))];
        let amounts = Amounts { requests: 1, ..Amounts::default() };
        let own = one(7);
        let who =
            Who { key: KeyId(3), name: "child", own: Some(&own), above: &above, group: "g", model: "m" };
        let claims = rules.of_call(who, amounts, &Measure::ALL);
        let said: Vec<_> = claims.iter().map(|c| (c.id.scope.as_seen_by(KeyId(3)), c.limit)).collect();
        assert_eq!(said, [("parent", 5), ("parent", 3), ("key", 7)]);
        let plain = Who { own: None, above: &above[..0], ..who };
        assert_eq!(rules.of_call(plain, amounts, &Measure::ALL)[0].limit, 2);
    }

    #[test]
    fn money_counts_in_millionths_rounded_up() {
        for (nanos, micros) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2), (-5, 0)] {
            assert_eq!(Amounts::of_money(Money::from_nanos(nanos)), micros, "{nanos}");
        }
    }
}
