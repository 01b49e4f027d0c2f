//! `penstock key`: keys of the store, made, listed, ended, renewed, paid for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use penstock_actors::domain::Money;

use super::Settings;
use crate::{
    app::{self, Place},
    config,
    store::{Allowance, KeyRow, NewKey, Store, StoreError},
};

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Makes a key and prints it once.
    Create(Box<Create>),
    /// Shows every key, without its secret.
    List(Settings),
    /// Ends a key for good.
    Revoke {
        #[command(flatten)]
        named: Named,
    },
    /// Gives a key a new secret and prints it once.
    Rotate {
        #[command(flatten)]
        named: Named,
        /// For how long the old secret opens still, "1h" for example.
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "0s")]
        grace: Duration,
    },
    /// Puts dollars into a key's account; a negative amount takes them out.
    TopUp {
        #[command(flatten)]
        named: Named,
        /// Dollars, "12.50" for example.
        #[arg(value_name = "DOLLARS", value_parser = dollars, allow_negative_numbers = true)]
        amount: Money,
        /// Why, for the ledger.
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Says what a key may take in a time: "60 requests per minute", "5.00 USD per day". Keys below it take of the same.
    Limits {
        #[command(flatten)]
        named: Named,
        /// A limit each; without any, what the settings say of every key.
        #[arg(value_name = "LIMIT")]
        limits: Vec<String>,
        /// No limit, not even every key's.
        #[arg(long, conflicts_with = "limits")]
        none: bool,
    },
    /// Says what a key may spend from now on.
    Quota {
        #[command(flatten)]
        named: Named,
        /// Dollars, or "unlimited".
        #[arg(value_name = "DOLLARS", value_parser = allowance)]
        quota: Allowance,
    },
}

