"""Tiny ONNX files with a tokenizer beside them, written field by field: no exporter, no download.

Field numbers are those of onnx.proto; wire types: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import json

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

ELEMENTS = {
    "FP32": 1, "UINT8": 2, "INT8": 3, "UINT16": 4, "INT16": 5, "INT32": 6, "INT64": 7, "BYTES": 8, "BOOL": 9,
    "FP16": 10, "FP64": 11, "UINT32": 12, "UINT64": 13,
}  # fmt: skip
_BY_DTYPE = {"float32": 1, "uint8": 2, "int8": 3, "int64": 7}
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "one", "two", "three", "good", "bad")


def _varint(value):
    pieces = bytearray()
    while True:
        pieces.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(pieces)


def field(number, value):
    """One field: an integer, or bytes, text and messages with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def tensor(name, array):
    """An initializer."""
    dims = b"".join(field(1, size) for size in array.shape)
    return dims + field(2, _BY_DTYPE[str(array.dtype)]) + field(8, name) + field(9, array.tobytes())


def value(name, datatype, shape):
    """An input or output; a text in the shape is a dimension of any size."""
    dims = b"".join(field(1, field(1 if isinstance(size, int) else 2, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, ELEMENTS[datatype]) + field(2, dims)))


def node(kind, inputs, outputs, **integers):
    """An operation with integer attributes."""
    attributes = b"".join(
        field(5, field(1, name) + field(3, number) + field(20, 2)) for name, number in integers.items()
    )
    names = b"".join(field(1, name) for name in inputs) + b"".join(field(2, name) for name in outputs)
    return names + field(4, kind) + attributes


def model(*, nodes, inputs, outputs, weights=None):
    """A whole file."""
    graph = b"".join(field(1, entry) for entry in nodes) + field(2, "tiny")
    graph += b"".join(field(5, tensor(name, array)) for name, array in (weights or {}).items())
    graph += b"".join(field(11, entry) for entry in inputs) + b"".join(field(12, entry) for entry in outputs)
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 17))


_ROWS = ("batch", "sequence")
_TEXT_INPUTS = [value(name, "INT64", _ROWS) for name in ("input_ids", "attention_mask", "token_type_ids")]


def embedder(*, quantizes=False):
    """Token vectors of 4 numbers; with `quantizes`, one scale for all that is computed together."""
    table = np.random.default_rng(7).normal(size=(len(WORDS), 4)).astype(np.float32)
    table[WORDS.index("three")] *= 40  # what spoils the scale for its neighbours
    weights = {"table": table, "square": np.arange(16, dtype=np.int8).reshape(4, 4) - 8}
    nodes = [node("Gather", ["table", "input_ids"], ["rows"])]
    if quantizes:
        nodes += [
            node("DynamicQuantizeLinear", ["rows"], ["quants", "scale", "zero"]),
            node("MatMulInteger", ["quants", "square", "zero"], ["counts"]),
            node("Cast", ["counts"], ["floats"], to=1),
            node("Mul", ["floats", "scale"], ["last_hidden_state"]),
        ]
    else:
        nodes += [
            node("Cast", ["square"], ["turn"], to=1),
            node("MatMul", ["rows", "turn"], ["last_hidden_state"]),
        ]
    outputs = [value("last_hidden_state", "FP32", (*_ROWS, 4))]
    return model(nodes=nodes, inputs=_TEXT_INPUTS, outputs=outputs, weights=weights)


def _head(table, counted):
    """Each token's row of the table, summed over the tokens that count."""
    nodes = [
        node("Gather", ["table", "input_ids"], ["rows"]),
        node("Cast", [counted], ["weights"], to=1),
        node("Unsqueeze", ["weights", "last"], ["column"]),
        node("Mul", ["rows", "column"], ["weighed"]),
        node("ReduceSum", ["weighed", "middle"], ["logits"], keepdims=0),
    ]
    weights = {"table": table, "last": np.array([2], np.int64), "middle": np.array([1], np.int64)}
    outputs = [value("logits", "FP32", ("batch", table.shape[1]))]
    return model(nodes=nodes, inputs=_TEXT_INPUTS, outputs=outputs, weights=weights)


def cross_encoder():
    """Relevance: how many times a document (the tokens of the second type) says `two`, less how often `bad`."""
    table = np.zeros((len(WORDS), 1), np.float32)
    table[WORDS.index("two")], table[WORDS.index("bad")] = 1, -1
    return _head(table, "token_type_ids")


def classifier():
    """Three classes, for which `good`, `bad` and `one` speak."""
    table = np.zeros((len(WORDS), 3), np.float32)
    for label, word in enumerate(("good", "bad", "one")):
        table[WORDS.index(word), label] = 2
    return _head(table, "attention_mask")


def echo(datatype, *, shape=("batch", 2)):
    """The input as it is."""
    return model(
        nodes=[node("Identity", ["x"], ["y"])],
        inputs=[value("x", datatype, shape)],
        outputs=[value("y", datatype, shape)],
    )


def adder():
    """`total` is a + b, `rest` is a - b."""
    return model(
        nodes=[node("Add", ["a", "b"], ["total"]), node("Sub", ["a", "b"], ["rest"])],
        inputs=[value(name, "FP32", ("batch", "width")) for name in ("a", "b")],
        outputs=[value("total", "FP32", ("batch", "width")), value("rest", "FP32", ("batch", "width"))],
    )


def company():
    """What each row gives depends on all rows: x less the largest x."""
    return model(
        nodes=[node("ReduceMax", ["x"], ["top"], keepdims=1), node("Sub", ["x", "top"], ["y"])],
        inputs=[value("x", "FP32", ("batch", 2))],
        outputs=[value("y", "FP32", ("batch", 2))],
    )


def write_tokenizer(folder, **config):
    """A tokenizer of whole words with [CLS] and [SEP], and `config.json` if there is something to say."""
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    if config:
        (folder / "config.json").write_text(json.dumps(config))


def write_model(folder, data, **config):
    """A release's directory: the model, and for a text model (`text=True`) its tokenizer; returns its files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(data)
    if config.pop("text", False):
        write_tokenizer(folder, **config)
    return tuple(sorted(path.name for path in folder.iterdir()))
