//! The calls that are measured, and what a right answer to each is, learnt from the upstream itself.

use super::client::exchange;
use super::settings::Settings;
use super::sse::FrameCounter;
use super::target::{Share, Target, Upstream};
use std::error::Error;
use std::time::Duration;

/// Size of the answer to a call, in bytes, as near as whole tokens allow.
const ANSWER: usize = 1024;

/// Streams at once on a peer, which needs a window for what others do in its tenth.
const PEER_STREAMS: usize = 8;

/// One kind of call.
pub struct Scenario {
    /// Its name in `BENCH_SCENARIOS`.
    pub key: &'static str,
    /// Its name in the report.
    pub title: String,
    /// Calls in flight.
    pub connections: usize,
    /// How it is asked for.
    pub ask: Ask,
    /// Frames of the answer, `[DONE]` among them, if it is a stream.
    pub frames: Option<u64>,
    /// Time over which the connections start, so that paced streams are not in step.
    pub stagger: Duration,
}

/// A request, but for where it goes.
#[derive(Clone)]
pub struct Ask {
    /// Where it goes, if not to the target's own path of chat calls.
    path: Option<String>,
    body: String,
    stream: bool,
    tokens: u64,
    pace: Duration,
}

impl Ask {
    /// A stream of `tokens`, one each `pace`, for a small prompt.
    pub fn stream(tokens: u64, pace: Duration) -> Self {
        Self { path: None, body: body(200, true), stream: true, tokens, pace }
    }

    /// A call of another dialect.
    pub fn of(path: String, body: String) -> Self {
        Self { path: Some(path), body, stream: false, tokens: 1, pace: Duration::ZERO }
    }

    fn call(size: usize) -> Self {
        Self { path: None, body: body(size, false), stream: false, tokens: 1, pace: Duration::ZERO }
    }

