//! The provider's end of a websocket.

use actix_http::ws::{Codec, Message, hash_key};
use bytes::BytesMut;
use tokio_util::codec::Encoder as _;

use super::Exchange;

/// Takes the opening.
pub async fn switch(exchange: &mut Exchange) {
    let key = exchange.header("sec-websocket-key").unwrap();
    let accept = String::from_utf8(hash_key(key.as_bytes()).to_vec()).unwrap();
    let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n";
    exchange.write(format!("{head}sec-websocket-accept: {accept}\r\n\r\n")).await;
}

/// Messages as they go over the wire.
pub fn bytes(messages: impl IntoIterator<Item = Message>) -> BytesMut {
    let (mut codec, mut out) = (Codec::new(), BytesMut::new());
    messages.into_iter().for_each(|message| codec.encode(message, &mut out).unwrap());
    out
}
