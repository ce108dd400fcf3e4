"""Requests for bench_serving: streams read as they come, each token's time noted, over raw sockets to cost little."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

# Words that SmolLM2 reads as one token each, with the space before them.
WORDS = (
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state",
    "family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week", "company", "system",
    "program", "question", "work", "government", "number", "night", "point", "home", "water", "room", "mother", "area",
    "money", "story", "fact", "month", "lot", "right", "study", "book", "eye", "job", "word", "business", "issue",
)  # fmt: skip


def prompt_of(tokens_count, seed):
    """A text of about so many tokens that no other seed begins alike."""
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(tokens_count))


@dataclass
class Answer:
    """What became of one request; times are of `time.perf_counter`."""

    sent_s: float
    status: int = 0
    tokens_count: int = 0
    times_s: list[float] = field(default_factory=list)
    end_s: float = 0.0
    headers: bytes = b""

    @property
    def ttft_s(self):
        return self.times_s[0] - self.sent_s


async def ask(server, prompt, tokens_count):
    """One streamed answer. The reader does as little as it can: it counts events, and reads the usage at the end."""
    parts = urlsplit(server.url)
    body = json.dumps(server.payload(prompt, tokens_count)).encode()
    answer = Answer(time.perf_counter())
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        answer.headers = await reader.readuntil(b"\r\n\r\n")
        answer.status = int(answer.headers.split(b" ", 2)[1])
        kept = b""
        while data := await reader.read(65536):
            now_s = time.perf_counter()
            kept = (kept + data)[-2000:]
            answer.times_s.extend([now_s] * data.count(b'"text":'))
        answer.end_s = time.perf_counter()
        if answer.status == 200:
            answer.tokens_count = _usage(kept) if server.counts_tokens else tokens_count
    finally:
        writer.close()
    return answer


def _usage(kept):
    mark = kept.rindex(b'"completion_tokens":') + len(b'"completion_tokens":')
    return int(kept[mark : mark + 8].split(b",")[0].split(b"}")[0])


def percentile(values, percent):
    """The smallest value that at least so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * percent // 100) - 1))]


async def together(server, prompts, tokens_count):
    """All prompts at once: the answers, and tokens a second from the first byte sent to the last one read."""
    started_s = time.perf_counter()
    answers = await asyncio.gather(*(ask(server, prompt, tokens_count) for prompt in prompts))
    assert all(answer.status == 200 for answer in answers), [answer.status for answer in answers]
    elapsed_s = time.perf_counter() - started_s
    return answers, sum(answer.tokens_count for answer in answers) / elapsed_s
