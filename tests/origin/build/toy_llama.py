"""A GGUF of the llama family that fits a test: a few layers, random weights, a byte-level tokenizer, a template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import gguf
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' "
    "+ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
NORMAL, CONTROL = 1, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyShape:
    """What the toy is made of; every width is a multiple of 32, as the block types need."""

    layers: int = 2
    width: int = 64
    ffn_width: int = 128
    heads: int = 4
    kv_heads: int = 2
    merges: int = 60
    context: int = 512


def byte_letters() -> list[str]:
    """The 256 letters that stand for bytes in GPT-2's tokenizer."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, extra = {}, 256
    for byte in range(256):
        if byte in shown:
            letters[byte] = chr(byte)
        else:
            letters[byte], extra = chr(extra), extra + 1
    return [letters[byte] for byte in range(256)]


def vocabulary(merges_count: int) -> tuple[list[str], list[str]]:
    """Tokens and merges: the specials, the bytes, then pairs of a space or a letter with a letter."""
    pairs = [(first, second) for first in "Ġetaoins" for second in "etaoinshrdlu"][:merges_count]
    tokens = [*SPECIALS, *byte_letters(), *(a + b for a, b in pairs)]
    return tokens, [f"{a} {b}" for a, b in pairs]


def toy_tensors(shape: ToyShape, seed: int) -> dict[str, np.ndarray]:
    """Weights by GGUF name, rows first; matrices as float16, norms as float32."""
    rng = np.random.default_rng(seed)
    vocab = len(vocabulary(shape.merges)[0])
    kv_width = shape.width // shape.heads * shape.kv_heads

    def matrix(rows: int, columns: int, scale: float = 1.0) -> np.ndarray:
        return (rng.standard_normal((rows, columns)) * scale / np.sqrt(columns)).astype(np.float16)

    def norm() -> np.ndarray:
        return (1 + 0.1 * rng.standard_normal(shape.width)).astype(np.float32)

    tensors = {"token_embd.weight": matrix(vocab, shape.width, 4.0), "output_norm.weight": norm()}
    for layer in range(shape.layers):
        tensors |= {
            f"blk.{layer}.{name}": value
            for name, value in {
                "attn_norm.weight": norm(),
                "attn_q.weight": matrix(shape.width, shape.width),
                "attn_k.weight": matrix(kv_width, shape.width),
                "attn_v.weight": matrix(kv_width, shape.width),
                "attn_output.weight": matrix(shape.width, shape.width),
                "ffn_norm.weight": norm(),
                "ffn_gate.weight": matrix(shape.ffn_width, shape.width),
                "ffn_up.weight": matrix(shape.ffn_width, shape.width),
                "ffn_down.weight": matrix(shape.width, shape.ffn_width),
            }.items()
        }
    return tensors


def write_toy_llama(path: Path, shape: ToyShape | None = None, *, seed: int = 0) -> Path:
    """Write the toy to `path`; the same shape and seed give the same bytes."""
    shape = shape or ToyShape()
    tokens, merges = vocabulary(shape.merges)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("Toy")
    writer.add_license("apache-2.0")
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.ffn_width)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL] * len(SPECIALS) + [NORMAL] * (len(tokens) - len(SPECIALS)))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    for name, value in toy_tensors(shape, seed).items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
