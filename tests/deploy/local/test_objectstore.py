"""Credentials of the local store: random, kept, and nobody else's to read."""

from __future__ import annotations

import stat

from deploy.local.objectstore import load_or_make_keys


def test_keys_are_made_once_and_are_private(tmp_path):
    file = tmp_path / "inner" / "store.keys"
    keys = load_or_make_keys(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_or_make_keys(file) == keys
    assert load_or_make_keys(tmp_path / "other.keys") != keys
    assert len(keys.secret_key) >= 32


def test_a_torn_file_is_made_anew(tmp_path):
    file = tmp_path / "store.keys"
    file.write_text("half")
    keys = load_or_make_keys(file)
    assert keys.access_key
    assert load_or_make_keys(file) == keys
