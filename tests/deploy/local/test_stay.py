"""One `up` for each directory, and its lock goes with the process."""

from __future__ import annotations

import os

import pytest

from deploy.local.stay import only_one
from registry.errors import ConfigError


def test_the_second_is_refused_and_told_who_holds_it(tmp_path):
    with only_one(tmp_path), pytest.raises(ConfigError, match=str(os.getpid())), only_one(tmp_path):
        pass
    with only_one(tmp_path):  # free again
        pass
