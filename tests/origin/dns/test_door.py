"""The door as a whole: who gets which nodes, with which scope, and what is kept for how long."""

import dns.flags
import dns.rcode
import pytest

PARIS, TOKYO = b"\x50\1\1\1", b"\x78\1\1\1"
PARIS_FIRST = ["198.51.100.2", "198.51.100.1", "198.51.100.3"]


class TestWho:
    def test_the_order_is_that_of_the_client(self, world, wire):
        assert wire.texts(world.ask("chat", address=PARIS)) == PARIS_FIRST
        assert wire.texts(world.ask("chat", address=TOKYO))[0] == "198.51.100.3"
        assert wire.texts(world.ask("chat", "AAAA", address=PARIS))[0] == "2001:db8:1::2"

    def test_the_zone_itself_stands_for_the_model_that_most_have(self, world, wire):
        assert wire.texts(world.ask("", address=PARIS)) == PARIS_FIRST

    def test_the_subnet_counts_and_not_the_resolver(self, world, wire):
        answer = world.ask("chat", address=PARIS, subnet="120.1.2.0/24")
        assert wire.texts(answer)[0] == "198.51.100.3"
        assert wire.scope(answer) == b"\0\1\x18\x10\x78\1\2"
        answer = world.ask("chat", "AAAA", address=PARIS, subnet="2400:1::/40")
        assert wire.texts(answer)[0] == "2001:db8:1::3"
        assert wire.scope(answer) == b"\0\2\x28\x20\x24\0\0\1\0"

    def test_a_client_that_asks_not_to_be_looked_at_is_served_by_its_resolver(self, world, wire):
        for data in (b"\0\1\0\0", b"\0\2\0\0", b"\0\0\0\0"):
            answer = world.ask("chat", address=TOKYO, subnet=data)
            assert wire.texts(answer)[0] == "198.51.100.3"
            assert wire.scope(answer) == data

    def test_without_a_subnet_none_comes_back(self, world, wire):
        assert wire.scope(world.ask("chat", use_edns=0)) is None
        assert world.ask("chat").edns == -1

    @pytest.mark.parametrize("name", ["ns1", "paris.nodes", "nope", "nodes"])
    def test_the_scope_is_0_where_all_get_the_same(self, world, wire, name):
        assert wire.scope(world.ask(name, subnet="80.1.2.0/24")) == b"\0\1\x18\0\x50\1\2"

    def test_the_scope_is_0_for_other_types_and_for_one_node(self, world, wire):
        assert wire.scope(world.ask("chat", "MX", subnet="80.1.2.0/24"))[3] == 0
        for city in ("london", "tokyo"):
            world.hear(city, draining=True)
        assert wire.scope(world.ask("chat", subnet="80.1.2.0/24", now_s=1.0))[3] == 0

    def test_the_capitals_of_the_question_come_back(self, world):
        answer = world.ask("cHaT")
        assert answer.question[0].name.labels[0] == b"cHaT"
        assert answer.answer[0].name.labels[0] == b"cHaT"

    def test_a_channel(self, world, wire):
        world.hear("tokyo", channel="canary")
        assert wire.texts(world.ask("canary.chat")) == ["198.51.100.3"]
        assert len(wire.texts(world.ask("stable.chat"))) == 2

    def test_no_such_name_and_no_such_record(self, world):
        denied = world.ask("nope")
        assert denied.rcode() == dns.rcode.NXDOMAIN
        assert denied.flags & dns.flags.AA
        assert world.ask("chat", "MX").rcode() == dns.rcode.NOERROR
        assert world.ask("nodes").rcode() == dns.rcode.NOERROR  # it has names below it
        assert world.ask("x.nodes").rcode() == dns.rcode.NXDOMAIN
        assert world.ask("www.example.com.").rcode() == dns.rcode.REFUSED
        assert world.ask("example.org.").rcode() == dns.rcode.REFUSED


