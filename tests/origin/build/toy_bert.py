"""A toy encoder of the BERT family: two small layers, a word-piece tokenizer, weights by a seed. Takes milliseconds."""

from __future__ import annotations

import json

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from origin.build.onnx.checkpoint import BertConfig, expected_shapes

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = (
    "the",
    "ship",
    "rain",
    "roof",
    "map",
    "price",
    "dog",
    "##s",
    "##ing",
    "violin",
    "wait",
    "harbour",
    "quark",
)
VOCABULARY = (*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS)
TEXTS = (
    "the ships wait", "rain on the roof", "the price of a map", "dogs and a violin", "quarks", "waiting ships in rain",
    "the dog waits in the harbour", "a map of the harbour", "the roof", "raining dogs",
    "violins wait", "a quark is a dog",
)  # fmt: skip


def write_toy_bert(directory, *, layers=2, width=64, inner=128, heads=4, seed=1, **settings):
    """Write config.json, model.safetensors and tokenizer.json; gives the directory back."""
    directory.mkdir(parents=True, exist_ok=True)
    config = BertConfig(
        hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        vocab_size=len(VOCABULARY), max_position_embeddings=32, type_vocab_size=2, model_type="bert",
    )  # fmt: skip
    chance = np.random.default_rng(seed)
    tensors = {}
    for name, shape in expected_shapes(config).items():
        values = chance.normal(0, 0.25, shape)
        if "LayerNorm.weight" in name:
            values = 1 + 0.1 * values
        tensors[name] = values.astype(np.float32)
    save_file(tensors, str(directory / "model.safetensors"))
    known = {name: getattr(config, name) for name in config.__struct_fields__}
    (directory / "config.json").write_text(json.dumps({**known, "architectures": ["BertModel"], **settings}))
    write_tokenizer(directory / "tokenizer.json")
    return directory


def write_tokenizer(file):
    tokenizer = Tokenizer(
        WordPiece({word: number for number, word in enumerate(VOCABULARY)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(file))
