"""What origins know of each other's nodes, whatever carries it: run in this process and over a real NATS server."""

import asyncio

import pytest

from origin.api import ModelReport, Place, ProbedRtt
from origin.sharing.messages import Probed


async def test_a_node_that_reports_to_one_is_known_to_the_other(world, report, until, now_s):
    first, second = await world.pair()
    started_s = now_s()
    first.sharing.accept(report(number=1))
    await until(lambda: second.states() == {"paris": "up"}, 1)
    assert now_s() - started_s < 1
    assert second.standing().heard_by == first.sharing.card.origin_id
    assert first.standing().heard_by == ""
    assert [taken.node_id for taken in second.taken] == ["paris"]
    assert first.taken == []  # nobody hears himself


async def test_whether_a_node_showed_a_certificate_is_told_and_where_the_doors_are(world, report, until):
    first, second = await world.pair()
    second.sharing.announce("http://second.example", nodes_url="https://second.example:7743")
    first.sharing.accept(report(enrolled=True))
    first.sharing.accept(report("lyon"))
    await until(lambda: set(second.states()) == {"paris", "lyon"}, 2)
    assert (second.standing().report.enrolled, second.standing("lyon").report.enrolled) == (True, False)
    await until(
        lambda: first.sharing.origin_urls(with_certificate=True) == ("https://second.example:7743",), 2
    )
    assert set(first.sharing.origin_urls()) == {"http://first.example", "http://second.example"}


async def test_a_silent_node_ages_by_the_receivers_clock(world, report, until):
    first, second = await world.pair()
    for number in range(3):
        first.sharing.accept(report(number=number + 1))
        await asyncio.sleep(world.beat_s / 4)
    assert second.states() == {"paris": "up"}
    await until(lambda: second.states() == {"paris": "suspect"}, 3)
    await until(lambda: second.states() == {"paris": "down"}, 3)
    assert not second.standing().held  # its origin is heard: it is the node that is gone


async def test_what_one_sends_somewhere_counts_for_the_other(world, report, until, now_s):
    first, second = await world.pair()
    model = ModelReport(name="chat", version="1", state="ready", slots=4)
    first.sharing.accept(report(models=(model,)))
    await until(second.states, 2)
    for _ in range(5):
        first.fleet.note_routed("paris", ("chat", "1"), now_s())
    await until(lambda: len(second.standing().routed_age_s.get(("chat", "1"), ())) == 5, 2)
    assert len(first.standing().routed_age_s["chat", "1"]) == 5


async def test_an_older_start_or_an_earlier_report_changes_nothing(world, report, until):
    first, second = await world.pair()
    second.sharing.accept(report(incarnation=7, number=5))
    first.sharing.accept(report(incarnation=6, number=9))  # the old process still has a word under way
    first.sharing.accept(report("lyon"))
    await until(lambda: "lyon" in second.states(), 2)
    assert second.standing().report.incarnation == 7
    assert second.refused == ["superseded"]
    await until(lambda: first.standing().report.incarnation == 7, 2)
    first.sharing.accept(report(incarnation=7, number=4))  # told before
    first.sharing.accept(report("nice"))
    await until(lambda: "nice" in second.states(), 2)
    assert (second.standing().report.number, second.standing().heard_by) == (5, "")


async def test_an_origin_that_comes_later_knows_the_fleet_at_once(world, report, until):
    first = await world.join("first")
    await until(lambda: first.sharing.view().connected, 15)
    model = ModelReport(name="chat", version="1", state="ready", slots=4)
    first.sharing.accept(report(models=(model,)))
    first.sharing.accept(report("a..b-.", incarnation=3))
    await asyncio.sleep(0.6 * world.beat_s)
    second = await world.join("second")
    await until(lambda: set(second.states()) == {"paris", "a..b-."}, 10)
    assert second.standing().report.models == (model,)
    assert second.taken == []  # what is remembered is not heard


async def test_a_fleet_outlives_its_origins(world, report, until):
    """Every origin is gone and another starts: the last list is held, not thrown away."""
    first = await world.join("first")
    await until(lambda: first.sharing.view().connected, 15)
    first.sharing.accept(report())
    await asyncio.sleep(0.6 * world.beat_s)
    await first.end()
    await asyncio.sleep(3.2 * world.beat_s)
    second = await world.join("second")
    await until(lambda: second.states() == {"paris": "suspect"}, 10)
    assert second.standing().held
    second.sharing.accept(report(number=2))
    assert second.states() == {"paris": "up"}


