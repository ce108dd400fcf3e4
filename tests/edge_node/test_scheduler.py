from __future__ import annotations

import copy
import heapq
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.errors import OverloadedError
from edge_node.scheduler import Asking, Load, Scheduler, Service


def admit(scheduler, now_s=0.0, *, slots=1, size=10, version="1", client="", within_s=None):
    asking = Asking(client=client, prompt_bytes=size, start_within_s=within_s)
    return scheduler.admit("chat", version, slots=slots, asking=asking, now_s=now_s)


def refused(scheduler, now_s=0.0, **more):
    with pytest.raises(OverloadedError) as caught:
        admit(scheduler, now_s, **more)
    return caught.value.retry_after_s


def serve(scheduler, service_s, **more):
    ticket = admit(scheduler)
    scheduler.leave(ticket, now_s=service_s, service=Service(service_s=service_s, **more))


def test_a_model_nobody_asked_for_is_idle():
    assert Scheduler().load("chat", now_s=0.0) == Load(0, 0, None, None, 0)


def test_slots_and_queue_fill_and_then_it_refuses():
    scheduler = Scheduler(queue_limit_count=2)
    tickets = [admit(scheduler, slots=2) for _ in range(4)]
    assert scheduler.load("chat", now_s=0.0)[:2] == (2, 2)
    with pytest.raises(OverloadedError, match="2 at work and 2 waiting"):
        admit(scheduler, slots=2)
    scheduler.leave(tickets[0], now_s=1, service=None)
    admit(scheduler, slots=2)
    assert scheduler.load("chat", now_s=0.0)[:2] == (2, 2)


def test_prompt_tokens_bound_the_queue_but_never_the_slots_or_a_queue_of_one():
    scheduler = Scheduler(queue_limit_count=9, queue_limit_tokens=25)
    admit(scheduler, size=5000)
    admit(scheduler, size=5000)
    with pytest.raises(OverloadedError):
        admit(scheduler, size=1)


def test_the_time_to_come_back_is_when_the_queue_will_have_moved():
    scheduler = Scheduler(queue_limit_count=1)
    serve(scheduler, 4.0)
    admit(scheduler, now_s=10)
    admit(scheduler, now_s=11)
    with pytest.raises(OverloadedError) as caught:
        admit(scheduler, now_s=13)
    assert caught.value.retry_after_s == pytest.approx(1.0)  # the one at work began at 10 and takes 4 s


def test_tokens_may_need_several_departures():
    scheduler = Scheduler(queue_limit_count=9, queue_limit_tokens=25)
    serve(scheduler, 2.0)
    for size in (10, 50, 50):
        admit(scheduler, now_s=10, size=size)
    with pytest.raises(OverloadedError) as caught:
        admit(scheduler, now_s=10, size=80)
    assert caught.value.retry_after_s == pytest.approx(4.0)


def test_two_slots_move_twice_as_fast():
    scheduler = Scheduler(queue_limit_count=3, queue_limit_tokens=2)
    serve(scheduler, 6.0)
    admit(scheduler, now_s=0, slots=2)
    admit(scheduler, now_s=3, slots=2)
    admit(scheduler, now_s=3, slots=2, size=6)
    with pytest.raises(OverloadedError) as caught:
        admit(scheduler, now_s=4, slots=2, size=6)
    assert caught.value.retry_after_s == pytest.approx(2.0)


def test_an_overdue_request_does_not_promise_the_past():
    scheduler = Scheduler(queue_limit_count=0)
    serve(scheduler, 1.0)
    admit(scheduler, now_s=0)
    with pytest.raises(OverloadedError) as caught:
        admit(scheduler, now_s=50)
    assert 0 < caught.value.retry_after_s < 1


def test_means_follow_what_was_measured():
    scheduler = Scheduler()
    serve(scheduler, 1.0, prompt_tokens=100, read_tokens=100, prefill_s=0.5)
    serve(
        scheduler, 2.0, prompt_tokens=3, read_tokens=3, prefill_s=0.5
    )  # too short to say how fast prompts are read
    assert scheduler.load("chat", now_s=0.0) == Load(
        0, 0, pytest.approx(1.2), pytest.approx(200), 2, read_s=pytest.approx(0.5)
    )


