"""Limits of an answer, and what is said while it grows."""

import pytest

from edge_node.engines import Choice, Delta, Finished, Generate, Progress, Sampling, Started, TokenScore
from edge_node.engines.llama.generation import Chosen, Generation, answer_limit_tokens
from edge_node.engines.llama.slots import Slot
from edge_node.errors import PromptTooLongError, RequestInvalidError, ResumeMismatchError


def test_an_answer_fits_the_context_exactly_or_is_refused():
    assert answer_limit_tokens(90, 10, context_tokens=100) == 10
    assert answer_limit_tokens(99, None, context_tokens=100) == 1
    with pytest.raises(PromptTooLongError, match=r"90 tokens and 11 .* 100") as caught:
        answer_limit_tokens(90, 11, context_tokens=100)
    assert caught.value.param == "max_tokens"
    with pytest.raises(PromptTooLongError, match="100 tokens, the model's context holds 100"):
        answer_limit_tokens(100, None, context_tokens=100)


@pytest.mark.parametrize(
    ("prompt", "answer", "param"), [(0, None, "prompt"), (5, 0, "max_tokens"), (5, -1, "max_tokens")]
)
def test_nothing_to_do_is_refused(prompt, answer, param):
    with pytest.raises(RequestInvalidError) as caught:
        answer_limit_tokens(prompt, answer, context_tokens=100)
    assert caught.value.param == param


def generation(limit_tokens=3, stop=(), **more):
    request = Generate(request_id="r", text="x", sampling=Sampling(stop=stop), **more)
    made = Generation(request, [1, 2, 3], limit_tokens=limit_tokens, sampler=None, now_s=10.0)
    made.admit(Slot(0, cached=[1, 2]), now_s=10.5)
    return made


def test_started_once_then_text_then_the_end():
    made = generation()
    said, last = made.advance(Chosen(7), "€".encode()[:1], ends=False, now_s=11.0)
    assert said == [Started(request_id="r", prompt_tokens=3, cached_tokens=2, queue_s=0.5, prefill_s=0.5)]
    assert not last
    made.admit(Slot(1), now_s=11.5)  # put off and back: no second start
    said, last = made.advance(Chosen(8), "€".encode()[1:], ends=False, now_s=12.0)
    assert (said, last) == ([Delta("r", "€", 2, tokens=(7, 8))], False)
    said, last = made.advance(Chosen(9), b"x", ends=False, now_s=13.0)
    assert said == [
        Delta("r", "x", 1, tokens=(9,)),
        Finished(request_id="r", reason="length", completion_tokens=3, decode_s=2.0),
    ]
    assert last


def test_the_models_own_end_releases_held_text():
    made = generation(stop=("END",))
    made.advance(Chosen(7), b"EN", ends=False, now_s=11.0)
    said, last = made.advance(Chosen(0), b"ignored", ends=True, now_s=11.0)
    assert said == [
        Delta("r", "EN", 2, tokens=(7, 0)),
        Finished(request_id="r", reason="stop", completion_tokens=2, decode_s=0.0),
    ]
    assert last


def test_a_stop_string_ends_the_answer_without_it():
    made = generation(limit_tokens=9, stop=("END",))
    said, last = made.advance(Chosen(7), b"the END!", ends=False, now_s=11.0)
    assert [event.text for event in said if isinstance(event, Delta)] == ["the "]
    assert last
    assert said[-1].reason == "stop"


def test_progress_is_told_when_it_is_wanted_and_news():
    made = generation(reports_progress=True)
    assert made.progress(0) == [Progress(request_id="r", ahead_count=0, read_tokens=2, prompt_tokens=3)]
    assert made.progress(0) == []
    assert generation().progress(0) == []
    made.advance(Chosen(7), b"a", ends=False, now_s=11.0)
    assert made.progress(1) == []


def test_scores_travel_with_the_text_of_their_tokens():
    made = generation(limit_tokens=9)
    scores = [TokenScore(Choice(token, b"?", -1.0), ()) for token in (7, 8)]
    made.advance(Chosen(7, scores[0]), "€".encode()[:1], ends=False, now_s=11.0)
    said, _ = made.advance(Chosen(8, scores[1]), "€".encode()[1:], ends=False, now_s=12.0)
    assert said == [Delta("r", "€", 2, tuple(scores), (7, 8))]
    said, _ = made.advance(Chosen(9), b"x", ends=False, now_s=12.0)
    assert said == [Delta("r", "x", 1, tokens=(9,))]


class Following:
    """A chooser that only notes what it was told."""

    def __init__(self):
        self.followed = None

    def follow(self, tokens):
        self.followed = tuple(tokens)

    def free(self):
        pass


PIECES = [b"a ", "€".encode()[:1], "€".encode()[1:], b" E", b"N", b"d E", b"x END y", None]
TOKENS = list(range(100, 100 + len(PIECES)))


def run(*, cut=0, limit_tokens=50, stop=("END",), pieces=PIECES):
    """Generate these pieces; with `cut`, in a second run that resumes after so many Deltas of the first."""
    request = Generate(request_id="r", text="x", sampling=Sampling(stop=stop))

    def fresh():
        made = Generation(request, [1, 2, 3], limit_tokens=limit_tokens, sampler=Following(), now_s=0.0)
        made.admit(Slot(0), now_s=0.0)
        return made

    def go_on(made, start):
        said = []
        for token, piece in list(zip(TOKENS, pieces, strict=True))[start:]:
            events, last = made.advance(Chosen(token), piece or b"", ends=piece is None, now_s=1.0)
            said += events
            if last:
                break
        return said

    first = go_on(fresh(), 0)
    deltas = [event for event in first if isinstance(event, Delta)][:cut]
    if not cut:
        return first
    tokens = [token for delta in deltas for token in delta.tokens]
    again = fresh()
    again.resume(tokens, [pieces[token - 100] for token in tokens])
    assert again.sampler.followed == tuple(tokens)
    assert again.resumed_text == "".join(delta.text for delta in deltas)
    return [*deltas, *(again.whole(1.0) or go_on(again, len(tokens)))]


@pytest.mark.parametrize("limit_tokens", range(1, 10))
@pytest.mark.parametrize("stop", [(), ("END",), ("zzz", "d")])
def test_an_answer_that_was_cut_anywhere_goes_on_as_if_it_was_not(limit_tokens, stop):
    whole = run(limit_tokens=limit_tokens, stop=stop)
    text = "".join(event.text for event in whole if isinstance(event, Delta))
    deltas_count = sum(isinstance(event, Delta) for event in whole)
    for cut in range(1, deltas_count + 1):
        again = run(cut=cut, limit_tokens=limit_tokens, stop=stop)
        assert "".join(event.text for event in again if isinstance(event, Delta)) == text
        assert (again[-1].reason, again[-1].completion_tokens) == (
            whole[-1].reason,
            whole[-1].completion_tokens,
        )
        started = next(event for event in again if isinstance(event, Started))
        assert started.prompt_tokens == 3
        assert started.resumed_tokens == sum(len(event.tokens) for event in again[:cut])
        assert started.resumed_text == "".join(event.text for event in again[:cut])


def test_tokens_after_the_end_of_an_answer_are_refused():
    for tokens, pieces in (([1, 2], [None, b"x"]), ([1, 2], [b"END", b"x"]), ([1] * 4, [b"x"] * 4)):
        made = generation(limit_tokens=3, stop=("END",))
        made.sampler = Following()
        with pytest.raises(ResumeMismatchError, match="whole after"):
            made.resume(tokens, pieces)