async def test_cut_off_it_keeps_the_last_view_and_says_so(world, report, until, now_s):
    first, second = await world.pair()
    first.sharing.accept(report())
    second.sharing.accept(report("lyon"))
    await until(lambda: "paris" in second.states() and "lyon" in first.states(), 2)
    world.net.cut(second.bus)
    await until(lambda: second.sharing.cut_off, 5)
    ends_s = now_s() + 4 * world.beat_s
    while now_s() < ends_s:
        second.sharing.accept(report("lyon"))
        first.sharing.accept(report())
        assert second.states()["paris"] in {"up", "suspect"}
        await asyncio.sleep(world.beat_s / 8)
    assert second.standing().held
    assert second.states()["lyon"] == "up"
    view = second.sharing.view()
    assert (view.connected, [peer.heard for peer in view.origins]) == (False, [False])
    assert view.problem
    # the other way round it is the origin that is missed, and its nodes are held as well
    assert first.standing("lyon").held
    assert len(second.sharing.origin_urls()) == 2  # nodes still learn where the others are
    world.net.mend(second.bus)
    await until(lambda: not second.sharing.cut_off, 10)
    first.sharing.accept(report())
    second.sharing.accept(report("lyon"))
    await until(lambda: set(first.states().values()) | set(second.states().values()) == {"up"}, 3)


async def test_what_was_said_while_cut_off_is_not_said_later(world, report, until, now_s):
    """A heartbeat that comes late looks like a fresh one."""
    first, second = await world.pair()
    world.net.cut(first.bus)
    await until(lambda: first.sharing.cut_off, 5)
    first.sharing.accept(report())
    first.fleet.note_routed("paris", ("chat", "1"), now_s())
    await asyncio.sleep(3.2 * world.beat_s)
    world.net.mend(first.bus)
    await until(lambda: not first.sharing.cut_off, 10)
    await asyncio.sleep(0.6 * world.beat_s)
    assert second.taken == []
    assert second.states().get("paris") != "up"


async def test_a_node_that_moves_to_another_origin_is_up_all_the_time(world, report, until):
    first, second = await world.pair()
    number = 0
    for origin in (first, second, first):
        for _ in range(8):
            number += 1
            origin.sharing.accept(report(number=number))
            await asyncio.sleep(world.beat_s / 8)
            if number > 2:
                assert (first.states(), second.states()) == ({"paris": "up"}, {"paris": "up"})
        other = second if origin is first else first
        assert (origin.standing().heard_by, other.standing().heard_by) == ("", origin.sharing.card.origin_id)


async def test_goodbye_takes_an_origin_off_the_list(world, until):
    first, second = await world.pair()
    await second.end()
    await until(lambda: first.sharing.view().origins == (), 3)
    assert first.sharing.origin_urls() == ("http://first.example",)


async def test_keys_of_all_origins_are_known_to_each(world, until):
    first, second = await world.pair()
    first.sharing._own_keys = lambda: (b"1" * 32,)
    second.sharing._own_keys = lambda: (b"2" * 32,)
    await until(lambda: set(first.sharing.route_keys()) == {b"1" * 32, b"2" * 32}, 2)
    assert first.sharing.route_keys()[0] == b"1" * 32


async def test_a_full_fleet_takes_no_more_from_others(world, report, until):
    first, second = await world.join("first"), await world.join("second", nodes_limit_count=2)
    await until(lambda: second.sharing.view().origins and first.sharing.view().origins, 15)
    for node_id in "abc":
        first.sharing.accept(report(node_id))
    await until(lambda: "fleet_full" in second.refused, 2)
    assert len(second.states()) == 2


async def test_a_large_fleet_travels_in_bounded_messages(world, report, until):
    first, second = await world.pair()
    models = tuple(ModelReport(name=f"m{i}", version="1.0.0", state="ready") for i in range(20))
    for index in range(1000):
        first.sharing.accept(report(f"n{index}", models=models))
    await until(lambda: len(second.states()) == 1000, 10)
    assert second.refused == []


@pytest.mark.parametrize("junk", [b"", b"\xc1", b"\x80", b"\x81\xa4card\xc0", b"\xff" * 600_000])
async def test_junk_is_counted_and_harms_nobody(world, report, until, junk):
    first, second = await world.pair()
    first.bus.tell(junk)
    first.sharing.accept(report())
    await until(lambda: second.states() == {"paris": "up"}, 3)
    assert second.refused == ["message"]


async def test_what_a_client_measured_is_known_to_all(world, until):
    first, second = await world.pair()
    probed = Probed(
        client="203.0.113.7",
        rtts=(ProbedRtt(node_id="paris", rtt_ms=12.5),),
        place=Place(48.9, 2.4),
    )
    first.sharing.tell_probed(probed)
    await until(lambda: second.probed == [probed], 2)
    assert first.probed == []
