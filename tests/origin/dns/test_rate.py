"""The limit: so many answers for a network in a second, then every second one empty, the others none."""

from origin.dns.rate import RateLimit

HOST, SAME_NET, OTHER = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 99]), bytes([192, 0, 3, 1])


def test_past_the_limit_half_slip_and_half_are_dropped():
    limit = RateLimit(2)
    got = [limit.verdict(host, 0.5) for host in (HOST, SAME_NET, HOST, SAME_NET, HOST, HOST)]
    assert got[:2] == ["answer", "answer"]
    assert sorted(got[2:]) == ["drop", "drop", "slip", "slip"]
    assert limit.verdict(OTHER, 0.5) == "answer"


def test_the_next_second_is_a_new_one():
    limit = RateLimit(1)
    assert [limit.verdict(HOST, at_s) for at_s in (0.0, 0.9, 1.0, 1.5, 2.0)] == [
        "answer", "slip", "answer", "slip", "answer",
    ]  # fmt: skip


def test_networks_of_ipv6_are_56_bits():
    limit = RateLimit(1)
    net = b"\x20\1\x0d\xb8\0\0\1"
    assert limit.verdict(net + b"\1" * 9, 0) == "answer"
    assert limit.verdict(net + b"\2" * 9, 0) != "answer"
    assert limit.verdict(net[:-1] + b"\2" + b"\1" * 9, 0) == "answer"


def test_zero_is_no_limit():
    limit = RateLimit(0)
    assert {limit.verdict(HOST, 0) for _ in range(10_000)} == {"answer"}
