"""Tokens and nodes in the object store: a race lets exactly as many in as the token says; ids belong to keys."""

import itertools
import multiprocessing
import threading

import pytest

from origin.errors import (
    NodeIdTakenError,
    NodeUnknownError,
    TokenInvalidError,
    TokenRevokedError,
    TokenUnknownError,
    TokenUsedError,
)
from origin.identity.register import Register
from registry.errors import InputInvalidError, PreconditionFailedError, StoreError
from registry.store.directory import DirectoryStore
from registry.store.memory import MemoryStore
from registry.store.opening import open_store
from registry.store.retrying import RetryingStore

NOW = 1_700_000_000.0
RACERS = 100


def add_token(register, **said):
    token, _ = register.make_token("p" * 43, now_unix_s=NOW, ttl_s=3600, **said)
    return token


def race(store_of, token, count=RACERS):
    """So many nodes at once; gives the ids of those that were let in."""
    start, let_in, other = threading.Barrier(count), [], []

    def joins(number):
        register = Register(store_of())
        start.wait()
        try:
            register.admit(token.token_id, token.secret, f"n{number}", f"key{number}", NOW)
            let_in.append(f"n{number}")
        except TokenUsedError:
            pass
        except BaseException as error:  # noqa: BLE001  # looked at below
            other.append(error)

    threads = [threading.Thread(target=joins, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other == []
    return let_in


@pytest.fixture(params=["memory", "directory"])
def store(request, tmp_path):
    return MemoryStore() if request.param == "memory" else DirectoryStore(tmp_path)


@pytest.mark.parametrize("uses_count", [1, 3])
def test_of_a_hundred_at_once_as_many_are_let_in_as_the_token_says(store, uses_count):
    register = Register(store)
    token = add_token(register, uses_count=uses_count)
    let_in = race(lambda: store, token)
    assert len(let_in) == uses_count
    (record,) = register.tokens()
    assert sorted(c.node_id for c in record.claims) == sorted(let_in)
    assert [register.node(f"n{number}") is not None for number in range(RACERS)].count(True) == uses_count


def _joins_in_a_process(root, token_id, secret, number, start, answers):
    register = Register(DirectoryStore(root))
    start.wait()
    try:
        register.admit(token_id, secret, f"n{number}", f"key{number}", NOW)
        answers.put("in")
    except TokenUsedError:
        answers.put("used")


def test_processes_that_share_a_directory_let_one_in(tmp_path):
    token = add_token(Register(DirectoryStore(tmp_path)))
    context = multiprocessing.get_context("fork")
    start, answers = context.Barrier(8), context.Queue()
    racers = [
        context.Process(
            target=_joins_in_a_process, args=(tmp_path, token.token_id, token.secret, number, start, answers)
        )
        for number in range(8)
    ]
    for racer in racers:
        racer.start()
    said = sorted(answers.get(timeout=30) for _ in racers)
    for racer in racers:
        racer.join()
    assert said == ["in", *["used"] * 7]


@pytest.mark.system
def test_of_a_hundred_at_once_one_is_let_in_by_a_real_s3_server(s3_store_config):
    origins = itertools.cycle([RetryingStore(open_store(s3_store_config)) for _ in range(4)])
    token = add_token(Register(next(origins)))
    assert len(race(lambda: next(origins), token)) == 1


def test_the_same_key_may_ask_again(store):
    register = Register(store)
    token = add_token(register, pool="gpu", region="eu")
    first = register.admit(token.token_id, token.secret, "a", "key", NOW)
    assert register.admit(token.token_id, token.secret, "a", "key", NOW + 5) == first
    assert (first.pool, first.region, first.enrolled_unix_s) == ("gpu", "eu", NOW)


def test_a_lost_answer_of_the_store_costs_no_token():
    class LosesAnswers(MemoryStore):
        lost = 0

        def put_if_match(self, key, data, etag):
            new = super().put_if_match(key, data, etag)
            if self.lost < 2:  # once for the token, once for the node
                self.lost += 1
                raise PreconditionFailedError("as a retried write sees it")
            return new

    register = Register(LosesAnswers())
    token = add_token(register)
    assert register.admit(token.token_id, token.secret, "a", "key", NOW).key_sha256 == "key"


def test_a_store_that_dies_between_token_and_node_leaves_a_way_on():
    class Dies(MemoryStore):
        dead = False

        def put_if_match(self, key, data, etag):
            if self.dead and "nodes/" in key:
                raise StoreError("gone")
            return super().put_if_match(key, data, etag)

    store = Dies()
    register = Register(store)
    token = add_token(register)
    store.dead = True
    with pytest.raises(StoreError):
        register.admit(token.token_id, token.secret, "a", "key", NOW)
    store.dead = False
    with pytest.raises(TokenUsedError):
        register.admit(token.token_id, token.secret, "b", "other", NOW)
    assert register.admit(token.token_id, token.secret, "a", "key", NOW).node_id == "a"


def test_another_key_cannot_take_a_nodes_id_and_its_token_is_not_spent(store):
    register = Register(store)
    one, two = add_token(register), add_token(register)
    register.admit(one.token_id, one.secret, "a", "key", NOW)
    with pytest.raises(NodeIdTakenError, match="edgeward nodes revoke a"):
        register.admit(two.token_id, two.secret, "a", "other", NOW)
    assert register.admit(two.token_id, two.secret, "b", "other", NOW).node_id == "b"


def test_a_revoked_nodes_id_is_free_for_a_new_key(store):
    register = Register(store)
    one, two = add_token(register), add_token(register)
    register.admit(one.token_id, one.secret, "a", "key", NOW)
    register.revoke_node("a", NOW + 1)
    assert register.revoked().keys == {"key": ("a", NOW + 1)}
    assert register.admit(two.token_id, two.secret, "a", "new", NOW + 2).key_sha256 == "new"
    register.revoke_node("a", NOW + 3)
    register.revoke_node("a", NOW + 4)
    assert register.revoked().keys == {"key": ("a", NOW + 1), "new": ("a", NOW + 3)}


def test_many_revocations_at_once_are_all_kept(store):
    register = Register(store)
    token = add_token(register, uses_count=20)
    for number in range(20):
        register.admit(token.token_id, token.secret, f"n{number}", f"k{number}", NOW)
    threads = [
        threading.Thread(target=register.revoke_node, args=(f"n{number}", NOW)) for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(register.revoked().keys) == 20


def test_a_revoked_token_lets_nobody_in_and_leaves_those_who_are(store):
    register = Register(store)
    token = add_token(register, uses_count=2)
    register.admit(token.token_id, token.secret, "a", "key", NOW)
    assert register.revoke_token(token.token_id, NOW + 1).revoked_unix_s == NOW + 1
    assert register.revoke_token(token.token_id, NOW + 9).revoked_unix_s == NOW + 1
    with pytest.raises(TokenRevokedError):
        register.admit(token.token_id, token.secret, "b", "other", NOW + 2)
    assert register.node("a") is not None
    assert register.revoked().keys == {}


def test_what_is_not_there_is_said(store):
    register = Register(store)
    with pytest.raises(TokenUnknownError):
        register.revoke_token("0" * 12, NOW)
    with pytest.raises(NodeUnknownError):
        register.revoke_node("nobody", NOW)
    with pytest.raises(TokenInvalidError):
        register.admit("0" * 12, "s", "a", "key", NOW)
    for bad in ("../x", "", "0" * 13):
        with pytest.raises(InputInvalidError):
            register.revoke_token(bad, NOW)


def test_a_damaged_record_lets_nobody_in(store):
    register = Register(store)
    token = add_token(register)
    key = f"enrolment/tokens/{token.token_id}"
    store.put_if_match(key, b"{]", store.get(key).etag)
    with pytest.raises(StoreError, match="damaged"):
        register.admit(token.token_id, token.secret, "a", "key", NOW)
