"""Fuzz one reader of foreign bytes: `python tests/fuzz/fuzz.py TARGET --seconds N`; `list` names the targets.

With atheris (Google's libFuzzer for Python) the search follows coverage; without it, seeds are changed by chance. What
makes a reader raise anything but EdgewardError is written to a file, and belongs into `tests/fuzz/crashes/`.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]


def peak_bytes() -> int:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Run:
    """Counts what was tried, and keeps what breaks a reader."""

    def __init__(self, name: str, check, failures: Path) -> None:
        self.name, self.failures = name, failures
        self.tried_count = self.taken_count = 0
        self.slowest_s = 0.0
        self.began_bytes = peak_bytes()
        self._check = check

    def one(self, data: bytes) -> None:
        """Try one input."""
        began_s = time.perf_counter()
        try:
            self.taken_count += self._check(self.name, data)
        except BaseException:
            self.failures.mkdir(parents=True, exist_ok=True)
            place = self.failures / f"{self.name}-{abs(hash(data)):016x}"
            place.write_bytes(data)
            sys.stderr.write(f"broke {self.name}: {place}\n")
            raise
        self.tried_count += 1
        self.slowest_s = max(self.slowest_s, time.perf_counter() - began_s)

    def report(self, engine: str, took_s: float) -> None:
        """One line of JSON."""
        figures = {
            "target": self.name,
            "engine": engine,
            "tried": self.tried_count,
            "taken": self.taken_count,
            "seconds": round(took_s),
            "slowest_ms": round(self.slowest_s * 1000, 1),
            "grown_bytes": peak_bytes() - self.began_bytes,
        }
        sys.stdout.write(json.dumps(figures) + "\n")
        sys.stdout.flush()


def changed(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Some bytes with a few changes of the kinds that break readers."""
    out = bytearray(data)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(out) + 1)
        match chance.randrange(6):
            case 0 if out:
                out[at % len(out)] ^= 1 << chance.randrange(8)
            case 1:
                out[at : at + chance.choice((1, 2, 4, 8))] = (
                    chance.choice((b"\xff", b"\x7f", b"\0", b"\x80")) * 4
                )
            case 2:
                del out[at : at + chance.randrange(1, 40)]
            case 3:
                out[at:at] = chance.randbytes(chance.randrange(1, 9))
            case 4:
                other = chance.choice(others)
                start = chance.randrange(len(other) + 1)
                out[at:at] = other[start : start + chance.randrange(1, 80)]
            case _:
                out[at : at + 8] = chance.choice((2**63 - 1, 2**64 - 1, 2**32, 0)).to_bytes(8, "little")
    return bytes(out)


def by_chance(run: Run, seeds: list[bytes], seconds: float, seed: int) -> None:
    """Without coverage."""
    chance, until_s = random.Random(seed), time.monotonic() + seconds
    pool = list(seeds)
    while time.monotonic() < until_s:
        data = changed(chance.choice(pool), pool, chance)
        before = run.taken_count
        run.one(data)
        if run.taken_count > before and len(pool) < 2000:  # what is taken leads deeper
            pool.append(data)


def main() -> int:
    """Fuzz; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"))
    args = parser.parse_args()
    try:
        import atheris
    except ModuleNotFoundError:
        atheris = None
    if atheris is None:
        import foreign_bytes
    else:
        with atheris.instrument_imports(
            include=["registry", "edge_node", "origin", "tuf", "securesystemslib"]
        ):
            import foreign_bytes
    if args.target == "list":
        sys.stdout.write("\n".join(foreign_bytes.TARGETS) + "\n")
        return 0
    run = Run(args.target, foreign_bytes.check, args.failures)
    seeds = foreign_bytes.TARGETS[args.target].seeds()
    crashes = Path(__file__).parent / "crashes" / args.target
    seeds += [path.read_bytes() for path in sorted(crashes.glob("*"))] if crashes.exists() else []
    for seed in seeds:
        run.one(seed)
    began_s = time.monotonic()
    if atheris is None:
        by_chance(run, seeds, args.seconds, args.seed)
        run.report("chance", time.monotonic() - began_s)
        return 0
    told = False

    def one(data: bytes) -> None:
        nonlocal told
        run.one(data)
        # libFuzzer ends the process itself, and asks nobody.
        if not told and time.monotonic() - began_s > args.seconds - 1:
            told = True
            run.report("atheris", time.monotonic() - began_s)

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        words = [
            "-max_len=16384",
            "-timeout=20",
            "-rss_limit_mb=1024",
            "-verbosity=0",
            "-print_final_stats=0",
        ]
        words += [f"-max_total_time={int(args.seconds)}", f"-seed={args.seed}"]
        atheris.Setup([sys.argv[0], *words, corpus], one)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
