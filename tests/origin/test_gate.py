"""The gate: proofs, scopes, rates and how many at a time, by a clock that the test moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.errors import (
    ApiKeyInvalidError,
    ClientKeysUnknownError,
    KeyBusyError,
    KeyRateError,
    ModelOutOfScopeError,
)
from origin.gate import ANYBODY, Caller, Gate
from registry.client_keys import new_key, revoked, rotated

NOW_S = 1_800_000_000.0


def made(number=1, **said):
    said = {"name": "shop", "now_unix_s": NOW_S} | said
    return new_key(id_bytes=bytes([number] * 6), secret_bytes=bytes([number] * 32), **said)


def gate_with(*keys, **said):
    gate = Gate(**said)
    gate.learn({key.key_id: key for key in keys}, read_unix_s=NOW_S)
    return gate


def test_who_has_the_secret_is_let_in():
    token, key = made()
    gate = gate_with(key, made(2)[1])
    for shown in (f"Bearer {token}", f"bearer {token}", f"BEARER  {token} "):
        assert gate.prove(shown, NOW_S).key == key


@pytest.mark.parametrize(
    "change",
    [
        lambda token: "",
        lambda token: token,
        lambda token: f"Basic {token}",
        lambda token: f"Bearer {token}x",
        lambda token: f"Bearer {token[:-1]}",
        lambda token: f"Bearer {token}, Bearer {token}",
        lambda token: f"Bearer\t{token}",
        lambda token: f"Bearer {token.replace('ek_01', 'ek_02')}",
        lambda token: f"Bearer {token[:-2]}{'AB' if token[-2:] != 'AB' else 'BA'}",
        lambda token: f"Bearer {made(2)[0]}",
        lambda token: f"Bearer {'x' * 100_000}",
        lambda token: "Bearer " + token.replace("ek_", "ek_\u0661"),
        lambda token: "Bearer ek_000000000000_" + "A" * 43,
    ],
)
def test_who_has_not_is_refused_and_no_word_of_it_is_repeated(change):
    token, key = made()
    with pytest.raises(ApiKeyInvalidError) as refused:
        gate_with(key).prove(change(token), NOW_S)
    assert (refused.value.code, refused.value.http_status) == ("invalid_api_key", 401)
    assert token[20:] not in refused.value.message


@given(st.text(max_size=120))
def test_no_text_lets_in(text):
    _, key = made()
    gate = gate_with(key)
    for shown in (text, f"Bearer {text}", f"Bearer ek_{key.key_id}_{text}"):
        with pytest.raises(ApiKeyInvalidError):
            gate.prove(shown, NOW_S)


def test_revoked_expired_and_replaced():
    token, key = made(ttl_s=100)
    gate = gate_with(key)
    assert gate.prove(f"Bearer {token}", NOW_S + 99).key
    with pytest.raises(ApiKeyInvalidError, match="is expired"):
        gate.prove(f"Bearer {token}", NOW_S + 100)
    gate.learn(revoked(gate.keys, key.key_id, now_unix_s=NOW_S), read_unix_s=NOW_S)
    with pytest.raises(ApiKeyInvalidError, match="is revoked"):
        gate.prove(f"Bearer {token}", NOW_S)
    newer, keys = rotated(
        {key.key_id: key}, key.key_id, secret_bytes=b"n" * 32, overlap_s=10, now_unix_s=NOW_S
    )
    gate.learn(keys, read_unix_s=NOW_S)
    assert gate.prove(f"Bearer {token}", NOW_S + 9).key_id == gate.prove(f"Bearer {newer}", NOW_S + 9).key_id
    with pytest.raises(ApiKeyInvalidError, match="has been replaced"):
        gate.prove(f"Bearer {token}", NOW_S + 10)
    assert gate.prove(f"Bearer {newer}", NOW_S + 10).key


def test_before_the_list_is_known_nobody_is_let_in_and_other_nodes_may_be_asked():
    gate = Gate()
    assert gate.age_s(NOW_S) is None
    for ask in (
        lambda: gate.prove(f"Bearer {made()[0]}", NOW_S),
        lambda: gate.vouched("01" * 6, "chat", NOW_S),
    ):
        with pytest.raises(ClientKeysUnknownError) as refused:
            ask()
        assert (refused.value.http_status, refused.value.retry) == (503, "elsewhere")


def test_a_list_of_any_age_is_good_unless_the_policy_says_so():
    token, key = made()
    year_s = 365 * 86_400
    assert gate_with(key).prove(f"Bearer {token}", NOW_S + year_s).key
    limited = gate_with(key, max_age_s=3600)
    assert limited.prove(f"Bearer {token}", NOW_S + 3600).key
    with pytest.raises(ClientKeysUnknownError, match="3601 s old"):
        limited.prove(f"Bearer {token}", NOW_S + 3601)


def test_scope_whatever_way_a_model_is_named():
    caller = Caller(made(models=("chat", "embed*"))[1])
    for model in ("chat", "chat:canary", "chat@1.2.0", "embed-small@1"):
        caller.check_model(model)
    for model in ("other", "other:chat", "other@chat", "", "team/chat", "@chat", ":chat"):
        with pytest.raises(ModelOutOfScopeError) as refused:
            caller.check_model(model)
        assert refused.value.http_status == 403
    ANYBODY.check_model("anything")


def test_a_ticket_stands_for_its_key_and_one_model():
    _, key = made(models=("chat", "embed"))
    gate = gate_with(key)
    caller = gate.vouched(key.key_id, "chat:canary", NOW_S)
    assert (caller.key_id, caller.may_ask("chat@1"), caller.may_ask("embed")) == (key.key_id, True, False)
    assert not gate.vouched(key.key_id, "other", NOW_S).may_ask("other"), "the key's scope holds as well"
    gate.learn({}, read_unix_s=NOW_S)
    with pytest.raises(ApiKeyInvalidError):
        gate.vouched(key.key_id, "chat", NOW_S)


def test_the_rate_and_the_truth_of_when_to_come_back():
    gate, caller = gate_with(), Caller(made(rate_per_h=7200)[1])  # 2 a second
    for _ in range(2):
        gate.enter(caller, 10.0)
    with pytest.raises(KeyRateError) as refused:
        gate.enter(caller, 10.1)
    wait_s = refused.value.retry_after_s
    assert wait_s == pytest.approx(0.4)
    with pytest.raises(KeyRateError):
        gate.enter(caller, 10.1 + wait_s - 0.01)
    gate.enter(caller, 10.1 + wait_s)


@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=80),
    st.integers(1, 40_000),
)
def test_no_window_ever_holds_more_than_the_rate_and_one_bucket(gaps_s, rate_per_h):
    gate, caller = gate_with(), Caller(made(rate_per_h=rate_per_h)[1])
    now_s, taken = 1000.0, []
    for gap_s in gaps_s:
        now_s += gap_s
        try:
            gate.enter(caller, now_s)
        except KeyRateError:
            continue
        taken.append(now_s)
    rate_per_s = rate_per_h / 3600
    for first, start_s in enumerate(taken):
        for last in range(first, len(taken)):
            allowed = max(1.0, rate_per_s) + (taken[last] - start_s) * rate_per_s
            assert last - first + 1 <= allowed + 1e-3


def test_a_slow_rate_still_lets_the_first_in():
    gate, caller = gate_with(), Caller(made(rate_per_h=1)[1])
    gate.enter(caller, 0.0)
    with pytest.raises(KeyRateError) as refused:
        gate.enter(caller, 0.0)
    assert refused.value.retry_after_s == pytest.approx(3600)


def test_how_many_at_a_time():
    gate, caller, other = (
        gate_with(),
        Caller(made(concurrent_count=2)[1]),
        Caller(made(2, concurrent_count=1)[1]),
    )
    gate.enter(caller, 0.0)
    gate.enter(caller, 0.0)
    with pytest.raises(KeyBusyError):
        gate.enter(caller, 0.0)
    gate.enter(other, 0.0)
    gate.leave(caller)
    gate.enter(caller, 0.0)


def test_a_refused_request_takes_nothing_of_the_rate():
    gate, caller = gate_with(), Caller(made(concurrent_count=1, rate_per_h=3600)[1])
    gate.enter(caller, 0.0)
    for _ in range(5):
        with pytest.raises(KeyBusyError):
            gate.enter(caller, 1.0)
    gate.leave(caller)
    gate.enter(caller, 1.0)


def test_a_new_list_keeps_what_is_at_work_and_forgets_who_is_gone():
    _, key = made(concurrent_count=1, rate_per_h=1)
    gate = gate_with(key)
    gate.enter(Caller(key), 0.0)
    gate.learn({}, read_unix_s=NOW_S)
    assert not gate._buckets
    gate.leave(Caller(key))
    assert not gate._running
