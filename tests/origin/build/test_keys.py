"""Keys of work, and the versions of operations."""

from __future__ import annotations

import importlib

import pytest

from origin.build.keys import key_of, module_version, parameters_of, step_key
from origin.build.operations import OPERATIONS
from origin.errors import StepFailedError
from tests.origin.build.toy_steps import Copy

STEP = Copy(id="a", source="b", importance="seen", data="calib", text="x")
INPUTS, TEXTS = {"source": "1" * 64, "importance": "2" * 64}, {"data": "3" * 64}


def key(step=STEP, version=1, inputs=INPUTS, texts=TEXTS, seed=7):
    return step_key(step, version, inputs, texts, seed)


def test_a_key_covers_the_work_and_no_names():
    assert parameters_of(STEP) == {"text": "x", "slow_count": 0, "fail": ""}
    assert key() == key(step=Copy(id="other", source="elsewhere", data="texts", text="x"))
    others = [
        key(version=2), key(seed=8), key(texts={}), key(inputs={"source": "1" * 64}),
        key(inputs={"source": "2" * 64, "importance": "1" * 64}), key(step=Copy(id="a", text="y")),
    ]  # fmt: skip
    assert len({key(), *others}) == len(others) + 1


def test_keys_of_plain_data_know_no_order():
    assert key_of({"a": 1, "b": [1, 2]}) == key_of({"b": [1, 2], "a": 1})
    assert key_of([1, 2]) != key_of([2, 1])


@pytest.mark.parametrize("op", sorted(OPERATIONS))
def test_every_operation_says_its_version(op):
    """Read without importing, as it is imported with what it takes alone."""
    module = OPERATIONS[op].MODULE
    assert module_version(module) >= 1


def test_the_version_read_is_the_module_s():
    assert (
        module_version("tests.origin.build.toy_copy")
        == importlib.import_module("tests.origin.build.toy_copy").VERSION
    )
    for module in ("tests.origin.build.toy_steps", "no.such"):
        with pytest.raises((StepFailedError, ModuleNotFoundError)):
            module_version(module)
