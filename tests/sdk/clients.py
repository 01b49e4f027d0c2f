"""Clients of each dialect, by their makers' own SDKs: one method for each thing that must work.

Each method takes a model's name, which leads to one provider's dialect, and raises what went wrong.
"""

import base64
import json

import anthropic
import openai
from google import genai
from google.genai import errors, types

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
HELLO, ECHO, USE = "hello there", "echo: hello there", "use the tool"
WANTED = {"city": "mock"}
DATA_URL = f"data:image/png;base64,{PIXEL}"


def check(found, wanted):
    assert found == wanted, f"{found!r} instead of {wanted!r}"


class OpenAi:
    """`openai`, chat completions."""

    TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]

    def __init__(self, url, key):
        self.client = openai.OpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0)
        self.create = self.client.chat.completions.create

    @staticmethod
    def user(content):
        return {"role": "user", "content": content}

    def text(self, model):
        answer = self.create(model=model, messages=[self.user(HELLO)])
        check((answer.choices[0].message.content, answer.model), (ECHO, model))

    def stream(self, model):
        events = self.create(model=model, messages=[self.user(HELLO)], stream=True)
        check("".join(e.choices[0].delta.content or "" for e in events if e.choices), ECHO)

    def tools(self, model):
        answer = self.create(model=model, messages=[self.user(USE)], tools=self.TOOLS).choices[0]
        check(json.loads(answer.message.tool_calls[0].function.arguments), WANTED)
        check(answer.finish_reason, "tool_calls")
        with self.client.chat.completions.stream(model=model, messages=[self.user(USE)], tools=self.TOOLS) as stream:
            final = stream.get_final_completion()
        check(json.loads(final.choices[0].message.tool_calls[0].function.arguments), WANTED)

    def tool_results(self, model):
        asked = [self.user(USE)]
        first = self.create(model=model, messages=asked, tools=self.TOOLS).choices[0].message
        told = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "sunny"}
        again = self.create(model=model, messages=[*asked, first.to_dict(), told], tools=self.TOOLS)
        assert again.choices[0].message.content, again

    def parallel_results(self, model):
        function = {"name": "get_weather", "arguments": "{}"}
        calls = [{"id": i, "type": "function", "function": function} for i in ("1", "2")]
        told = [{"role": "tool", "tool_call_id": i, "content": "sunny"} for i in ("1", "2")]
        messages = [self.user("hi"), {"role": "assistant", "tool_calls": calls}, *told, self.user("go on")]
        answer = self.create(model=model, messages=messages, tools=self.TOOLS)
        assert answer.choices[0].message.content.endswith("go on"), answer

    def image(self, model):
        parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": DATA_URL}}]
        check(self.create(model=model, messages=[self.user(parts)]).choices[0].message.content, "echo: see")

    def thinking(self, model):
        answer = self.create(model=model, messages=[self.user(HELLO)], reasoning_effort="low")
        assert "hello" in answer.choices[0].message.content, answer

    def structured(self, model):
        form = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
        answer = self.create(model=model, messages=[self.user("x")], response_format=form)
        check(json.loads(answer.choices[0].message.content), WANTED)

    def usage(self, model):
        check(self.create(model=model, messages=[self.user(HELLO)]).usage.completion_tokens, 3)
        options = {"include_usage": True}
        events = list(self.create(model=model, messages=[self.user(HELLO)], stream=True, stream_options=options))
        check(events[-1].usage.completion_tokens, 3)

    def error(self, model):
        try:
            self.create(model=f"{model}-none", messages=[self.user("x")])
        except openai.NotFoundError as refused:
            return check(refused.code, "model_not_found")
        raise AssertionError("it was served")

    def upstream_error(self, model):
        try:
            self.create(model=f"{model}-throttled", messages=[self.user("x")])
        except openai.RateLimitError:
            return
        raise AssertionError("it was served")


