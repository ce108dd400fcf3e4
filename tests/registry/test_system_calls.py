import os
import subprocess
import sys

import pytest

from registry.system_calls import start_writing

MIB = 1024 * 1024

# Three blocks at a time, more than glibc keeps by itself: how many pages the kernel clears for them once they have been
# used before, and how much of them is still resident afterwards.
CHURN = """
import contextlib, resource, sys
from registry.system_calls import freed_memory_kept

def resident_bytes():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def churn():
    blocks = [bytearray(b"x") * (4 * 1024 * 1024) for _ in range(3)]
    del blocks

before_bytes = resident_bytes()
with freed_memory_kept(16 * 2**20) if sys.argv[1] == "kept" else contextlib.nullcontext():
    churn(), churn()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        churn()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
print(faults, resident_bytes() - before_bytes)
"""


def churned(how):
    done = subprocess.run(
        [sys.executable, "-c", CHURN, how], capture_output=True, text=True, check=True, timeout=120
    )
    return map(int, done.stdout.split())


def test_freed_memory_is_used_again_and_goes_back_at_the_end():
    if os.confstr("CS_GNU_LIBC_VERSION") is None:
        pytest.skip("not glibc")
    faults, left_bytes = churned("kept")
    faults_otherwise, _ = churned("not")
    assert faults < faults_otherwise / 4
    assert left_bytes < 4 * MIB


def test_a_stretch_far_into_a_file_begins_to_be_written_and_is_the_same(tmp_path):
    path, offset_bytes = tmp_path / "file", 5 * 1024 * MIB  # more than 32 bits
    with path.open("w+b") as file:
        os.pwrite(file.fileno(), b"edge" * MIB, offset_bytes)
        assert start_writing(file.fileno(), offset_bytes, 4 * MIB)
        assert os.pread(file.fileno(), 8 * MIB, offset_bytes) == b"edge" * MIB


def test_what_cannot_be_written_early_is_left_alone():
    reading, writing = os.pipe()
    try:
        assert not start_writing(writing, 0, 1)
    finally:
        os.close(reading)
        os.close(writing)
