"""Expected sizes: near what comes out."""

from __future__ import annotations

import pytest

from origin.build.gguf_steps import Compensate, Dequantize, Quantize
from origin.build.sizes import expected_size, size_of
from tests.origin.build.toy_llama import ToyShape, write_toy_llama


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy_llama(tmp_path_factory.mktemp("toy") / "toy.gguf", ToyShape(width=256, ffn_width=512))


def test_the_shapes_of_a_file_are_known(toy):
    size = size_of("gguf", toy)
    assert size.weights_bytes == toy.stat().st_size
    assert size.embedding_count % 256 == 0
    assert expected_size(Dequantize(id="d"), size).weights_bytes == pytest.approx(
        size.weights_bytes, rel=0.02
    )


@pytest.mark.parametrize(("kind", "bits"), [("Q8_0", 8.5), ("IQ4_NL", 4.5), ("Q5_1", 6.0)])
def test_bits_of_types_count(toy, kind, bits):
    size = size_of("gguf", toy)
    made = expected_size(Compensate(id="c", type=kind, embedding=kind, data="x"), size)
    weights = size.weights_count + size.embedding_count
    assert made.weights_bytes - size.rest_bytes == pytest.approx(weights * bits / 8, rel=0.001)
    assert expected_size(Quantize(id="q", type=kind), size).weights_bytes >= made.weights_bytes


def test_what_nobody_knows_is_none(toy, tmp_path):
    size = size_of("gguf", toy)
    assert expected_size(Quantize(id="q", type="Q9_9"), size) is None
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    assert size_of("gguf", tmp_path / "bad.gguf") is None
    assert size_of("onnx", toy) is None
    assert size_of("bert", tmp_path / "model.safetensors") is None
