"""What a role says survives its way through signed metadata; what makes no sense is refused, whoever signed it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.metadata import DelegatedRole, Metadata, TargetFile, Targets

from registry.digest import digest_of
from registry.errors import InputInvalidError, TrustError, TrustTamperedError
from registry.trust.in_memory import signed_in_memory
from registry.trust.statements import (
    Contents,
    SignedRelease,
    contents_of,
    is_role,
    paths_of,
    role_of,
    role_of_namespace,
    signed_part,
)
from registry.trust.verification import LONG_AGO, Verified, advance, verifying

NAMES = st.from_regex(r"team/[a-z0-9]{1,6}", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9A-Za-z]{1,4}([.+-][0-9]{1,3}){0,2}", fullmatch=True)
CHANNELS = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
RELEASES = st.builds(
    SignedRelease, sha256=st.binary().map(digest_of), length_bytes=st.integers(0, 2**40), yanked=st.booleans()
)
HISTORIES = st.lists(VERSIONS, min_size=1, max_size=32, unique=True).map(tuple)
TEAM = DelegatedRole("models-team", [], 1, True, paths=paths_of("models-team"))
EXPIRES = datetime(2030, 1, 1, tzinfo=UTC)


@given(
    st.dictionaries(st.tuples(NAMES, VERSIONS), RELEASES, max_size=8),
    st.dictionaries(NAMES, st.dictionaries(CHANNELS, HISTORIES, min_size=1, max_size=3), max_size=4),
)
def test_contents_come_back_as_they_were(releases, channels):
    contents = Contents(releases, channels)
    part = signed_part(contents, version=1, expires=EXPIRES)
    assert contents_of(Metadata[Targets].from_bytes(Metadata(part).to_bytes()).signed, TEAM) == contents


@pytest.mark.parametrize(
    ("name", "role"), [("chat", "models"), ("team/chat", "models-team"), ("a.b/c", "models-a.b")]
)
def test_each_name_has_one_role_and_the_role_covers_it(name, role):
    assert role_of(name) == role
    for other in ("models", "models-team", "models-a.b"):
        covers = DelegatedRole(other, [], 1, True, paths=paths_of(other)).is_delegated_path(f"{name}/1.0")
        assert covers == (other == role)


@pytest.mark.parametrize(
    ("role", "ours"),
    [("models", True), ("models-team", True), ("models-a.b-c", True), ("root", False), ("timestamp", False),
     ("models-", False), ("models-../x", False), ("modelsteam", False), ("", False), ("1.root", False)],
)  # fmt: skip
def test_roles_of_publishers(role, ours):
    assert is_role(role) == ours


@pytest.mark.parametrize("namespace", ["../x", "A", "a/b", "x.eaf"])
def test_what_is_no_namespace(namespace):
    with pytest.raises(InputInvalidError):
        role_of_namespace(namespace)


@pytest.mark.parametrize(
    "field",
    [
        [],
        {"team/x": []},
        {"team/x": {"stable": []}},
        {"team/x": {"stable": ["../1"]}},
        {"team/x": {"Stable!": ["1"]}},
        {"../x": {"stable": ["1"]}},
        {"team/x": {"stable": [str(number) for number in range(33)]}},
    ],
)
def test_channels_that_make_no_sense(field):
    part = Targets(version=1, expires=EXPIRES, unrecognized_fields={"channels": field})
    with pytest.raises(TrustTamperedError):
        contents_of(part, TEAM)


@pytest.mark.parametrize(
    ("path", "hashes", "custom"),
    [
        ("team/x/..", {"sha256": "a" * 64}, {}),
        ("team/X/1", {"sha256": "a" * 64}, {}),
        ("team/x/1", {"sha512": "a" * 128}, {}),
        ("team/x/1", {"sha256": "short"}, {}),
        ("team/x/1", {"sha256": "a" * 64}, {"custom": "text"}),
    ],
)
def test_targets_that_make_no_sense(path, hashes, custom):
    part = Targets(version=1, expires=EXPIRES, targets={path: TargetFile(1, hashes, path, custom)})
    with pytest.raises(TrustTamperedError):
        contents_of(part, TEAM)


PIN = signed_in_memory().reader.pin


@given(st.lists(st.one_of(st.none(), st.binary(max_size=200)), max_size=6))
def test_whatever_is_sent_ends_in_a_refusal_and_leaves_nothing_but_the_pin(answers):
    kept = {}
    steps = verifying(kept, PIN, at=LONG_AGO)

    def send_all():
        wanted = advance(steps, None)
        for data in [*answers, None, None, None]:
            assert not isinstance(wanted, Verified)
            wanted = advance(steps, data)

    with pytest.raises(TrustError):
        send_all()
    assert set(kept.values()) == {PIN}
