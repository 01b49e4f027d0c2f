//! Accounts: what may be spent, what was put in. A balance changes by its entries only.

use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _};
use diesel_async::{AsyncConnection as _, RunQueryDsl as _};
use penstock_actors::domain::{AccountId, Money};

use super::{
    Store,
    error::{StoreError, Stored},
    keys::{KeyRecord, SPACE, bump, live_key},
    now_ms,
    pool::transaction,
    schema::{account, api_key, ledger_entry, revision},
};

/// The kind of entry that opens an account.
pub(super) const OPENING: &str = "opening";
const TOP_UP: &str = "top_up";
const CORRECTION: &str = "correction";

/// An account as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Account {
    /// Its number.
    pub id: i64,
    /// Nano-dollars that are left; below zero where more was spent than was put in.
    pub balance: i64,
    /// Whether it refuses when nothing is left.
    pub is_limited: bool,
}

impl Account {
    /// Its number as the books know it.
    pub fn account_id(&self) -> AccountId {
        AccountId(self.id)
    }

    /// What is left.
    pub fn balance(&self) -> Money {
        Money::from_nanos(self.balance)
    }
}

impl From<(i64, i64, bool)> for Account {
    fn from((id, balance, is_limited): (i64, i64, bool)) -> Self {
        Self { id, balance, is_limited }
    }
}

/// What a key may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// Without limit; what it spends is counted.
    Unlimited,
    /// So much from now on.
    Remaining(Money),
}

/// Writes an entry and changes the balance by it.
macro_rules! enter {
    ($c:ident, $account:expr, $kind:expr, $amount:expr, $note:expr) => {{
        let (id, amount): (i64, i64) = ($account, $amount);
        diesel::insert_into(ledger_entry::table)
            .values((
                ledger_entry::account_id.eq(id),
                ledger_entry::kind.eq($kind),
                ledger_entry::amount.eq(amount),
                ledger_entry::note.eq($note),
                ledger_entry::at_ms.eq(now_ms()),
            ))
            .execute($c)
            .await?;
        diesel::update(account::table.find(id))
            .set((account::balance.eq(account::balance + amount), account::updated_ms.eq(now_ms())))
            .execute($c)
            .await?;
        account::table
            .find(id)
            .select((account::id, account::balance, account::is_limited))
            .first::<(i64, i64, bool)>($c)
            .await?
    }};
}

pub(super) use enter;

impl Store {
    /// Puts money into a key's account; a negative amount takes it out. Gives the account as it then stands.
    ///
    /// # Errors
    /// Refused where there is no such key, or the amount is out of all bounds.
    pub async fn top_up(&self, key: &str, amount: Money, note: &str) -> Stored<Account> {
        // A thousandth of what an account can hold: a thousand of them cannot overflow it.
        if amount == Money::ZERO || amount.nanos().unsigned_abs() > i64::MAX as u64 / 1_000 {
            return StoreError::refused("the amount must not be 0, and at most 9,000,000 dollars");
        }
        let kind = if amount.is_negative() { CORRECTION } else { TOP_UP };
        transaction!(&self.main, c => {
            bump!(c);
            let Some(found) = live_key!(c, key) else { return no_key(key) };
            Stored::Ok(Account::from(enter!(c, found.account_id(), kind, amount.nanos(), note)))
        })
    }

    /// Says what a key may spend from now on; the difference to what it had is entered.
    ///
    /// # Errors
    /// Refused where there is no such key.
    pub async fn set_allowance(&self, key: &str, allowance: Allowance) -> Stored<Account> {
        transaction!(&self.main, c => {
            bump!(c);
            let Some(found) = live_key!(c, key) else { return no_key(key) };
            let id = found.account_id();
            let is_limited = allowance != Allowance::Unlimited;
            // Locked by this update, so that no usage is entered between reading and correcting.
            diesel::update(account::table.find(id)).set(account::is_limited.eq(is_limited)).execute(c).await?;
            let balance = account::table.find(id).select(account::balance).first::<i64>(c).await?;
            let correction = match allowance {
                Allowance::Unlimited => 0,
                Allowance::Remaining(money) => money.nanos().saturating_sub(balance),
            };
            Stored::Ok(Account::from(enter!(c, id, CORRECTION, correction, "allowance")))
        })
    }
}

fn no_key<T>(name: &str) -> Stored<T> {
    StoreError::refused(format!("there is no key named \"{name}\"; `penstock key list` shows every key"))
}
