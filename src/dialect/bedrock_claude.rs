//! Claude on Bedrock by `InvokeModel`: Anthropic's messages, streamed inside AWS' event stream.
//!
//! What can and cannot be carried is as in [`super::anthropic_messages`].

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;

use super::{
    AnswerHead, Failure,
    anthropic_messages::{AnthropicMessages, EventReader, Host, write_request},
    bedrock_converse::{EVENT_STREAM, failure_of_answer, of_exception},
    fields::ParamError,
    media::Kind,
    upstream::{DeltaReader, FrameReader, ReadError, Upstream, Wanted, Written},
};
use crate::{
    conversation::{Conversation, Delta, Reply},
    wire::aws_events::{EventFramer, Message},
};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct BedrockClaude;

impl Upstream for BedrockClaude {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        let body = write_request(conversation, wanted.model, wanted.delivery, Host::Bedrock)?;
        Ok(Written { headers: Vec::new(), body })
    }

    /// The API fetches nothing.
    fn takes(&self, _kind: Kind, _url: &str) -> bool {
        false
    }

    fn stream_type(&self) -> &'static str {
        EVENT_STREAM
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        Box::new(Reader { framer: EventFramer::new(longest), events: EventReader::default() })
    }

    fn read_whole(&self, body: &[u8]) -> Result<Reply, ReadError> {
        AnthropicMessages.read_whole(body)
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        failure_of_answer(head, body)
    }
}

/// Reads one stream: each message of AWS' holds an event of Anthropic's.
struct Reader {
    framer: EventFramer,
    events: EventReader,
}

/// `PayloadPart`.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    bytes: std::borrow::Cow<'a, str>,
}

impl DeltaReader for Reader {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let mut read = Ok(());
        let events = &mut self.events;
        let framed = self.framer.push(&chunk, |message| {
            if read.is_ok() {
                read = event(&message).and_then(|frame| match frame {
                    Some(frame) => events.frame(&frame, out),
                    None => Ok(()),
                });
            }
        });
        read?;
        framed.map_err(|error| ReadError::garbage(error.to_string()))
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        self.events.end(&Bytes::new(), out)
    }
}

/// The event inside a message, framed as Anthropic frames it.
fn event(message: &Message) -> Result<Option<Bytes>, ReadError> {
    match (message.header(":message-type"), message.header(":event-type")) {
        (Some("exception"), _) => {
            let kind = message.header(":exception-type").unwrap_or_default();
            Err(ReadError::Failed(of_exception(kind, &message.payload)))
        }
        (_, Some("chunk")) => {
            let garbage = |why: String| ReadError::garbage(format!("a chunk is malformed: {why}"));
            let Chunk { bytes } =
                serde_json::from_slice(&message.payload).map_err(|error| garbage(error.to_string()))?;
            let event = STANDARD.decode(bytes.as_bytes()).map_err(|error| garbage(error.to_string()))?;
            Ok(Some([b"data: ".as_slice(), &event, b"\n\n"].concat().into()))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests;
