"""Edits of real GGUF files, as trainers and packagers make them, for the benchmark of artifacts.

Weights of a quantized file lie somewhere inside their bins; both the base and its fine-tuned version are quantized
from the same floating-point weights, placed uniformly there. Quantizing what is exactly on the grid would flatter
every method that compares versions.
"""

from __future__ import annotations

import struct

import numpy as np

from registry.formats.gguf import CHAT_TEMPLATE_KEY, read_header

BLOCK = 32


def header_of(path):
    with path.open("rb") as file:
        return read_header(file, path.stat().st_size)


def _halves(values):
    return values.astype("<f2").view(np.uint8).reshape(len(values), -1)


def _floats(halves):
    return np.ascontiguousarray(halves).view("<f2").astype(np.float32)


def unpack_q4_1(blocks, jitter):
    quants = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1).astype(np.float32)
    return (quants + jitter) * _floats(blocks[:, :2]) + _floats(blocks[:, 2:4])


def pack_q4_1(values):
    low, high = values.min(1, keepdims=True), values.max(1, keepdims=True)
    scale = (high - low) / 15
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    quants = np.minimum(15, ((values - low) * inverse + 0.5).astype(np.uint8))
    return np.concatenate([_halves(scale), _halves(low), quants[:, :16] | quants[:, 16:] << 4], axis=1)


def unpack_q8_0(blocks, jitter):
    return (blocks[:, 2:].view(np.int8).astype(np.float32) + jitter) * _floats(blocks[:, :2])


def pack_q8_0(values):
    scale = np.abs(values).max(1, keepdims=True) / 127
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    return np.concatenate([_halves(scale), np.rint(values * inverse).astype(np.int8).view(np.uint8)], axis=1)


def unpack_q5_0(blocks, jitter):
    fifth = np.unpackbits(np.ascontiguousarray(blocks[:, 2:6]), axis=1, bitorder="little")
    quants = np.concatenate([blocks[:, 6:] & 15, blocks[:, 6:] >> 4], axis=1) | fifth << 4
    return (quants.astype(np.float32) - 16 + jitter) * _floats(blocks[:, :2])


def pack_q5_0(values):
    widest = np.take_along_axis(values, np.abs(values).argmax(1, keepdims=True), axis=1)
    scale = widest / -16
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    quants = np.minimum(31, (values * inverse + 16.5).astype(np.int8)).astype(np.uint8)
    fifth = np.packbits(quants >> 4, axis=1, bitorder="little")
    nibbles = (quants[:, :16] & 15) | (quants[:, 16:] & 15) << 4
    return np.concatenate([_halves(scale), fifth, nibbles], axis=1)


QUANTIZERS = {
    "Q4_1": (20, unpack_q4_1, pack_q4_1),
    "Q8_0": (34, unpack_q8_0, pack_q8_0),
    "Q5_0": (22, unpack_q5_0, pack_q5_0),
}


def fine_tuned(path, chosen, relative, seed=1):
    """The file requantized (base) and the file with noise of this relative norm on the chosen tensors."""
    raw = np.fromfile(path, np.uint8)
    base, new = raw.copy(), raw.copy()
    chance = np.random.default_rng(seed)
    for tensor in header_of(path).tensors:
        if tensor.element not in QUANTIZERS or not chosen(tensor.name):
            continue
        block_bytes, unpack, pack = QUANTIZERS[tensor.element]
        step = 200_000 * block_bytes
        for start in range(tensor.start, tensor.end, step):
            part = slice(start, min(tensor.end, start + step))
            blocks = raw[part].reshape(-1, block_bytes)
            jitter = chance.uniform(-0.5, 0.5, (len(blocks), BLOCK)).astype(np.float32)
            weights = unpack(blocks, jitter)
            noise = chance.standard_normal(weights.shape, np.float32) * (relative * weights.std())
            base[part] = pack(weights).reshape(-1)
            new[part] = pack(weights + noise).reshape(-1)
    return base.tobytes(), new.tobytes()


