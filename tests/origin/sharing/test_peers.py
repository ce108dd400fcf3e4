"""The other origins by the local time of their last word."""

from origin.sharing.messages import OriginCard
from origin.sharing.peers import Peers


def card(number, url=None, **fields):
    return OriginCard(origin_id=f"{number:016x}", url=url or f"http://o{number}.example", **fields)


def peers():
    return Peers(silent_after_s=1.5, forget_after_s=600.0)


def test_one_is_heard_until_it_is_silent_and_known_until_it_is_forgotten():
    some = peers()
    assert some.hear(card(1), 100.0)
    assert not some.hear(card(1), 101.0)
    assert some.heard(102.5) == {card(1).origin_id}
    assert some.heard(102.6) == frozenset()
    assert some.known(701.0) == ((card(1), 600.0),)
    assert some.known(701.1) == ()


def test_coming_back_is_said():
    some = peers()
    some.hear(card(1), 0.0)
    assert some.hear(card(1), 10.0)


def test_one_that_leaves_is_forgotten_at_once():
    some = peers()
    some.hear(card(1), 0.0)
    assert not some.hear(card(1, leaving=True), 0.1)
    assert some.known(0.2) == ()
    assert not some.hear(card(2, leaving=True), 0.3)
    assert some.known(0.4) == ()


def test_one_that_started_again_takes_the_place_of_its_former_self():
    some = peers()
    some.hear(card(1, url="http://o.example"), 0.0)
    some.hear(card(2, url="http://o.example"), 5.0)
    assert [known.origin_id for known, _ in some.known(5.0)] == [card(2).origin_id]


def test_they_are_listed_by_url_and_their_number_is_bounded():
    some = peers()
    for number in range(100):
        some.hear(card(number), float(number))
    known = [known.url for known, _ in some.known(100.0)]
    assert len(known) == 64
    assert known == sorted(known)
    assert "http://o99.example" in known
    assert "http://o1.example" not in known