def test_what_went_into_others_at_work_is_no_reading():
    scheduler = Scheduler()
    serve(scheduler, 3.0, prompt_tokens=100, read_tokens=100, prefill_s=2.0, read_s=0.5)
    load = scheduler.load("chat", now_s=0.0)
    assert (load.prefill_tokens_per_s, load.read_s) == (200, 0.5)


def test_those_at_work_read_one_after_the_other():
    def unread_s(now_s):
        return scheduler.load("chat", now_s=now_s).unread_s

    scheduler = Scheduler()
    serve(
        scheduler, 3.0, prompt_tokens=100, read_tokens=50, prefill_s=1.0
    )  # 10 ms a token, half of them kept
    assert unread_s(10) == 0
    first, second, _ = (admit(scheduler, now_s=10, slots=2, size=400) for _ in range(3))
    assert unread_s(10) == pytest.approx(2.0), "the third waits for a slot, which is told apart"
    assert unread_s(11.2) == pytest.approx(0.8)
    scheduler.started(first, prompt_tokens=100, prompt_bytes=400, now_s=11.5)
    assert unread_s(11.5) == pytest.approx(1.0)
    assert unread_s(99) == pytest.approx(0.25), "one that is late is never said to be done"
    scheduler.leave(second, now_s=99, service=None)
    assert unread_s(99) == pytest.approx(1.0), "the third has the slot"


def test_a_newcomer_with_a_slot_waits_for_those_who_read():
    def wait_s(slots):
        return scheduler.newcomer_wait_s("chat", "1", slots=slots, client="", now_s=10)

    scheduler = Scheduler()
    serve(scheduler, 3.0, prompt_tokens=100, read_tokens=100, prefill_s=1.0)
    assert wait_s(2) == 0
    admit(scheduler, now_s=10, slots=2, size=400)
    assert wait_s(2) == pytest.approx(1.0)
    assert wait_s(1) == pytest.approx(3.0)


def test_a_request_that_measured_nothing_changes_no_mean():
    scheduler = Scheduler()
    serve(scheduler, 1.0)
    scheduler.leave(admit(scheduler), now_s=9, service=None)
    serve(scheduler, float("nan"))
    assert scheduler.load("chat", now_s=0.0).service_s == 1.0


def test_a_new_release_starts_from_the_means_of_the_old_and_both_count():
    scheduler = Scheduler()
    serve(scheduler, 3.0)
    old = admit(scheduler)
    admit(scheduler, version="2")
    assert scheduler.load("chat", now_s=0.0) == Load(2, 0, 3.0, None, 3)
    assert scheduler.load("chat", "2", now_s=0.0) == Load(1, 0, 3.0, None, 1)
    scheduler.leave(old, now_s=1, service=None)
    assert scheduler.names() == ("chat",)


def test_a_counted_prompt_corrects_the_guess_for_the_next():
    scheduler = Scheduler(queue_limit_count=9, queue_limit_tokens=25)
    tickets = [admit(scheduler, size=80) for _ in range(2)]
    assert refused(scheduler, size=80)
    scheduler.started(tickets[0], prompt_tokens=8, prompt_bytes=80, now_s=0.0)  # ten bytes a token, not four
    scheduler.started(tickets[1], prompt_tokens=8, prompt_bytes=80, now_s=0.0)
    admit(scheduler, size=80)


def test_long_prompts_count_for_longer_in_the_promise():
    scheduler = Scheduler(queue_limit_count=2)
    serve(
        scheduler, 3.0, prompt_tokens=100, read_tokens=100, prefill_s=1.0
    )  # 10 ms a token, and 2 s of answer
    first = admit(scheduler, now_s=10)
    scheduler.started(first, prompt_tokens=400, prompt_bytes=1600, now_s=0.0)
    for _ in range(2):
        admit(scheduler, now_s=10)
    assert refused(scheduler, now_s=10) == pytest.approx(6.0)


