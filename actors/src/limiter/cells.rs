//! The cells that keep count, by scope and kind: made on first use, looked up without a lock, and the guard
//! that holds what a call took of several.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;

use super::{
    calendar::{Period, Zone},
    rules::{Amounts, CellId, Measure, Span},
    window::{NotTaken, Window},
};

/// What time it is, by every clock that limits go by.
#[derive(Clone, Copy, Debug)]
pub struct Now<'z> {
    /// Milliseconds of a monotonic clock.
    pub ms: u64,
    /// Milliseconds since 1970.
    pub wall_ms: i64,
    /// By whose calendar.
    pub zone: &'z Zone,
}

impl Now<'_> {
    fn period(&self, span: Span) -> u64 {
        match span {
            Span::Month => self.zone.month(self.wall_ms),
            _ => self.zone.day(self.wall_ms),
        }
    }

    fn next_period(&self, span: Span) -> Duration {
        let next = match span {
            Span::Month => self.zone.next_month(self.wall_ms),
            _ => self.zone.next_day(self.wall_ms),
        };
        Duration::from_millis(u64::try_from(next - self.wall_ms).unwrap_or_default())
    }
}

/// What was taken of one scope and kind.
#[derive(Debug)]
pub struct Cell {
    /// Of which.
    pub id: CellId,
    count: Count,
}

#[derive(Debug)]
enum Count {
    Sliding(Window),
    Calendar(Period),
}

impl Cell {
    fn new(id: CellId, now: Now<'_>) -> Self {
        let count = match id.kind.span.length() {
            Some(length) => Count::Sliding(Window::new(length)),
            None => Count::Calendar(Period::new(now.period(id.kind.span))),
        };
        Self { id, count }
    }

    fn take(&self, amount: u64, limit: u64, now: Now<'_>) -> Result<u64, NotTaken> {
        match &self.count {
            Count::Sliding(window) => window.take(amount, limit, now.ms),
            Count::Calendar(period) => period.take(amount, limit, now.period(self.id.kind.span)),
        }
    }

    fn correct(&self, charged: u64, held: u64, actual: u64) {
        match &self.count {
            Count::Sliding(window) => window.correct(charged, held, actual),
            Count::Calendar(period) => period.correct(charged, held, actual),
        }
    }

    /// Adds what was taken elsewhere, `ago` before now.
    fn add(&self, amount: u64, ago: Duration, now: Now<'_>) {
        let ago_ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        match &self.count {
            Count::Sliding(window) => {
                // Before this clock began: too long ago for any window.
                if let Some(at) = now.ms.checked_sub(ago_ms) {
                    window.add(amount, at, now.ms);
                }
            }
            Count::Calendar(period) => {
                let then = Now { wall_ms: now.wall_ms.saturating_sub_unsigned(ago_ms), ..now };
                if then.period(self.id.kind.span) == now.period(self.id.kind.span) {
                    period.add(amount, now.period(self.id.kind.span));
                }
            }
        }
    }

    /// What is taken now.
    pub fn used(&self, now: Now<'_>) -> u64 {
        match &self.count {
            Count::Sliding(window) => window.used(now.ms),
            Count::Calendar(period) => period.used(now.period(self.id.kind.span)),
        }
    }

    fn fits_in(&self, amount: u64, limit: u64, now: Now<'_>) -> Option<Duration> {
        match &self.count {
            Count::Sliding(window) => window.fits_in(amount, limit, now.ms),
            Count::Calendar(_) if amount > limit => None,
            Count::Calendar(_) => Some(now.next_period(self.id.kind.span)),
        }
    }

    fn empty_in(&self, now: Now<'_>) -> Duration {
        match &self.count {
            Count::Sliding(window) => window.empty_in(now.ms),
            Count::Calendar(_) => now.next_period(self.id.kind.span),
        }
    }

    fn evict(&self, now: Now<'_>) -> bool {
        match &self.count {
            Count::Sliding(window) => window.evict(now.ms),
            Count::Calendar(period) => period.evict(now.period(self.id.kind.span)),
        }
    }
}

/// Longer than anybody waits.
const NEVER: Duration = Duration::from_secs(366 * 86_400);

