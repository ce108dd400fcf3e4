"""Sizes in words."""

from __future__ import annotations

import pytest

from deploy.sizes import human_bytes


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (11_240, "11.2 kB"),
        (98_362_432, "98.4 MB"),
        (2.5e9, "2.50 GB"),
    ],
)
def test_sizes_in_words(count, text):
    assert human_bytes(count) == text
