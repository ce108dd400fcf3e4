"""Tensors as bytes, there and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.engines.tensor_bytes import DTYPES, array_of, bytes_of
from edge_node.errors import RequestInvalidError


@pytest.mark.parametrize("datatype", DTYPES)
def test_numbers(datatype):
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(DTYPES[datatype])
    back = array_of(bytes_of(array, datatype), datatype, (2, 3), "x")
    assert np.array_equal(back, array)


@given(st.lists(st.binary(max_size=20), max_size=9))
def test_bytes(elements):
    array = np.empty(len(elements), object)
    array[:] = elements
    data = bytes_of(array, "BYTES")
    assert list(array_of(data, "BYTES", (len(elements),), "x")) == elements
    for cut in range(len(data)):
        with pytest.raises(RequestInvalidError):
            array_of(data[:cut], "BYTES", (len(elements),), "x")
    with pytest.raises(RequestInvalidError):
        array_of(data + b"\0", "BYTES", (len(elements),), "x")


def test_a_bool_is_0_or_1():
    with pytest.raises(RequestInvalidError, match="neither 0 nor 1"):
        array_of(b"\2", "BOOL", (1,), "x")
