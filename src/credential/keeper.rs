//! The actor that keeps tokens: asks for each when its time has come, and publishes what it gets.
//!
//! It owns when each token is renewed. Its state is worth nothing after a panic but the list of what is
//! wanted, which its supervisor gives it back: every token is then asked for anew, and those in force stay.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Instant, SystemTime},
};

use actix::{
    Actor, ActorFutureExt as _, AsyncContext, Context, Handler, Message, SpawnHandle, Supervised,
    WrapFuture as _,
};
use penstock_actors::shell::{caught, guarded};

use super::{
    TokenCell, TokenEndpoint, TokenError, Vault, Wanted,
    cell::{State, Token},
    exchange::{self, Granted},
    renewal::Renewal,
};

/// Keeps tokens.
///
/// Mailbox: 16 messages, each the whole list of what is wanted; whoever finds it full sends again.
pub struct Keeper {
    endpoint: Rc<dyn TokenEndpoint>,
    vault: Arc<Vault>,
    wall: fn() -> SystemTime,
    entries: Vec<Entry>,
    timer: Option<SpawnHandle>,
    /// Tells answers to questions of this life from those before a restart.
    life: u64,
}

struct Entry {
    wanted: Wanted,
    cell: Arc<TokenCell>,
    renewal: Renewal,
    /// Number of the last token.
    number: u64,
}

/// The tokens that are wanted from now on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Want(pub Vec<Wanted>);

impl Keeper {
    /// Asks `endpoint`, by the wall clock `wall`, and publishes into the vault's cells.
    pub fn new(endpoint: Rc<dyn TokenEndpoint>, vault: Arc<Vault>, wall: fn() -> SystemTime) -> Self {
        Self { endpoint, vault, wall, entries: Vec::new(), timer: None, life: 0 }
    }

    fn want(&mut self, wanted: Vec<Wanted>) {
        self.vault.keep(&wanted);
        let mut old = std::mem::take(&mut self.entries);
        for wanted in wanted {
            if self.entries.iter().any(|entry| entry.wanted == wanted) {
                continue;
            }
            let entry = match old.iter().position(|entry| entry.wanted == wanted) {
                Some(at) => old.swap_remove(at),
                None => {
                    let cell = self.vault.cell(&wanted);
                    Entry { wanted, cell, renewal: Renewal::new(now()), number: 0 }
                }
            };
            self.entries.push(entry);
        }
    }

    /// Does what is due, and sleeps until more is.
    fn step(&mut self, ctx: &mut Context<Self>) {
        let (at, life) = (now(), self.life);
        let mut asked = Vec::new();
        for entry in &mut self.entries {
            if entry.number > 0 && entry.cell.is_refused(entry.number) {
                entry.renewal.refused(at);
            }
            if entry.renewal.end(at) {
                let why = "the last one has ended, and no other could be got".to_owned();
                entry.cell.publish(State::Failed(TokenError::Unavailable(why)));
            }
            if !entry.renewal.ask(at) {
                continue;
            }
            let question = exchange::question(&entry.wanted, (self.wall)());
            let asking = question.map(|question| self.endpoint.ask(question, entry.wanted.proxy.clone()));
            let answer = async move {
                let answer = caught("keeper", asking?).await;
                let failed = || TokenError::Unavailable("asking failed".to_owned());
                exchange::read(&answer.ok_or_else(failed)?.map_err(TokenError::Unavailable)?)
            };
            asked.push((entry.wanted.clone(), answer));
        }
        for (wanted, answer) in asked {
            ctx.spawn(answer.into_actor(self).map(move |answer, me, ctx| {
                guarded(me, ctx, "keeper", |me, ctx| {
                    if me.life == life {
                        me.answered(&wanted, answer);
                        me.step(ctx);
                    }
                });
            }));
        }
        self.sleep(ctx);
    }

    fn answered(&mut self, wanted: &Wanted, answer: Result<Granted, TokenError>) {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.wanted == *wanted) else { return };
        let grant = wanted.grant.name();
        let granted = answer.and_then(|granted| {
            let unfit = || TokenError::Unavailable("the token that came fits no header".to_owned());
            Ok((Token::new(entry.number + 1, &granted.token).ok_or_else(unfit)?, granted.life))
        });
        match granted {
            Ok((token, life)) => {
                entry.number = token.number;
                entry.renewal.granted(life, now());
                entry.cell.publish(State::Ready(token));
                tracing::debug!(grant, life = life.as_secs(), "token renewed");
            }
            Err(error) => {
                let again = entry.renewal.failed(&error, now());
                let in_force = entry.renewal.has_token();
                let again = humantime::format_duration(again);
                tracing::warn!(grant, %error, %again, in_force, "a token could not be got");
                if !in_force {
                    entry.cell.publish(State::Failed(error));
                }
            }
        }
    }

    fn sleep(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let Some(wake) = self.entries.iter().filter_map(|entry| entry.renewal.wake()).min() else { return };
        let left = wake.saturating_duration_since(now());
        self.timer = Some(ctx.run_later(left, |me, ctx| {
            me.timer = None;
            guarded(me, ctx, "keeper", Self::step);
        }));
    }

    /// Waits for refusals of tokens, again and again.
    fn listen(&self, ctx: &mut Context<Self>) {
        let bell = Arc::clone(&self.vault.bell);
        let life = self.life;
        let rung = async move { bell.notified().await };
        ctx.spawn(rung.into_actor(self).map(move |(), me, ctx| {
            if me.life == life {
                guarded(me, ctx, "keeper", Self::step);
                me.listen(ctx);
            }
        }));
    }
}

/// The time that timers go by.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Actor for Keeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.listen(ctx);
        self.step(ctx);
    }
}

impl Supervised for Keeper {
    fn restarting(&mut self, _ctx: &mut Self::Context) {
        self.life += 1;
        self.timer = None;
        for entry in &mut self.entries {
            entry.renewal.forget(now());
        }
    }
}

impl Handler<Want> for Keeper {
    type Result = ();

    fn handle(&mut self, Want(wanted): Want, ctx: &mut Self::Context) {
        guarded(self, ctx, "keeper", |me, ctx| {
            me.want(wanted);
            me.step(ctx);
        });
    }
}

#[cfg(test)]
mod tests;