def lora_tensors(path, share=0.3, seed=5):
    """Whether a tensor is one of q and v in a share of the layers."""
    layers = sorted({int(t.name.split(".")[1]) for t in header_of(path).tensors if t.name.startswith("blk.")})
    chosen = set(
        np.random.default_rng(seed).choice(layers, round(share * len(layers)), replace=False).tolist()
    )
    names = {f"blk.{layer}.attn_{part}.weight" for layer in chosen for part in "qv"}
    return names.__contains__


def edited_template(path, extra_bytes=1152):
    """The file with a longer chat template."""
    header, raw = header_of(path), path.read_bytes()
    field = header.field(CHAT_TEMPLATE_KEY)
    if field is None:
        return _with_template(raw, header, extra_bytes)
    text = raw[field.start + 8 : field.end] + (b"{# edited #}" * extra_bytes)[:extra_bytes]
    head = (
        raw[: field.start]
        + struct.pack("<Q", len(text))
        + text
        + raw[field.end : header.tensor_infos.end_bytes]
    )
    return head + bytes(-len(head) % header.alignment) + raw[header.data_start :]


def _with_template(raw, header, length):
    """The file with a field that it did not have."""
    start = header.tensor_infos.start_bytes
    field = (
        struct.pack("<Q", len(CHAT_TEMPLATE_KEY)) + CHAT_TEMPLATE_KEY.encode() + struct.pack("<IQ", 8, length)
    )
    head = bytearray(raw[:start] + field + (b"{# added #}" * length)[:length])
    struct.pack_into("<Q", head, 16, len(header.kvs) + 1)
    head += raw[start : header.tensor_infos.end_bytes]
    return bytes(head) + bytes(-len(head) % header.alignment) + raw[header.data_start :]


def rearranged(path, order):
    """The file with other tensors: `order` turns [(name, tensor)] into the new [(name, tensor)]."""
    header, raw = header_of(path), path.read_bytes()
    infos = _infos(raw, header)
    listed = order([(tensor.name, tensor) for tensor in header.tensors])
    head_end = header.tensor_infos.start_bytes
    head = bytearray(raw[:head_end])
    struct.pack_into("<Q", head, 8, len(listed))
    layers = header.field(f"{header.text('general.architecture')}.block_count")
    kept = {name.split(".")[1] for name, _ in listed if name.startswith("blk.")}
    struct.pack_into("<I", head, layers.start, len(kept))
    data = bytearray()
    for name, tensor in listed:
        data += bytes(-len(data) % header.alignment)
        head += (
            struct.pack("<Q", len(name)) + name.encode() + infos[tensor.name] + struct.pack("<Q", len(data))
        )
        data += raw[tensor.start : tensor.end]
    data += bytes(-len(data) % header.alignment)
    return bytes(head) + bytes(-len(head) % header.alignment) + bytes(data)


def _infos(raw, header):
    """For each tensor's name what stands between it and its offset."""
    infos, position = {}, header.tensor_infos.start_bytes
    while position < header.tensor_infos.end_bytes:
        (length,) = struct.unpack_from("<Q", raw, position)
        name = raw[position + 8 : position + 8 + length].decode()
        start = position + 8 + length
        (count,) = struct.unpack_from("<I", raw, start)
        infos[name] = raw[start : start + 8 + 8 * count]
        position = start + 16 + 8 * count
    return infos


def without_layers(listed, dropped):
    """Layers dropped and the rest renumbered."""
    kept = [item for item in listed if _layer(item[0]) not in dropped]
    numbers = {old: new for new, old in enumerate(sorted({_layer(name) for name, _ in kept} - {None}))}
    return [
        (name if _layer(name) is None else f"blk.{numbers[_layer(name)]}.{name.split('.', 2)[2]}", tensor)
        for name, tensor in kept
    ]


def _layer(name):
    return int(name.split(".")[1]) if name.startswith("blk.") else None


def shuffled(listed, seed=3):
    """The tensors in another order."""
    return [listed[index] for index in np.random.default_rng(seed).permutation(len(listed))]
