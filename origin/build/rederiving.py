"""Rederiving a release: each GGUF variant rebuilt from its parent, bit for bit, and held against what was published.

The lineage in the manifest says what a variant was made from; here that is proven, not believed, with neither
llama.cpp nor torch. What is given may be the file that the last step worked on, or one before it, as long as the steps
between are `dequantize`, which is done again.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from origin.build.gguf import dequantize
from origin.build.gguf.rederive import rederive
from origin.build.gguf_steps import Dequantize
from origin.build.source import digest_of_file
from origin.build.step import MODEL_FILES, Artifact, StepWork
from registry.errors import InputInvalidError
from registry.manifest import lineage_of
from registry.progress import Progress, ProgressHook, ignore_progress
from registry.release_directory import ReleaseDirectory

if TYPE_CHECKING:
    from origin.build.gguf.rederive import Rederived
    from registry.manifest import Lineage, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class RederivedVariant:
    """What came of one variant.

    Attributes:
        steps: the ids of the steps that were done again, or whose outcome was rebuilt.
        exact_counts: tensors with the same bytes, by type.
        different: tensors that are not what the parent gives.
        untold: tensors of which nothing can be told here: other types, weights by importance, training.
        fields: keys of the header that the parent has otherwise.
        reason: why nothing was looked at; empty when it was.
    """

    variant: str
    steps: tuple[str, ...] = ()
    exact_counts: dict[str, int]
    different: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    reason: str = ""

    @property
    def proven(self) -> bool:
        """Every byte follows from the parent."""
        return not (self.reason or self.different or self.untold or self.fields)


def rederive_release(
    directory: Path, parent: Path, progress: ProgressHook = ignore_progress
) -> tuple[RederivedVariant, ...]:
    """Rebuild the variants that a fetched release holds from a file that they were made from.

    Raises:
        InputInvalidError: there is no release, no parent, or nothing in the lineage says that this is one.
        ManifestInvalidError: the manifest or a lineage in it is damaged.
        FormatInvalidError: one of the files is no GGUF file.
    """
    release = ReleaseDirectory.read(directory)
    if not parent.is_file():
        raise InputInvalidError(f"there is no file {parent} to rebuild from", param="rederive")
    digest = digest_of_file(parent)
    found = []
    start = 0
    for variant in release.manifest.variants:
        places = [release.file(number) for number in range(start, start + len(variant.files))]
        start += len(variant.files)
        if variant.name in release.part:
            found.append(_rederived(variant, places, parent, digest, progress))
    if all(it.reason for it in found):
        raise InputInvalidError(
            f"nothing can be rebuilt from {parent} ({digest[:12]}…): "
            + "; ".join(f"{it.variant} {it.reason}" for it in found),
            param="rederive",
        )
    return tuple(found)


def _rederived(
    variant: Variant, places: list[Path], parent: Path, digest: str, progress: ProgressHook
) -> RederivedVariant:
    files = [place for place in places if place.suffix == ".gguf"]
    lineage = lineage_of(variant)
    if lineage is None or len(files) != 1:
        reason = "says nothing of where it is from" if lineage is None else "is not one GGUF file"
        return RederivedVariant(variant=variant.name, exact_counts={}, reason=reason)
    between, why = _between(lineage, digest)
    if why:
        return RederivedVariant(variant=variant.name, exact_counts={}, reason=why)

    def hears(done: int, total: int) -> None:
        progress(Progress(f"rebuilding {variant.name}", done, total))

    with tempfile.TemporaryDirectory(prefix="edgeward-rederive-") as folder:
        base = parent
        for number, _ in enumerate(between[:-1]):
            base = _dequantized(base, Path(folder) / str(number))
        result: Rederived = rederive(base, files[0], hears)
    return RederivedVariant(
        variant=variant.name,
        steps=between,
        exact_counts={element: len(names) for element, names in sorted(result.exact.items())},
        different=result.different,
        untold=result.untold,
        fields=result.fields,
    )


def _between(lineage: Lineage, digest: str) -> tuple[tuple[str, ...], str]:
    """The steps from the file with this digest to the variant, or why it is no use."""
    by_id = {step.id: step for step in lineage.steps}
    line: list[str] = []
    at = lineage.steps[-1].id if lineage.steps else ""
    while at in by_id:
        line.insert(0, at)
        at = by_id[at].inputs.get("source", "")
        made = by_id[at].made_sha256 if at in by_id else lineage.root_sha256
        if made == digest:
            slow = [it for it in line[:-1] if by_id[it].op != "dequantize"]
            if slow:
                return (), f"needs what step {slow[-1]} made ({by_id[slow[-1]].made_sha256[:12]}…)"
            return tuple(line), ""
    return (
        (),
        f"was made from {lineage.parent_sha256[:12]}…, and before that from {lineage.root_sha256[:12]}…",
    )


def _dequantized(source: Path, folder: Path) -> Path:
    inside = folder / "source"
    made = folder / "made"
    for place in (inside, made, folder / "checkpoints"):
        place.mkdir(parents=True)
    (inside / MODEL_FILES["gguf"]).symlink_to(source.resolve())
    work = StepWork(
        directory=made,
        checkpoints=folder / "checkpoints",
        inputs={"source": Artifact("", "gguf", inside)},
        texts={},
        seed=0,
        report=lambda _: None,
        threads_count=1,
    )
    dequantize.run(Dequantize(id="dequantize"), work)
    return made / MODEL_FILES["gguf"]
