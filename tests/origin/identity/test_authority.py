"""The authority's keys on the disk: made once, kept private, encrypted, replaced by way of two."""

import stat
import threading

import pytest

from origin.identity.authority import AuthorityDirectory, find_authority
from registry.errors import EdgewardError, KeyUnusableError

NOW = 1_700_000_000.0


def begun(path, passphrase="", fleet="fleet-a"):
    directory = AuthorityDirectory(path, passphrase)
    directory.open_or_begin(fresh_fleet=fleet, now_unix_s=NOW)
    return directory


def test_it_is_made_once(tmp_path):
    first = begun(tmp_path / "k").open()
    again = AuthorityDirectory(tmp_path / "k").open_or_begin(fresh_fleet="other", now_unix_s=NOW + 9)
    assert (again.fleet, again.pin) == ("fleet-a", first.pin)
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o700
    (key,) = (tmp_path / "k").glob("fleet-*.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_of_those_who_start_at_once_one_makes_it(tmp_path):
    pins, threads = [], []
    for number in range(8):

        def start(number=number):
            pins.append(
                AuthorityDirectory(tmp_path / "k").open_or_begin(fresh_fleet=f"f{number}", now_unix_s=NOW).pin
            )

        threads.append(threading.Thread(target=start))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pins) == 8
    assert len(set(pins)) == 1


def test_a_passphrase_encrypts_it(tmp_path):
    begun(tmp_path, "open sesame")
    (key,) = tmp_path.glob("fleet-*.key")
    assert b"ENCRYPTED" in key.read_bytes()
    assert AuthorityDirectory(tmp_path, "open sesame").open().fleet == "fleet-a"
    for wrong in ("", "other"):
        with pytest.raises(KeyUnusableError, match="keys_passphrase"):
            AuthorityDirectory(tmp_path, wrong).open()


def test_a_key_that_others_can_read_is_not_used(tmp_path):
    directory = begun(tmp_path)
    (key,) = tmp_path.glob("fleet-*.key")
    key.chmod(0o640)
    with pytest.raises(KeyUnusableError, match="chmod 600"):
        directory.open()


def test_without_key_or_bundle_it_says_what_makes_them(tmp_path):
    with pytest.raises(KeyUnusableError, match="edgeward keys init"):
        AuthorityDirectory(tmp_path).open()
    directory = begun(tmp_path)
    (tmp_path / "fleet.pem").write_text("nonsense")
    with pytest.raises(EdgewardError):
        directory.open()
    with pytest.raises(EdgewardError):  # and it is not replaced
        directory.open_or_begin(fresh_fleet="new", now_unix_s=NOW)


def test_it_is_replaced_by_way_of_two(tmp_path):
    directory = begun(tmp_path)
    old = directory.open()
    assert directory.advance(NOW) == "staged"
    staged = directory.open()
    assert (staged.pin, staged.fleet, len(staged.pems)) == (old.pin, old.fleet, 2)
    assert directory.advance(NOW) == "switched"
    switched = directory.open()
    assert switched.pin != old.pin
    assert set(switched.pems) == set(staged.pems)
    assert directory.advance(NOW) == "retired"
    assert directory.open().pems == (switched.pems[0],)
    assert directory.open().fleet == "fleet-a"
    assert directory.advance(NOW) == "staged"


def test_nothing_is_advanced_without_keys(tmp_path):
    with pytest.raises(KeyUnusableError):
        AuthorityDirectory(tmp_path).advance(NOW)
    directory = begun(tmp_path)
    (old,) = tmp_path.glob("fleet-*.key")
    directory.advance(NOW)
    (new,) = set(tmp_path.glob("fleet-*.key")) - {old}
    new.unlink()
    with pytest.raises(KeyUnusableError):
        directory.advance(NOW)
    assert directory.open().pin  # the old one signs on


def test_an_authority_that_is_there_is_taken_before_one_is_made(tmp_path):
    begun(tmp_path / "b")
    assert find_authority((None, tmp_path / "a", tmp_path / "b"), "").directory == tmp_path / "b"
    assert find_authority((tmp_path / "a", tmp_path / "c"), "").directory == tmp_path / "a"


def test_an_origin_gets_what_it_needs(tmp_path):
    directory = begun(tmp_path / "mine")
    directory.lend(tmp_path / "origins")
    assert AuthorityDirectory(tmp_path / "origins").open().pin == directory.open().pin


def test_all_that_hold_the_key_salt_marks_alike_and_no_other_fleet_does(tmp_path):
    directory = begun(tmp_path / "mine")
    directory.lend(tmp_path / "origins")
    salt = directory.open().mark_salt
    assert len(salt) == 32
    assert AuthorityDirectory(tmp_path / "origins").open().mark_salt == salt
    assert begun(tmp_path / "other").open().mark_salt != salt
