"""Keys: one key for one thing, read back as it was written, and none that a stranger can bend."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import layout
from registry.digest import digest_of
from registry.errors import InputInvalidError

NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}[a-z0-9](/[a-z0-9]{1,5})?", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9A-Za-z]{1,4}(\.[0-9]{1,3}){0,2}", fullmatch=True)


@given(NAMES, VERSIONS)
def test_a_manifests_key_is_read_back(name, version):
    digest = digest_of(name.encode())
    key = layout.manifest_key(name, version, digest)
    assert layout.parse_manifest_key(key) == (name, version, digest)
    assert not layout.is_pack_key(key)
    assert layout.named_digest(key) is None


@given(st.binary())
def test_a_packs_key_is_known(data):
    key = layout.pack_key(digest_of(data))
    assert layout.is_pack_key(key)
    assert layout.named_digest(key) == digest_of(data)
    assert layout.parse_manifest_key(key) is None


@pytest.mark.parametrize(
    "key",
    ["", "packs/", "packs/aa/" + "b" * 64, "packs/aa/../" + "a" * 64, "packs/aa/" + "a" * 63, "/packs/aa/" + "a" * 64,
     "packs/aa/" + "a" * 64 + "\n", "packs/AA/" + "A" * 64, "tuf/timestamp.json"],
)  # fmt: skip
def test_what_is_no_pack(key):
    assert not layout.is_pack_key(key)


def test_bad_names_get_no_key():
    with pytest.raises(InputInvalidError):
        layout.manifest_key("../x", "1", "a" * 64)
    with pytest.raises(InputInvalidError):
        layout.manifest_key("x", "../1", "a" * 64)
    with pytest.raises(InputInvalidError):
        layout.manifest_key("x", "1", "../" + "a" * 61)
    with pytest.raises(InputInvalidError):
        layout.trust_key("../1.root.json")


@pytest.mark.parametrize(
    "file", ["timestamp.json", "1.root.json", "23.models-team.json", "4000000000.a.b.json"]
)
def test_files_of_signed_metadata(file):
    assert layout.trust_key(file) == f"tuf/{file}"


@pytest.mark.parametrize(
    "file", ["", "root.json", "0.root.json", "1.Root.json", "1..json", "1.a/b.json", "1.a.json\n"]
)
def test_what_is_no_file_of_signed_metadata(file):
    assert not layout.is_trust_file(file)


@given(NAMES, VERSIONS, NAMES, VERSIONS)
def test_no_key_is_a_directory_of_another(name, version, other_name, other_version):
    """Stores that keep keys as files could not hold both."""
    digest = digest_of(b"")
    keys = {
        layout.manifest_key(name, version, digest),
        layout.manifest_key(other_name, other_version, digest),
    }
    assert not any(one.startswith(f"{other}/") for one in keys for other in keys)
