"""What toy operations do; slow ones keep a checkpoint, and each leaves a line in a file that counts their runs."""

from __future__ import annotations

import os
import time

from origin.build.step import StepProgress
from origin.errors import RecipeInvalidError
from registry.durable import write_durably

VERSION = 3


def check_words(step):
    if getattr(step, "fail", "") == "words":
        raise RecipeInvalidError("no toy is called this")


def check(step, source):
    if getattr(step, "fail", "") == "check":
        raise RecipeInvalidError("this toy cannot be copied")


def run(step, work):
    source = work.inputs["source"].model_file.read_bytes()
    with (work.checkpoints.parent.parent / "runs.txt").open("a") as runs:
        runs.write(f"{step.id}\n")
    if step.MAKES == "importance":
        (work.directory / "importance.safetensors").write_bytes(str(len(work.texts["data"].texts)).encode())
        return {"texts_count": len(work.texts["data"].texts)}
    done = work.checkpoints / "done"
    count = int(done.read_text()) if done.exists() else 0
    resumed_at = count
    while count < step.slow_count:
        time.sleep(0.01)
        count += 1
        write_durably(done, str(count).encode())
        work.report(StepProgress(done=count, total=step.slow_count, unit="steps", note="loss 1"))
    if step.fail == "abort":
        os.write(2, b"ggml says no\n")
        os.abort()
    if step.fail == "raise":
        raise ValueError("a toy broke")
    if step.fail == "missing":
        import no_such_package  # noqa: F401
    if step.fail == "nothing":
        return {}
    (work.directory / "model.gguf").write_bytes(source + step.text.encode())
    return {
        "resumed_at": resumed_at,
        "threads_count": work.threads_count,
        "secret": os.environ.get("AWS_SECRET", ""),
    }
