from __future__ import annotations

import msgspec
import pytest

from edge_node.cache.keys import digest, generation_key, is_repeatable
from edge_node.engines import ChatMessage, Generate, Sampling

ASK = Generate(
    request_id="1", messages=(ChatMessage(role="user", content="Hi"),), sampling=Sampling(temperature=0)
)


def sampled(**changes):
    return msgspec.structs.replace(ASK, sampling=msgspec.structs.replace(ASK.sampling, **changes))


def test_only_what_leaves_nothing_to_chance_is_repeatable():
    assert is_repeatable(ASK)
    assert is_repeatable(sampled(temperature=1.0, seed=7))
    assert not is_repeatable(sampled(temperature=1.0))


@pytest.mark.parametrize(
    "same",
    [
        msgspec.structs.replace(ASK, request_id="2", client="x", reports_progress=True),
        sampled(seed=9), sampled(top_p=0.5), sampled(top_k=3), sampled(min_p=0.1),
    ],
)  # fmt: skip
def test_what_cannot_change_the_answer_is_no_part_of_the_key(same):
    assert generation_key("s", "c", same) == generation_key("s", "c", ASK)


@pytest.mark.parametrize(
    "other",
    [
        sampled(max_tokens=5), sampled(temperature=0.1, seed=1), sampled(stop=("x",)), sampled(logit_bias={1: 2.0}),
        sampled(logprobs_count=0), msgspec.structs.replace(ASK, deterministic=True),
        msgspec.structs.replace(ASK, messages=(ChatMessage(role="user", content="Ho"),)),
        msgspec.structs.replace(ASK, messages=None, text="Hi"), msgspec.structs.replace(ASK, tools=("{}",)),
    ],
)  # fmt: skip
def test_whatever_can_change_the_answer_changes_the_key(other):
    assert generation_key("s", "c", other) != generation_key("s", "c", ASK)


def test_who_answers_and_who_asks_are_parts_of_the_key():
    keys = {generation_key(stamp, client, ASK) for stamp in "ab" for client in ("", "a", "b")}
    assert len(keys) == 6


def test_the_order_of_biases_does_not_matter():
    one, other = sampled(logit_bias={1: 2.0, 3: 4.0}), sampled(logit_bias={3: 4.0, 1: 2.0})
    assert generation_key("s", "", one) == generation_key("s", "", other)


def test_where_one_part_ends_and_the_next_begins_is_known():
    assert digest(b"ab", b"c") != digest(b"a", b"bc")