def test_one_client_may_fill_the_queue_and_a_second_finds_room():
    scheduler = Scheduler(queue_limit_count=8)
    serve(scheduler, 1.0)
    greedy = [admit(scheduler, client="greedy") for _ in range(9)]
    assert refused(scheduler, client="greedy")
    assert refused(scheduler, client="modest")  # nothing is free, but from now on it is one who wants a part
    for _ in range(2):
        scheduler.leave(greedy.pop(0), now_s=1, service=None)
        assert refused(scheduler, now_s=1, client="greedy")
    for _ in range(2):
        admit(scheduler, now_s=1, client="modest")
    assert refused(scheduler, now_s=1, client="greedy") > 0


def test_nobody_waits_for_a_client_that_has_gone_for_good():
    scheduler = Scheduler(queue_limit_count=4)
    tickets = [admit(scheduler, client="a") for _ in range(5)]
    refused(scheduler, client="b")
    scheduler.leave(tickets.pop(0), now_s=60, service=None)
    admit(scheduler, now_s=60, client="a")


def test_a_client_that_would_stop_waiting_first_is_told_at_once():
    scheduler = Scheduler()
    serve(scheduler, 4.0)
    admit(scheduler, now_s=10)
    admit(scheduler, now_s=10)
    assert refused(scheduler, now_s=11, within_s=5) == pytest.approx(2.0)  # its turn is at 18
    admit(scheduler, now_s=11, within_s=7.5)


def test_before_anything_is_measured_no_deadline_is_held_against_a_client():
    scheduler = Scheduler()
    admit(scheduler)
    admit(scheduler, within_s=0.001)


def test_who_waits_is_told_how_long():
    scheduler = Scheduler()
    assert scheduler.wait_s(admit(scheduler), now_s=0) is None
    scheduler = Scheduler()
    serve(scheduler, 4.0)
    tickets = [admit(scheduler, now_s=10, client=client) for client in "aaab"]
    assert [scheduler.wait_s(ticket, now_s=11) for ticket in tickets] == pytest.approx([0, 7, 11, 3])


def test_asking_whether_it_would_refuse_changes_nothing():
    scheduler = Scheduler(queue_limit_count=1)
    asking = Asking(prompt_bytes=10**6)
    assert scheduler.refusal("chat", "1", slots=1, asking=asking, now_s=0) is None
    for _ in range(2):
        admit(scheduler)
    assert scheduler.refusal("chat", "1", slots=1, asking=asking, now_s=0).retry_after_s > 0
    assert scheduler.load("chat", now_s=0.0)[:2] == (1, 1)


@given(
    slots=st.integers(1, 4),
    limit=st.integers(1, 8),
    prompts=st.lists(st.tuples(st.integers(16, 400), st.integers(0, 2)), min_size=1, max_size=60),
    seed=st.integers(0, 2**32),
)
def test_the_promise_is_kept_by_an_engine_that_takes_as_long_as_measured(slots, limit, prompts, seed):
    """A simulated engine: whoever comes back when he was told to, finds room."""
    chance = random.Random(seed)
    scheduler = Scheduler(queue_limit_count=limit)
    serve(scheduler, 1.0 + 100 * 0.01, prompt_tokens=100, read_tokens=100, prefill_s=1.0)
    engine = EngineModel(scheduler, slots, seconds=lambda tokens: 1.0 + tokens * 0.01)
    for tokens, client in prompts:
        engine.run_until(engine.now_s + chance.expovariate(1.0))
        try:
            engine.enter(tokens, f"client {client}")
        except OverloadedError as refusal:
            engine.run_until(engine.now_s + refusal.retry_after_s + 1e-6)
            engine.enter(tokens, f"client {client}")  # nobody else came between


