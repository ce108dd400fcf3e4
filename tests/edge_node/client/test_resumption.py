"""What a client knows of a stream that may break."""

import pytest

from edge_node.api.mark import Mark
from edge_node.client.resumption import SILENCES_COUNT, Resumption, wants_marks
from edge_node.errors import AnswerInvalidError

MESSAGE = {"model": "chat", "messages": [], "stream": True, "edgeward": {"resumable": True}}


def note(resumption, mark, *, says=True):
    return resumption.note(mark, says=says, answer_id="chatcmpl-1", created=17, model="chat@1.2.0")


@pytest.fixture
def begun():
    resumption = Resumption()
    assert note(resumption, Mark(release="r", silence_s=10.0), says=False)
    return resumption


@pytest.mark.parametrize(
    "message", [{}, {"n": 1}, {"n": None}, {"prompt": "x"}, {"prompt": ["x"]}, {"prompt": [1, 2]}, {"prompt": [[1, 2]]}]
)  # fmt: skip
def test_a_request_with_one_answer_wants_marks(message):
    assert wants_marks(message)


@pytest.mark.parametrize(
    "message", [{"n": 2}, {"best_of": 2}, {"prompt": ["x", "y"]}, {"prompt": [[1], [2]]}, {"edgeward": {}}]
)
def test_a_request_with_several_answers_or_its_own_word_does_not(message):
    assert not wants_marks(message)


def test_the_rest_is_asked_for_with_all_tokens_of_the_same_release(begun):
    assert note(begun, Mark(tokens=(5, 6), text_chars=3))
    assert note(begun, Mark(tokens=(7,), text_chars=9))
    assert begun.possible
    assert begun.silence_s == SILENCES_COUNT * 10.0
    cut = {"release": "r", "tokens": [5, 6, 7], "text_chars": 9, "id": "chatcmpl-1", "created": 17}
    assert begun.asks(MESSAGE) == {**MESSAGE, "model": "chat@1.2.0", "edgeward": {"resume": cut}}


def test_a_stream_without_marks_cannot_go_on():
    resumption = Resumption()
    assert note(resumption, None)
    assert not resumption.possible
    assert resumption.silence_s is None


def test_text_without_its_tokens_ends_it(begun):
    assert note(begun, Mark(tokens=(5,), text_chars=3))
    assert note(begun, None, says=False)  # usage, signs of life, the end
    assert begun.possible
    assert note(begun, None)
    assert not begun.possible


def test_what_belongs_to_the_next_chunk_is_not_settled(begun):
    assert not note(begun, Mark(more=True))
    assert note(begun, Mark(tokens=(5,), text_chars=3))
    assert begun.possible


def test_a_node_that_begins_anew_is_seen(begun):
    note(begun, Mark(tokens=(5,), text_chars=3))
    begun.check(Mark(release="r", tokens_count=1, text_chars=3))
    for mark in (None, Mark(release="r"), Mark(release="s", tokens_count=1, text_chars=3),
                 Mark(release="r", tokens_count=1, text_chars=4)):  # fmt: skip
        with pytest.raises(AnswerInvalidError, match="cut off"):
            begun.check(mark)
