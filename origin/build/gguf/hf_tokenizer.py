"""A byte-level tokenizer as Hugging Face stores it (tokenizer.json), as the fields of a GGUF header."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from pathlib import Path

_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5
_FILE_LIMIT_BYTES = 1 << 28
_IDS = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
# Regular expressions that cut text before merging, by llama.cpp's name for them (llama-vocab.cpp); the shortest part
# that tells them apart.
_CUTS = {
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*": "llama-bpe",
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*": "qwen2",
}


def tokenizer_fields(directory: Path, rows_count: int, pre: str = "") -> dict[str, Any]:
    """Fields for the tokenizer of `directory`, with a token for each of `rows_count` rows of the embedding.

    `pre` is llama.cpp's name for how text is cut before merging; empty to tell it from the file.

    Raises:
        RecipeInvalidError: it is another kind of tokenizer, has more tokens than rows, or cuts text in an unknown way.
    """
    whole = read_json(directory / "tokenizer.json")
    model = whole.get("model") or {}
    if model.get("type") != "BPE" or not isinstance(model.get("vocab"), dict):
        raise RecipeInvalidError(
            f"{directory.name}: a {model.get('type')!r} tokenizer is not read here, byte-level BPE is",
            param="from",
        )
    places: dict[int, tuple[str, int]] = {place: (token, _NORMAL) for token, place in model["vocab"].items()}
    for added in whole.get("added_tokens") or []:
        places[added["id"]] = (added["content"], _CONTROL if added.get("special") else _USER_DEFINED)
    if max(places, default=-1) >= rows_count:
        raise RecipeInvalidError(
            f"{directory.name}: the tokenizer has a token {max(places)}, and the embedding {rows_count} rows",
            param="from",
        )
    filled = [places.get(place, (f"[PAD{place}]", _UNUSED)) for place in range(rows_count)]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model.get("merges") or []]
    fields = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre or _cutting(whole),
        "tokenizer.ggml.tokens": [token for token, _ in filled],
        "tokenizer.ggml.token_type": [kind for _, kind in filled],
        "tokenizer.ggml.merges": merges,
    }
    return fields | _settings(directory, {token: place for place, (token, _) in places.items()})


def read_json(path: Path) -> dict[str, Any]:
    """An object from a file.

    Raises:
        RecipeInvalidError: it is missing, too large, or no JSON object.
    """
    try:
        if path.stat().st_size > _FILE_LIMIT_BYTES:
            raise RecipeInvalidError(f"{path.name} is larger than 256 MiB", param="from")
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise RecipeInvalidError(f"cannot read {path.name}: {error.strerror}", param="from") from error
    except (ValueError, RecursionError) as error:
        raise RecipeInvalidError(f"{path.name} is not JSON: {error}", param="from") from error
    if not isinstance(value, dict):
        raise RecipeInvalidError(f"{path.name} is not a JSON object", param="from")
    return value


def _cutting(whole: dict[str, Any]) -> str:
    """llama.cpp's name for the pre-tokenizer."""
    cutter = whole.get("pre_tokenizer") or {}
    steps = cutter.get("pretokenizers") or [cutter]
    for step in steps:
        pattern = (step.get("pattern") or {}).get("Regex", "")
        found = next((name for part, name in _CUTS.items() if part in pattern), None)
        if found:
            return found
    kinds = [step.get("type") for step in steps]
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    if kinds == ["ByteLevel"]:
        return "gpt-2"
    raise RecipeInvalidError(
        f"the tokenizer cuts text by {kinds}, which is not known here; name llama.cpp's word for it as pre",
        param="pre",
    )


def _settings(directory: Path, places: dict[str, int]) -> dict[str, Any]:
    """The tokens with a role, and the chat template, of tokenizer_config.json where there is one."""
    path = directory / "tokenizer_config.json"
    config = read_json(path) if path.exists() else {}
    fields: dict[str, Any] = {}
    for role, key in _IDS.items():
        said = config.get(key)
        token = said.get("content") if isinstance(said, dict) else said
        if isinstance(token, str) and token in places:
            fields[f"tokenizer.ggml.{role}_token_id"] = places[token]
    fields["tokenizer.ggml.add_bos_token"] = bool(config.get("add_bos_token", False))
    template = directory / "chat_template.jinja"
    said = template.read_text("utf-8") if template.exists() else config.get("chat_template")
    if isinstance(said, str) and said:
        fields["tokenizer.chat_template"] = said
    return fields
