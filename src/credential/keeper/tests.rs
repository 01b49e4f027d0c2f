//! The keeper between calls and a token endpoint that says what a script says, on a clock that jumps.

use std::{cell::RefCell, collections::VecDeque, time::Duration};

use actix::{Addr, Supervisor};
use bytes::Bytes;
use futures_core::future::LocalBoxFuture;
use penstock_actors::domain::{Credential, Proxy};

use super::*;
use crate::{
    credential::{Answer, Question},
    provider::grant::Grant,
};

/// What the endpoint does with a question.
#[derive(Clone)]
enum Does {
    Grant(&'static str, u64),
    Answer(u16, &'static str),
    Unreachable,
    Hang,
    Panic,
}

#[derive(Default)]
struct Script {
    does: RefCell<VecDeque<Does>>,
    /// When questions came, in seconds since the start.
    asked: RefCell<Vec<u64>>,
    start: RefCell<Option<Instant>>,
}

struct Endpoint(Rc<Script>);

impl TokenEndpoint for Endpoint {
    fn ask(&self, _: Question, _: Option<Arc<Proxy>>) -> LocalBoxFuture<'static, Result<Answer, String>> {
        let start = *self.0.start.borrow_mut().get_or_insert_with(now);
        self.0.asked.borrow_mut().push(now().duration_since(start).as_secs());
        let does = self.0.does.borrow_mut().pop_front().unwrap_or(Does::Hang);
        Box::pin(async move {
            let answer = |status, body: String| Ok(Answer { status, body: Bytes::from(body) });
            match does {
                Does::Grant(token, life) => {
                    answer(200, format!(r#"{{"access_token":"{token}","expires_in":{life}}}"#))
                }
                Does::Answer(status, body) => answer(status, body.to_owned()),
                Does::Unreachable => Err("connection refused".to_owned()),
                Does::Hang => std::future::pending().await,
                Does::Panic => panic!("drill"),
            }
        })
    }
}

struct World {
    script: Rc<Script>,
    cell: Arc<TokenCell>,
    vault: Arc<Vault>,
    keeper: Addr<Keeper>,
}

fn wanted(secret: &str) -> Wanted {
    let credential = Credential::new(format!("tenant|id|{secret}"));
    Wanted { grant: Grant::Azure, credential, base_url: None, proxy: None }
}

async fn world(does: impl IntoIterator<Item = Does>) -> World {
    tokio::time::pause();
    let script = Rc::new(Script { does: RefCell::new(does.into_iter().collect()), ..Script::default() });
    let vault = Arc::<Vault>::default();
    let keeper = Supervisor::start({
        let (vault, endpoint) = (Arc::clone(&vault), Rc::new(Endpoint(Rc::clone(&script))));
        move |_| Keeper::new(endpoint, vault, || SystemTime::UNIX_EPOCH)
    });
    keeper.send(Want(vec![wanted("s")])).await.expect("it lives");
    let cell = vault.cell(&wanted("s"));
    World { script, cell, vault, keeper }
}

impl World {
    fn asked(&self) -> Vec<u64> {
        self.script.asked.borrow().clone()
    }

    fn shown(&self) -> Option<Result<String, TokenError>> {
        Some(self.cell.known()?.map(|token| token.expose().to_owned()))
    }
}

async fn after(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[actix_web::test]
async fn a_token_is_renewed_ahead_of_its_end_and_calls_never_see_a_gap() {
    let world =
        world([Does::Grant("first", 3600), Does::Grant("second", 3600), Does::Grant("third", 3600)]).await;
    assert_eq!(world.cell.token().await.map(|t| t.expose().to_owned()), Ok("first".to_owned()));
    after(2879).await;
    assert_eq!(world.shown(), Some(Ok("first".to_owned())));
    after(2).await;
    assert_eq!(world.shown(), Some(Ok("second".to_owned())));
    after(2880).await;
    assert_eq!(world.shown(), Some(Ok("third".to_owned())));
    assert_eq!(world.asked(), [0, 2880, 5760]);
}

#[actix_web::test]
async fn while_the_endpoint_is_away_the_token_in_force_is_shown_until_it_ends() {
    let away = std::iter::repeat_n(Does::Unreachable, 100);
    let world = world([Does::Grant("first", 600)].into_iter().chain(away)).await;
    after(500).await;
    assert_eq!(world.shown(), Some(Ok("first".to_owned())));
    after(80).await;
    let Some(Err(TokenError::Unavailable(why))) = world.shown() else { panic!("{:?}", world.shown()) };
    assert!(why.contains("ended"), "{why}");
    let asked = world.asked();
    assert_eq!(asked[..5], [0, 480, 481, 483, 487], "{asked:?}");
    world.script.does.borrow_mut().clear();
    world.script.does.borrow_mut().push_back(Does::Grant("second", 600));
    after(60).await;
    assert_eq!(world.shown(), Some(Ok("second".to_owned())));
}

#[actix_web::test]
async fn a_refused_credential_is_told_and_seldom_asked_with_again() {
    let refusal = Does::Answer(401, r#"{"error":"invalid_client","error_description":"bad secret"}"#);
    let world = world([refusal.clone(), refusal, Does::Grant("at last", 600)]).await;
    let Err(TokenError::Refused(why)) = world.cell.token().await else { panic!("{:?}", world.shown()) };
    assert!(why.contains("bad secret"), "{why}");
    after(179).await;
    assert!(matches!(world.shown(), Some(Err(TokenError::Refused(_)))));
    after(2).await;
    assert_eq!(world.shown(), Some(Ok("at last".to_owned())));
    assert_eq!(world.asked(), [0, 60, 180]);
}

#[actix_web::test]
async fn a_token_that_a_provider_refuses_is_renewed_ahead_of_time() {
    let world = world([Does::Grant("revoked", 3600), Does::Grant("good", 3600)]).await;
    let token = world.cell.token().await.expect("a token");
    after(100).await;
    world.cell.refuse(token.number);
    world.cell.refuse(token.number);
    after(1).await;
    assert_eq!(world.shown(), Some(Ok("good".to_owned())));
    after(100).await;
    assert_eq!(world.asked(), [0, 100], "one refusal, one question");
}

#[actix_web::test]
async fn what_is_no_longer_wanted_is_forgotten_and_what_stays_is_not_asked_for_again() {
    let world = world([Does::Grant("a", 3600), Does::Grant("b", 3600)]).await;
    assert!(world.cell.token().await.is_ok());
    world.keeper.send(Want(vec![wanted("s"), wanted("t"), wanted("t")])).await.expect("it lives");
    assert_eq!(
        world.vault.cell(&wanted("t")).token().await.map(|t| t.expose().to_owned()),
        Ok("b".to_owned())
    );
    assert_eq!(world.asked().len(), 2);
    world.keeper.send(Want(vec![wanted("t")])).await.expect("it lives");
    after(10_000).await;
    assert_eq!(world.asked(), [0, 0, 2880], "the other is renewed, and hangs");
    assert_eq!(world.vault.cell(&wanted("s")).known(), None, "a fresh cell");
}

#[actix_web::test]
async fn an_endpoint_that_panics_or_talks_nonsense_is_asked_again() {
    let world = world([Does::Panic, Does::Answer(200, "<html>"), Does::Grant("good", 600)]).await;
    assert!(world.cell.token().await.is_err());
    after(4).await;
    assert_eq!(world.shown(), Some(Ok("good".to_owned())));
    assert_eq!(world.asked(), [0, 1, 3]);
}