#[derive(Args, Debug)]
pub(super) struct Named {
    /// What the key is called.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args, Debug)]
pub(super) struct Create {
    /// What the key is called.
    #[arg(long, default_value = "unnamed", value_parser = name)]
    name: String,
    /// The group whose channels it may use.
    #[arg(long, default_value = "default", value_parser = name)]
    group: String,
    /// Models it may ask for, with commas between; without this, all of its group.
    #[arg(long, value_delimiter = ',', value_name = "MODELS")]
    models: Option<Vec<String>>,
    /// How long it lives, "30d" for example; without this, until it is revoked.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    expires_in: Option<Duration>,
    /// Dollars it may spend; without this, no limit.
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    quota: Option<Money>,
    /// The key it stands under, whose account pays too.
    #[arg(long, value_name = "NAME")]
    parent: Option<String>,
    /// What it may take in a time, "60 requests per minute" for example; may be given several times. Without this, what
    /// the settings say of every key.
    #[arg(long = "limit", value_name = "LIMIT")]
    limits: Vec<String>,
    /// May name a channel in the key.
    #[arg(long)]
    may_pin: bool,
    /// Is told which channel answered, and may read the metrics.
    #[arg(long)]
    may_see_routing: bool,
    #[command(flatten)]
    settings: Settings,
}

impl KeyCommand {
    /// Does it; the error is a sentence for the terminal.
    pub(super) fn run(self) -> Result<(), String> {
        match self {
            Self::Create(create) => {
                config::limit_set(&create.limits)?;
                let (key, settings) = create.parts();
                let (secret, kept) = app::new_secret();
                with_store(settings, async |store| store.create_key(&key, &kept).await)?;
                println!("{secret}");
            }
            Self::List(settings) => list(settings)?,
            Self::Revoke { named } => {
                with_store(named.settings, async |store| store.revoke_key(&named.name).await)?;
                println!("the key \"{}\" is revoked", named.name);
            }
            Self::Rotate { named, grace } => {
                let (secret, kept) = app::new_secret();
                let until = later(grace);
                with_store(named.settings, async |store| store.rotate_key(&named.name, &kept, until).await)?;
                println!("{secret}");
            }
            Self::TopUp { named, amount, note } => {
                let account =
                    with_store(named.settings, async |store| store.top_up(&named.name, amount, &note).await)?;
                println!("the balance of \"{}\" is {} USD", named.name, account.balance());
            }
            Self::Limits { named, limits, none } => {
                config::limit_set(&limits)?;
                let limits = Some(limits).filter(|limits| none || !limits.is_empty());
                let Named { name, settings } = named;
                with_store(settings, async |store| store.limit_key(&name, limits.as_deref()).await)?;
                println!("the limits of \"{name}\" are set");
            }
            Self::Quota { named, quota } => {
                with_store(named.settings, async |store| store.set_allowance(&named.name, quota).await)?;
                println!("the quota of \"{}\" is set", named.name);
            }
        }
        Ok(())
    }
}

impl Create {
    fn parts(self) -> (NewKey, Settings) {
        let key = NewKey {
            name: self.name,
            group: self.group,
            models: self.models,
            expires_ms: self.expires_in.map(later),
            quota: self.quota,
            parent: self.parent,
            may_pin: self.may_pin,
            may_see_routing: self.may_see_routing,
            limits: Some(self.limits).filter(|limits| !limits.is_empty()),
        };
        (key, self.settings)
    }
}

/// Opens the store of the settings, works with it and gives what came out.
fn with_store<T>(
    settings: Settings,
    work: impl AsyncFnOnce(&Store) -> Result<T, StoreError>,
) -> Result<T, String> {
    let place = Place::of(&settings.load()?).map_err(|(key, problem)| format!("{key}: {problem}"))?;
    let done = actix_web::rt::System::new().block_on(async { work(&place.open().await?).await });
    done.map_err(|e| e.to_string())
}

fn list(settings: Settings) -> Result<(), String> {
    let (keys, accounts) = with_store(settings, async |store| {
        Ok((store.list_keys().await?, store.published().await?.accounts))
    })?;
    println!(
        "{:<17} {:<24} {:<9} {:<6} {:<9} {:>20}  ENDS",
        "NUMBER", "NAME", "BEGINS", "FROM", "STATUS", "USD"
    );
    for key in keys {
        let account = accounts.iter().find(|a| a.id == key.account);
        let balance = match account {
            Some(account) if account.is_limited => account.balance().to_string(),
            Some(account) => format!("({})", account.balance()),
            None => String::new(),
        };
        let KeyRow { id, name, prefix, origin, status, expires_ms, .. } = &key;
        let ends = expires_ms.map_or_else(|| "-".to_owned(), shown);
        let (origin, status) = (origin.as_str(), status.as_str());
        println!("{id:<17} {name:<24} {prefix:<9} {origin:<6} {status:<9} {balance:>20}  {ends}");
    }
    Ok(())
}

fn shown(at_ms: i64) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(at_ms.max(0) as u64);
    humantime::format_rfc3339_seconds(at).to_string()
}

/// So long from now, in milliseconds since 1970.
fn later(after: Duration) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.saturating_add(after).as_millis()).unwrap_or(i64::MAX)
}

fn name(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err("must be 1 to 64 letters, digits, dots, dashes or underscores".to_owned())
}

fn allowance(text: &str) -> Result<Allowance, String> {
    match text {
        "unlimited" => Ok(Allowance::Unlimited),
        _ => dollars(text).map(Allowance::Remaining),
    }
}

/// Reads dollars with up to nine decimals, exactly.
fn dollars(text: &str) -> Result<Money, String> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    let are_digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let read = || {
        let whole: i64 = whole.parse().ok()?;
        let decimals: i64 = format!("{decimals:0<9}").parse().ok()?;
        whole.checked_mul(1_000_000_000)?.checked_add(decimals)
    };
    match read() {
        Some(nanos) if are_digits(whole) && are_digits(decimals) && decimals.len() <= 9 => {
            Ok(Money::from_nanos(sign * nanos))
        }
        _ => Err("must be dollars with at most nine decimals, such as 12.50".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_exactly() {
        for (text, nanos) in [
            ("12.50", Some(12_500_000_000)),
            ("0.000000001", Some(1)),
            ("-3", Some(-3_000_000_000)),
            ("9223372036", Some(9_223_372_036_000_000_000)),
            ("9223372037", None),
            ("0.0000000001", None),
            ("", None),
            (".5", None),
            ("5.", None),
            ("+5", None),
            ("1e3", None),
            ("--1", None),
            ("1,5", None),
        ] {
            assert_eq!(dollars(text).ok().map(Money::nanos), nanos, "{text}");
        }
    }
}
