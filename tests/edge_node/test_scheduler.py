from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.errors import OverloadedError
from edge_node.scheduler import Load, Scheduler, Service


def admit(scheduler, now_s=0.0, *, slots=1, size=10, version="1"):
    return scheduler.admit("chat", version, slots=slots, prompt_bytes=size, now_s=now_s)


def serve(scheduler, service_s, **more):
    ticket = admit(scheduler)
    scheduler.leave(ticket, now_s=service_s, service=Service(service_s=service_s, **more))


def test_a_model_nobody_asked_for_is_idle():
    assert Scheduler().load("chat") == Load(0, 0, None, None)


def test_slots_and_queue_fill_and_then_it_refuses():
    scheduler = Scheduler(queue_limit_count=2)
    tickets = [admit(scheduler, slots=2) for _ in range(4)]
    assert scheduler.load("chat")[:2] == (2, 2)
    with pytest.raises(OverloadedError, match="2 at work and 2 waiting"):
        admit(scheduler, slots=2)
    scheduler.leave(tickets[0], now_s=1, service=None)
    admit(scheduler, slots=2)
    assert scheduler.load("chat")[:2] == (2, 2)


def test_prompt_bytes_bound_the_queue_but_never_the_slots_or_a_queue_of_one():
    scheduler = Scheduler(queue_limit_count=9, queue_limit_bytes=100)
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


def test_bytes_may_need_several_departures():
    scheduler = Scheduler(queue_limit_count=9, queue_limit_bytes=100)
    serve(scheduler, 2.0)
    for size in (10, 50, 50):
        admit(scheduler, now_s=10, size=size)
    with pytest.raises(OverloadedError) as caught:
        admit(scheduler, now_s=10, size=80)
    assert caught.value.retry_after_s == pytest.approx(4.0)


def test_two_slots_move_twice_as_fast():
    scheduler = Scheduler(queue_limit_count=3, queue_limit_bytes=10)
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
    serve(scheduler, 1.0, read_tokens=100, prefill_s=0.5)
    serve(scheduler, 2.0, read_tokens=3, prefill_s=0.5)  # too short to say how fast prompts are read
    assert scheduler.load("chat") == Load(0, 0, pytest.approx(1.2), pytest.approx(200))


def test_a_request_that_measured_nothing_changes_no_mean():
    scheduler = Scheduler()
    serve(scheduler, 1.0)
    scheduler.leave(admit(scheduler), now_s=9, service=None)
    serve(scheduler, float("nan"))
    assert scheduler.load("chat").service_s == 1.0


def test_a_new_release_starts_from_the_means_of_the_old_and_both_count():
    scheduler = Scheduler()
    serve(scheduler, 3.0)
    old = admit(scheduler)
    admit(scheduler, version="2")
    assert scheduler.load("chat") == Load(2, 0, 3.0, None)
    assert scheduler.load("chat", "2") == Load(1, 0, 3.0, None)
    scheduler.leave(old, now_s=1, service=None)
    assert scheduler.names() == ("chat",)


@given(
    slots=st.integers(1, 4),
    limit=st.integers(0, 5),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.floats(0, 5)), max_size=60),
)
def test_never_more_inside_than_allowed_and_never_idle_while_someone_waits(slots, limit, steps):
    scheduler = Scheduler(queue_limit_count=limit, queue_limit_bytes=100)
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
        load = scheduler.load("chat")
        assert load.busy == min(len(inside), slots)
        assert load.queued == len(inside) - load.busy <= limit
    assert all(full and 0 < retry_after_s <= 600 for full, retry_after_s in refusals)
