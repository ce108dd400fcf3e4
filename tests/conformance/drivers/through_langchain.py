"""Drives a node with langchain-openai."""

import sys

import openai
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

TO = {"base_url": sys.argv[1] + "/v1", "api_key": "none", "max_retries": 0}


class Person(BaseModel):
    """A person."""

    name: str = Field(max_length=12)
    age: int = Field(ge=18, le=99)


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


chat = ChatOpenAI(model="chat", max_tokens=60, temperature=0, **TO)
answer = chat.invoke([SystemMessage("Be brief."), HumanMessage("Say hello.")])
assert answer.content
assert answer.usage_metadata["total_tokens"] > 0
streamed = "".join(
    chunk.content for chunk in chat.stream([SystemMessage("Be brief."), HumanMessage("Say hello.")])
)
assert streamed == answer.content
for method in ("json_schema", "function_calling"):
    wild = ChatOpenAI(model="chat", max_tokens=200, temperature=1.3, seed=3, **TO)
    person = wild.with_structured_output(Person, method=method).invoke("Invent a person.")
    assert isinstance(person, Person), (method, person)
forced = chat.bind_tools([add], tool_choice="add").invoke("What is 2 and 3?")
assert forced.tool_calls[0]["name"] == "add"
after = chat.bind_tools([add], tool_choice="none").invoke(
    [
        HumanMessage("What is 2 and 3?"),
        AIMessage("", tool_calls=forced.tool_calls),
        ToolMessage("5", tool_call_id=forced.tool_calls[0]["id"]),
    ]
)
assert after.content
assert OpenAI(model="chat", max_tokens=5, **TO).invoke("Once upon")
embeddings = OpenAIEmbeddings(model="embed", check_embedding_ctx_length=False, **TO)
assert len(embeddings.embed_documents(["one", "two"])) == 2
newer = ChatOpenAI(model="chat", max_tokens=20, use_responses_api=True, **TO)
assert newer.invoke("Say hello.").content
for unknown, kind in (
    ({"model": "nobody"}, openai.NotFoundError),
    ({"model": "chat", "temperature": 9}, openai.BadRequestError),
):
    try:
        ChatOpenAI(**unknown, **TO).invoke("x")
    except kind:
        continue
    raise AssertionError(kind)
print("langchain conforms")