class Responses:
    """`openai`, responses."""

    TOOLS = [{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": True}]

    def __init__(self, url, key):
        self.client = openai.OpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0)
        self.create = self.client.responses.create

    def final(self, **asked):
        with self.client.responses.stream(**asked) as stream:
            for _ in stream:
                pass
            return stream.get_final_response()

    def text(self, model):
        answer = self.create(model=model, input=HELLO)
        check((answer.output_text, answer.model, answer.status), (ECHO, model, "completed"))

    def stream(self, model):
        check(self.final(model=model, input=HELLO).output_text, ECHO)

    def tools(self, model):
        for answer in [f(model=model, input=USE, tools=self.TOOLS) for f in (self.create, self.final)]:
            check(json.loads([i for i in answer.output if i.type == "function_call"][0].arguments), WANTED)

    def tool_results(self, model):
        first = self.create(model=model, input=USE, tools=self.TOOLS)
        call = [i for i in first.output if i.type == "function_call"][0]
        told = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        said = [i.model_dump(exclude_none=True) for i in first.output]
        again = self.create(model=model, input=[{"role": "user", "content": USE}, *said, told], tools=self.TOOLS)
        assert again.output_text, again

    def parallel_results(self, model):
        call = lambda i: {"type": "function_call", "call_id": i, "name": "get_weather", "arguments": "{}"}
        told = lambda i: {"type": "function_call_output", "call_id": i, "output": "sunny"}
        user = lambda text: {"role": "user", "content": text}
        said = [user("hi"), call("1"), call("2"), told("1"), told("2"), user("go on")]
        assert self.create(model=model, input=said, tools=self.TOOLS).output_text.endswith("go on")

    def image(self, model):
        image = {"type": "input_image", "image_url": DATA_URL, "detail": "auto"}
        content = [{"type": "input_text", "text": "see"}, image]
        check(self.create(model=model, input=[{"role": "user", "content": content}]).output_text, "echo: see")

    def thinking(self, model):
        answer = self.create(model=model, input=HELLO, reasoning={"effort": "low", "summary": "auto"})
        assert "hello" in answer.output_text, answer

    def structured(self, model):
        form = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}
        check(json.loads(self.create(model=model, input="x", text={"format": form}).output_text), WANTED)

    def usage(self, model):
        for answer in [f(model=model, input=HELLO) for f in (self.create, self.final)]:
            check(answer.usage.output_tokens, 3)

    def error(self, model):
        try:
            self.create(model=f"{model}-none", input="x")
        except openai.NotFoundError as refused:
            return check(refused.code, "model_not_found")
        raise AssertionError("it was served")

    def upstream_error(self, model):
        try:
            self.create(model=f"{model}-throttled", input="x")
        except openai.RateLimitError:
            return
        raise AssertionError("it was served")

    def stored(self, model):
        first = self.create(model=model, input=HELLO)
        check(self.client.responses.retrieve(first.id).output_text, ECHO)
        second = self.create(model=model, input="again", previous_response_id=first.id)
        check(second.output_text, "echo: again")
        assert len(list(self.client.responses.input_items.list(second.id))) >= 2
        self.client.responses.delete(first.id)


class Anthropic:
    """`anthropic`, messages."""

    TOOLS = [{"name": "get_weather", "description": "d", "input_schema": SCHEMA}]

    def __init__(self, url, key):
        self.client = anthropic.Anthropic(api_key=key, base_url=url, max_retries=0)

    def create(self, model, content, **more):
        are_messages = isinstance(content, list) and "role" in content[0]
        messages = content if are_messages else [{"role": "user", "content": content}]
        return self.client.messages.create(model=model, messages=messages, **{"max_tokens": 4096, **more})

    def final(self, model, content, **more):
        messages = [{"role": "user", "content": content}]
        with self.client.messages.stream(model=model, messages=messages, max_tokens=4096, **more) as stream:
            return stream.get_final_message()

    def text(self, model):
        answer = self.create(model, HELLO)
        check((answer.content[0].text, answer.model, answer.stop_reason), (ECHO, model, "end_turn"))

    def stream(self, model):
        check(self.final(model, HELLO).content[0].text, ECHO)

    def tools(self, model):
        for answer in [f(model, USE, tools=self.TOOLS) for f in (self.create, self.final)]:
            call = [b for b in answer.content if b.type == "tool_use"][0]
            check((call.name, call.input, answer.stop_reason), ("get_weather", WANTED, "tool_use"))

    def tool_results(self, model):
        first = self.create(model, USE, tools=self.TOOLS)
        call = [b for b in first.content if b.type == "tool_use"][0]
        told = [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]
        turns = [("user", USE), ("assistant", first.content), ("user", told)]
        again = self.create(model, [{"role": r, "content": c} for r, c in turns], tools=self.TOOLS)
        check(again.content[0].type, "text")

    def parallel_results(self, model):
        calls = [{"type": "tool_use", "id": i, "name": "get_weather", "input": {}} for i in ("t1", "t2")]
        told = [{"type": "tool_result", "tool_use_id": i, "content": "sunny"} for i in ("t1", "t2")]
        turns = [("user", "hi"), ("assistant", calls), ("user", [*told, {"type": "text", "text": "go on"}])]
        answer = self.create(model, [{"role": r, "content": c} for r, c in turns], tools=self.TOOLS)
        assert answer.content[0].text.endswith("go on"), answer

    def image(self, model):
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
        answer = self.create(model, [{"type": "text", "text": "see"}, {"type": "image", "source": source}])
        check(answer.content[0].text, "echo: see")

    def thinking(self, model):
        answer = self.create(model, HELLO, thinking={"type": "enabled", "budget_tokens": 1024})
        assert "hello" in answer.content[-1].text, answer

    def structured(self, model):
        form = {"format": {"type": "json_schema", "schema": SCHEMA}}
        check(json.loads(self.create(model, "x", output_config=form).content[0].text), WANTED)

    def usage(self, model):
        for answer in [f(model, HELLO) for f in (self.create, self.final)]:
            check(answer.usage.output_tokens, 3)

    def error(self, model):
        try:
            self.create(f"{model}-none", "x")
        except anthropic.NotFoundError as refused:
            assert refused.request_id
            return check(refused.body["error"]["type"], "not_found_error")
        raise AssertionError("it was served")

    def upstream_error(self, model):
        try:
            self.create(f"{model}-throttled", "x")
        except anthropic.RateLimitError:
            return
        raise AssertionError("it was served")

    def count_tokens(self, model):
        counted = self.client.messages.count_tokens(model=model, messages=[{"role": "user", "content": HELLO}])
        assert counted.input_tokens > 0

    def models(self, model):
        assert model in [known.id for known in self.client.models.list()]


