"""What is read from the bus is bounded and checked: anybody who reaches it can write there."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.api import NodeReport
from origin.sharing.bus import MESSAGE_LIMIT_BYTES
from origin.sharing.messages import (
    KeptNode,
    News,
    OriginCard,
    Routed,
    kept_node,
    node_key,
    outdates,
    read_kept,
    read_news,
    read_report,
)
from registry.errors import InputInvalidError
from registry.wire import to_msgpack

CARD = OriginCard(origin_id="0123456789abcdef", url="http://o.example")


def report(incarnation=1, number=1, url="http://n.example:1"):
    return NodeReport(node_id="paris", incarnation=incarnation, number=number, url=url)


def test_news_come_back_as_they_were():
    news = News(card=CARD, reports=(to_msgpack(report()),), routed=(Routed("paris", "chat", "1", 3),))
    assert read_news(to_msgpack(news)) == news
    assert read_report(news.reports[0]) == report()


def test_a_field_of_tomorrow_is_passed_over():
    plain = msgspec.to_builtins(News(card=CARD), builtin_types=(bytes,)) | {"tomorrow": [1]}
    assert read_news(msgspec.msgpack.encode(plain)) == News(card=CARD)


@pytest.mark.parametrize(
    "card",
    [
        {"origin_id": "x", "url": "http://o"},
        {"origin_id": "0123456789ABCDEF", "url": "http://o"},
        {"origin_id": "0123456789abcdef", "url": "u" * 3000},
        {"origin_id": "0123456789abcdef", "url": "javascript:x"},
        {"origin_id": "0123456789abcdef", "url": ""},
        {"origin_id": "0123456789abcdef", "url": "http://o", "nodes_url": "javascript:x"},
        {"origin_id": "0123456789abcdef", "url": "http://o", "route_keys": [b"k" * 300]},
        {"origin_id": "0123456789abcdef", "url": "http://o", "route_keys": [b"k"] * 9},
    ],
)
def test_a_card_out_of_bounds_is_refused(card):
    with pytest.raises(InputInvalidError):
        read_news(msgspec.msgpack.encode({"card": card}))


@pytest.mark.parametrize("hint", [["../x", "a", "1", 1], ["a", "a", "1", 0], ["a", "a", "1", 10**6], ["a"]])
def test_a_hint_out_of_bounds_is_refused(hint):
    with pytest.raises(InputInvalidError):
        read_news(msgspec.msgpack.encode({"card": msgspec.to_builtins(CARD), "routed": [hint]}))


@pytest.mark.parametrize("url", ["javascript:x", "http://u:p@h/", "http://h/?q", "", "http://h\r\nX: y"])
def test_a_report_cannot_send_clients_anywhere(url):
    with pytest.raises(InputInvalidError):
        read_report(to_msgpack(report(url=url)))


def test_what_is_too_long_is_not_even_read():
    with pytest.raises(InputInvalidError, match="more than"):
        read_news(b"\x00" * (MESSAGE_LIMIT_BYTES + 1))
    with pytest.raises(InputInvalidError, match="more than"):
        read_kept(b"\x00" * (MESSAGE_LIMIT_BYTES + 1))


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data):
    for read in (read_news, read_kept, read_report):
        try:
            read(data)
        except InputInvalidError:
            continue


@given(st.tuples(st.integers(0, 9), st.integers(0, 9)), st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_a_record_is_replaced_by_what_is_no_older(ours, stored):
    assert outdates(report(*ours), kept_node(report(*stored), CARD.origin_id)) == (ours >= stored)


def test_a_record_that_is_none_is_replaced():
    assert outdates(report(), b"junk")


def test_a_record_comes_back_as_it_was():
    kept = read_kept(kept_node(report(4, 5), CARD.origin_id))
    assert kept == KeptNode(
        origin_id=CARD.origin_id, incarnation=4, number=5, report=to_msgpack(report(4, 5))
    )


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True))
def test_every_node_id_makes_a_key_of_its_own(node_id):
    key = node_key(node_id)
    assert set(key.removeprefix("nodes.")) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_="
    )
    assert key.removeprefix("nodes.").replace("=", ".") == node_id
