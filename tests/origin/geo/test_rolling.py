"""The least of the last minutes, and the median of voices."""

from hypothesis import given
from hypothesis import strategies as st

from origin.geo.rolling import Voices, first_sample


def test_the_least_counts_for_one_to_two_spans():
    least = first_sample(10.0, 5.0, 1, 0.0)
    least.add(9.0, 1, 9.9)
    assert least.rtt_ms == 5.0
    least.add(9.0, 1, 10.0)
    assert least.rtt_ms == 5.0
    least.add(9.0, 1, 20.0)
    assert least.rtt_ms == 9.0


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 100)), min_size=1, max_size=40))
def test_it_is_never_below_the_least_nor_above_the_newest(samples):
    samples.sort()
    least = first_sample(10.0, samples[0][1], 1, samples[0][0])
    for at_s, rtt_ms in samples[1:]:
        least.add(rtt_ms, 1, at_s)
    assert min(rtt_ms for _, rtt_ms in samples) <= least.rtt_ms <= samples[-1][1]
    recent = [rtt_ms for at_s, rtt_ms in samples if at_s > samples[-1][0] - 10]
    assert least.rtt_ms <= min(recent)


def test_kernels_count_before_claims_and_claims_from_the_third_on():
    voices = Voices(10.0, 9, 3)
    for n in range(2):
        voices.say(f"c{n}", 50.0, 1, 0.0, claim=True)
    assert voices.agreed(0.0) is None
    voices.say("c2", 70.0, 1, 0.0, claim=True)
    assert (voices.agreed(0.0).rtt_ms, voices.agreed(0.0).count, voices.agreed(0.0).sure) == (50.0, 3, False)
    voices.say("k", 20.0, 1, 0.0, claim=False)
    assert (voices.agreed(0.0).rtt_ms, voices.agreed(0.0).sure) == (20.0, True)
    voices.say_surely(30.0, 99, 1.0)
    assert (voices.agreed(1.0).rtt_ms, voices.agreed(1.0).count) == (30.0, 10)
    assert voices.agreed(20.5).rtt_ms == 30.0
    assert voices.agreed(21.5) is None


def test_only_so_many_voices_are_told_apart():
    voices = Voices(10.0, 3)
    for n in range(20):
        voices.say(f"c{n}", float(n + 1), 1, 0.0, claim=True)
    assert voices.agreed(0.0).rtt_ms == 19.0  # of 18, 19, 20
