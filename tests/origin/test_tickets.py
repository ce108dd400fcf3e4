"""Tickets: what was signed is read, and nothing that anybody else wrote is believed."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.tickets import (
    LIFE_LIMIT_S,
    SIGNED_LIMIT_COUNT,
    TEXT_LIMIT,
    OnTheWay,
    Signer,
    Stop,
    Ticket,
    read_ticket,
    split_way,
    verifiers,
    with_way,
)

NOW_S = 1_800_000_000.0
SIGNER = Signer(b"\x01" * 32)
OTHER = Signer(b"\x02" * 32)
KEYS = verifiers([SIGNER.public_key])
TICKET = Ticket(
    "chat",
    (Stop("paris", "http://paris.example:8000", 0.12, 14.0, 0.03), Stop("tokyo", "https://tokyo.example", 0.5, 200.0)),
    NOW_S + 60,
    "key-1",
)  # fmt: skip
TEXT = SIGNER.sign([TICKET])[0]


def test_what_was_signed_is_read():
    assert read_ticket(TEXT, KEYS, NOW_S) == TICKET
    assert set(TEXT) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_its_time_ends_and_no_origin_can_give_it_a_long_one():
    assert read_ticket(TEXT, KEYS, NOW_S + 60) == "expired"
    assert read_ticket(TEXT, KEYS, NOW_S + 60.5) == "expired"
    later = SIGNER.sign([msgspec.structs.replace(TICKET, expires_unix_s=NOW_S + 2 * LIFE_LIMIT_S + 1)])[0]
    assert read_ticket(later, KEYS, NOW_S) == "expired"


def test_another_key_is_unknown_and_its_name_on_it_forged():
    assert read_ticket(OTHER.sign([TICKET])[0], KEYS, NOW_S) == "unknown_key"
    assert read_ticket(TEXT, {}, NOW_S) == "unknown_key"
    raw = bytearray(base64.urlsafe_b64decode(OTHER.sign([TICKET])[0] + "=="))
    raw[:9] = base64.urlsafe_b64decode(TEXT + "==")[:9]
    assert read_ticket(base64.urlsafe_b64encode(raw).rstrip(b"=").decode(), KEYS, NOW_S) == "forged"


def test_two_keys_are_good_while_one_follows_the_other():
    keys = verifiers([SIGNER.public_key, OTHER.public_key, b"no key"])
    assert len(keys) == 2
    assert read_ticket(TEXT, keys, NOW_S) == read_ticket(OTHER.sign([TICKET])[0], keys, NOW_S) == TICKET


TOGETHER = [msgspec.structs.replace(TICKET, model=f"chat-{number}") for number in range(SIGNED_LIMIT_COUNT)]


@pytest.mark.parametrize("count", range(1, SIGNED_LIMIT_COUNT + 1))
def test_tickets_that_share_a_signature_are_read_one_by_one(count):
    texts = SIGNER.sign(TOGETHER[:count])
    assert [read_ticket(text, KEYS, NOW_S) for text in texts] == TOGETHER[:count]
    signatures = {base64.urlsafe_b64decode(text + "==")[9 : 9 + 64] for text in texts}
    assert len(signatures) == 1
    assert read_ticket(texts[0], KEYS, NOW_S + 60) == "expired"
    assert read_ticket(texts[-1], verifiers([OTHER.public_key]), NOW_S) == "unknown_key"


def test_there_is_no_signature_for_none_and_none_for_too_many():
    for tickets in ([], [*TOGETHER, TICKET]):
        with pytest.raises(ValueError, match="1 to 32"):
            SIGNER.sign(tickets)


def test_the_way_of_one_proves_nothing_for_another_body():
    raw = [base64.urlsafe_b64decode(text + "==") for text in SIGNER.sign(TOGETHER[:2])]
    start = 9 + 64 + 1 + 32
    for mixed in (raw[0][:start] + raw[1][start:], raw[1][:start] + raw[0][start:]):
        assert read_ticket(base64.urlsafe_b64encode(mixed).rstrip(b"=").decode(), KEYS, NOW_S) == "forged"


@pytest.mark.parametrize("kept_bytes", [9 + 64 + 1, 9 + 64 + 40, 9 + 64 + 1 + 5 * 32 - 1])
def test_a_way_that_ends_early_is_damaged(kept_bytes):
    raw = base64.urlsafe_b64decode(SIGNER.sign(TOGETHER)[0] + "==")[:kept_bytes]
    assert read_ticket(base64.urlsafe_b64encode(raw).rstrip(b"=").decode(), KEYS, NOW_S) == "damaged"


@pytest.mark.parametrize(
    "body", [[], ["chat"], ["chat", [], NOW_S], {"model": "chat"}, ["chat", [["a", "ftp://x", 0, 0]], NOW_S]]
)
def test_a_signed_body_of_another_form_is_damaged(body):
    class Odd(Signer):
        def odd(self):
            packed, head = msgspec.msgpack.encode(body), b"\x01" + self._key_id
            return (
                base64.urlsafe_b64encode(head + self._key.sign(head + packed) + packed).decode().rstrip("=")
            )

    assert read_ticket(Odd(b"\x01" * 32).odd(), KEYS, NOW_S) == "damaged"


def test_long_urls_do_not_make_a_long_ticket():
    stops = tuple(Stop(f"n{number}", f"http://{'x' * 900}.example", 0.1, 1.0) for number in range(4))
    text = SIGNER.sign([msgspec.structs.replace(TICKET, stops=stops)])[0]
    assert len(text) <= TEXT_LIMIT
    assert [each.node_id for each in read_ticket(text, KEYS, NOW_S).stops] == ["n0", "n1"]


@given(st.integers(0, 2**16), st.characters(codec="utf-8"), st.sampled_from([1, 2, 3, 32]))
def test_no_changed_character_is_believed(at, character, count):
    text = SIGNER.sign(TOGETHER[:count])[-1]
    at %= len(text)
    found = read_ticket(text[:at] + character + text[at + 1 :], KEYS, NOW_S)
    # The last character of base64 has bits that mean nothing.
    assert isinstance(found, str) or found == TOGETHER[count - 1]


STARTS = st.sampled_from([b"\x01", b"\x02", b"\x03"])


@given(
    st.one_of(
        st.text(),
        st.builds(
            lambda start, rest: base64.urlsafe_b64encode(start + rest).decode(),
            STARTS,
            st.binary(max_size=300),
        ),
    )
)
def test_whatever_a_client_sends_is_a_flaw_and_never_an_error(text):
    signed, way = split_way(text)
    assert read_ticket(signed, KEYS, NOW_S) in {"damaged", "unknown_key", "forged"}
    assert all(0 <= number < 16 for number in way.tried | way.passed_by)


@given(st.frozensets(st.integers(0, 15)), st.frozensets(st.integers(0, 15)))
def test_who_was_tried_and_who_was_passed_by_comes_back(tried, passed_by):
    way = OnTheWay(tried, passed_by)
    assert split_way(with_way(TEXT, way)) == (TEXT, way)
