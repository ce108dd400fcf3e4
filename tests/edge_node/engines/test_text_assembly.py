"""Stop strings and characters, whatever the pieces."""

import codecs
import itertools

from hypothesis import given
from hypothesis import strategies as st

from edge_node.engines.text_assembly import TextAssembler


def assemble(pieces, stop):
    assembler = TextAssembler(stop)
    said = [assembler.push(piece) for piece in pieces]
    if not assembler.stopped:
        said.append(assembler.finish())
    return "".join(said), assembler.stopped


def expected(data, stop):
    """By the definition: character by character, the first stop string to be complete."""
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(data)
    for end in range(1, len(text) + 1):
        starts = [end - len(s) for s in stop if s and text[:end].endswith(s)]
        if starts:
            return text[: min(starts)], True
    return text, False


def split(data, cuts):
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


ALPHABET = st.text(alphabet="ab\n€😀", max_size=24)


@given(
    ALPHABET,
    st.lists(st.text(alphabet="ab\n€😀", max_size=4), max_size=4),
    st.lists(st.integers(0, 90), max_size=20),
)
def test_any_split_gives_the_same_text(text, stop, cuts):
    data = text.encode()
    assert assemble(split(data, cuts), tuple(stop)) == expected(data, stop)


@given(st.binary(max_size=24), st.lists(st.integers(0, 24), max_size=12))
def test_bytes_that_are_no_text_do_not_depend_on_the_split_either(data, cuts):
    assert assemble(split(data, cuts), ()) == expected(data, [])


@given(ALPHABET, st.lists(st.integers(0, 90), max_size=20))
def test_every_delta_is_whole_characters(text, cuts):
    assembler = TextAssembler(("ab\n",))
    for piece in split(text.encode(), cuts):
        assert "\ufffd" not in assembler.push(piece)


def test_text_that_may_become_a_stop_string_waits_and_comes_when_it_does_not():
    assembler = TextAssembler(("END",))
    assert assembler.push(b"the E") == "the "
    assert assembler.push(b"N") == ""
    assert assembler.push(b"gine") == "ENgine"
    assert assembler.finish() == ""


def test_nothing_comes_after_the_stop():
    assembler = TextAssembler(("\n\n",))
    assert assembler.push(b"one\n") == "one"
    assert assembler.push(b"\ntwo") == ""
    assert assembler.stopped
    assert (assembler.push(b"three"), assembler.finish()) == ("", "")


def test_held_text_comes_at_the_end_and_an_unfinished_character_does_not():
    assembler = TextAssembler(("END",))
    assert assembler.push("10 €".encode()[:-1]) == "10 "
    assert assembler.finish() == ""
    assembler = TextAssembler(("END",))
    assert assembler.push(b"the EN") == "the "
    assert assembler.finish() == "EN"
