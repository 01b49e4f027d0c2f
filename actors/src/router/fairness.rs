//! How much each key has been served: one virtual counter of tokens a key, shared by all channels. Pure.
//!
//! A free slot serves the waiting key with the least counter: what its settled calls used, and what those
//! under way are estimated to. A key that returns is lifted to what the key that is served just now has settled
//! (after start-time fair queueing: Goyal, Vin, Cheng, 1996), so that idling saves nothing up, and what is only
//! estimated of others holds nobody back.

use std::{collections::HashMap, time::Duration};

use crate::domain::KeyId;

/// A call's priority class in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Band {
    /// Served first.
    High,
    /// What calls are in where nothing is said.
    #[default]
    Normal,
    /// Served last, but for a share of its own; gives way first.
    Low,
}

impl Band {
    /// Every band, the one served first leading.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The word in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

/// What a call asks for. Times are on the waiting room's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who pays with turns.
    pub key: KeyId,
    /// Its priority class.
    pub band: Band,
    /// Estimated tokens.
    pub cost: u64,
    /// The key's share against other keys'; at least 1.
    pub weight: u32,
    /// When it arrived.
    pub arrived: Duration,
    /// When it has waited long enough.
    pub deadline: Duration,
}

/// A key's row among the counters, for who holds a share in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seat(u32);

/// What a key's counter stands at. The least is served next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    /// Tokens by weight.
    pub counter: u64,
    /// The how-manieth claim served it last: of equals, who was served longest ago.
    pub served: u64,
}

/// See the module's sentences.
#[derive(Debug, Default)]
pub struct Fairness {
    seats: HashMap<KeyId, Seat>,
    rows: Vec<Row>,
    free: Vec<Seat>,
    claims: u64,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    key: KeyId,
    /// What settled calls used, by weight.
    settled: u64,
    /// What calls under way are estimated to, in tokens.
    under_way: u64,
    /// The how-manieth claim served it last.
    served: u64,
    weight: u32,
    /// Queues in which the key waits.
    shares: u32,
    /// When it last waited or was served.
    since: Duration,
}

impl Row {
    fn standing(&self) -> Standing {
        let counter = self.settled.saturating_add(scaled(self.under_way, self.weight));
        Standing { counter, served: self.served }
    }
}

/// Tokens are scaled by this, so that weights divide without much loss.
const SCALE: u64 = 64;
/// A key that neither waits nor was served for so long starts anew.
const FORGET: Duration = Duration::from_secs(60);

impl Fairness {
    /// Takes a share in a key's row: it waits in one queue more.
    pub fn sit(&mut self, key: KeyId, weight: u32, now: Duration) -> Seat {
        let seat = match self.seats.get(&key) {
            Some(seat) => *seat,
            None => {
                let row = Row { key, settled: 0, under_way: 0, served: 0, weight, shares: 0, since: now };
                let seat = match self.free.pop() {
                    Some(seat) => {
                        self.rows[seat.0 as usize] = row;
                        seat
                    }
                    None => {
                        self.rows.push(row);
                        Seat(self.rows.len() as u32 - 1)
                    }
                };
                self.seats.insert(key, seat);
                seat
            }
        };
        let row = &mut self.rows[seat.0 as usize];
        row.shares += 1;
        row.weight = weight.max(1);
        row.since = now;
        seat
    }

    /// Gives a share back.
    pub fn rise(&mut self, seat: Seat, now: Duration) {
        let row = &mut self.rows[seat.0 as usize];
        row.shares = row.shares.saturating_sub(1);
        row.since = now;
    }

    /// Where a key stands.
    pub fn standing(&self, seat: Seat) -> Standing {
        self.rows[seat.0 as usize].standing()
    }

    /// Where a key stands by its name; the least for one that is not known.
    pub fn standing_of(&self, key: KeyId) -> Standing {
        self.seats.get(&key).map(|seat| self.standing(*seat)).unwrap_or_default()
    }

    /// Lifts a key that returns to where its channel serves.
    pub fn lift(&mut self, seat: Seat, to: u64) {
        let row = &mut self.rows[seat.0 as usize];
        row.settled = row.settled.max(to);
    }

