//! What age takes: entries of usage are summed up into closing balances, so that the sums of the books stay;
//! and the lock that lets one of several nodes do it.

use std::collections::BTreeMap;

use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _};
use diesel_async::{AsyncConnection as _, RunQueryDsl as _, SimpleAsyncConnection as _};
use penstock_actors::{
    ports::StoreError as PortError,
    usage_log::{Batch, Range},
};

use super::{
    LOG_WRITER, Store,
    books::{self, or_conflict, stored_positions},
    error::{StoreError, Stored},
    log::FORGOTTEN,
    pool::{query, transaction},
    schema::{consumer_position as place, duty_lock, ledger_entry},
};

/// The consumer that stands for entries that were summed up.
pub(super) const CLOSED: &str = "closed";
/// The kind of entry that stands for those that were removed.
const CLOSING: &str = "closing";

/// An entry of usage: its number, account, amount and moment, and the end of its stretch of the journal.
type Single = (i64, i64, i64, i64, (Option<i64>, Option<i64>, Option<i64>, Option<i64>));

/// A background duty that one node at a time has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duty<'a> {
    /// What is to be done.
    pub name: &'a str,
    /// Who does it.
    pub holder: &'a str,
}

/// Up to where a consumer's position in each stream is raised; lower ones are left.
macro_rules! raise_positions {
    ($c:ident, $consumer:expr, $furthest:expr) => {
        for ((node, boot, worker), up_to) in $furthest {
            let mine = || place::table.find(($consumer, node, boot, worker));
            let known = mine().select(place::up_to).first::<i64>($c).await.optional()?;
            if known.is_none() {
                diesel::insert_into(place::table)
                    .values((
                        place::consumer.eq($consumer),
                        place::node.eq(node),
                        place::boot.eq(boot),
                        place::worker.eq(worker),
                        place::up_to.eq(up_to),
                    ))
                    .execute($c)
                    .await
                    .map_err(or_conflict)?;
            } else if known < Some(up_to) {
                diesel::update(mine()).set(place::up_to.eq(up_to)).execute($c).await?;
            }
        }
    };
}

pub(super) use raise_positions;

