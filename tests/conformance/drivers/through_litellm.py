"""Drives a node with litellm."""

import json
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would ask the network for prices

import litellm

litellm.telemetry = False
TO = {"api_base": sys.argv[1] + "/v1", "api_key": "none", "num_retries": 0}
HI = [{"role": "user", "content": "Say hello."}]
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {
                "a": {"type": "integer", "minimum": 0, "maximum": 99},
                "b": {"type": "integer", "minimum": 0, "maximum": 99},
            },
            "required": ["a", "b"],
        },
    },
}

whole = litellm.completion(model="openai/chat", messages=HI, max_tokens=10, temperature=0, **TO)
assert whole.choices[0].message.content
assert whole.usage.completion_tokens
stream = litellm.completion(
    model="openai/chat",
    messages=HI,
    max_tokens=10,
    temperature=0,
    stream=True,
    stream_options={"include_usage": True},
    **TO,
)
text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
assert text == whole.choices[0].message.content
called = litellm.completion(
    model="openai/chat",
    messages=HI,
    tools=[TOOL],
    tool_choice="required",
    max_tokens=120,
    parallel_tool_calls=False,
    **TO,
)
arguments = json.loads(called.choices[0].message.tool_calls[0].function.arguments)
assert 0 <= arguments["a"] <= 99
assert len(litellm.completion(model="openai/chat", messages=HI, n=2, max_tokens=4, **TO).choices) == 2
assert (
    litellm.text_completion(model="text-completion-openai/chat", prompt="Once", max_tokens=4, **TO)
    .choices[0]
    .text
)
vectors = litellm.embedding(model="openai/embed", input=["one", "two"], encoding_format="float", **TO)
assert len(vectors.data) == 2
answered = litellm.responses(model="openai/chat", input="Say hello.", max_output_tokens=10, **TO)
assert answered.output
for kind, fields in (
    (litellm.NotFoundError, {"model": "openai/nobody", "messages": HI}),
    (litellm.BadRequestError, {"model": "openai/chat", "messages": HI, "temperature": 5}),
    (litellm.ContextWindowExceededError, {"model": "openai/chat", "messages": HI, "max_tokens": 10**6}),
):
    try:
        litellm.completion(**fields, **TO)
    except kind:
        continue
    except litellm.BadRequestError as error:
        # litellm knows a context that is too small by words of the message, which it changes now and then.
        assert kind is litellm.ContextWindowExceededError, error
        assert "context_length_exceeded" in str(error) or "context" in str(error)
        continue
    raise AssertionError(kind)
print("litellm conforms")
