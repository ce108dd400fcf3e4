"""The peak of a process is its own, in bytes, and stays when the memory is given back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from origin.build.evaluate.peak_memory import peak_bytes, peak_in

MIB = 1 << 20
STATUS = "Name:\tpython\nVmPeak:\t  900000 kB\nVmHWM:\t  204804 kB\nVmRSS:\t  100000 kB\n"
needs_a_peak = pytest.mark.skipif(not peak_bytes(), reason="this system does not tell the peak of a process")


def test_a_status_tells_kibibytes_and_we_tell_bytes():
    assert peak_in(STATUS) == 204_804 * 1024


@pytest.mark.parametrize("status", ["", STATUS.replace("VmHWM", "VmOther"), STATUS.replace("204804 kB", "")])
def test_a_status_that_does_not_tell_is_no_number(status):
    assert peak_in(status) == 0


def told_by_a_child(body: str) -> list[int]:
    """The peaks that a process of its own prints."""
    program = f"from origin.build.evaluate.peak_memory import peak_bytes\n{body}"
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    return [int(line) for line in said.stdout.split()]


@needs_a_peak
def test_what_was_given_back_stays_in_the_peak():
    before, after = told_by_a_child(
        "print(peak_bytes())\nheld = b'x' * (128 << 20)\ndel held\nprint(peak_bytes())"
    )
    assert 120 * MIB < after - before < 144 * MIB


@needs_a_peak
def test_a_child_does_not_tell_what_its_parent_holds():
    held = b"x" * (256 * MIB)
    (told,) = told_by_a_child("print(peak_bytes())")
    assert 4 * MIB < told < 128 * MIB
    assert peak_bytes() > len(held)
