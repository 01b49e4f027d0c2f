//! Clients, mock, journal and books, joined by call id; and what may not be.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Debug,
};

use penstock_actors::domain::{AccountId, CallId, Money, Outcome, Settled, Settlement, UsageSource};

use super::{
    facts::{Call, Facts},
    load::{Saw, Seen},
    options::Mode,
    world::{PRICES, World},
};
use crate::store::{BooksReport, CallRow};

/// Violations that are shown; all are counted.
const SHOWN: usize = 20;

/// What power cuts took from the journal, since the disk had not been asked to keep it.
#[derive(Debug, Default)]
pub(super) struct Lost {
    pub dispatched: HashSet<CallId>,
    pub settled: HashSet<CallId>,
    /// How long before its cut the oldest such settlement was written, in milliseconds.
    pub oldest_ms: i64,
    /// How the journal was kept.
    pub mode: Mode,
}

/// What the join has found.
#[derive(Debug, Default)]
pub(super) struct Join {
    /// What was counted, in the order in which it is told.
    counts: Vec<(&'static str, u64)>,
    violations: Vec<String>,
}

/// What the books say.
struct Rows {
    calls: HashMap<CallId, CallRow>,
    count: u64,
    balances: BTreeMap<AccountId, Money>,
    report: BooksReport,
}

impl Join {
    /// Nothing is joined yet.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Joins what the clients saw with everything else. The gateway has ended in peace before.
    pub fn of(world: &World, seen: Vec<Seen>, lost: &Lost) -> Result<Self, String> {
        let facts = Facts::read(&world.data())?;
        let rows = actix_web::rt::System::new().block_on(rows(world, &facts))?;
        let mut join = Self::default();
        join.clients(world, &seen, &facts, lost)?;
        join.calls(&facts);
        join.books(&facts, &rows);
        let requests = world.all_served()?.requests;
        join.count("requests that the mock had", requests);
        if lost.dispatched.is_empty() && requests > facts.dispatches() {
            join.violated("the mock had requests that were not dispatched", &requests);
        }
        Ok(join)
    }

    /// Adds a figure to what is told.
    pub fn count(&mut self, what: &'static str, count: u64) {
        self.counts.push((what, count));
    }

    /// Notes what may not be.
    pub fn violated(&mut self, what: &str, which: &dyn Debug) {
        self.violations.push(format!("{what}: {which:?}"));
    }

    /// Prints what was found.
    ///
    /// # Errors
    /// The number of violations, where there are any.
    pub fn report(&self, title: &str) -> Result<(), String> {
        println!("{title}");
        for (what, count) in &self.counts {
            println!("  {count:>9}  {what}");
        }
        println!("  {:>9}  violations", self.violations.len());
        for violation in self.violations.iter().take(SHOWN) {
            println!("    {violation}");
        }
        match self.violations.len() {
            0 => Ok(()),
            count => Err(format!("{title}: {count} violations")),
        }
    }

    /// What was seen outside must stand in the journal.
    fn clients(&mut self, world: &World, seen: &[Seen], facts: &Facts, lost: &Lost) -> Result<(), String> {
        let count = |saw: fn(Saw) -> bool| seen.iter().filter(|one| saw(one.saw)).count() as u64;
        self.count("calls sent", seen.len() as u64);
        self.count("with the final byte seen", count(|saw| saw == Saw::FinalByte));
        self.count("refused", count(|saw| matches!(saw, Saw::Refusal(_))));
        self.count("cut off or left", count(|saw| saw == Saw::Part));
        self.count("without an answer", count(|saw| saw == Saw::Nothing));
        let (mut joined, mut abandoned, mut gone) = (0, 0, 0);
        let nothing = Call::default();
        for one in seen {
            let Some(id) = one.call else { continue };
            let call = facts.calls.get(&id).unwrap_or(&nothing);
            match (one.saw, &call.settlements[..]) {
                (Saw::FinalByte, [(_, _, settlement)]) if settlement.settled == Settled::Settled => {
                    joined += u64::from(self.completed(world, one, settlement)?);
                }
                (Saw::FinalByte, [_]) if lost.settled.contains(&id) => abandoned += 1,
                (Saw::FinalByte, []) if lost.dispatched.contains(&id) => gone += 1,
                (Saw::FinalByte, _) => self.violated("final byte seen, but not settled once", &(id, call)),
                (Saw::Refusal(_), [(_, _, s)])
                    if s.settled == Settled::Settled && s.charge != Money::ZERO =>
                {
                    self.violated("a refused call was charged", s);
                }
                (Saw::Refusal(_), [(_, _, s)])
                    if s.settled == Settled::Abandoned && lost.mode == Mode::Power =>
                {
                    self.violated("a call whose refusal was seen became abandoned", s);
                }
                _ => {}
            }
        }
        self.count("settled with the tokens and at the price of the mock's answer", joined);
        if !lost.settled.is_empty() || !lost.dispatched.is_empty() {
            self.count("settlements that a power cut took", lost.settled.len() as u64);
            self.count("ms before its cut the oldest of them was written", lost.oldest_ms.unsigned_abs());
            self.count("calls with the final byte seen that became abandoned by that", abandoned);
            self.count("of which nothing is left", gone);
        }
        if lost.mode == Mode::Power && abandoned + gone > 0 {
            self.violated("a power cut took calls that were seen to their final byte", &(abandoned, gone));
        }
        Ok(())
    }

