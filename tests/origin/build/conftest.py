"""Builds of toys."""

from __future__ import annotations

import pytest

from tests.origin.build.toy_builds import ToyBuilds


@pytest.fixture
def toys(tmp_path):
    return ToyBuilds(tmp_path)