/// A wish to take an amount of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Of which.
    pub id: CellId,
    /// What it may hold.
    pub limit: u64,
    /// How much.
    pub amount: u64,
}

/// A limit that a call would exceed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverLimit {
    /// Which.
    pub id: CellId,
    /// What may be taken.
    pub limit: u64,
    /// What is.
    pub used: u64,
    /// What the call would take.
    pub amount: u64,
    /// When it would fit; `None` where it is more than the limit itself.
    pub retry_after: Option<Duration>,
    /// The limits on requests and tokens that are nearest to refuse.
    pub rates: Rates,
}

/// How a limit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What may be taken.
    pub limit: u64,
    /// What may be taken still.
    pub remaining: u64,
    /// When nothing will be taken any more, if nothing else is.
    pub reset: Duration,
}

/// Of the limits on requests and those on tokens, the one that is nearest to refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// On requests.
    pub requests: Option<Rate>,
    /// On tokens.
    pub tokens: Option<Rate>,
}

impl Rates {
    fn add(&mut self, cell: &Cell, limit: u64, now: Now<'_>) {
        let place = match cell.id.kind.measure {
            Measure::Requests => &mut self.requests,
            Measure::Tokens => &mut self.tokens,
            Measure::Spend => return,
        };
        let remaining = limit.saturating_sub(cell.used(now));
        let share = |remaining: u64, limit: u64| remaining as f64 / limit.max(1) as f64;
        if place.is_none_or(|known| share(remaining, limit) < share(known.remaining, known.limit)) {
            *place = Some(Rate { limit, remaining, reset: cell.empty_in(now) });
        }
    }
}

type Shard = HashMap<CellId, Arc<Cell>>;

/// Every cell, in shards: adding one copies a shard's references, not the registry's.
#[derive(Debug)]
pub struct Cells {
    shards: Box<[ArcSwap<Shard>]>,
    hash: RandomState,
}

impl Default for Cells {
    fn default() -> Self {
        let shards = (0..Self::SHARDS).map(|_| ArcSwap::default()).collect();
        Self { shards, hash: RandomState::new() }
    }
}

impl Cells {
    const SHARDS: usize = 256;

    /// How many there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.load().len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes what is claimed, of every cell or of none.
    ///
    /// # Errors
    /// [`OverLimit`] names the first limit that would be exceeded; then nothing is taken.
    pub fn hold(&self, mut claims: Vec<Claim>, now: Now<'_>) -> Result<Held, Box<OverLimit>> {
        claims.sort_by(|a, b| a.id.cmp(&b.id));
        let mut held = Held::default();
        for Claim { id, limit, amount } in claims {
            let (cell, taken) = self.take(&id, amount, limit, now);
            match taken {
                Ok(charged) => held.0.push(Taken { cell, charged, amount, limit }),
                Err(used) => {
                    let mut rates = held.rates(now);
                    rates.add(&cell, limit, now);
                    let retry_after = cell.fits_in(amount, limit, now);
                    return Err(Box::new(OverLimit { id, limit, used, amount, retry_after, rates }));
                }
            }
        }
        Ok(held)
    }

    /// Takes of a cell; where it was evicted meanwhile, of the one in its place.
    fn take(&self, id: &CellId, amount: u64, limit: u64, now: Now<'_>) -> (Arc<Cell>, Result<u64, u64>) {
        loop {
            let cell = self.cell(id, now);
            match cell.take(amount, limit, now) {
                Ok(charged) => return (cell, Ok(charged)),
                Err(NotTaken::Full(used)) => return (cell, Err(used)),
                Err(NotTaken::Gone) => self.remove(&cell),
            }
        }
    }

    /// Adds what was taken before this start, or elsewhere; limits are exceeded if need be.
    pub fn add(&self, id: &CellId, amount: u64, ago: Duration, now: Now<'_>) {
        if amount > 0 {
            self.cell(id, now).add(amount, ago, now);
        }
    }

    /// Whether there is such a cell.
    pub fn has(&self, id: &CellId) -> bool {
        self.shard(id).load().contains_key(id)
    }

