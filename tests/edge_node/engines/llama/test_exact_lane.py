"""The lane of deterministic requests, over a decoder that only takes notes."""

import pytest

from edge_node.engines import Generate
from edge_node.engines.llama.batch import Outcome
from edge_node.engines.llama.exact_lane import CHUNK_TOKENS, ExactLane
from edge_node.engines.llama.generation import Generation


class Decoder:
    context = "context"

    def __init__(self):
        self.batches = []
        self.wanted = []

    def decode(self, shares, tokens):
        self.wanted += [share.wants_scores for share in shares]
        self.batches.append([(share.slot, share.position, share.count) for share in shares])
        assert [share.count for share in shares] == [len(part) for part in tokens]
        return Outcome.DONE


class Memory:
    def __init__(self):
        self.kept = {}

    def forget(self, sequence, position):
        self.kept[sequence] = position
        return True


class Chooser:
    def follow(self, tokens):
        pass

    def free(self):
        pass


class Bench:
    def __init__(self, rows=2):
        self.decoder, self.memory = Decoder(), Memory()
        self.lane = ExactLane(self.decoder, self.memory, rows=rows, advance=self.advance)
        self.ended = set()

    def advance(self, generation, _context, _row):
        generation.tokens.append(7)
        return [], generation.request_id in self.ended

    def arrive(self, request_id, prompt, client="", resumed=()):
        request = Generate(request_id=request_id, text="", client=client, deterministic=True)
        generation = Generation(request, list(prompt), limit_tokens=900, sampler=Chooser(), now_s=0.0)
        generation.resume(resumed, [b"x"] * len(resumed))
        self.lane.arrive(generation)
        return generation

    def step(self):
        before = len(self.decoder.batches)
        self.lane.step(0.0)
        return self.decoder.batches[before:]


def test_prompts_are_read_alone_in_chunks_at_fixed_places():
    bench = Bench()
    bench.arrive("a", [1] * 300)
    bench.arrive("b", [2] * 130)
    reads = [batch for _ in range(5) for batch in bench.step() if batch[0][2] > 1]
    assert all(len(batch) == 1 for batch in reads)
    assert reads == [[(0, 0, 128)], [(0, 128, 128)], [(0, 256, 44)], [(1, 0, 128)], [(1, 128, 2)]]


def test_no_more_answers_share_a_batch_than_are_certified():
    bench = Bench(rows=2)
    for name in "abc":
        bench.arrive(name, [1, 2, 3])
    for _ in range(5):
        assert all(len(batch) <= 2 for batch in bench.step())
    assert len(bench.lane.generations()) == 3


def test_a_prefix_is_used_again_in_whole_chunks_by_its_own_client():
    bench = Bench(rows=1)
    bench.ended.add("a")
    bench.arrive("a", range(300), client="ann")
    while bench.lane.busy:
        bench.step()
    assert bench.memory.kept[0] == 256
    other = bench.arrive("b", range(300), client="bob")
    bench.step()
    assert len(other.slot.cached) == CHUNK_TOKENS  # read now, nothing taken over
    bench.lane.leave(other)
    again = bench.arrive("c", [*range(290), 5, 5, 5], client="bob")
    assert bench.step() == [[(0, 128, 128)]]  # what the one that left had read
    assert len(again.slot.cached) == 2 * CHUNK_TOKENS


def test_the_last_token_is_always_computed_and_its_chunk_with_it():
    bench = Bench(rows=1)
    bench.ended.add("a")
    for _ in range(2):
        bench.arrive("a", range(256))
        batches = [batch for _ in range(2) for batch in bench.step()]
    assert batches == [[(0, 128, 128)]]


def test_one_that_waits_can_leave():
    bench = Bench(rows=1)
    bench.arrive("a", [1, 2])
    waiting = bench.arrive("b", [1, 2])
    bench.step()
    bench.lane.leave(waiting)
    assert [generation.request_id for generation in bench.lane.generations()] == ["a"]


@pytest.mark.parametrize("prompt_tokens", [1, 5, 128, 129, 200])
@pytest.mark.parametrize("resumed_count", [1, 2, 130])
def test_what_was_resumed_is_computed_as_it_was_the_first_time(prompt_tokens, resumed_count):
    whole, cut = Bench(rows=1), Bench(rows=1)
    whole.arrive("a", [1] * prompt_tokens)
    again = cut.arrive("a", [1] * prompt_tokens, resumed=[7] * resumed_count)
    while len(again.tokens) <= prompt_tokens + resumed_count:
        whole.step()
        cut.step()
    assert cut.decoder.batches == whole.decoder.batches
    assert cut.decoder.wanted == whole.decoder.wanted
    cut.lane.leave(again)
    assert cut.memory.kept[0] == prompt_tokens - prompt_tokens % CHUNK_TOKENS
