//! The request log: a row a call with its attempts, written in batches, found by id, forgotten by age.

use std::collections::HashMap;

use diesel::{
    ExpressionMethods as _, Insertable, OptionalExtension as _, QueryDsl as _, Queryable, upsert::excluded,
};
use diesel_async::{AsyncConnection as _, RunQueryDsl as _, SimpleAsyncConnection as _};
use penstock_actors::{
    domain::{CallId, Settled, Settlement, StreamId, UsageSource},
    usage_log::Range,
};

use super::{
    Store,
    age::raise_positions,
    books::{Place, ROWS, in_step, or_conflict, stored_positions},
    error::Stored,
    keys::SPACE,
    lite,
    pool::{self, Db, query},
    schema::{call_attempt, call_media, consumer_position as place, request_log},
};

/// The consumer that the request log follows.
pub const LOG_WRITER: &str = "request_log";
/// The consumer that stands for what was forgotten by age.
pub(super) const FORGOTTEN: &str = "forgotten";

/// A settlement and where its record ends in its stream.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The stream.
    pub stream: StreamId,
    /// The end of its record.
    pub ends_at: u64,
    /// What the journal says.
    pub settlement: Settlement,
}

impl From<(Range, Settlement)> for Logged {
    fn from((part, settlement): (Range, Settlement)) -> Self {
        Self { stream: part.stream, ends_at: part.to, settlement }
    }
}

/// A call as the request log shows it.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Insertable, serde::Serialize)]
#[diesel(table_name = request_log, treat_none_as_default_value = false)]
pub struct CallRow {
    /// UUIDv7.
    #[serde(serialize_with = "as_uuid")]
    pub call_id: Vec<u8>,
    /// Whose space it belongs to.
    #[serde(skip)]
    pub space_id: i64,
    /// The node that served it.
    pub node: i64,
    /// The node's start.
    #[serde(skip)]
    pub boot: i64,
    /// The worker.
    #[serde(skip)]
    pub worker: i64,
    /// The end of its record in the journal.
    #[serde(skip)]
    pub ends_at: i64,
    /// When it arrived, in milliseconds since 1970.
    pub arrived_ms: i64,
    /// Milliseconds to the first byte for the client; 0 where none went out.
    pub first_byte_ms: i64,
    /// Milliseconds to the end.
    pub took_ms: i64,
    /// The key's number.
    pub key_id: i64,
    /// The accounts that paid, in order, with commas between.
    pub accounts: String,
    /// `settled` or `abandoned`.
    pub settled: String,
    /// How it ended.
    pub outcome: String,
    /// The status that the client got.
    pub status: i32,
    /// The failure's stable code.
    pub code: String,
    /// What was called.
    pub endpoint: String,
    /// Whether a stream was asked for.
    pub is_stream: bool,
    /// The model as the client asked for it.
    pub model: String,
    /// The name the provider knows it by.
    pub upstream_model: String,
    /// The channel that answered or was tried last.
    pub channel: String,
    /// The client's own id.
    pub client_request_id: String,
    /// Prompt tokens, uncached.
    pub input: i64,
    /// Prompt tokens read from a cache.
    pub cached_read: i64,
    /// Prompt tokens written to a cache for five minutes.
    pub cache_write_5m: i64,
    /// Prompt tokens written to a cache for an hour.
    pub cache_write_1h: i64,
    /// Generated tokens.
    pub output: i64,
    /// Tokens spent on reasoning.
    pub reasoning: i64,
    /// `none`, `upstream` or `estimated`.
    pub usage_source: String,
    /// Nano-dollars held.
    pub reserved: i64,
    /// Nano-dollars paid.
    pub charge: i64,
    /// Nano-dollars that the channel costs.
    pub cost: i64,
    /// The price in force.
    pub price_version: i64,
}

/// What a call consumed beside text; few did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Queryable, Insertable)]
#[diesel(table_name = call_media)]
pub struct MediaRow {
    /// The call.
    pub call_id: Vec<u8>,
    /// Prompt tokens of recordings.
    pub audio_in: i64,
    /// Prompt tokens of pictures.
    pub image_in: i64,
    /// Generated tokens of recordings.
    pub audio_out: i64,
    /// Generated tokens of pictures.
    pub image_out: i64,
}

