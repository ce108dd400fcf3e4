"""Whether a clock can tell wrong keys apart: Welch's t-test of two kinds of guesses, interleaved (dudect).

Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?" (2017). Times above a percentile are cut off, since
they say something of the machine only, and |t| < 4.5 is the usual bound. The same test with both kinds alike is its
null, which must pass too.
"""

from __future__ import annotations

import gc
import math
import random
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable

import pytest

from origin.errors import ApiKeyInvalidError
from origin.gate import Gate
from registry.client_keys import new_key, parse_token

pytestmark = pytest.mark.fault

Guess = Callable[[random.Random], tuple[str, str]]

SAMPLES_COUNT = 100_000
BOUND = 4.5
NOW_S = 1_800_000_000.0
KEYS_COUNT = 1000


def spelled(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def gate():
    chance, keys, tokens = random.Random(5000), {}, []
    for _ in range(KEYS_COUNT):
        token, key = new_key(
            id_bytes=chance.randbytes(5) + bytes([chance.randrange(0, 256, 2)]),
            secret_bytes=chance.randbytes(32),
            name="test",
            now_unix_s=NOW_S,
        )
        keys[key.key_id] = key
        tokens.append(token)
    made = Gate()
    made.learn(keys, read_unix_s=NOW_S)
    return made, tokens


def refused_in_ns(gate: Gate, header: str) -> int:
    """How long a refusal takes, its exception included."""
    begun_ns = time.perf_counter_ns()
    try:
        gate.prove(header, NOW_S)
    except ApiKeyInvalidError:
        return time.perf_counter_ns() - begun_ns
    raise AssertionError("a guess was let in")


def welch_t(one: list[int], other: list[int]) -> float:
    """The t statistic of two samples of unequal variance, after what is above the 90th percentile of both is cut."""
    limit = sorted([*one, *other])[int(0.9 * (len(one) + len(other)))]
    means, errors = [], []
    for sample in (one, other):
        kept = [value for value in sample if value <= limit]
        mean = sum(kept) / len(kept)
        means.append(mean)
        errors.append(sum((value - mean) ** 2 for value in kept) / (len(kept) - 1) / len(kept))
    return (means[0] - means[1]) / math.sqrt(sum(errors))


def measured_t(gate: Gate, kinds: tuple[Guess, Guess], seed: int) -> float:
    """The statistic over interleaved guesses; all are made before the first is timed."""
    chance = random.Random(seed)
    order = [chance.getrandbits(1) for _ in range(2 * SAMPLES_COUNT)]
    headers = ["Bearer ek_{}_{}".format(*kinds[kind](chance)) for kind in order]
    taken: tuple[list[int], list[int]] = ([], [])
    for header in headers[:2000]:  # warm
        refused_in_ns(gate, header)
    gc.collect()
    gc.disable()
    try:
        for kind, header in zip(order, headers, strict=True):
            taken[kind].append(refused_in_ns(gate, header))
    finally:
        gc.enable()
    return welch_t(*taken)


def kinds_of(tokens: list[str]) -> dict[str, Guess]:
    """Guesses at ids and secrets."""
    parsed = [parse_token(token) for token in tokens]

    def random_secret(chance: random.Random) -> tuple[str, str]:
        return chance.choice(parsed)[0], spelled(chance.randbytes(32))

    def nearly_right(chance: random.Random) -> tuple[str, str]:
        key_id, secret = chance.choice(parsed)
        return key_id, secret[:-1] + ("A" if secret[-1] != "A" else "E")

    def unknown_id(chance: random.Random) -> tuple[str, str]:
        # Right after a known one, so that each record is looked at as often as by known ids: what is looked at more
        # often stays in the processor's caches, and that says nothing of whether an id exists.
        key_id = chance.choice(parsed)[0]
        return f"{key_id[:-1]}{int(key_id[-1], 16) ^ 1:x}", spelled(chance.randbytes(32))

    return {"alike": random_secret, "nearly_right": nearly_right, "unknown_id": unknown_id}


@pytest.mark.parametrize("kind", ["alike", "nearly_right", "unknown_id"])
def test_a_clock_does_not_tell_guesses_apart(gate, kind):
    guarded, tokens = gate
    kinds = kinds_of(tokens)
    # A real leak shows in every run, a noisy machine in some: the least of three decides.
    found = [measured_t(guarded, (kinds["alike"], kinds[kind]), seed) for seed in range(3)]
    print(f"{kind}: t = {', '.join(f'{t:+.2f}' for t in found)}")  # noqa: T201
    assert min(map(abs, found)) < BOUND
