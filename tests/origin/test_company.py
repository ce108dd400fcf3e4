"""How much of the traffic others send."""

import pytest

from origin.api import ModelReport, NodeReport
from origin.company import Company
from origin.fleet import Fleet, FleetRules


def test_alone_everything_that_arrives_was_sent_from_here():
    company = Company()
    for number in range(100):
        company.note(5, 5, float(number))
    assert company.ratio == pytest.approx(1.0)


def test_one_of_sixteen_routers_sees_a_sixteenth():
    company = Company()
    for number in range(100):
        company.note(16, 1, float(number))
    assert company.ratio == pytest.approx(16.0)


def test_few_requests_say_nothing_and_nothing_is_past_the_limit():
    company = Company()
    company.note(10, 1, 0.0)
    assert company.ratio == 1.0
    company.note(10**9, 1, 1.0)
    assert company.ratio == 64.0


def test_the_fleet_learns_it_from_heartbeats_and_forgets_a_start_before():
    def report(arrived_count, incarnation=1):
        model = ModelReport(name="chat", version="1", state="ready", slots=4, arrived_count=arrived_count)
        return NodeReport(node_id="n", incarnation=incarnation, url="http://n.example", models=(model,))

    fleet = Fleet(FleetRules())
    fleet.accept(report(1000), 0.0)
    (seat,) = fleet.pool("chat", "stable").seats.values()
    company = seat.member.company
    for number in range(1, 41):
        for _ in range(2):
            fleet.note_routed("n", ("chat", "1"), number - 0.5)
        fleet.accept(report(1000 + 8 * number), float(number))
    assert company.ratio == pytest.approx(4.0)
    fleet.accept(report(10**6, incarnation=2), 41.0)
    assert company.ratio == pytest.approx(4.0)
