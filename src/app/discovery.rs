//! Asks providers which models they have, at the start, when their settings change, and now and then.
//!
//! A reconciler: which channels are wanted against what is known of each. It owns no settings; what it finds
//! goes to the publisher. When to ask is decided in `schedule`.

mod schedule;

use std::{rc::Rc, sync::Arc, time::Duration};

use penstock_actors::domain::{ChannelName, ChannelSpec, ModelName};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

use self::schedule::{Answered, Schedule};
use super::publisher::Publisher;
use crate::{
    provider::discovery::{self, Listing},
    transport::{ControlClient, ControlLimits, SharedTransport},
};

const LIMITS: ControlLimits = ControlLimits { timeout: Duration::from_secs(10), max_body: 8 << 20 };

/// The running task.
pub(super) struct Discovery {
    task: JoinHandle<()>,
    settled: watch::Receiver<bool>,
}

impl Discovery {
    /// Starts asking. Must run inside an `actix` system.
    pub(super) fn start(publisher: Rc<Publisher>, transport: Arc<SharedTransport>) -> Self {
        let (settle, settled) = watch::channel(false);
        let client = Rc::new(ControlClient::new(transport));
        let task = actix_web::rt::spawn(run(publisher, client, settle));
        Self { task, settled }
    }

    /// Waits until every provider has answered or failed once, but not longer than this.
    pub(super) async fn settled(&self, within: Duration) {
        let mut settled = self.settled.clone();
        // In vain: calls are served meanwhile, and the log says who is missing.
        let _ = tokio::time::timeout(within, settled.wait_for(|settled| *settled)).await;
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Told = (ChannelName, u64, Result<Listing, String>);

async fn run(publisher: Rc<Publisher>, client: Rc<ControlClient>, settle: watch::Sender<bool>) {
    let mut changes = publisher.changes();
    // One answer a channel; each question waits for room.
    let (tell, mut told) = mpsc::channel::<Told>(16);
    let mut schedule = Schedule::default();
    want(&publisher, &mut schedule);
    loop {
        for question in schedule.due(Instant::now()) {
            let (client, tell) = (Rc::clone(&client), tell.clone());
            actix_web::rt::spawn(async move {
                let answer = ask(&client, &question.spec).await;
                // The receiver is gone only where the gateway stops.
                let _ = tell.send((question.spec.name.clone(), question.number, answer)).await;
            });
        }
        settle.send_replace(schedule.is_settled());
        let wake = schedule.wake();
        let timer = async {
            match wake {
                Some(wake) => tokio::time::sleep_until(wake).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = changes.changed() => match changed {
                Ok(()) => want(&publisher, &mut schedule),
                Err(_) => return,
            },
            Some((channel, number, answer)) = told.recv() => {
                take(&publisher, &mut schedule, channel, number, answer).await;
            }
            () = timer => {}
        }
    }
}

/// Brings the schedule to what the settings want, and drops what is known of channels that are gone.
fn want(publisher: &Publisher, schedule: &mut Schedule) {
    let (wanted, refresh) = publisher.with_settings(|settings| {
        let is_wanted =
            |spec: &&Arc<ChannelSpec>| settings.discover.channels.contains(&spec.name) && spec.enabled;
        let wanted: Vec<_> = settings.catalog.channels.iter().filter(is_wanted).cloned().collect();
        (wanted, settings.discover.refresh)
    });
    schedule.want(wanted, refresh, Instant::now());
    publisher.forget_models(|channel| schedule.knows(channel));
}

async fn take(
    publisher: &Publisher,
    schedule: &mut Schedule,
    channel: ChannelName,
    number: u64,
    answer: Result<Listing, String>,
) {
    let left_out = answer.as_ref().map_or(0, |listing| listing.left_out);
    let models = answer.map(|listing| listing.models.into_iter().map(ModelName::from).collect());
    match schedule.answered(&channel, number, models, Instant::now()) {
        Answered::New(models) => {
            let count = models.len();
            if let Err(problem) = publisher.discovered(channel.clone(), models).await {
                tracing::error!(problem, "discovered models were not put in force");
            } else if count == 0 {
                tracing::warn!(%channel, "the provider says that it has no models");
            } else {
                tracing::info!(%channel, models = count, left_out, "models discovered");
            }
        }
        Answered::Failed { problem, again, known: 0 } => tracing::warn!(
            %channel, problem, again = %humantime::format_duration(again),
            "models are not known yet: the channel serves none"
        ),
        Answered::Failed { problem, again, known } => tracing::warn!(
            %channel, problem, again = %humantime::format_duration(again), models = known,
            "models could not be asked for again; those known stay"
        ),
        Answered::Same | Answered::Late => {}
    }
}

async fn ask(client: &ControlClient, spec: &ChannelSpec) -> Result<Listing, String> {
    let question = discovery::question(spec)?;
    let client = client.through(spec.proxy.clone());
    let answer = client.get(&question.uri, &question.headers, LIMITS).await.map_err(|e| e.to_string())?;
    discovery::listing(answer.status, &answer.body)
}