    /// Takes these cells out: what is taken from now on, others count.
    pub fn forget<'i>(&self, ids: impl IntoIterator<Item = &'i CellId>) {
        for id in ids {
            if let Some(cell) = self.shard(id).load().get(id).cloned() {
                self.remove(&cell);
            }
        }
    }

    /// What is taken of a cell now; nothing where there is none.
    pub fn used(&self, id: &CellId, now: Now<'_>) -> u64 {
        self.shard(id).load().get(id).map_or(0, |cell| cell.used(now))
    }

    /// After how long the last of so many such claims would fit, if nothing else is taken; a very long time where one
    /// alone never will.
    pub fn fits_in(&self, claim: &Claim, times: u64, now: Now<'_>) -> Duration {
        let Claim { id, limit, amount } = claim;
        if amount > limit {
            return NEVER;
        }
        // As many as fit together go in each span.
        let together = limit.checked_div(*amount).unwrap_or(u64::MAX);
        let (spans, rest) = ((times - 1) / together, (times - 1) % together + 1);
        let shard = self.shard(id).load();
        let needed = amount.saturating_mul(rest);
        let first = match shard.get(id) {
            Some(cell) if cell.used(now).saturating_add(needed) > *limit => {
                cell.fits_in(needed, *limit, now).unwrap_or(NEVER)
            }
            _ => Duration::ZERO,
        };
        let spans = Duration::try_from_secs_f64(spans as f64 * id.kind.span.seconds()).unwrap_or(NEVER);
        first.saturating_add(spans).min(NEVER)
    }

    /// Ends the cells that hold nothing; gives how many.
    pub fn evict(&self, now: Now<'_>) -> usize {
        let mut evicted = 0;
        for shard in &self.shards {
            let ended: Vec<_> = shard.load().values().filter(|cell| cell.evict(now)).cloned().collect();
            evicted += ended.len();
            ended.iter().for_each(|cell| self.remove(cell));
        }
        evicted
    }

    fn cell(&self, id: &CellId, now: Now<'_>) -> Arc<Cell> {
        let shard = self.shard(id);
        if let Some(cell) = shard.load().get(id) {
            return Arc::clone(cell);
        }
        let made = Arc::new(Cell::new(id.clone(), now));
        let before = shard.rcu(|cells| {
            let mut cells = Shard::clone(cells);
            cells.entry(id.clone()).or_insert_with(|| Arc::clone(&made));
            cells
        });
        before.get(id).cloned().unwrap_or(made)
    }

    /// Takes a cell out, if it is the one that stands there.
    fn remove(&self, cell: &Arc<Cell>) {
        self.shard(&cell.id).rcu(|cells| {
            if !cells.get(&cell.id).is_some_and(|known| Arc::ptr_eq(known, cell)) {
                return Arc::clone(cells);
            }
            let mut cells = Shard::clone(cells);
            cells.remove(&cell.id);
            Arc::new(cells)
        });
    }

    fn shard(&self, id: &CellId) -> &ArcSwap<Shard> {
        &self.shards[self.hash.hash_one(id) as usize % Self::SHARDS]
    }
}

/// What a call took of its cells. Dropping it gives all of it back; settling puts it right, once.
#[derive(Debug, Default)]
#[must_use = "dropping it gives back what was taken"]
pub struct Held(Vec<Taken>);

#[derive(Debug)]
struct Taken {
    cell: Arc<Cell>,
    charged: u64,
    amount: u64,
    limit: u64,
}

impl Held {
    /// Holds what another guard holds, too.
    pub fn join(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// Whether nothing was taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How the limits stand that this call is under.
    pub fn rates(&self, now: Now<'_>) -> Rates {
        let mut rates = Rates::default();
        self.0.iter().for_each(|taken| rates.add(&taken.cell, taken.limit, now));
        rates
    }

    /// Puts right what was held, now that it is known: each in the time in which it was taken.
    pub fn settle(mut self, actual: Amounts) {
        for Taken { cell, charged, amount, .. } in self.0.drain(..) {
            cell.correct(charged, amount, actual.of(cell.id.kind.measure));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for Taken { cell, charged, amount, .. } in self.0.drain(..).rev() {
            cell.correct(charged, amount, 0);
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