def test_the_promise_is_good_on_average_when_answers_differ():
    """Exponential answers of a mean of 1 s, two slots, six clients at twice the capacity."""
    chance = random.Random(7)
    scheduler = Scheduler(queue_limit_count=16)
    seconds = lambda tokens: chance.expovariate(1.0) + tokens * 0.001  # noqa: E731
    engine = EngineModel(scheduler, 2, seconds=seconds, token_s=0.001)
    errors, waits_s = [], []
    for _ in range(3000):
        engine.run_until(engine.now_s + chance.expovariate(4.0))
        client = f"client {chance.randrange(6)}"
        try:
            engine.enter(100, client)
        except OverloadedError as refusal:
            room_s = engine.room_after_s(client)
            waits_s.append(room_s)
            errors.append(refusal.retry_after_s - room_s)
    assert len(errors) > 500
    assert abs(statistics.mean(errors)) < 0.2 * statistics.mean(waits_s)
    assert statistics.median(abs(error) for error in errors) < 0.5 * statistics.mean(waits_s)


class EngineModel:
    """An engine in virtual time: `slots` at once, clients in turn, each as long as `seconds` says."""

    def __init__(self, scheduler, slots, *, seconds, token_s=0.01):
        self.scheduler, self.slots, self.seconds, self.token_s = scheduler, slots, seconds, token_s
        self.now_s = 100.0
        self.working, self.waiting, self.served = [], [], {}

    def enter(self, tokens, client):
        asking = Asking(client=client, prompt_bytes=4 * tokens)
        ticket = self.scheduler.admit("chat", "1", slots=self.slots, asking=asking, now_s=self.now_s)
        self.scheduler.started(ticket, prompt_tokens=tokens, prompt_bytes=4 * tokens, now_s=0.0)
        self.waiting.append((ticket, tokens, client))
        self._fill()

    def run_until(self, until_s):
        while self.working and min(self.working)[0] <= until_s:
            end_s, _, ticket, begun_s, tokens = heapq.heappop(self.working)
            self.now_s = end_s
            service = Service(
                service_s=end_s - begun_s, prompt_tokens=tokens, read_tokens=tokens,
                prefill_s=min(tokens * self.token_s, end_s - begun_s),
            )  # fmt: skip
            self.scheduler.leave(ticket, now_s=end_s, service=service)
            self._fill()
        self.now_s = until_s

    def room_after_s(self, client):
        """How long until the one who was refused would be let in, if nobody else comes."""
        ahead = copy.deepcopy(self)
        ahead.seconds = self.seconds  # the same chance for all
        while True:
            asking = Asking(client=client, prompt_bytes=400)
            args = {"slots": self.slots, "asking": asking, "now_s": ahead.now_s}
            if ahead.scheduler.refusal("chat", "1", **args) is None:
                return ahead.now_s - self.now_s
            ahead.run_until(min(ahead.working)[0])

    def _fill(self):
        while self.waiting and len(self.working) < self.slots:
            place = self.scheduler._lanes["chat", "1"].places
            begun = [entry for entry in self.waiting if place[entry[0].number].working_since_s is not None]
            entry = begun[0] if begun else self.waiting[0]
            self.waiting.remove(entry)
            ticket, tokens, _ = entry
            end_s = self.now_s + self.seconds(tokens)
            heapq.heappush(self.working, (end_s, ticket.number, ticket, self.now_s, tokens))


@given(
    slots=st.integers(1, 4),
    limit=st.integers(0, 5),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.floats(0, 5)), max_size=60),
)
def test_never_more_inside_than_allowed_and_never_idle_while_someone_waits(slots, limit, steps):
    scheduler = Scheduler(queue_limit_count=limit, queue_limit_tokens=25)
    inside, refusals = [], []
    now_s = 0.0
    for enter, size, wait_s in steps:
        now_s += wait_s
        if enter:
            full = len(inside) >= slots
            try:
                inside.append(admit(scheduler, now_s, slots=slots, size=size))
            except OverloadedError as refusal:
                refusals.append((full, refusal.retry_after_s))
        elif inside:
            scheduler.leave(inside.pop(0), now_s=now_s, service=Service(service_s=wait_s))
        load = scheduler.load("chat", now_s=0.0)
        assert load.busy == min(len(inside), slots)
        assert load.queued == len(inside) - load.busy <= limit
    assert all(full and 0 < retry_after_s <= 600 for full, retry_after_s in refusals)
