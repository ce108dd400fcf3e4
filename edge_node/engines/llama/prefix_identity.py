"""What keys and values depend on besides the tokens: model, KV type, flash attention, engine build, CPU features.

The chat template is no part of it: it decides which tokens a prompt has, and the tokens are in every key.
Neither are threads and the size of the context: they change rounding, as batching does, and not the form.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import llama_cpp
from llama_cpp import llama_cpp as native

if TYPE_CHECKING:
    from edge_node.engines.spec import EngineSpec

_PART_BYTES = 1 << 20


def prefix_identity(spec: EngineSpec, model_path: Path) -> str:
    """The identity of prefixes that this engine computes, in hexadecimal."""
    parts = {
        "form": 1,
        "model": model_identity(spec, model_path),
        "kv_type": spec.kv_type,
        # As `library` asks for it; what llama.cpp then decides follows from the build and the CPU.
        "flash_attention": "auto" if spec.kv_type == "f16" else "on",
        "engine": engine_build(),
        "cpu": cpu_features(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def model_identity(spec: EngineSpec, model_path: Path) -> str:
    """The digest that the manifest gives the model's file; without one, what the disk says of it."""
    name = str(model_path.relative_to(spec.model_dir))
    digest = dict(zip(spec.files, spec.files_sha256, strict=False)).get(name)
    if digest:
        return f"sha256:{digest}"
    status = model_path.stat()
    return f"file:{model_path.resolve()}:{status.st_size}:{status.st_mtime_ns}:{status.st_ino}"


@lru_cache(maxsize=1)
def engine_build() -> str:
    """llama.cpp as it is installed: two builds of one version may round in different ways."""
    digest = hashlib.sha256(llama_cpp.__version__.encode())
    libraries = sorted(Path(llama_cpp.__file__).parent.glob("lib/*"))
    for library in libraries:
        if library.is_file():
            digest.update(library.name.encode())
            with library.open("rb") as file:
                while part := file.read(_PART_BYTES):
                    digest.update(part)
    return digest.hexdigest()


def cpu_features() -> str:
    """The instruction sets that llama.cpp uses on this machine: kernels, and so the bits of results, follow them."""
    text: str = native.llama_print_system_info().decode(errors="replace")
    # Threads are in there on some builds, and are no feature.
    return " ".join(part.strip() for part in text.split("|") if "=" in part and "thread" not in part)


def kernels_digest(context_tokens: int) -> str:
    """In 8 digits what the rounding of results depends on beside the model and the engine's settings."""
    parts = f"{engine_build()} {cpu_features()} {context_tokens}"
    return hashlib.sha256(parts.encode()).hexdigest()[:8]
