"""Prefixes that a release brings: a system prompt read once where the release is made, instead of on every node.

The file is of use to nodes with the same model file, KV type, llama.cpp build and CPU features; all others read the
prompt themselves. It is a file of the release like any other, so chunks and signatures cover it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from edge_node.engines.child_end import child_environment
from edge_node.engines.spec import EngineSpec
from edge_node.errors import EngineFailedError
from registry.errors import InputInvalidError
from registry.wire import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_node.engines.spec import KvType

FOLDER = "prefixes"
_TIMEOUT_S = 3600.0


class PrefillOrder(Struct, frozen=True, kw_only=True):
    """Read this system prompt with this model, and write what comes of it to `target`."""

    spec: EngineSpec
    system: str
    target: str


class Prefilled(NamedTuple):
    """A prefix that was made."""

    path: Path
    tokens_count: int
    size_bytes: int


def prefill_prefix(
    model: Path, system: str, target: Path, *, kv_type: KvType = "f16", threads_count: int | None = None
) -> Prefilled:
    """Read a system prompt with a GGUF model, in a process of its own.

    Raises:
        EngineFailedError: the model cannot be loaded, or cannot read it.
    """
    with model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    spec = EngineSpec(
        kind="llama",
        name="prefill",
        version="0",
        model_dir=str(model.parent),
        files=(model.name,),
        files_sha256=(digest,),
        threads_count=threads_count or os.cpu_count() or 1,
        kv_type=kv_type,
    )
    order = to_json(PrefillOrder(spec=spec, system=system, target=str(target))).decode()
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "edge_node.engines.llama.prefilling", order],
            env=child_environment(os.environ, spec),
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineFailedError(f"the system prompt was not read within {_TIMEOUT_S:g} s") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise EngineFailedError(f"the system prompt cannot be prefilled: {said[-1]}")
    return Prefilled(target, int(done.stdout.split()[-1]), target.stat().st_size)


@contextmanager
def with_prefixes(path: Path, prompts: Sequence[Path], *, kv_type: KvType = "f16") -> Iterator[Path]:
    """A directory with the model's files and a prefix for each file of a system prompt; it is gone afterwards.

    Raises:
        InputInvalidError: no GGUF model there, several of them, or a prompt that is no text.
        EngineFailedError: the model cannot read a prompt.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    models = [file for file in files if file.suffix == ".gguf"]
    if len(models) != 1:
        raise InputInvalidError(f"--prefix needs one GGUF model, {path} has {len(models)}", param="prefix")
    # Beside the model, so that its bytes need no copy.
    with tempfile.TemporaryDirectory(prefix=".edgeward-publish-", dir=path.parent) as folder:
        root = Path(folder, path.name if path.is_dir() else "release")
        for file in files:
            target = root / (file.relative_to(path) if path.is_dir() else file.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):
                os.link(file.resolve(), target)
            if not target.exists():
                shutil.copyfile(file, target)
        (root / FOLDER).mkdir()
        for prompt in prompts:
            try:
                system = prompt.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InputInvalidError(
                    f"cannot read the system prompt {prompt}: {error}", param="prefix"
                ) from error
            model = root / (models[0].relative_to(path) if path.is_dir() else models[0].name)
            prefill_prefix(model, system, root / FOLDER / f"{prompt.stem}.edgekv", kv_type=kv_type)
        yield root