impl MediaRow {
    /// A call's row, where it has one.
    fn of(logged: &Logged) -> Option<Self> {
        let Settlement { call, usage, .. } = &logged.settlement;
        let row = Self {
            call_id: call.0.to_be_bytes().to_vec(),
            audio_in: whole(usage.audio_in),
            image_in: whole(usage.image_in),
            audio_out: whole(usage.audio_out),
            image_out: whole(usage.image_out),
        };
        Some(row).filter(|row| row.audio_in | row.image_in | row.audio_out | row.image_out != 0)
    }
}

/// Everything that the request log has of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRows {
    /// Its own row.
    pub call: CallRow,
    /// What it consumed beside text; nothing where there is no row.
    pub media: MediaRow,
    /// Its attempts, in order.
    pub attempts: Vec<AttemptRow>,
}

impl From<&Logged> for CallRows {
    fn from(logged: &Logged) -> Self {
        Self {
            call: logged.into(),
            media: MediaRow::of(logged).unwrap_or_default(),
            attempts: attempts(logged).collect(),
        }
    }
}

/// A try as the request log shows it.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Insertable, serde::Serialize)]
#[diesel(table_name = call_attempt, treat_none_as_default_value = false)]
pub struct AttemptRow {
    /// The call.
    #[serde(skip)]
    pub call_id: Vec<u8>,
    /// Counted from 1.
    pub attempt: i32,
    /// The channel.
    pub channel: String,
    /// Milliseconds from the call's arrival.
    pub after_ms: i64,
    /// Milliseconds it took.
    pub took_ms: i64,
    /// The provider's status; 0 where none came.
    pub status: i32,
    /// The failure's stable code; empty where it answered.
    pub code: String,
    /// Whose doing a failure was; empty where there was none.
    pub fault: String,
    /// It failed after the provider may have worked on it.
    pub may_be_billed: bool,
}

fn as_uuid<S: serde::Serializer>(id: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&uuid::Uuid::from_slice(id).unwrap_or_default())
}

