"""Builds, all that is demanded of them: real recipes on SmolLM2-135M and MiniLM-L6, run as a user runs them.

    python tests/bench/bench_build.py [--quick] [--json FILE] [--only PART]… [--data DIR] [--workspace DIR]

Models and texts come from packages (`build_data.py`). Each part is a file of its own, `build_PART.py`, with
`measure(place, *, quick) -> Part`, and recipes in `recipes/`. A step that was done before is not done again: the times
are those of when it was done. `--quick` runs what needs no training. The only source of SmolLM2 in a registry is a
Q4_1 file; it is made to 16 bits first, and what is said of Q4_1 would be flattered, so no variant is Q4_1.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import build_data  # noqa: E402
from bench_report import finish, parser  # noqa: E402
from build_runs import BuildFailedError, Place  # noqa: E402

PARTS = ("chat", "qat", "encoder", "gates", "rederive", "examples")
TRAINED = {"qat"}
_CACHE = Path("~/.cache/edgeward").expanduser()


def main():
    flags = parser(__doc__)
    flags.add_argument(
        "--only", action="append", choices=PARTS, help="this part alone; may be said several times"
    )
    flags.add_argument("--data", type=Path, default=_CACHE / "build-data", help="models and texts lie here")
    flags.add_argument(
        "--workspace", type=Path, default=_CACHE / "build-bench", help="what steps made is kept here"
    )
    args = flags.parse_args()
    figures, required, runs, absent = {}, {}, {}, {}
    try:
        place = Place(build_data.make(args.data), args.workspace, args.workspace / "reports")
    except build_data.DataMissingError as error:
        sys.exit(f"the models and texts cannot be had: {error}")
    for name in args.only or PARTS:
        if args.quick and name in TRAINED:
            absent[name] = "it trains; left out by --quick"
            continue
        try:
            part = importlib.import_module(f"build_{name}").measure(place, quick=args.quick)
        except BuildFailedError as error:
            absent[name] = str(error)
            continue
        figures |= part.figures
        required |= part.required
        runs[name] = part.runs
        absent |= part.absent
    return finish(
        args.json,
        figures=figures,
        required=required,
        packages=["gguf", "llama-cpp-python", "numpy", "onnx", "onnxruntime", "tokenizers", "torch"],
        runs=runs,
        absent=absent,
    )


if __name__ == "__main__":
    sys.exit(main())
