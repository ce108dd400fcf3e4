"""Admit or hand on: what a node decides from its ticket and its own state, and that no request goes in circles."""

from hypothesis import given
from hypothesis import strategies as st

from edge_node.handing_on import HOPS_LIMIT_COUNT, MARGIN_S, Offer, Standing, hand_on
from origin.tickets import Stop


def stop(name, score_s=0.1, rtt_ms=20.0, prefill_s=0.0):
    return Stop(name, f"http://{name}.example", score_s, rtt_ms, prefill_s)


THREE = (stop("a", 0.1), stop("b", 0.2), stop("c", 0.3))
REASONS = st.sampled_from([None, "full", "loading", "absent", "draining"])


class TestHandOn:
    def test_a_free_slot_keeps_the_request_whatever_was_predicted(self):
        assert hand_on(Offer((stop("a", prefill_s=9.0), stop("b")), 0), Standing()) is None

    def test_a_wait_beyond_the_next_ones_score_its_round_trip_and_the_margin_moves_it(self):
        limit_s = 0.2 + 0.020 + MARGIN_S
        assert hand_on(Offer(THREE, 0), Standing(wait_s=limit_s)) is None
        decided = hand_on(Offer(THREE, 0), Standing(wait_s=limit_s + 0.001))
        assert (decided.to, decided.reason) == (1, "busy")
        assert (decided.here_s, decided.there_s) == (limit_s + 0.001, limit_s)

    def test_reading_the_prompt_counts_as_predicted(self):
        offer = Offer((stop("a", prefill_s=0.2), stop("b", 0.2)), 0)
        assert hand_on(offer, Standing(wait_s=0.08)).to == 1
        assert hand_on(Offer((stop("a"), stop("b", 0.2)), 0), Standing(wait_s=0.08)) is None

    def test_a_load_that_the_origin_did_not_foresee_is_named(self):
        assert hand_on(Offer(THREE, 0), Standing(load_s=5.0)).reason == "loading"

    def test_a_refusal_goes_to_the_next_however_bad_it_is(self):
        offer = Offer((stop("a"), stop("b", 100.0)), 0)
        assert hand_on(offer, Standing(refusal="full")).reason == "full"

    def test_whom_the_client_passed_by_is_asked_in_need_alone(self):
        def to(standing, passed_by):
            decided = hand_on(Offer(THREE, 1, passed_by=frozenset(passed_by)), standing)
            return decided and decided.to

        assert to(Standing(wait_s=60.0), {0}) == 2
        assert to(Standing(wait_s=60.0), {0, 2}) is None, "they are busier than the ticket says"
        assert to(Standing(load_s=60.0), {0, 2}) == 0
        assert to(Standing(refusal="full"), {0}) == 2
        assert to(Standing(refusal="full"), {0, 2}) == 0

    def test_who_was_tried_is_not_asked_again_and_two_hops_are_enough(self):
        busy = Standing(wait_s=60.0)
        assert hand_on(Offer(THREE, 1, frozenset({0})), busy).to == 2
        assert hand_on(Offer(THREE, 2, frozenset({0, 1})), busy) is None
        assert hand_on(Offer((*THREE, stop("d")), 2, frozenset({0, 1})), Standing(refusal="full")) is None

    def test_alone_in_the_ticket_there_is_nobody_to_hand_on_to(self):
        assert hand_on(Offer((stop("a"),), 0), Standing(refusal="draining")) is None

    @given(
        scores_s=st.lists(st.floats(0, 1e9), min_size=1, max_size=16),
        standings=st.lists(
            st.builds(Standing, wait_s=st.floats(0, 1e9), load_s=st.floats(0, 1e9), refusal=REASONS),
            min_size=16, max_size=16,
        ),
        start=st.integers(0, 15),
    )  # fmt: skip
    def test_no_node_is_met_twice_and_the_way_is_short(self, scores_s, standings, start):
        stops = tuple(stop(f"n{number}", score) for number, score in enumerate(scores_s))
        here, tried, way = start % len(stops), frozenset(), []
        while True:
            way.append(here)
            decided = hand_on(Offer(stops, here, tried), standings[here])
            if decided is None:
                break
            tried, here = tried | {here}, decided.to
        assert len(set(way)) == len(way) <= HOPS_LIMIT_COUNT + 1
