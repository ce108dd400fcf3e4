"""Which names exist: what each label stands for, and who keeps one that two could have."""

from hypothesis import given
from hypothesis import strategies as st

from origin.api import CatalogAnswer, ModelReport, NodeReport
from origin.dns.directory import directory_of
from origin.dns_settings import NameServer, name_servers_of

ZONE = "example.org"


def report(node_id, *models, state="ready", channel="stable"):
    return NodeReport(
        node_id=node_id, incarnation=1, url="http://x:1", channel=channel,
        models=tuple(ModelReport(name=name, version="1", state=state) for name in models),
    )  # fmt: skip


def names(*, reports=(), releases=(), channels=None, servers=()):
    catalog = CatalogAnswer(releases=tuple(releases), channels=channels or {})
    found = directory_of(ZONE, servers, reports, catalog)
    assert all(target.name == name for name, target in found.items())
    return {readable(name): target for name, target in found.items()}


def readable(name):
    labels, at = [], 0
    while name[at]:
        labels.append(name[at + 1 : at + 1 + name[at]].decode())
        at += 1 + name[at]
    return ".".join(labels)


def test_models_channels_nodes_and_servers(wire):
    found = names(
        releases=[wire.release("chat"), wire.release("team/em.bed")],
        channels={"chat": {"stable": "1.0", "can_ary": "1.1"}},
        reports=[report("Fra.1", "chat")],
        servers=name_servers_of(ZONE, ("ns1.example.org=203.0.113.1", "ns2.example.net")),
    )
    assert {name: target.kind for name, target in found.items()} == {
        "example.org": "apex",
        "chat.example.org": "model",
        "stable.chat.example.org": "model",
        "can-ary.chat.example.org": "model",
        "team--em-bed.example.org": "model",
        "nodes.example.org": "folder",
        "fra-1.nodes.example.org": "node",
        "ns1.example.org": "name_server",
    }
    assert found["chat.example.org"].any_channel
    assert str(found["can-ary.chat.example.org"].reference) == "chat:can_ary"
    assert not found["can-ary.chat.example.org"].any_channel
    assert found["fra-1.nodes.example.org"].node_id == "Fra.1"


def test_the_model_published_first_keeps_a_label(wire):
    found = names(releases=[wire.release("a.b", 5), wire.release("a-b", 9), wire.release("a_b", 7)])
    assert found["a-b.example.org"].reference.name == "a.b"
    # A new release of an old model does not move it to the end.
    later = [wire.release("a-b", 6), wire.release("a.b", 5), wire.release("a.b", 9, "2")]
    assert names(releases=later)["a-b.example.org"].reference.name == "a.b"


def test_no_model_takes_the_name_of_a_server_or_of_the_nodes(wire):
    servers = (NameServer("ns1.example.org", ("203.0.113.1",)),)
    found = names(releases=[wire.release("ns1"), wire.release("nodes")], servers=servers)
    assert found["ns1.example.org"].kind == "name_server"
    assert found["nodes.example.org"].kind == "folder"


def test_the_zone_itself_is_the_model_that_most_nodes_have_ready():
    reports = [report("a", "x", "y"), report("b", "y"), report("c", "x", "z", state="loading")]
    assert names(reports=reports)["example.org"].reference.name == "y"
    assert names(reports=[report("a", "y", "x")])["example.org"].reference.name == "x"
    assert names()["example.org"].reference is None


def test_models_of_nodes_are_known_without_a_catalog():
    found = directory_of(ZONE, (), [report("a", "chat", channel="beta")], None)
    assert {"chat.example.org", "beta.chat.example.org"} <= {readable(name) for name in found}


MODEL = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?", fullmatch=True)


@given(st.lists(MODEL, max_size=6), st.lists(MODEL, max_size=6))
def test_any_names_fit(models, nodes):
    zone = ".".join(["a" * 59] * 3)  # the longest that settings allow
    found = directory_of(zone, (), [report(node[:63], *models) for node in nodes], None)
    assert all(len(name) <= 255 and max(map(len, readable(name).split("."))) <= 63 for name in found)