impl Store {
    /// Takes a duty until a moment, or keeps it. `false` where another has it.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn take_duty(&self, duty: Duty<'_>, now_ms: i64, until_ms: i64) -> Stored<bool> {
        transaction!(&self.main, c => {
            let held = duty_lock::table
                .find(duty.name)
                .select((duty_lock::holder, duty_lock::until_ms))
                .first::<(String, i64)>(c)
                .await
                .optional()?;
            let Some((holder, until)) = held else {
                diesel::insert_into(duty_lock::table)
                    .values((
                        duty_lock::name.eq(duty.name),
                        duty_lock::holder.eq(duty.holder),
                        duty_lock::until_ms.eq(until_ms),
                    ))
                    .execute(c)
                    .await
                    .map_err(or_conflict)?;
                return Stored::Ok(true);
            };
            if holder != duty.holder && until > now_ms {
                return Ok(false);
            }
            // Of two that read the same, one changes it.
            let as_read = duty_lock::table
                .find(duty.name)
                .filter(duty_lock::holder.eq(&holder))
                .filter(duty_lock::until_ms.eq(until));
            let changed = diesel::update(as_read)
                .set((duty_lock::holder.eq(duty.holder), duty_lock::until_ms.eq(until_ms.max(until + 1))))
                .execute(c)
                .await?;
            Ok(changed > 0)
        })
    }

    /// Sums up at most so many of the oldest entries of usage that were made before a moment, into one entry
    /// for each account, and removes them; gives how many. Only who has the duty may do it.
    ///
    /// # Errors
    /// Refused where another has the duty.
    pub async fn close_entries(&self, duty: Duty<'_>, before_ms: i64, at_most: i64) -> Stored<usize> {
        transaction!(&self.main, c => {
            // This row's lock keeps a second one from summing up the same.
            let mine = duty_lock::table.find(duty.name).filter(duty_lock::holder.eq(duty.holder));
            let kept = diesel::update(mine).set(duty_lock::until_ms.eq(duty_lock::until_ms + 1)).execute(c).await?;
            if kept == 0 {
                return StoreError::refused(format!("another node has the duty {}", duty.name));
            }
            let oldest = ledger_entry::table
                .filter(ledger_entry::kind.eq_any([books::USAGE, books::GAP]))
                .order(ledger_entry::id)
                .limit(at_most)
                .select((
                    ledger_entry::id,
                    ledger_entry::account_id,
                    ledger_entry::amount,
                    ledger_entry::at_ms,
                    (ledger_entry::node, ledger_entry::boot, ledger_entry::worker, ledger_entry::to_offset),
                ))
                .load::<Single>(c)
                .await?;
            let mut ids = Vec::new();
            let mut sums: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
            let mut furthest: BTreeMap<(i64, i64, i64), i64> = BTreeMap::new();
            for (id, account, amount, at_ms, part) in oldest.into_iter().take_while(|entry| entry.3 < before_ms) {
                ids.push(id);
                let (sum, latest) = sums.entry(account).or_default();
                (*sum, *latest) = (*sum + amount, (*latest).max(at_ms));
                if let (Some(node), Some(boot), Some(worker), Some(to)) = part {
                    let at = furthest.entry((node, boot, worker)).or_default();
                    *at = (*at).max(to);
                }
            }
            for (account, (sum, latest)) in sums {
                let closing = || {
                    let of_account = ledger_entry::table.filter(ledger_entry::account_id.eq(account));
                    of_account.filter(ledger_entry::kind.eq(CLOSING))
                };
                let changed = diesel::update(closing())
                    .set((ledger_entry::amount.eq(ledger_entry::amount + sum), ledger_entry::at_ms.eq(latest)))
                    .execute(c)
                    .await?;
                // MySQL does not count a row that stays as it was.
                if changed == 0 && closing().count().get_result::<i64>(c).await? == 0 {
                    diesel::insert_into(ledger_entry::table)
                        .values((
                            ledger_entry::account_id.eq(account),
                            ledger_entry::kind.eq(CLOSING),
                            ledger_entry::amount.eq(sum),
                            ledger_entry::note.eq("usage that age has taken"),
                            ledger_entry::at_ms.eq(latest),
                        ))
                        .execute(c)
                        .await?;
                }
            }
            // The check of the books must know from where on single entries stand.
            raise_positions!(c, CLOSED, furthest);
            let gone = diesel::delete(ledger_entry::table.filter(ledger_entry::id.eq_any(ids))).execute(c).await?;
            Stored::Ok(gone)
        })
    }

    /// How many single entries of usage there are.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn singles(&self) -> Stored<i64> {
        let single = ledger_entry::kind.eq_any([books::USAGE, books::GAP]);
        query!(&self.main, c => ledger_entry::table.filter(single).count().get_result::<i64>(c).await)
    }

    /// As [`Store::skip_log`], for a batch.
    pub(super) async fn pass_over(&self, batch: Batch) -> Result<(), PortError> {
        Ok(self.skip_log(&batch.ranges).await?)
    }

    /// Passes over rows of the request log without writing them: only the position moves on.
    ///
    /// # Errors
    /// As [`Store::commit_usage`].
    pub async fn skip_log(&self, parts: &[Range]) -> Stored<()> {
        transaction!(&self.log, c => {
            books::in_step(parts, stored_positions!(LOG_WRITER, parts).load(c).await?)?;
            let ends = parts.iter().map(|part| {
                let stream = part.stream;
                ((i64::from(stream.node), i64::from(stream.boot), i64::from(stream.worker)), part.to as i64)
            });
            raise_positions!(c, LOG_WRITER, ends.clone());
            // What was passed over is missing as what age has taken is.
            raise_positions!(c, FORGOTTEN, ends);
            Stored::Ok(())
        })
    }
}