class Gemini:
    """`google-genai`."""

    def __init__(self, url, key):
        options = types.HttpOptions(base_url=url)
        self.client = genai.Client(api_key=key, http_options=options)
        self.models_of = self.client.models
        self.create = self.models_of.generate_content
        declared = types.FunctionDeclaration(name="get_weather", description="d", parameters_json_schema=SCHEMA)
        self.tooled = types.GenerateContentConfig(
            tools=[types.Tool(function_declarations=[declared])],
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )

    def text(self, model):
        answer = self.create(model=model, contents=HELLO)
        check((answer.text, answer.model_version), (ECHO, model))

    def stream(self, model):
        check("".join(c.text or "" for c in self.models_of.generate_content_stream(model=model, contents=HELLO)), ECHO)

    def tools(self, model):
        check(self.create(model=model, contents=USE, config=self.tooled).function_calls[0].args, WANTED)
        events = self.models_of.generate_content_stream(model=model, contents=USE, config=self.tooled)
        check([call.args for event in events for call in event.function_calls or []], [WANTED])

    def tool_results(self, model):
        first = self.create(model=model, contents=USE, config=self.tooled)
        told = types.Part.from_function_response(name="get_weather", response={"output": "sunny"})
        turns = [
            types.Content(role="user", parts=[types.Part(text=USE)]),
            first.candidates[0].content,
            types.Content(role="user", parts=[told]),
        ]
        assert self.create(model=model, contents=turns, config=self.tooled).text

    def parallel_results(self, model):
        call = types.Part.from_function_call(name="get_weather", args={})
        told = types.Part.from_function_response(name="get_weather", response={"output": "sunny"})
        turns = [
            types.Content(role="user", parts=[types.Part(text="hi")]),
            types.Content(role="model", parts=[call, call]),
            types.Content(role="user", parts=[told, told, types.Part(text="go on")]),
        ]
        assert self.create(model=model, contents=turns, config=self.tooled).text.endswith("go on")

    def image(self, model):
        image = types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type="image/png")
        check(self.create(model=model, contents=["see", image]).text, "echo: see")

    def thinking(self, model):
        thought = types.ThinkingConfig(thinking_budget=1024, include_thoughts=True)
        config = types.GenerateContentConfig(thinking_config=thought)
        assert "hello" in self.create(model=model, contents=HELLO, config=config).text

    def structured(self, model):
        config = types.GenerateContentConfig(response_mime_type="application/json", response_json_schema=SCHEMA)
        check(json.loads(self.create(model=model, contents="x", config=config).text), WANTED)

    def usage(self, model):
        check(self.create(model=model, contents=HELLO).usage_metadata.candidates_token_count, 3)
        events = list(self.models_of.generate_content_stream(model=model, contents=HELLO))
        check(events[-1].usage_metadata.candidates_token_count, 3)

    def error(self, model):
        try:
            self.create(model=f"{model}-none", contents="x")
        except errors.ClientError as refused:
            return check((refused.code, refused.status), (404, "NOT_FOUND"))
        raise AssertionError("it was served")

    def upstream_error(self, model):
        try:
            self.create(model=f"{model}-throttled", contents="x")
        except errors.ClientError as refused:
            return check((refused.code, refused.status), (429, "RESOURCE_EXHAUSTED"))
        raise AssertionError("it was served")

    def count_tokens(self, model):
        assert self.models_of.count_tokens(model=model, contents=HELLO).total_tokens > 0

    def models(self, model):
        assert f"models/{model}" in [known.name for known in self.models_of.list()]


CLIENTS = {"openai": OpenAi, "openai, responses": Responses, "anthropic": Anthropic, "google-genai": Gemini}
