//! Has tokens kept for the channels that need them, and asks for them through the gateway's own client.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix::{Addr, Supervisor};
use futures_core::future::LocalBoxFuture;
use http::{HeaderValue, header};
use penstock_actors::domain::Proxy;
use tokio::task::JoinHandle;

use super::publisher::Publisher;
use crate::{
    clock,
    credential::{Answer, Keeper, Question, TokenEndpoint, Vault, Want, Wanted},
    transport::{ControlClient, ControlLimits, SharedTransport},
};

const LIMITS: ControlLimits = ControlLimits { timeout: Duration::from_secs(10), max_body: 256 << 10 };
/// After how long a keeper whose mailbox was full is told again.
const AGAIN: Duration = Duration::from_millis(100);

/// The running keeper, and who tells it what is wanted.
pub(super) struct Tokens {
    task: JoinHandle<()>,
}

impl Tokens {
    /// Starts keeping. Must run inside an `actix` system.
    pub(super) fn start(
        publisher: Rc<Publisher>,
        transport: Arc<SharedTransport>,
        vault: Arc<Vault>,
    ) -> Self {
        let endpoint = Rc::new(Endpoint(Rc::new(ControlClient::new(transport))));
        let keeper = Supervisor::start(move |_| Keeper::new(endpoint, vault, clock::wall));
        Self { task: actix_web::rt::spawn(tell(publisher, keeper)) }
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tells the keeper what is wanted, now and whenever the settings change.
async fn tell(publisher: Rc<Publisher>, keeper: Addr<Keeper>) {
    let mut changes = publisher.changes();
    loop {
        let wanted: Vec<Wanted> = publisher.with_settings(|settings| {
            let channels = settings.catalog.channels.iter().filter(|channel| channel.enabled);
            channels.flat_map(|channel| Wanted::all_of(channel)).collect()
        });
        while keeper.try_send(Want(wanted.clone())).is_err() {
            tokio::time::sleep(AGAIN).await;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Token endpoints, reached as providers are.
struct Endpoint(Rc<ControlClient>);

impl TokenEndpoint for Endpoint {
    fn ask(
        &self,
        question: Question,
        proxy: Option<Arc<Proxy>>,
    ) -> LocalBoxFuture<'static, Result<Answer, String>> {
        let client = self.0.through(proxy);
        Box::pin(async move {
            let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(question.content_type))];
            let answer = client.post(&question.uri, &headers, question.body, LIMITS).await;
            let answer = answer.map_err(|error| error.to_string())?;
            Ok(Answer { status: answer.status, body: answer.body })
        })
    }
}
