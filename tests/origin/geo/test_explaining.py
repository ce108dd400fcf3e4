"""Why nodes are not in a list, in words."""

from origin.geo.choose import Ask, choose, parse_model
from origin.geo.explaining import EXPLAINED_LIMIT_COUNT, left_out


def whys(view, model, **more):
    reference, bare = parse_model(model)
    ask = Ask(reference, any_channel=bare, **more)
    listed = {node.node_id for node in choose(view, ask, None).nodes}
    return listed, {it.node_id: it.why for it in left_out(view, ask, listed)}


def test_every_node_is_listed_or_explained(fleet, node, model):
    nodes = (
        node("good"),
        node("gone", draining=True),
        node("bare", models=[]),
        node("other", models=[model(name="embed")]),
        node("young", models=[model(version="2.0")]),
        node("coming", models=[model(state="fetching", fetched_bytes=25, fetch_total_bytes=100)]),
        node("beta", channel="canary"),
    )
    view = fleet(*nodes).view(0.5)
    listed, told = whys(view, "chat@1.0", exclude=frozenset({"beta"}))
    assert listed == {"good"}
    assert told == {
        "gone": "is draining",
        "bare": "does not hold chat",
        "other": "does not hold chat",
        "young": "holds 2.0, not 1.0",
        "coming": "is fetching 1.0 (25 %)",
        "beta": "was excluded by the client",
    }


def test_channels_are_told_apart(fleet, node):
    view = fleet(node("good"), node("beta", channel="canary")).view(0.5)
    assert whys(view, "chat")[1] == {"beta": "follows the channel canary, and others on stable answer"}
    assert whys(view, "chat:stable")[1] == {"beta": "follows the channel canary, not stable"}
    assert whys(view, "chat:canary")[1] == {"good": "follows the channel stable, not canary"}


def test_silent_nodes_are_down(fleet, node):
    running = fleet(node("silent"), node("alive"))
    running.accept(node("alive"), 100.0)
    assert whys(running.view(100.0), "chat")[1] == {"silent": "is down"}


def test_a_large_fleet_is_not_told_in_full(fleet, node):
    view = fleet(node("good"), *(node(f"n{number}", models=[]) for number in range(300))).view(0.5)
    assert len(whys(view, "chat")[1]) == EXPLAINED_LIMIT_COUNT