/// Texts of clients, as every backend takes them: no NUL, which PostgreSQL refuses, and not too long.
fn text(written: &str) -> String {
    let mut text: String = written.chars().filter(|c| *c != '\0').collect();
    let end = (0..=text.len().min(250)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    text
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl From<&Logged> for CallRow {
    fn from(Logged { stream, ends_at, settlement: s }: &Logged) -> Self {
        let accounts: Vec<String> = s.accounts.0.iter().map(|a| a.0.to_string()).collect();
        Self {
            call_id: s.call.0.to_be_bytes().to_vec(),
            space_id: SPACE,
            node: stream.node.into(),
            boot: stream.boot.into(),
            worker: stream.worker.into(),
            ends_at: whole(*ends_at),
            arrived_ms: s.arrived_ms,
            first_byte_ms: s.first_byte_ms.into(),
            took_ms: s.took_ms.into(),
            key_id: s.key.0,
            accounts: accounts.join(","),
            settled: match s.settled {
                Settled::Settled => "settled",
                Settled::Abandoned => "abandoned",
            }
            .to_owned(),
            outcome: s.outcome.as_str().to_owned(),
            status: s.status.into(),
            code: text(&s.code),
            endpoint: s.endpoint.as_str().to_owned(),
            is_stream: s.is_stream,
            model: text(&s.model),
            upstream_model: text(&s.upstream_model),
            channel: text(&s.channel),
            client_request_id: text(&s.client_request_id),
            input: whole(s.usage.input),
            cached_read: whole(s.usage.cached_read),
            cache_write_5m: whole(s.usage.cache_write_5m),
            cache_write_1h: whole(s.usage.cache_write_1h),
            output: whole(s.usage.output),
            reasoning: whole(s.usage.reasoning),
            usage_source: match s.usage_source {
                UsageSource::None => "none",
                UsageSource::Upstream => "upstream",
                UsageSource::Estimated => "estimated",
            }
            .to_owned(),
            reserved: s.reserved.nanos(),
            charge: s.charge.nanos(),
            cost: s.cost.nanos(),
            price_version: s.price.0,
        }
    }
}

/// The rows of a call's attempts.
fn attempts(logged: &Logged) -> impl Iterator<Item = AttemptRow> {
    let call_id = logged.settlement.call.0.to_be_bytes().to_vec();
    logged.settlement.attempts.iter().zip(1..).map(move |(a, attempt)| AttemptRow {
        call_id: call_id.clone(),
        attempt,
        channel: text(&a.channel),
        after_ms: a.after_ms.into(),
        took_ms: a.took_ms.into(),
        status: a.status.into(),
        code: text(&a.code),
        fault: a.fault.map_or("", |f| f.as_str()).to_owned(),
        may_be_billed: a.may_be_billed,
    })
}

/// What a batch writes.
pub(super) struct Written {
    pub(super) calls: Vec<CallRow>,
    pub(super) media: Vec<MediaRow>,
    pub(super) attempts: Vec<AttemptRow>,
    pub(super) places: Vec<Place>,
}

impl Written {
    pub(super) fn of(batch: &[Logged], parts: &[Range]) -> Self {
        Self {
            calls: batch.iter().map(CallRow::from).collect(),
            media: batch.iter().filter_map(MediaRow::of).collect(),
            attempts: batch.iter().flat_map(attempts).collect(),
            places: parts.iter().map(|p| Place::of(LOG_WRITER, p)).collect(),
        }
    }
}

impl Store {
    /// Writes rows of the request log and the positions of its consumer in one transaction.
    ///
    /// # Errors
    /// As [`Store::commit_usage`].
    pub async fn write_log(&self, batch: &[Logged], parts: &[Range]) -> Stored<()> {
        if parts.is_empty() {
            return Ok(());
        }
        let mut tries = pool::Tries::default();
        loop {
            let done = match &self.log {
                Db::Lite { .. } => {
                    let (batch, parts) = (batch.to_vec(), parts.to_vec());
                    let counted = self.statements.clone();
                    lite::batch(&self.log, move |c| lite::write_log(c, &batch, &parts, &counted)).await
                }
                Db::Pg(pool) => write_log_pg(pool, batch, parts).await,
                Db::My(pool) => write_log_my(pool, batch, parts).await,
            };
            match done {
                Err(error) if tries.worth_another(&error) => tries.step_aside().await,
                done => return done,
            }
        }
    }

    /// A call with all of its rows; `None` where the log has none of this id.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError)
    pub async fn get_call(&self, id: CallId) -> Stored<Option<CallRows>> {
        let id = id.0.to_be_bytes().to_vec();
        let call = query!(&self.log, c => request_log::table
            .find(id.clone())
            .first::<CallRow>(c)
            .await
            .optional())?;
        let Some(call) = call else { return Ok(None) };
        let media =
            query!(&self.log, c => call_media::table.find(id.clone()).first::<MediaRow>(c).await.optional())?;
        let attempts = query!(&self.log, c => call_attempt::table
            .filter(call_attempt::call_id.eq(id.clone()))
            .order(call_attempt::attempt)
            .load::<AttemptRow>(c)
            .await)?;
        Ok(Some(CallRows { call, media: media.unwrap_or_default(), attempts }))
    }

    /// Forgets at most so many of the calls that arrived before a moment; gives how many it forgot. A small
    /// number keeps the lock short; it is called until nothing is left.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError)
    pub async fn forget_calls(&self, before_ms: i64, at_most: i64) -> Stored<usize> {
        pool::transaction!(&self.log, c => {
            let old = request_log::table
                .filter(request_log::arrived_ms.lt(before_ms))
                .order(request_log::arrived_ms)
                .limit(at_most)
                .select((
                    request_log::call_id,
                    request_log::node,
                    request_log::boot,
                    request_log::worker,
                    request_log::ends_at,
                ))
                .load::<(Vec<u8>, i64, i64, i64, i64)>(c)
                .await?;
            let ids: Vec<Vec<u8>> = old.iter().map(|o| o.0.clone()).collect();
            let mut furthest: HashMap<(i64, i64, i64), i64> = HashMap::new();
            for (_, node, boot, worker, ends_at) in &old {
                let at = furthest.entry((*node, *boot, *worker)).or_default();
                *at = (*at).max(*ends_at);
            }
            // The check of the books must know from where on the log is whole.
            raise_positions!(c, FORGOTTEN, furthest);
            diesel::delete(call_attempt::table.filter(call_attempt::call_id.eq_any(ids.clone())))
                .execute(c)
                .await?;
            diesel::delete(call_media::table.filter(call_media::call_id.eq_any(ids.clone())))
                .execute(c)
                .await?;
            let gone = diesel::delete(request_log::table.filter(request_log::call_id.eq_any(ids)))
                .execute(c)
                .await?;
            Stored::Ok(gone)
        })
    }
}

async fn write_log_pg(
    pool: &diesel_async::pooled_connection::bb8::Pool<diesel_async::AsyncPgConnection>,
    batch: &[Logged],
    parts: &[Range],
) -> Stored<()> {
    let mut held = pool.get().await?;
    let connection: &mut diesel_async::AsyncPgConnection = &mut held;
    let work = connection.transaction(async |c: &mut diesel_async::AsyncPgConnection| {
        in_step(parts, stored_positions!(LOG_WRITER, parts).for_update().load(c).await?)?;
        let Written { calls, media, attempts, places } = Written::of(batch, parts);
        for calls in calls.chunks(ROWS) {
            let insert = diesel::insert_into(request_log::table).values(calls.to_vec());
            insert.on_conflict_do_nothing().execute(c).await?;
        }
        for media in media.chunks(ROWS) {
            let insert = diesel::insert_into(call_media::table).values(media.to_vec());
            insert.on_conflict_do_nothing().execute(c).await?;
        }
        for attempts in attempts.chunks(ROWS) {
            let insert = diesel::insert_into(call_attempt::table).values(attempts.to_vec());
            insert.on_conflict_do_nothing().execute(c).await?;
        }
        for places in places.chunks(ROWS) {
            diesel::insert_into(place::table)
                .values(places.to_vec())
                .on_conflict((place::consumer, place::node, place::boot, place::worker))
                .do_update()
                .set(place::up_to.eq(excluded(place::up_to)))
                .execute(c)
                .await?;
        }
        Stored::Ok(())
    });
    let done = pool::in_time(work).await;
    pool::forget_if_late(&mut *held, done)
}

async fn write_log_my(
    pool: &diesel_async::pooled_connection::bb8::Pool<diesel_async::AsyncMysqlConnection>,
    batch: &[Logged],
    parts: &[Range],
) -> Stored<()> {
    use diesel::dsl::{DuplicatedKeys, sql};
    let mut held = pool.get().await?;
    let connection: &mut diesel_async::AsyncMysqlConnection = &mut held;
    let work = connection.transaction(async |c: &mut diesel_async::AsyncMysqlConnection| {
        in_step(parts, stored_positions!(LOG_WRITER, parts).for_update().load(c).await?)?;
        let Written { calls, media, attempts, places } = Written::of(batch, parts);
        for calls in calls.chunks(ROWS) {
            diesel::insert_or_ignore_into(request_log::table).values(calls.to_vec()).execute(c).await?;
        }
        for media in media.chunks(ROWS) {
            diesel::insert_or_ignore_into(call_media::table).values(media.to_vec()).execute(c).await?;
        }
        for attempts in attempts.chunks(ROWS) {
            diesel::insert_or_ignore_into(call_attempt::table).values(attempts.to_vec()).execute(c).await?;
        }
        for places in places.chunks(ROWS) {
            diesel::insert_into(place::table)
                .values(places.to_vec())
                .on_conflict(DuplicatedKeys)
                .do_update()
                .set(place::up_to.eq(sql("VALUES(up_to)")))
                .execute(c)
                .await?;
        }
        Stored::Ok(())
    });
    let done = pool::in_time(work).await;
    pool::forget_if_late(&mut *held, done)
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn texts_of_clients_fit_every_backend() {
        assert_eq!(text("a\0b"), "ab");
        assert_eq!(text(&"é".repeat(200)), "é".repeat(125));
    }
}
