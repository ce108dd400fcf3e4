"""The chance of a token: even, and a function of seed and place alone."""

from collections import Counter

from edge_node.engines.llama.chance import bits_of, chance_of


def test_the_same_seed_and_place_give_the_same_chance():
    assert chance_of(7, 3) == chance_of(7, 3)
    assert len({chance_of(seed, place) for seed in range(-50, 50) for place in range(50)}) == 5000
    assert chance_of(-1, 0) == chance_of(2**64 - 1, 0)


def test_chances_are_even_over_places_and_over_seeds():
    for chances in (
        [chance_of(5, place) for place in range(20_000)],
        [chance_of(seed, 5) for seed in range(20_000)],
    ):
        tenths = Counter(int(10 * chance) for chance in chances)
        assert set(tenths) == set(range(10))
        assert max(abs(count - 2000) for count in tenths.values()) < 200  # 4.7 standard deviations


def test_bits_are_of_the_whole_width():
    assert (
        0
        <= min(bits_of(0, place) for place in range(100))
        < max(bits_of(0, place) for place in range(100))
        < 2**64
    )
    assert max(bits_of(0, place) for place in range(100)) > 2**60