class TestNothingKnown:
    def test_without_a_catalog_no_name_is_denied(self, world, wire):
        world.releases = None
        assert wire.texts(world.ask("chat"))
        assert world.ask("nope").rcode() == dns.rcode.SERVFAIL

    def test_without_a_node_neither_names_nor_addresses_are_denied(self, world):
        world.fleet = type(world.fleet)(world.fleet.rules)
        for name in ("chat", "nope", ""):
            answer = world.ask(name)
            assert answer.rcode() == dns.rcode.SERVFAIL
            assert not answer.flags & dns.flags.AA
        assert world.ask("", "SOA").rcode() == dns.rcode.NOERROR

    def test_when_all_fall_silent_the_last_known_are_answered(self, world, wire):
        assert wire.texts(world.ask("chat", now_s=1000.0)) == PARIS_FIRST
        assert wire.texts(world.ask("chat", now_s=3700.0)) == []
        assert world.ask("chat", now_s=3700.0).rcode() == dns.rcode.NOERROR


class TestKept:
    def test_the_fleet_is_looked_at_once_a_second(self, world):
        world.ask("chat")
        seen_count = world.views_count
        for number in range(1, 50):
            world.ask("chat", now_s=number / 25)
        assert world.views_count == seen_count + 1

    def test_a_large_fleet_is_looked_at_less_often(self, world):
        for number in range(5000):
            world.hear("paris", node_id=f"n{number}")
        world.ask("nope")
        seen_count = world.views_count
        for now_s in (1.0, 2.0, 2.4):
            world.ask("nope", now_s=now_s)
        assert world.views_count == seen_count
        world.ask("nope", now_s=2.6)
        assert world.views_count == seen_count + 1

    def test_who_shares_a_prefix_shares_a_choice(self, world, wire):
        first = world.ask("chat", subnet="80.1.2.0/24")
        assert wire.texts(world.ask("chat", subnet="80.1.3.0/24")) == wire.texts(first)
        assert world.door.roster.epoch == 1

    def test_a_node_that_leaves_is_gone_within_a_second(self, world, wire):
        assert wire.texts(world.ask("chat"))[0] == "198.51.100.2"
        world.hear("paris", 0.2, draining=True)
        assert wire.texts(world.ask("chat", now_s=1.0)) == ["198.51.100.1", "198.51.100.3"]

    def test_a_new_model_is_there_within_a_second(self, world, wire):
        assert world.ask("new").rcode() == dns.rcode.NXDOMAIN
        world.releases = type(world.releases)(
            releases=(*world.releases.releases, wire.release("new")), channels=world.releases.channels
        )
        assert world.ask("new", now_s=1.0).rcode() == dns.rcode.NOERROR

    def test_a_new_address_is_there_within_a_second(self, world, wire):
        world.ask("chat")
        world.hear("paris", 0.2, addresses=("192.0.2.9",))
        assert wire.texts(world.ask("chat", now_s=1.0))[0] == "192.0.2.9"

    def test_load_moves_the_order_after_a_while_and_drops_nothing(self, world, wire):
        world.ask("chat")
        for now_s in (1.0, 2.0, 3.0, 4.0, 5.0):
            world.hear_all(now_s)
            world.hear("paris", now_s, models=(self.busy(),))
        assert wire.texts(world.ask("chat", now_s=4.9))[0] == "198.51.100.2"
        assert wire.texts(world.ask("chat", now_s=5.0))[0] != "198.51.100.2"
        assert world.door.roster.epoch == 1

    @staticmethod
    def busy():
        from origin.api import ModelReport

        return ModelReport(
            name="chat", version="1.0", state="ready", slots=4, busy=4, queued=90, service_s=1.0
        )


def test_too_much_for_a_packet_goes_by_tcp(world, wire):
    long_url = "http://" + "x" * 240
    world.hear_all(url=long_url)
    over_udp = world.ask("chat", "TXT", use_edns=0, payload=512)
    assert over_udp.flags & dns.flags.TC
    assert over_udp.answer == []
    over_tcp = world.ask("chat", "TXT", use_edns=0, payload=512, stream=True)
    assert not over_tcp.flags & dns.flags.TC
    assert len(wire.texts(over_tcp)) == 3