    /// A completed call is settled with what the mock says of it. Whether that could be compared.
    fn completed(&mut self, world: &World, seen: &Seen, settlement: &Settlement) -> Result<bool, String> {
        let (usage, price) = (settlement.usage, settlement.charge.nanos());
        let (input, output) = (usage.input as i64, usage.output as i64);
        if settlement.outcome != Outcome::Completed || price != input * PRICES.0 + output * PRICES.1 {
            self.violated("settled otherwise than completed at its price", settlement);
        }
        if (settlement.usage_source == UsageSource::Upstream) != seen.tells_usage {
            self.violated("its usage is not the provider's", settlement);
        }
        let Some(served) = world.served(uuid::Uuid::from_u128(settlement.call.0))? else {
            self.violated("the mock does not know a completed call", settlement);
            return Ok(false);
        };
        if !seen.tells_usage || served.attempts != 1 {
            return Ok(false);
        }
        if (served.completed, served.prompt_tokens, served.completion_tokens) != (1, input, output) {
            self.violated("its tokens are not the mock's", &(settlement, served));
        }
        Ok(true)
    }

    /// Every dispatched call is settled once, nothing else costs anything.
    fn calls(&mut self, facts: &Facts) {
        let (mut settled, mut abandoned, mut in_progress) = (0, 0, 0);
        for (id, call) in &facts.calls {
            let [(_, _, settlement)] = &call.settlements[..] else {
                self.violated("not settled once", &(id, call));
                continue;
            };
            match (settlement.settled, &call.dispatch) {
                (Settled::Settled, None) if settlement.charge != Money::ZERO => {
                    self.violated("charged, but not dispatched", settlement);
                }
                (Settled::Settled, _) => settled += 1,
                (Settled::Abandoned, None) => self.violated("abandoned, but not dispatched", settlement),
                (Settled::Abandoned, Some(dispatch)) => {
                    abandoned += 1;
                    in_progress += u64::from(call.progress > Money::ZERO);
                    // A stream that goes on beyond what was held holds more before it notes so.
                    let reserved = dispatch.reserved.max(call.progress);
                    if settlement.charge < call.progress || settlement.charge > reserved {
                        self.violated(
                            "charged below its progress or above its reservation",
                            &(settlement, call),
                        );
                    }
                }
            }
        }
        self.count("settled in the journal", settled);
        self.count("abandoned in the journal", abandoned);
        self.count("of them with progress", in_progress);
        if facts.gaps > 0 {
            self.violated("parts of the journal are missing", &facts.gaps);
        }
    }

    /// The books have the journal's settlements, and nothing else.
    fn books(&mut self, facts: &Facts, rows: &Rows) {
        let mut settlements = 0;
        for (stream, end, s) in facts.settlements() {
            settlements += 1;
            let Some(row) = rows.calls.get(&s.call) else {
                self.violated("settled, but not in the request log", s);
                continue;
            };
            let stands = (row.node, row.boot, row.worker, row.ends_at);
            let expected = (stream.node.into(), stream.boot.into(), stream.worker.into(), *end as i64);
            let is_abandoned = row.settled == "abandoned";
            if stands != expected
                || is_abandoned != (s.settled == Settled::Abandoned)
                || (row.charge, row.reserved) != (s.charge.nanos(), s.reserved.nanos())
                || (row.input, row.output) != (s.usage.input as i64, s.usage.output as i64)
            {
                self.violated("the request log has another call than the journal", &(row, s));
            }
        }
        self.count("rows in the request log", rows.count);
        if rows.count != settlements {
            self.violated(
                "the request log has other rows than the journal settlements",
                &(rows.count, settlements),
            );
        }
        let charges = facts.charges();
        for (account, balance) in &rows.balances {
            let charged = charges.get(account).copied().unwrap_or_default();
            if -charged != *balance {
                self.violated("a balance did not change by what was charged", &(account, balance, charged));
            }
        }
        if let Some(unknown) = charges.keys().find(|account| !rows.balances.contains_key(account)) {
            self.violated("an account has no balance", unknown);
        }
        let total = charges.values().map(|charged| charged.nanos().unsigned_abs()).max();
        self.count("nano-dollars charged to the dearest account", total.unwrap_or_default());
        self.count("accounts whose balance is the sum of their entries", rows.report.accounts as u64);
        if !rows.report.balances() {
            self.violated("the books do not balance", &rows.report);
        }
    }
}

async fn rows(world: &World, facts: &Facts) -> Result<Rows, String> {
    let store = world.place().open().await?;
    let ids: Vec<CallId> = facts.calls.keys().copied().collect();
    let sentence = |error: crate::store::StoreError| error.to_string();
    let calls = store.get_calls(&ids).await.map_err(sentence)?;
    let id = |row: &CallRow| row.call_id.as_slice().try_into().map(u128::from_be_bytes).map(CallId);
    let calls: Result<HashMap<CallId, CallRow>, _> =
        calls.into_iter().map(|row| id(&row).map(|id| (id, row))).collect();
    let accounts = store.published().await.map_err(sentence)?.accounts;
    Ok(Rows {
        calls: calls.map_err(|_| "a call in the request log has no id".to_owned())?,
        count: store.count_calls().await.map_err(sentence)?,
        balances: accounts.iter().map(|account| (account.account_id(), account.balance())).collect(),
        report: store.check_books().await.map_err(sentence)?,
    })
}
