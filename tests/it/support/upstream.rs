//! An upstream that follows a script: a closure takes each request and writes whatever bytes it likes.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, LazyLock, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Handle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Upstreams run in a thread of their own: a test's may be blocked, waiting for its gateway to end.
pub(super) static RUNTIME: LazyLock<Handle> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
});

/// Connections open now, by the port of the upstream; for what checks a gateway's count against it.
static OPEN: LazyLock<Mutex<HashMap<u16, Weak<AtomicUsize>>>> = LazyLock::new(Mutex::default);

/// Connections open now to the upstream at this port, where there is one still.
pub fn connections_at(port: u16) -> Option<usize> {
    Some(OPEN.lock().unwrap().get(&port)?.upgrade()?.load(Ordering::SeqCst))
}

/// A request that arrived, and the connection it came on.
pub struct Exchange {
    /// Request line and headers.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
    /// The how-manieth request of this connection, from 0.
    pub nth: usize,
    socket: Box<dyn Socket>,
    left: Arc<AtomicUsize>,
}

/// Whether the connection goes on after an exchange.
pub enum After {
    Keep(Exchange),
    Close,
}

/// What happened so far.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: String,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// A scripted upstream, ended when it is dropped.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Upstream {
    /// Starts an upstream; `script` answers each request.
    pub async fn start<F, R>(script: F) -> Self
    where
        F: Fn(Exchange) -> R + Send + Sync + 'static,
        R: Future<Output = After> + Send + 'static,
    {
        Self::listen(script, None, usize::MAX).await
    }

    /// Starts an upstream whose streams end when they are told to, and which answers other calls at once.
    pub async fn held() -> (Self, Arc<tokio::sync::Notify>) {
        let go = Arc::new(tokio::sync::Notify::new());
        let told = go.clone();
        let upstream = Self::start(move |mut exchange| {
            let go = told.clone();
            async move {
                if !exchange.wants_stream() {
                    return exchange.answer_well("hi").await;
                }
                exchange.begin_stream().await;
                exchange.chunk(&event("begun")).await;
                go.notified().await;
                exchange.chunk(STREAM_END).await;
                exchange.end_stream().await;
                After::Keep(exchange)
            }
        })
        .await;
        (upstream, go)
    }

    /// Starts an upstream whose script is asked before a body of several megabytes has come.
    pub async fn start_unread<F, R>(script: F) -> Self
    where
        F: Fn(Exchange) -> R + Send + Sync + 'static,
        R: Future<Output = After> + Send + 'static,
    {
        Self::listen(script, None, UNREAD).await
    }

    /// Starts an upstream that speaks TLS as `localhost`; gives the certificate to trust.
    pub async fn start_tls<F, R>(script: F) -> (Self, CertificateDer<'static>)
    where
        F: Fn(Exchange) -> R + Send + Sync + 'static,
        R: Future<Output = After> + Send + 'static,
    {
        let (acceptor, certificate) = acceptor();
        (Self::listen(script, Some(acceptor), usize::MAX).await, certificate)
    }

    async fn listen<F, R>(script: F, tls: Option<TlsAcceptor>, read_up_to: usize) -> Self
    where
        F: Fn(Exchange) -> R + Send + Sync + 'static,
        R: Future<Output = After> + Send + 'static,
    {
        let listener = RUNTIME.spawn(TcpListener::bind("127.0.0.1:0")).await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections, left): (Arc<Mutex<Vec<Seen>>>, Arc<AtomicUsize>, Arc<AtomicUsize>) =
            Default::default();
        OPEN.lock().unwrap().insert(address.port(), Arc::downgrade(&connections));
        let script = Arc::new(script);
        let task = RUNTIME.spawn({
            let (seen, connections, left) = (seen.clone(), connections.clone(), left.clone());
            async move {
                while let Ok((tcp, _)) = listener.accept().await {
                    let (seen, connections, left) = (seen.clone(), connections.clone(), left.clone());
                    let (script, tls) = (script.clone(), tls.clone());
                    connections.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(async move {
                        tcp.set_nodelay(true).unwrap();
                        let socket: Option<Box<dyn Socket>> = match tls {
                            None => Some(Box::new(tcp)),
                            Some(tls) => tls.accept(tcp).await.ok().map(|s| Box::new(s) as Box<dyn Socket>),
                        };
                        if let Some(socket) = socket {
                            serve(socket, &*script, &seen, left, read_up_to).await;
                        }
                        connections.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            }
        });
        Self { address, seen, connections, left, task }
    }

    /// A channel that leads here under TLS, as TOML.
    pub fn tls_channel(&self, name: &str, more: &str) -> String {
        channel(name, &format!("https://localhost:{}", self.address.port()), more)
    }

    /// A channel that leads here, as TOML; `more` holds further settings of it.
    pub fn channel(&self, name: &str, more: &str) -> String {
        channel(name, &format!("http://{}", self.address), more)
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests there were so far.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How often the gateway left during [`Exchange::until_left`].
    pub fn left(&self) -> usize {
        self.left.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Speaks TLS as `localhost`; with the certificate to trust.
pub(super) fn acceptor() -> (TlsAcceptor, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), certificate)
}

/// A channel for model `m`, as TOML.
pub fn channel(name: &str, base_url: &str, more: &str) -> String {
    let models = if more.contains("models =") { "" } else { "models = [\"m\"]\n" };
    format!(
        "[[channel]]\nname = \"{name}\"\nprovider = \"openai-compatible\"\nbase_url = \"{base_url}\"\ncredential = \"secret-{name}\"\n{models}{more}\n"
    )
}

async fn serve<F, R>(
    mut socket: Box<dyn Socket>,
    script: &F,
    seen: &Mutex<Vec<Seen>>,
    left: Arc<AtomicUsize>,
    read_up_to: usize,
) where
    F: Fn(Exchange) -> R,
    R: Future<Output = After>,
{
    for nth in 0.. {
        let Some(head) = read_head(&mut *socket).await else { return };
        let mut exchange = Exchange { head, body: Vec::new(), nth, socket, left: left.clone() };
        if exchange.body_len() <= read_up_to {
            exchange.read_body().await;
        }
        let body = String::from_utf8_lossy(&exchange.body).into_owned();
        seen.lock().unwrap().push(Seen { head: exchange.head.clone(), body });
        match script(exchange).await {
            After::Keep(exchange) => socket = exchange.socket,
            After::Close => return,
        }
    }
}

async fn read_head(socket: &mut dyn Socket) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (known, value) = line.split_once(':')?;
        known.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// A whole answer of OpenAI's make; `model` is what the provider calls itself.
pub fn completion(text: &str, model: &str) -> String {
    format!(
        r#"{{"id":"c1","object":"chat.completion","created":1,"model":"{model}","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}}}"#
    )
}

/// One event of a stream.
pub fn event(text: &str) -> String {
    format!(
        "data: {{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
    )
}

/// The last events of a stream.
pub const STREAM_END: &str = "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// Longest request body that is read before the script is asked, in bytes.
const UNREAD: usize = 1 << 20;

impl Exchange {
    fn body_len(&self) -> usize {
        header(&self.head, "content-length").and_then(|l| l.parse().ok()).unwrap_or(0)
    }

    /// Reads the request body, as long as its length says.
    pub async fn read_body(&mut self) {
        self.body = vec![0; self.body_len()];
        let _ = self.socket.read_exact(&mut self.body).await;
    }

    /// A header of the request.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// Whether the request asks for a stream.
    pub fn wants_stream(&self) -> bool {
        String::from_utf8_lossy(&self.body).contains("\"stream\":true")
    }

    /// Lets what was written arrive by itself before more follows.
    pub async fn pause(&mut self) {
        tokio::time::sleep(Duration::from_millis(30)).await;
    }

    /// Writes raw bytes; false where the gateway has left.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.socket.write_all(bytes.as_ref()).await.is_ok() && self.socket.flush().await.is_ok()
    }

    /// Answers with a body of known length.
    pub async fn answer(&mut self, status: u16, content_type: &str, body: &str) {
        let len = body.len();
        self.write(format!(
            "HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {len}\r\n\r\n{body}"
        ))
        .await;
    }

    /// Answers well, as a stream or whole, as the request wants it; at one stroke, so that the connection is
    /// at rest again by the time the client has its answer.
    pub async fn answer_well(mut self, text: &str) -> After {
        if self.wants_stream() {
            let (first, last) = (event(text), STREAM_END);
            let (a, b) = (first.len(), last.len());
            self.write(format!("{STREAM_HEAD}{a:x}\r\n{first}\r\n{b:x}\r\n{last}\r\n0\r\n\r\n")).await;
        } else {
            self.answer(200, "application/json", &completion(text, "m")).await;
        }
        After::Keep(self)
    }

    /// Writes the head of a chunked stream.
    pub async fn begin_stream(&mut self) {
        self.write(STREAM_HEAD).await;
    }

    /// Writes one chunk of a chunked answer; false where the gateway has left.
    pub async fn chunk(&mut self, text: &str) -> bool {
        self.write(format!("{:x}\r\n{text}\r\n", text.len())).await
    }

    /// Ends a chunked answer properly.
    pub async fn end_stream(&mut self) {
        self.write("0\r\n\r\n").await;
    }

    /// Waits, saying nothing, until the gateway closes the connection; counts that.
    pub async fn until_left(mut self) -> After {
        let mut buf = [0; 1024];
        while !matches!(self.socket.read(&mut buf).await, Ok(0) | Err(_)) {}
        self.left.fetch_add(1, Ordering::SeqCst);
        After::Close
    }

    /// Says nothing for a while: longer than any deadline of a test that counts on a deadline.
    pub async fn stall(mut self) -> After {
        let mut buf = [0; 1024];
        let until_left = async { while !matches!(self.socket.read(&mut buf).await, Ok(0) | Err(_)) {} };
        let _ = tokio::time::timeout(Duration::from_secs(20), until_left).await;
        After::Close
    }

    /// Closes with a reset (`SO_LINGER` 0, `socket(7)`).
    pub async fn reset(self) -> After {
        socket2::SockRef::from(self.socket.tcp()).set_linger(Some(Duration::ZERO)).unwrap();
        After::Close
    }

    /// Ends the connection properly: `close_notify` under TLS, then FIN.
    pub async fn finish(mut self) -> After {
        let _ = self.socket.shutdown().await;
        After::Close
    }

    /// Waits, reading nothing, until the gateway closes the connection.
    pub async fn until_gone(mut self) -> After {
        // Reading would let the rest of the request through, so only writing can show the end.
        while self.write(" ").await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        After::Close
    }

    /// Ends its own direction and stays, reading nothing, until the test allows it to go.
    pub async fn finish_and_stay(mut self, may_go: Arc<tokio::sync::Semaphore>) -> After {
        let _ = self.socket.shutdown().await;
        may_go.acquire().await.unwrap().forget();
        After::Close
    }
}
