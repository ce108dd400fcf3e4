"""Digests: the sha256 of bytes, in one form only."""

from __future__ import annotations

import pytest

from registry.digest import digest_of, parse_digest
from registry.errors import InputInvalidError


def test_the_digest_of_nothing_is_the_known_one():
    assert digest_of(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert parse_digest(digest_of(memoryview(b"a"))) == digest_of(b"a")


@pytest.mark.parametrize("text", ["", "e3b0", "E3" * 32, "g" * 64, "a" * 65, "a" * 64 + "\n"])
def test_other_forms_are_refused(text):
    with pytest.raises(InputInvalidError, match="not a sha256 digest"):
        parse_digest(text)
