"""Client keys as records: made, rotated, revoked; what they spell and what is kept of them."""

import pytest

from registry.client_keys import (
    ClientKey,
    added,
    new_key,
    parse_rate,
    parse_token,
    revoked,
    rotated,
    sha256_of,
)
from registry.errors import ClientKeyUnknownError, InputInvalidError
from registry.wire import from_json, to_json

NOW_S = 1_800_000_000.0


def made(number=1, **said):
    said = {"name": "shop", "now_unix_s": NOW_S} | said
    return new_key(id_bytes=bytes([number] * 6), secret_bytes=bytes([number] * 32), **said)


def test_a_key_spells_its_id_and_secret_and_only_the_hash_is_kept():
    token, key = made(models=("chat", "embed*", "chat"), ttl_s=60, rate_per_h=100, concurrent_count=2)
    key_id, secret = parse_token(token)
    assert (key_id, key.key_id) == ("01" * 6, "01" * 6)
    assert key.secrets[0].sha256 == sha256_of(secret)
    assert key.models == ("chat", "embed*")
    kept = to_json(key)
    assert secret.encode() not in kept
    assert from_json(kept, ClientKey) == key


@pytest.mark.parametrize(
    "text",
    ["", "ek_", "none", "ek_010101010101_short", "EK_010101010101_" + "A" * 43, "ek_01010101010g_" + "A" * 43,
     "ek_010101010101_" + "A" * 44, "ek_010101010101_" + "A" * 42 + "\n", "ek_010101010101_" + "A" * 42 + "é"],
)  # fmt: skip
def test_what_is_no_key(text):
    assert parse_token(text) is None


def test_scope_by_pattern():
    _, key = made(models=("chat", "embed*", "team/*"))
    assert [key.may_ask(name) for name in ("chat", "embed-small", "team/x", "chat2", "Chat", "xembed")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip


def test_a_key_ends_at_its_second():
    _, key = made(ttl_s=60)
    assert [key.state(NOW_S + passed_s) for passed_s in (0, 59.9, 60)] == ["open", "open", "expired"]
    assert made()[1].state(NOW_S * 10) == "open"


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 64}, "name"),
        ({"models": ()}, "models"),
        ({"models": ("",)}, "models"),
        ({"models": ("a b",)}, "models"),
        ({"models": ("x",) * 65}, "models"),
        ({"ttl_s": 0}, "expires"),
        ({"ttl_s": float("nan")}, "expires"),
        ({"concurrent_count": -1}, "concurrent"),
    ],
)
def test_what_no_key_is_made_of(said, param):
    with pytest.raises(InputInvalidError) as refused:
        made(**said)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("text", "rate_per_h"), [("10/s", 36_000), ("600/min", 36_000), ("100/h", 100), (" 0.5 / s", 1800)]
)
def test_rates(text, rate_per_h):
    assert parse_rate(text) == rate_per_h


@pytest.mark.parametrize(
    "text", ["", "10", "0/s", "-1/s", "1e3/s", "10/d", "inf/s", "nan/s", "10/s/s", "9999999/s"]
)
def test_what_is_no_rate(text):
    with pytest.raises(InputInvalidError, match="is no rate"):
        parse_rate(text)


def test_rotation_keeps_the_id_and_ends_what_was_before():
    _, key = made(ttl_s=10_000)
    keys = added({}, key)
    token, keys = rotated(keys, key.key_id, secret_bytes=b"\x02" * 32, overlap_s=100, now_unix_s=NOW_S + 1)
    new, old = keys[key.key_id].secrets
    assert parse_token(token)[0] == key.key_id
    assert (new.sha256, new.expires_unix_s) == (sha256_of(parse_token(token)[1]), None)
    assert (old.sha256, old.expires_unix_s) == (key.secrets[0].sha256, NOW_S + 101)
    _, keys = rotated(keys, key.key_id, secret_bytes=b"\x03" * 32, overlap_s=5000, now_unix_s=NOW_S + 2)
    assert [secret.expires_unix_s for secret in keys[key.key_id].secrets] == [None, NOW_S + 5002, NOW_S + 101]
    _, keys = rotated(keys, key.key_id, secret_bytes=b"\x04" * 32, overlap_s=0, now_unix_s=NOW_S + 3)
    assert len(keys[key.key_id].secrets) == 1, "without an overlap the old secrets are worth nothing at once"


def test_rotated_often_a_key_keeps_few_secrets():
    _, key = made()
    keys = added({}, key)
    for number in range(10):
        _, keys = rotated(
            keys, key.key_id, secret_bytes=bytes([number] * 32), overlap_s=1e6, now_unix_s=NOW_S + number
        )
    assert len(keys[key.key_id].secrets) == 4


def test_a_revoked_key_stays_in_the_list_until_it_is_forgotten():
    _, key = made()
    keys = revoked(added({}, key), key.key_id, now_unix_s=NOW_S)
    assert keys[key.key_id].state(NOW_S) == "revoked"
    assert revoked(keys, key.key_id, now_unix_s=NOW_S + 9) == keys
    with pytest.raises(InputInvalidError, match="is revoked; make another"):
        rotated(keys, key.key_id, secret_bytes=b"\x02" * 32, overlap_s=1, now_unix_s=NOW_S)
    assert revoked(keys, key.key_id, now_unix_s=NOW_S, forget=True) == {}


def test_an_unknown_id_is_refused_without_showing_a_secret_that_was_pasted():
    token, key = made()
    with pytest.raises(ClientKeyUnknownError) as refused:
        revoked(added({}, key), token, now_unix_s=NOW_S)
    assert parse_token(token)[1] not in refused.value.message
    with pytest.raises(ClientKeyUnknownError) as refused:
        revoked({}, token[:-1], now_unix_s=NOW_S)
    assert parse_token(token)[1][:6] not in refused.value.message


def test_two_keys_with_one_id():
    _, key = made()
    with pytest.raises(InputInvalidError, match="there is a key"):
        added(added({}, key), key)
