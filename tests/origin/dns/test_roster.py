"""The roster: what counts as a change, and that kept answers last exactly as long as the nodes in them."""

import pytest

from origin.api import ModelReport
from origin.dns.roster import Roster

CHAT = ModelReport(name="chat", version="1.0", state="ready", slots=4, service_s=1.0)


@pytest.fixture
def roster(world):
    made = Roster(world.zone)

    def look(now_s=0.0):
        made.look(world.fleet.view(now_s).standings, world.releases)
        return made

    look()
    return made, look


@pytest.mark.parametrize(
    "fields",
    [
        {"addresses": ("192.0.2.1",)},
        {"url": "http://elsewhere:7710"},
        {"channel": "canary"},
        {"draining": True},
        {"models": ()},
        {"models": (ModelReport(name="chat", version="1.0", state="loading"),)},
        {"models": (ModelReport(name="chat", version="1.1", state="ready", slots=4),)},
    ],
)
def test_what_is_a_change(world, roster, fields):
    made, look = roster
    epoch = made.epoch
    world.hear("paris", 0.5, **fields)
    look(0.5)
    assert made.epoch == epoch + 1
    assert not made.unchanged_since(epoch, ["london", "paris"])
    assert made.unchanged_since(epoch, ["london", "tokyo"])
    assert made.unchanged_since(epoch + 1, ["london", "paris"])


@pytest.mark.parametrize("fields", [{}, {"busy": 4, "queued": 99}, {"service_s": 9.0}])
def test_load_is_none(world, roster, fields):
    _, look = roster
    busy = ModelReport(name="chat", version="1.0", state="ready", **({"slots": 4, "service_s": 1.0} | fields))
    world.hear("paris", 0.5, models=(busy,))
    assert look(0.5).epoch == 1


def test_silence_and_forgetting_are_changes(world, roster):
    made, look = roster
    world.hear("london", 9.0)
    assert not look(9.0).unchanged_since(1, ["paris"])
    epoch = made.epoch
    world.hear("london", 90_000.0)
    look(90_000.0)  # longer than nodes are remembered
    assert set(made.reports) == {"london"}
    assert not made.unchanged_since(epoch, ["paris"])
    world.hear("paris", 90_000.5)
    assert not look(90_000.5).unchanged_since(epoch, ["paris"])


def test_names_that_stay_are_the_same_objects(world, roster, wire):
    made, look = roster
    before = dict(made.directory)
    world.hear(
        "paris", 0.5, node_id="lyon", models=(CHAT, ModelReport(name="new", version="1", state="ready"))
    )
    after = look(0.5).directory
    assert len(after) == len(before) + 3  # lyon, new, stable.new
    assert all(after[name] is target for name, target in before.items())


def test_fewer_are_ranked_where_all_are_alike(world, roster):
    made, look = roster
    assert made.ranked_count == world.zone.nodes_count
    world.hear("paris", 0.5, addresses=("192.0.2.1",))  # no IPv6: others must be found for AAAA
    assert look(0.5).ranked_count > world.zone.nodes_count


class TestKeptAnswers:
    def chosen_count(self, world, now_s):
        """How often the door had to choose for one question."""
        world.door._look(now_s)
        before = world.views_count
        world.ask("chat", now_s=now_s)
        return world.views_count - before

    def test_a_change_elsewhere_leaves_an_answer_alone(self, world):
        for number in range(5):
            world.hear("tokyo", node_id=f"far{number}", models=(CHAT,))
        for number in range(5):
            world.hear("paris", node_id=f"near{number}", models=(CHAT,))
        assert self.chosen_count(world, 0.0) == 1
        assert self.chosen_count(world, 0.5) == 0
        world.hear("tokyo", 0.9, node_id="far0", models=(CHAT,), draining=True)
        assert self.chosen_count(world, 1.0) == 0

    def test_a_change_of_a_node_in_it_does_not(self, world):
        assert self.chosen_count(world, 0.0) == 1
        world.hear("paris", 0.9, draining=True)
        assert self.chosen_count(world, 1.0) == 1

    def test_where_nobody_could_answer_any_change_is_looked_at(self, world, wire):
        for city in ("paris", "london", "tokyo"):
            world.hear(city, models=())
        assert wire.texts(world.ask("chat")) == []
        world.hear("tokyo", 0.9)
        assert wire.texts(world.ask("chat", now_s=1.0)) == ["198.51.100.3"]
