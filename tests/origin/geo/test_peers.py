from collections import Counter

import msgspec

from origin.api import ModelReport, NodeReport, Place, WantedRelease
from origin.fleet import Standing
from origin.geo.peers import peers_by_release

WANTED = WantedRelease("chat", "2", "ab" * 32)
FRANKFURT, PARIS, SYDNEY = Place(50.1, 8.7), Place(48.9, 2.4), Place(-33.9, 151.2)


def node(name, place=FRANKFURT, *, state=None, version="2"):
    models = () if state is None else (ModelReport(name="chat", version=version, state=state),)
    return NodeReport(node_id=name, incarnation=1, url=f"http://{name}.example", place=place, models=models)


def named(asker, others, *, wants=lambda _: (WANTED,), **changes):
    standings = [Standing(other, changes.get(other.node_id, "up"), 0.0) for other in others]
    return [
        peer.node_id
        for peer in peers_by_release(asker, (WANTED,), standings, wants).get(WANTED.manifest_sha256, ())
    ]


def test_near_nodes_come_first():
    others = [node("sydney", SYDNEY), node("nowhere", None), node("paris", PARIS), node("frankfurt")]
    order = named(node("asker"), others)
    assert set(order[:2]) == {"paris", "frankfurt"}
    assert set(order[2:]) == {"sydney", "nowhere"}
    assert named(node("asker"), [node("asker")]) == []


def test_nodes_of_a_region_are_each_somebodys_first_choice():
    others = [node(f"n{number}") for number in range(8)]
    firsts = Counter(named(node(f"asker-{number}"), others)[0] for number in range(200))
    assert len(firsts) == 8
    assert max(firsts.values()) < 50


def test_whoever_holds_fetches_or_will_want_it_is_a_peer_and_nobody_else():
    others = [node("holds", state="ready"), node("fetches", state="fetching"), node("failed", state="failed")]
    others += [node("old", state="ready", version="1"), node("gone", state="ready"), node("new")]
    found = named(
        node("asker"), others, wants=lambda it: (WANTED,) if it.node_id == "new" else None, gone="down"
    )
    assert set(found) == {"holds", "fetches", "new"}


def test_a_node_that_has_it_is_told_nothing_and_lists_are_bounded():
    assert named(node("asker", state="on_disk"), [node("other", state="ready")]) == []
    many = [node(f"n{number}") for number in range(100)]
    assert len(named(node("asker"), many)) == 16
    assert peers_by_release(node("asker"), None, (), lambda _: None) == {}


def test_an_older_origin_names_no_peers():
    from origin.api import Directive

    plain = {"wanted": [], "heartbeat_s": 1.0}
    assert msgspec.convert(plain, Directive).peers == {}