    /// The bytes to send to `target`.
    pub fn request(&self, target: &Target) -> Vec<u8> {
        format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {bearer}\r\n\
             user-agent: penstock-bench\r\naccept: */*\r\ncontent-type: application/json\r\n\
             x-penstock-mock-tokens: {tokens}\r\nx-penstock-mock-pace-ms: {pace}\r\n\
             x-penstock-mock-ttft-ms: 0\r\nx-penstock-mock-latency-ms: 0\r\n\
             {headers}content-length: {length}\r\n\r\n{body}",
            path = match &self.path {
                Some(path) => path,
                None if self.stream => &target.stream_path,
                None => &target.call_path,
            },
            address = target.address,
            bearer = target.bearer,
            tokens = self.tokens,
            pace = self.pace.as_millis(),
            headers = target.headers,
            length = self.body.len(),
            body = self.body,
        )
        .into_bytes()
    }

    /// Frames that `target` answers with, and the bytes of all of them; pace is left out to be quick.
    pub fn count_frames(&self, target: &Target) -> Result<(u64, usize), Box<dyn Error>> {
        let body = answer(&Self { pace: Duration::ZERO, ..self.clone() }, target)?;
        let mut counter = FrameCounter::default();
        counter.feed(&body);
        if counter.is_done() { Ok((counter.frames(), body.len())) } else { Err(odd(target, &body)) }
    }
}

impl Scenario {
    /// Makes one call and looks at the answer more closely than the load does. Gives the frames that `target` answers
    /// with: a proxy's are the upstream's, a peer may join some.
    pub fn check(&self, target: &Target) -> Result<Option<u64>, Box<dyn Error>> {
        let Some(expected) = self.frames else {
            return content(&self.ask, target).map(|_| None);
        };
        let (frames, _) = self.ask.count_frames(target)?;
        if frames == expected || target.share == Share::Peer {
            return Ok(Some(frames));
        }
        Err(format!("{}: {frames} frames where the upstream sends {expected}", target.label).into())
    }

    /// Calls in flight on `target`.
    pub fn connections(&self, target: &Target) -> usize {
        match (self.frames, target.share) {
            (Some(_), Share::Peer) => self.connections.min(PEER_STREAMS),
            _ => self.connections,
        }
    }
}

/// All scenarios that the settings ask for.
pub fn all(settings: &Settings, upstream: &Upstream) -> Result<Vec<Scenario>, Box<dyn Error>> {
    let direct = upstream.direct();
    let is_wanted = |key: &str| settings.scenarios.is_empty() || settings.scenarios.iter().any(|k| k == key);
    let mut scenarios = Vec::new();
    let many = settings.connections;
    for (key, size, connections) in [
        ("small", 200, many),
        ("4k", 4 * 1024, many),
        ("150k", 150 * 1024, many),
        ("small-1", 200, 1),
        ("4k-1", 4 * 1024, 1),
        ("150k-1", 150 * 1024, 1),
    ] {
        if is_wanted(key) {
            scenarios.push(call(key, size, connections, &direct)?);
        }
    }
    for (key, connections, tokens, pace) in
        [("paced", 200, 100, 20), ("full-speed", many, 500, 0), ("full-speed-1", 1, 500, 0)]
    {
        if is_wanted(key) {
            let pace = Duration::from_millis(pace);
            scenarios.push(stream(key, connections, Ask::stream(tokens, pace), &direct)?);
        }
    }
    if scenarios.is_empty() && !settings.scenarios.is_empty() {
        return Err("BENCH_SCENARIOS names none of small, 4k, 150k, small-1, 4k-1, 150k-1, paced, full-speed, full-speed-1".into());
    }
    Ok(scenarios)
}

fn call(
    key: &'static str,
    size: usize,
    connections: usize,
    direct: &Target,
) -> Result<Scenario, Box<dyn Error>> {
    let mut ask = Ask::call(size);
    let shortest = content(&ask, direct)?;
    ask.tokens = 101;
    let per_token = content(&ask, direct)?.saturating_sub(shortest).max(100) / 100;
    ask.tokens = 1 + (ANSWER.saturating_sub(shortest) / per_token) as u64;
    let answer = content(&ask, direct)?;
    let (within, out) = (kilobytes(ask.body.len()), kilobytes(answer));
    let title = format!("{key}: {within} in, {out} out, {connections} at once");
    Ok(Scenario { key, title, connections, ask, frames: None, stagger: Duration::ZERO })
}

fn stream(
    key: &'static str,
    connections: usize,
    ask: Ask,
    direct: &Target,
) -> Result<Scenario, Box<dyn Error>> {
    let (frames, bytes) = ask.count_frames(direct)?;
    let pace = if ask.pace.is_zero() { "no pause".to_owned() } else { format!("one each {:?}", ask.pace) };
    let size = bytes as u64 / frames;
    let title = format!("{key}: streams of {frames} frames of {size} B, {pace}, {connections} at once");
    let stagger = ask.pace;
    Ok(Scenario { key, title, connections, ask, frames: Some(frames), stagger })
}

/// Makes one call and gives the length of its answer, which must be a chat completion that says something.
fn content(ask: &Ask, target: &Target) -> Result<usize, Box<dyn Error>> {
    let body = answer(ask, target)?;
    let json: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let said = json.as_ref().and_then(|json| json.pointer("/choices/0/message/content")?.as_str());
    if said.is_some_and(|text| !text.is_empty()) { Ok(body.len()) } else { Err(odd(target, &body)) }
}

/// One call's answer, which must be of status 200.
pub fn answer(ask: &Ask, target: &Target) -> Result<Vec<u8>, Box<dyn Error>> {
    match exchange(target.address, &ask.request(target)) {
        Ok((200, body)) => Ok(body),
        Ok((status, body)) => {
            let body = String::from_utf8_lossy(&body).into_owned();
            Err(format!("{}: status {status}: {body}\n{}", target.label, target.last_words()).into())
        }
        Err(error) => Err(format!("{}: {error}\n{}", target.label, target.last_words()).into()),
    }
}

/// What is told of an answer that is not what was asked for.
pub fn odd(target: &Target, body: &[u8]) -> Box<dyn Error> {
    let start = String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned();
    format!("{}: an answer that is not what was asked for: {start}", target.label).into()
}

/// A chat request of `size` bytes.
fn body(size: usize, stream: bool) -> String {
    let (before, after) = (
        format!(r#"{{"model":"penstock-echo","stream":{stream},"messages":[{{"role":"user","content":""#),
        r#""}]}"#,
    );
    before.clone() + &prompt(size.saturating_sub(before.len() + after.len())) + after
}

/// So many bytes of text, escaped for JSON.
pub fn prompt(size: usize) -> String {
    let words = "The quick brown fox said \\\"hello\\\" to the lazy dog and went on.\\n";
    let mut text = words.repeat(size / words.len());
    text.push_str(&"x".repeat(size - text.len()));
    text
}

fn kilobytes(bytes: usize) -> String {
    format!("{:.1} KB", bytes as f64 / 1024.0)
}
