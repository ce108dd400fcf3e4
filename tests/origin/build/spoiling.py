"""Models spoiled on purpose, each in one way that a bug in a build has: what the gates must refuse."""

from __future__ import annotations

import json
import shutil

import gguf
import numpy as np

SPOILED_GGUF = ("scales", "swapped", "nan", "tokenizer", "specials", "truncated")
SPOILED_ONNX = ("scales", "swapped", "nan", "tokenizer", "truncated")
_SCALED_BLOCKS = {
    gguf.GGMLQuantizationType.Q4_0: 18, gguf.GGMLQuantizationType.Q4_1: 20, gguf.GGMLQuantizationType.Q5_0: 22,
    gguf.GGMLQuantizationType.Q5_1: 24, gguf.GGMLQuantizationType.Q8_0: 34, gguf.GGMLQuantizationType.IQ4_NL: 18,
}  # fmt: skip
"""Types whose blocks begin with a scale of 16 bits, and how many bytes a block has."""


def spoil_gguf(source, target, how):
    """Copy `source` to `target`, spoiled."""
    shutil.copyfile(source, target)
    if how == "truncated":
        with target.open("r+b") as file:
            file.truncate(target.stat().st_size * 2 // 3)
        return target
    reader = gguf.GGUFReader(target, "r+")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    layers_count = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blk."))
    middle = layers_count // 2
    if how == "scales":
        scales_of(tensors[f"blk.{middle}.ffn_down.weight"])[:] *= np.float16(1.5)
    elif how == "nan":
        scales_of(tensors[f"blk.{middle}.ffn_up.weight"])[:1] = np.nan
    elif how == "swapped":
        one, other = (tensors[f"blk.{layer}.ffn_up.weight"] for layer in (middle - 1, middle))
        assert one.tensor_type == other.tensor_type, "both as long as each other"
        kept = one.data.copy()
        one.data[:] = other.data
        other.data[:] = kept
    elif how == "tokenizer":
        swap_tokens(reader.fields["tokenizer.ggml.tokens"])
    elif how == "specials":
        field = reader.fields["tokenizer.ggml.eos_token_id"]
        field.parts[field.data[0]][:] = 0
    else:
        raise AssertionError(how)
    reader.data.flush()
    return target


def scales_of(tensor):
    """A tensor's block scales, or its very values where it has none: a view that can be written to."""
    if tensor.tensor_type in {gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.F32}:
        return tensor.data.reshape(-1)
    raw = tensor.data.reshape(-1, _SCALED_BLOCKS[tensor.tensor_type])
    return raw[:, :2].view(np.float16).reshape(-1)


def swap_tokens(field):
    """Let pairs of tokens of the same length change places, so that ids stand for other texts."""
    by_length = {}
    for index in field.data[300:]:
        by_length.setdefault(len(field.parts[index]), []).append(field.parts[index])
    swapped_count = 0
    for parts in by_length.values():
        for one, other in zip(parts[::2], parts[1::2], strict=False):
            kept = one.copy()
            one[:] = other
            other[:] = kept
            swapped_count += 1
    assert swapped_count, "there were tokens to swap"


def spoil_onnx(source, target, how):
    """Copy a directory with model.onnx and tokenizer.json to `target`, spoiled."""
    import onnx
    from onnx import numpy_helper

    shutil.copytree(source, target)
    if how == "truncated":
        with (target / "model.onnx").open("r+b") as file:
            file.truncate((target / "model.onnx").stat().st_size * 2 // 3)
        return target
    if how == "tokenizer":
        file = target / "tokenizer.json"
        words = json.loads(file.read_text("utf-8"))
        vocab = words["model"]["vocab"]
        plain = [word for word in vocab if word.isalpha()]
        for one, other in zip(plain[::2], plain[1::2], strict=False):
            vocab[one], vocab[other] = vocab[other], vocab[one]
        file.write_text(json.dumps(words), "utf-8")
        return target
    model = onnx.load(str(target / "model.onnx"))
    matrices = [entry for entry in model.graph.initializer if onnx_is_matrix(entry)]
    chosen = matrices[len(matrices) // 2]
    values = numpy_helper.to_array(chosen)
    if how == "scales":
        chosen.CopyFrom(numpy_helper.from_array((values * 3).astype(values.dtype), chosen.name))
    elif how == "nan":
        broken = values.copy()
        broken.reshape(-1)[0] = np.nan
        chosen.CopyFrom(numpy_helper.from_array(broken, chosen.name))
    elif how == "swapped":
        other = next(
            each for each in matrices if each.name != chosen.name and list(each.dims) == list(chosen.dims)
        )
        chosen.raw_data, other.raw_data = other.raw_data, chosen.raw_data
    else:
        raise AssertionError(how)
    onnx.save(model, str(target / "model.onnx"))
    return target


def onnx_is_matrix(entry):
    """Whether an initializer is a matrix of floats, a scale of blocks included, other than a vocabulary."""
    import onnx

    return (
        entry.data_type in {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16}
        and len(entry.dims) >= 1
        and 256 <= int(np.prod(entry.dims)) <= 8_000_000
    )
