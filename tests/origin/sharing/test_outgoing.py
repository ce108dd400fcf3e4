"""What is told next: the last word of each node, in messages under the limit."""

from hypothesis import given
from hypothesis import strategies as st

from origin.api import ModelReport, NodeReport
from origin.sharing.bus import MESSAGE_LIMIT_BYTES
from origin.sharing.messages import OriginCard, read_news, read_report
from origin.sharing.outgoing import Outgoing

CARD = OriginCard(
    origin_id="0123456789abcdef",
    url="http://" + "o" * 2000,
    route_keys=tuple(bytes([i]) * 256 for i in range(8)),
)


def heartbeat(node_id="paris", number=1, padding=0):
    models = (ModelReport(name="m", version="1", state="ready", detail="x" * padding),)
    return NodeReport(node_id=node_id, incarnation=1, number=number, url="http://n:1", models=models)


def told(outgoing):
    messages = list(outgoing.messages(CARD))
    assert all(len(message) <= MESSAGE_LIMIT_BYTES for message in messages)
    return [read_news(message) for message in messages]


def test_nothing_to_tell_is_one_message_all_the_same():
    assert [(news.card, news.reports, news.routed) for news in told(Outgoing())] == [(CARD, (), ())]


def test_of_a_node_the_last_word_counts_and_is_told_once():
    outgoing = Outgoing()
    for number in (1, 2, 3):
        outgoing.add_report(heartbeat(number=number))
    (news,) = told(outgoing)
    assert [read_report(data).number for data in news.reports] == [3]
    assert not outgoing
    assert told(outgoing)[0].reports == ()


def test_requests_are_counted_by_release():
    outgoing = Outgoing()
    for _ in range(3):
        outgoing.add_routed("paris", ("chat", "1"))
    outgoing.add_routed("paris", ("embed", "1"))
    (news,) = told(outgoing)
    assert {(hint.name, hint.count) for hint in news.routed} == {("chat", 3), ("embed", 1)}


def test_hints_are_bounded():
    outgoing = Outgoing()
    for index in range(5000):
        outgoing.add_routed(f"n{index}".ljust(63, "x"), ("m" * 200, "1.0.0"))
    outgoing.add_routed("paris", ("m" * 10_000, "1"))
    for _ in range(5000):
        outgoing.add_routed("n0".ljust(63, "x"), ("m" * 200, "1.0.0"))
    outgoing.add_report(heartbeat())
    news = told(outgoing)
    assert len(news[0].routed) == 1024
    assert news[0].routed[0].count == 1024
    assert sum(len(part.reports) for part in news) == 1


@given(st.lists(st.integers(0, 300_000), max_size=8))
def test_reports_of_any_size_travel_once(paddings):
    outgoing = Outgoing()
    for index, padding in enumerate(paddings):
        outgoing.add_report(heartbeat(f"n{index}", padding=padding))
    heard = [read_report(data).node_id for news in told(outgoing) for data in news.reports]
    assert heard == [f"n{index}" for index in range(len(paddings))]


def test_a_report_that_fits_no_message_is_left_out():
    outgoing = Outgoing()
    outgoing.add_report(heartbeat("huge", padding=MESSAGE_LIMIT_BYTES))
    outgoing.add_report(heartbeat("small"))
    heard = [read_report(data).node_id for news in told(outgoing) for data in news.reports]
    assert heard == ["small"]