    /// Charges a claim; gives what the key has settled.
    pub fn charge(&mut self, seat: Seat, cost: u64, now: Duration) -> u64 {
        self.claims += 1;
        let row = &mut self.rows[seat.0 as usize];
        row.under_way = row.under_way.saturating_add(cost);
        (row.served, row.since) = (self.claims, now);
        row.settled
    }

    /// Corrects what was charged for a call to what it used.
    pub fn correct(&mut self, key: KeyId, charged: u64, used: u64) {
        let Some(seat) = self.seats.get(&key) else { return };
        let row = &mut self.rows[seat.0 as usize];
        row.under_way = row.under_way.saturating_sub(charged);
        row.settled = row.settled.saturating_add(scaled(used, row.weight));
    }

    /// Forgets keys that have not waited for a while. To be called now and then.
    pub fn forget(&mut self, now: Duration) {
        let Self { seats, rows, free, .. } = self;
        seats.retain(|_, seat| {
            let row = &rows[seat.0 as usize];
            let stays = row.shares > 0 || row.under_way > 0 || now.saturating_sub(row.since) < FORGET;
            if !stays {
                free.push(*seat);
            }
            stays
        });
    }

    /// Every key that is remembered, and its counter in tokens by weight.
    pub fn counters(&self) -> impl Iterator<Item = (KeyId, u64)> {
        self.seats.values().map(|seat| {
            let row = &self.rows[seat.0 as usize];
            (row.key, row.standing().counter / SCALE)
        })
    }

    /// Shares in rows that are held: 0 once nobody waits.
    pub fn shares(&self) -> u64 {
        self.seats.values().map(|seat| u64::from(self.rows[seat.0 as usize].shares)).sum()
    }
}

/// What a cost adds to a counter.
pub fn scaled(cost: u64, weight: u32) -> u64 {
    cost.saturating_mul(SCALE) / u64::from(weight.max(1))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An ask of a key, for tests.
    pub(crate) fn ask(key: i64, cost: u64) -> Ask {
        Ask {
            key: KeyId(key),
            band: Band::Normal,
            cost,
            weight: 1,
            arrived: Duration::ZERO,
            deadline: Duration::from_secs(30),
        }
    }

    #[test]
    fn a_claim_charges_by_weight_and_settlement_corrects_it() {
        let mut fairness = Fairness::default();
        let [light, heavy] =
            [(1, 1), (2, 4)].map(|(key, weight)| fairness.sit(KeyId(key), weight, Duration::ZERO));
        for seat in [light, heavy] {
            assert_eq!(fairness.charge(seat, 100, Duration::ZERO), 0, "nothing is settled");
        }
        assert_eq!(fairness.standing(light).counter, 4 * fairness.standing(heavy).counter);
        assert!(fairness.standing(light).served < fairness.standing(heavy).served);
        fairness.correct(KeyId(1), 100, 30);
        assert_eq!(fairness.standing(light).counter, scaled(30, 1));
        fairness.correct(KeyId(9), 1, 1);
    }

    #[test]
    fn a_key_is_lifted_and_never_lowered() {
        let mut fairness = Fairness::default();
        let seat = fairness.sit(KeyId(1), 1, Duration::ZERO);
        fairness.lift(seat, 500);
        fairness.lift(seat, 300);
        assert_eq!(fairness.standing(seat).counter, 500);
    }

    #[test]
    fn keys_that_wait_no_more_are_forgotten_after_a_while() {
        let mut fairness = Fairness::default();
        let [stays, goes] = [1, 2].map(|key| fairness.sit(KeyId(key), 1, Duration::ZERO));
        fairness.charge(goes, 5, Duration::ZERO);
        fairness.correct(KeyId(2), 5, 7);
        fairness.rise(goes, Duration::from_secs(1));
        fairness.forget(Duration::from_secs(30));
        assert!(fairness.standing_of(KeyId(2)).counter > 0, "remembered for a while");
        fairness.forget(Duration::from_secs(70));
        assert_eq!(fairness.counters().map(|(key, _)| key.0).collect::<Vec<_>>(), [1]);
        assert_eq!(fairness.sit(KeyId(3), 1, Duration::ZERO), goes, "its row is used again");
        assert_eq!(fairness.standing(goes), Standing::default());
        assert_ne!(stays, goes);
        assert_eq!(fairness.shares(), 2);
    }
}
