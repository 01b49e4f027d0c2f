//! Reads a provider's answers: `GenerateContentResponse`, whole or as the chunks of a stream.

use bytes::Bytes;
use penstock_actors::domain::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{NAME, error, offsets::Offsets, stop_reason};
use crate::{
    conversation::{Alternative, Citation, Delta, Logprob, Reply, StopReason},
    dialect::{ReadError, count::Count, proof, upstream::FrameReader},
    wire::sse,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    response_id: Option<String>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    candidates: Option<Vec<Candidate<'a>>>,
    prompt_feedback: Option<PromptFeedback>,
    usage_metadata: Option<WireUsage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback {
    block_reason: Option<String>,
    block_reason_message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    content: Option<Content<'a>>,
    finish_reason: Option<String>,
    finish_message: Option<String>,
    grounding_metadata: Option<Grounding>,
    logprobs_result: Option<Logprobs>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    parts: Option<Vec<WirePart<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePart<'a> {
    text: Option<String>,
    thought: Option<bool>,
    thought_signature: Option<String>,
    inline_data: Option<Inline>,
    #[serde(borrow)]
    function_call: Option<Call<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inline {
    mime_type: String,
    data: String,
}

#[derive(Deserialize)]
struct Call<'a> {
    id: Option<String>,
    name: String,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Grounding {
    #[serde(default)]
    grounding_chunks: Vec<GroundingChunk>,
    #[serde(default)]
    grounding_supports: Vec<Support>,
}

#[derive(Deserialize)]
struct GroundingChunk {
    web: Option<Web>,
}

#[derive(Deserialize)]
struct Web {
    uri: Option<String>,
    title: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Support {
    segment: Option<Segment>,
    #[serde(default)]
    grounding_chunk_indices: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Segment {
    part_index: Option<usize>,
    start_index: Option<u64>,
    end_index: Option<u64>,
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Logprobs {
    #[serde(default)]
    chosen_candidates: Vec<Token>,
    #[serde(default)]
    top_candidates: Vec<Top>,
}

#[derive(Deserialize)]
struct Top {
    #[serde(default)]
    candidates: Vec<Token>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    token: Option<String>,
    log_probability: Option<f64>,
}

/// `UsageMetadata`. Anything may be absent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireUsage {
    #[serde(default)]
    prompt_token_count: Count,
    #[serde(default)]
    tool_use_prompt_token_count: Count,
    #[serde(default)]
    cached_content_token_count: Count,
    #[serde(default)]
    candidates_token_count: Count,
    #[serde(default)]
    thoughts_token_count: Count,
    prompt_tokens_details: Option<Vec<ModalityCount>>,
    tool_use_prompt_tokens_details: Option<Vec<ModalityCount>>,
    cache_tokens_details: Option<Vec<ModalityCount>>,
    candidates_tokens_details: Option<Vec<ModalityCount>>,
}

/// `ModalityTokenCount`: how many of the tokens were `AUDIO`, `IMAGE` and so on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModalityCount {
    modality: Option<String>,
    #[serde(default)]
    token_count: Count,
}

/// The tokens of one kind.
fn tokens_of(kind: &str, told: Option<&Vec<ModalityCount>>) -> u64 {
    let counts = told.into_iter().flatten().filter(|count| count.modality.as_deref() == Some(kind));
    counts.map(|count| count.token_count.get()).fold(0, u64::saturating_add)
}

impl From<WireUsage> for Usage {
    /// Cached tokens are part of the prompt's; thoughts are not part of the candidates'.
    fn from(wire: WireUsage) -> Self {
        let prompt = wire.prompt_token_count.get() + wire.tool_use_prompt_token_count.get();
        let cached = wire.cached_content_token_count.get().min(prompt);
        let (mut input, mut output) = (prompt - cached, wire.candidates_token_count.get());
        let mut asked = |kind| {
            let [prompt, tools, cached] = [
                &wire.prompt_tokens_details,
                &wire.tool_use_prompt_tokens_details,
                &wire.cache_tokens_details,
            ]
            .map(|told| tokens_of(kind, told.as_ref()));
            Usage::take(&mut input, prompt.saturating_add(tools).saturating_sub(cached))
        };
        let (audio_in, image_in) = (asked("AUDIO"), asked("IMAGE"));
        let made = wire.candidates_tokens_details.as_ref();
        let mut made = |kind| Usage::take(&mut output, tokens_of(kind, made));
        let (audio_out, image_out) = (made("AUDIO"), made("IMAGE"));
        Self {
            input,
            cached_read: cached,
            output,
            reasoning: wire.thoughts_token_count.get(),
            audio_in,
            image_in,
            audio_out,
            image_out,
            ..Self::default()
        }
    }
}

/// Turns the chunks of one answer into deltas. The first candidate counts; the finish reason waits for the end
/// of the body, which is all that tells the end.
#[derive(Debug, Default)]
pub(super) struct ChunkReader {
    id: Option<String>,
    calls: u32,
    finish: Option<String>,
    /// Of the text without thoughts.
    offsets: Offsets,
}

impl ChunkReader {
    fn data(&mut self, data: &[u8], out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let response: Response<'_> = serde_json::from_slice(data)
            .map_err(|error| ReadError::garbage(format!("a chunk is not a response: {error}")))?;
        if let Some(error) = response.error {
            return Err(ReadError::Failed(error::inside(error.get().as_bytes())));
        }
        if self.id.is_none() {
            let id = response.response_id.unwrap_or_default();
            out.push(Delta::Start { id: id.clone() });
            self.id = Some(id);
        }
        out.extend(response.usage_metadata.map(|usage| Delta::Usage(usage.into())));
        let mut candidates = response.candidates.unwrap_or_default();
        candidates.retain(|candidate| candidate.index.unwrap_or(0) == 0);
        for candidate in candidates {
            let mut begins = Vec::new();
            for part in candidate.content.and_then(|content| content.parts).into_iter().flatten() {
                begins.push(self.offsets.bytes());
                self.part(part, out);
            }
            let found = candidate.grounding_metadata.iter();
            out.extend(found.flat_map(|found| self.citations(found, &begins)).map(Delta::Citation));
            let likely = candidate.logprobs_result.map(logprobs).unwrap_or_default();
            out.extend((!likely.is_empty()).then_some(Delta::Logprobs(likely)));
            if let Some(word) = candidate.finish_reason {
                let refused = stop_reason(&word, false) == StopReason::Refused;
                out.extend(candidate.finish_message.filter(|_| refused).map(Delta::Refusal));
                self.finish = Some(word);
            }
        }
        if let Some(PromptFeedback { block_reason: Some(reason), block_reason_message }) =
            response.prompt_feedback
        {
            let message = block_reason_message
                .unwrap_or_else(|| format!("The model's provider blocked the prompt: {reason}."));
            out.push(Delta::Refusal(message));
            self.finish = Some("SAFETY".to_owned());
        }
        Ok(())
    }

    fn part(&mut self, part: WirePart<'_>, out: &mut Vec<Delta>) {
        let signature =
            part.thought_signature.map(|proof| Delta::ThinkingSignature(proof::mark(NAME, &proof)));
        let text = part.text.filter(|text| !text.is_empty());
        if part.thought == Some(true) {
            out.extend(text.map(Delta::Thinking));
            out.extend(signature);
            return;
        }
        out.extend(signature);
        if let Some(text) = text {
            self.offsets.push(&text);
            out.push(Delta::Text(text));
        }
        if let Some(Inline { mime_type, data }) = part.inline_data {
            out.push(Delta::Media { media_type: mime_type, data });
        }
        if let Some(call) = part.function_call {
            let index = self.calls;
            self.calls += 1;
            let id = call.id.unwrap_or_else(|| {
                // Unlike any other answer's, since a conversation holds several.
                format!("call_{}_{index}", self.id.as_deref().unwrap_or_default())
            });
            out.push(Delta::ToolCallStart { index, id, name: call.name });
            let fragment = call.args.map_or("{}", RawValue::get).to_owned();
            out.push(Delta::ToolCallArguments { index, fragment });
        }
    }

    /// What the text rests on. A place counts from its part of the answer, which began at a byte of `begins`; the first
    /// part of a stream goes on from chunk to chunk.
    fn citations(&self, grounding: &Grounding, begins: &[u64]) -> Vec<Citation> {
        let mut all = Vec::new();
        for support in &grounding.grounding_supports {
            let segment = support.segment.as_ref();
            let place = segment.and_then(|segment| {
                let part = segment.part_index.filter(|part| *part > 0);
                let begin = part.and_then(|part| begins.get(part)).copied().unwrap_or(0);
                let char_at = |byte: u64| self.offsets.char_at(begin.saturating_add(byte));
                Some((char_at(segment.start_index.unwrap_or(0)), char_at(segment.end_index?)))
            });
            let sources = support.grounding_chunk_indices.iter();
            for web in sources.filter_map(|at| grounding.grounding_chunks.get(*at)?.web.as_ref()) {
                all.extend(web.uri.clone().map(|url| Citation {
                    url,
                    title: web.title.clone(),
                    quote: segment.and_then(|segment| segment.text.clone()),
                    place,
                }));
            }
        }
        all
    }

    fn stop(&self) -> Option<StopReason> {
        self.finish.as_deref().map(|word| stop_reason(word, self.calls > 0))
    }
}

impl FrameReader for ChunkReader {
    fn frame(&mut self, frame: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        match sse::parse(frame).data {
            Some(data) if !data.is_empty() => self.data(&data, out),
            _ => Ok(()),
        }
    }

    fn end(&mut self, _tail: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        match self.stop() {
            Some(stop) => {
                out.push(Delta::Stop(stop));
                Ok(())
            }
            None => Err(ReadError::garbage("the stream ended without a finish reason")),
        }
    }
}

fn logprobs(result: Logprobs) -> Vec<Logprob> {
    let alternative = |token: Token| {
        Some(Alternative { token: token.token.unwrap_or_default(), logprob: token.log_probability? })
    };
    let mut tops = result.top_candidates.into_iter();
    result
        .chosen_candidates
        .into_iter()
        .filter_map(|chosen| {
            let top = tops.next().map(|top| top.candidates.into_iter().filter_map(alternative).collect());
            Some(Logprob { chosen: alternative(chosen)?, top: top.unwrap_or_default() })
        })
        .collect()
}

/// Reads a whole answer.
///
/// # Errors
/// [`ReadError`] when the body is an error or no response.
pub(super) fn read_reply(body: &[u8]) -> Result<Reply, ReadError> {
    let mut reader = ChunkReader::default();
    let mut deltas = Vec::new();
    reader.data(body, &mut deltas)?;
    let stop = reader.stop().ok_or_else(|| ReadError::garbage("the answer has no finish reason"))?;
    let mut reply = Reply { stop, ..Reply::default() };
    deltas.into_iter().for_each(|delta| reply.add(delta));
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        conversation::Part,
        dialect::upstream::{DeltaReader, SseReader},
    };

    const STREAM: &str = concat!(
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hm\",\"thought\":true}],\"role\":\"model\"},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":10},\"modelVersion\":\"g\",\"responseId\":\"r1\"}\r\n\r\n",
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]},\"groundingMetadata\":{\"groundingChunks\":[{\"web\":{\"uri\":\"https://x\",\"title\":\"t\"}}],\"groundingSupports\":[{\"segment\":{\"endIndex\":1,\"text\":\"a\"},\"groundingChunkIndices\":[0]}]}}]}\r\n\r\n",
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\",\"args\":{\"z\":1.50}},\"thoughtSignature\":\"U0lH\"}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":10,\"cachedContentTokenCount\":4,\"candidatesTokenCount\":5,\"thoughtsTokenCount\":7,\"toolUsePromptTokenCount\":2}}\r\n\r\n",
    );

    fn read<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Delta>, ReadError> {
        let mut reader = SseReader::new(ChunkReader::default(), 1 << 20);
        let mut out = Vec::new();
        for part in parts {
            reader.push(Bytes::copy_from_slice(part), &mut out)?;
        }
        reader.finish(&mut out)?;
        Ok(out)
    }

    #[test]
    fn a_stream_is_read_wherever_it_is_cut_and_complete_only_with_its_end() {
        let whole = read([STREAM.as_bytes()]).expect("an answer");
        let usage = Usage { input: 8, cached_read: 4, output: 5, reasoning: 7, ..Usage::default() };
        let citation = Citation {
            url: "https://x".into(),
            title: Some("t".into()),
            quote: Some("a".into()),
            place: Some((0, 1)),
        };
        assert_eq!(
            whole,
            [
                Delta::Start { id: "r1".into() },
                Delta::Usage(Usage { input: 10, ..Usage::default() }),
                Delta::Thinking("hm".into()),
                Delta::Text("a".into()),
                Delta::Citation(citation),
                Delta::Usage(usage),
                Delta::ThinkingSignature("gemini:U0lH".into()),
                Delta::ToolCallStart { index: 0, id: "call_r1_0".into(), name: "f".into() },
                Delta::ToolCallArguments { index: 0, fragment: "{\"z\":1.50}".into() },
                Delta::Stop(StopReason::ToolCalls),
            ]
        );
        for cut in 0..STREAM.len() {
            let (left, right) = STREAM.as_bytes().split_at(cut);
            assert_eq!(read([left, right]).as_ref(), Ok(&whole), "cut at {cut}");
            // The last line's end may be missing in part: a line feed ends the event already.
            if cut < STREAM.len() - 1 {
                assert!(read([left]).is_err(), "ends at {cut}");
            }
        }
    }

    #[test]
    fn places_are_told_in_characters() {
        let place = |part: &str, parts: &str| {
            let body = format!(
                r#"{{"candidates":[{{"content":{{"parts":[{parts}]}},"finishReason":"STOP","groundingMetadata":{{"groundingChunks":[{{"web":{{"uri":"u"}}}}],"groundingSupports":[{{"segment":{{{part}"startIndex":6,"endIndex":9}},"groundingChunkIndices":[0]}}]}}}}]}}"#
            );
            let reply = read_reply(body.as_bytes()).expect("an answer");
            let cited = reply.parts.iter().find_map(|part| match part {
                Part::Text { citations, .. } => citations.first().and_then(|c| c.place),
                _ => None,
            });
            cited.expect("a place")
        };
        assert_eq!(place("", r#"{"text":"漢字はé"}"#), (2, 3));
        assert_eq!(place("", r#"{"text":"hm","thought":true},{"text":"漢字は"}"#), (2, 3));
        assert_eq!(place(r#""partIndex":1,"#, r#"{"text":"漢"},{"text":"漢字は"}"#), (3, 4));
    }

    #[test]
    fn blocked_prompts_and_errors_inside_are_told() {
        let blocked = read_reply(br#"{"promptFeedback":{"blockReason":"SAFETY"},"responseId":"r"}"#)
            .expect("an answer");
        assert_eq!(blocked.stop, StopReason::Refused);
        let failed = read_reply(br#"{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}"#);
        assert!(matches!(failed, Err(ReadError::Failed(f)) if f.status == 503 && f.message == "busy"));
        assert!(matches!(read_reply(b"{}"), Err(ReadError::Garbage(_))));
        assert!(matches!(read_reply(b"<html>"), Err(ReadError::Garbage(_))));
    }

    #[test]
    fn usage_is_disjoint_whatever_is_claimed() {
        let read = |json: &str| Usage::from(serde_json::from_str::<WireUsage>(json).expect("usage"));
        let heard = read(
            r#"{"promptTokenCount":100,"cachedContentTokenCount":20,"candidatesTokenCount":1300,"thoughtsTokenCount":5,
                "promptTokensDetails":[{"modality":"TEXT","tokenCount":30},{"modality":"AUDIO","tokenCount":60},{"modality":"IMAGE","tokenCount":10}],
                "cacheTokensDetails":[{"modality":"AUDIO","tokenCount":20}],
                "candidatesTokensDetails":[{"modality":"TEXT","tokenCount":10},{"modality":"IMAGE","tokenCount":1290},{}]}"#,
        );
        assert_eq!(heard, Usage::of([30, 20, 0, 0, 10, 5, 40, 10, 0, 1290]));
        let lie = read(r#"{"cachedContentTokenCount":18446744073709551615,"promptTokenCount":3}"#);
        assert_eq!(lie, Usage { cached_read: 3, ..Usage::default() });
        let lie = read(
            r#"{"promptTokenCount":1,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":18446744073709551615}]}"#,
        );
        assert_eq!(lie, Usage { audio_in: 1, ..Usage::default() });
    }
}
