from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_node.reconcile import Plan, Situation, plan, served_after
from origin.api import WantedRelease

V1, V2, V3 = (("chat", version) for version in "123")
SHA = "0" * 64


def want(*keys, sha=SHA):
    return tuple(WantedRelease(name, version, sha) for name, version in keys)


def held(*keys):
    return dict.fromkeys(keys, SHA)


def test_nothing_known_and_nothing_here_is_nothing_to_do():
    assert plan(Situation(now_s=0, wanted=None)) == Plan()


def test_a_node_that_was_never_told_serves_what_served_last_and_removes_nothing():
    situation = Situation(now_s=0, wanted=None, present=held(V1, V2), served={"chat": ("2", "1")})
    assert plan(situation) == Plan(activate=(V2,))


def test_what_is_wanted_and_absent_is_fetched_once():
    assert plan(Situation(now_s=0, wanted=want(V1))).fetch == want(V1)
    assert plan(Situation(now_s=0, wanted=want(V1), fetching={V1})) == Plan()


def test_what_is_wanted_and_present_is_activated_once():
    assert plan(Situation(now_s=0, wanted=want(V1), present=held(V1))).activate == (V1,)
    assert plan(Situation(now_s=0, wanted=want(V1), present=held(V1), activating={V1})) == Plan()
    for state in ("loading", "failed"):  # a failed one is tried again by its supervisor
        assert plan(Situation(now_s=0, wanted=want(V1), present=held(V1), resident={V1: state})) == Plan()


def test_a_failed_release_waits_for_its_time():
    situation = Situation(now_s=5, wanted=want(V1), wait_until_s={V1: 9.0})
    assert plan(situation) == Plan(look_again_s=9.0)
    assert plan(Situation(now_s=9, wanted=want(V1), wait_until_s={V1: 9.0})).fetch == want(V1)


def test_the_old_version_serves_while_the_new_one_comes():
    situation = Situation(now_s=0, wanted=want(V2), present=held(V1), served={"chat": ("1",)})
    assert plan(situation) == Plan(fetch=want(V2), activate=(V1,))
    serving = Situation(
        now_s=0, wanted=want(V2), present=held(V1), served={"chat": ("1",)}, resident={V1: "ready"},
        current={"chat": "1"}, fetching={V2},
    )  # fmt: skip
    assert plan(serving) == Plan()


def test_a_model_that_is_not_wanted_any_more_is_unloaded_then_removed_after_its_time():
    situation = Situation(
        now_s=10, wanted=(), present=held(V1), resident={V1: "ready"}, current={"chat": "1"},
        unwanted_since_s={"chat": 10}, unwanted_keep_s=60,
    )  # fmt: skip
    assert plan(situation) == Plan(retire=(V1,), look_again_s=70)
    later = Situation(
        now_s=70, wanted=(), present=held(V1), unwanted_since_s={"chat": 10}, unwanted_keep_s=60
    )
    assert plan(later) == Plan(remove=(V1,))


def test_a_version_that_was_overtaken_while_loading_is_retired_but_not_what_serves():
    situation = Situation(
        now_s=0, wanted=want(V3), present=held(V1, V2), resident={V1: "ready", V2: "loading"},
        current={"chat": "1"}, fetching={V2, V3},
    )  # fmt: skip
    assert plan(situation) == Plan(retire=(V2,), cancel=(V2,))


def test_rolling_back_takes_the_version_before_even_while_it_retires():
    base = {"now_s": 0, "wanted": want(V1), "present": held(V1, V2), "current": {"chat": "2"}}
    assert plan(Situation(resident={V2: "ready"}, **base)).activate == (V1,)
    assert plan(Situation(resident={V2: "ready", V1: "retiring"}, **base)).activate == (V1,)
    assert plan(Situation(resident={V2: "ready", V1: "ready"}, **base)).activate == (V1,)


def test_the_version_before_is_kept_and_older_ones_go_once_the_wanted_one_serves():
    base = {"now_s": 0, "wanted": want(V3), "present": held(V1, V2, V3), "served": {"chat": ("3", "2")}}
    loading = Situation(resident={V2: "ready", V3: "loading"}, current={"chat": "2"}, **base)
    assert plan(loading).remove == ()
    ready = Situation(resident={V3: "ready"}, current={"chat": "3"}, **base)
    assert plan(ready).remove == (V1,)
    in_use = Situation(resident={V3: "ready", V1: "retiring"}, current={"chat": "3"}, **base)
    assert plan(in_use).remove == ()


def test_a_full_disk_takes_the_way_back_and_the_unwanted_but_not_what_serves():
    other = ("old", "1")
    situation = Situation(
        now_s=0, wanted=want(V3), present=held(V1, V2, other), served={"chat": ("2", "1")},
        resident={V2: "ready"}, current={"chat": "2"}, wait_until_s={V3: 5}, unwanted_since_s={"old": 0},
        disk_full=True,
    )  # fmt: skip
    assert plan(situation) == Plan(remove=(V1, other), look_again_s=5)


def test_a_release_with_other_bytes_than_wanted_is_fetched_and_serves_meanwhile():
    situation = Situation(now_s=0, wanted=want(V1, sha="1" * 64), present=held(V1))
    assert plan(situation) == Plan(fetch=want(V1, sha="1" * 64), activate=(V1,))


def test_of_two_versions_of_one_model_the_first_counts():
    assert plan(Situation(now_s=0, wanted=want(V2, V1))).fetch == want(V2)


def test_the_history_holds_this_version_and_the_one_before():
    served = served_after({}, {"chat": "1"})
    for version in "123":
        served = served_after(served, {"chat": version})
    assert served == {"chat": ("3", "2")}
    assert served_after(served, {"chat": "2"}) == {"chat": ("2", "3")}
    assert served_after(served, {}) == served


keys = st.tuples(st.sampled_from(["chat", "embed"]), st.sampled_from("1234"))


@given(
    wanted=st.none() | st.lists(keys, max_size=3),
    present=st.sets(keys),
    resident=st.dictionaries(keys, st.sampled_from(["loading", "ready", "failed", "retiring"])),
    current=st.dictionaries(st.sampled_from(["chat", "embed"]), st.sampled_from("1234")),
    busy=st.sets(keys),
    disk_full=st.booleans(),
)
def test_nothing_that_is_wanted_or_in_use_is_ever_removed(
    wanted, present, resident, current, busy, disk_full
):
    situation = Situation(
        now_s=0, wanted=None if wanted is None else want(*wanted), present=held(*present), resident=resident,
        current=current, fetching=busy, disk_full=disk_full, unwanted_keep_s=0,
    )  # fmt: skip
    steps = plan(situation)
    first_wanted = dict(reversed(wanted or []))
    assert not set(steps.remove) & (resident.keys() | busy | set(first_wanted.items()))
    assert not set(steps.activate) & busy
    assert not set(steps.retire) & set(first_wanted.items())
    if wanted is None:
        assert steps == Plan(activate=steps.activate)
