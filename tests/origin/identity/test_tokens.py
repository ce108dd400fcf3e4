"""What a join token may do: once, in its time, by its secret, again by the same key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.api_enrolment import parse_join_token
from origin.errors import TokenExpiredError, TokenInvalidError, TokenRevokedError, TokenUsedError
from origin.identity.tokens import claim, new_token, prove
from registry.errors import InputInvalidError

PIN = "p" * 43


def make(**said):
    said = {"now_unix_s": 1000.0, "ttl_s": 3600.0} | said
    return new_token(id_bytes=b"\x01" * 6, secret_bytes=b"\x02" * 32, pin=PIN, **said)


def test_the_text_has_all_and_the_record_no_secret():
    token, record = make(label="Lyon", pool="gpu", region="eu")
    assert parse_join_token(f" {token}\n") == token
    assert token.secret not in repr(token)
    assert token.secret not in repr(record)
    assert (record.label, record.pool, record.region, record.state(1000)) == ("Lyon", "gpu", "eu", "open")


@given(st.text(max_size=120))
def test_what_is_no_token_is_refused_and_not_repeated(text):
    with pytest.raises(InputInvalidError) as refused:
        parse_join_token("ejt1." + text)
    assert len(text) < 12 or text not in refused.value.message


@pytest.mark.parametrize("secret", ["", "x", "A" * 43])
def test_a_wrong_secret_and_an_unknown_id_look_the_same(secret):
    _, record = make()
    said = set()
    for kept in (record, None):
        with pytest.raises(TokenInvalidError) as refused:
            prove(kept, secret)
        said.add(refused.value.message)
    assert len(said) == 1


def test_the_right_secret_proves_it():
    token, record = make()
    assert prove(record, token.secret) is record
    with pytest.raises(TokenInvalidError):
        prove(None, token.secret)


def test_it_lets_in_as_many_as_it_says_and_the_same_key_again():
    _, record = make(uses_count=2)
    once = claim(record, "a", "k1", 1001)
    assert claim(once, "a", "k1", 1002) is once
    twice = claim(once, "b", "k2", 1003)
    assert twice.state(1003) == "used"
    with pytest.raises(TokenUsedError, match="let in b at"):
        claim(twice, "c", "k3", 1004)
    with pytest.raises(TokenUsedError):
        claim(twice, "a", "k3", 1004)  # the name alone is nobody
    assert claim(twice, "b", "k2", 1004) is twice


def test_its_time_ends_for_the_same_key_too_and_both_clocks_are_said():
    _, record = make(ttl_s=60)
    used = claim(record, "a", "k", 1059.9)
    for kept, key in ((record, "a"), (used, "k")):
        with pytest.raises(
            TokenExpiredError, match=r"expired at 1970-01-01 00:17:40 UTC.*says 1970-01-01 00:17:41"
        ):
            claim(kept, "a", key, 1061)
    assert record.state(1060) == "expired"


def test_a_revoked_one_lets_nobody_in():
    from msgspec.structs import replace

    _, record = make()
    with pytest.raises(TokenRevokedError):
        claim(replace(record, revoked_unix_s=1001.0), "a", "k", 1002)


@pytest.mark.parametrize(
    "said",
    [{"ttl_s": 0}, {"ttl_s": float("nan")}, {"ttl_s": 1e9}, {"uses_count": 0}, {"uses_count": 1001}, {"label": "a\nb"},
     {"pool": "x" * 121}],
)  # fmt: skip
def test_nonsense_makes_no_token(said):
    with pytest.raises(InputInvalidError):
        make(**said)
