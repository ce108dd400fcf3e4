"""The operation `dequantize`: every quantized matrix as F16."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.build.gguf.model_file import ModelFile
from origin.build.gguf.unquantized import UNQUANTIZED
from origin.build.gguf.writing import edited_fields, file_type, kept, plain, write_model
from origin.build.step import StepProgress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from origin.build.gguf.writing import NewTensor
    from origin.build.gguf_steps import Dequantize
    from origin.build.step import Fact, StepWork
    from registry.formats.gguf import GgufTensor

VERSION = 1


def run(step: Dequantize, work: StepWork) -> Mapping[str, Fact]:  # noqa: ARG001 - it has no parameters
    """Write the model with every quantized tensor as F16."""
    model = ModelFile(work.inputs["source"].model_file)

    def tensor(known: GgufTensor) -> NewTensor:
        if known.element in UNQUANTIZED:
            return kept(model, known.name)
        return plain(known.name, tuple(reversed(known.dimensions)), lambda: model.values(known.name))

    write_model(
        work.directory / "model.gguf",
        edited_fields(model, {"general.file_type": file_type("F16")}),
        [tensor(known) for known in model],
        wrote=lambda done, total: work.report(StepProgress(done=done, total=total, unit="tensors")),
    )
    changed = sum(known.element not in UNQUANTIZED for known in model)
    return {"tensors_count": len(model.tensors), "dequantized_count": changed}
