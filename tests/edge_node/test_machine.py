from __future__ import annotations

import os

import pytest

from edge_node.machine import cores_count, memory_bytes, probe_machine, usable_bytes
from origin.api import GpuReport

GIB = 2**30


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A machine with 8 GiB and no GPU; `write` gives it further files."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    files = {
        "proc/meminfo": f"MemTotal:       {8 * 2**20} kB\nMemFree: 1 kB\n",
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu avx2 avx512f\n",
    }
    for path, text in files.items():
        write(tmp_path, path, text)
    return tmp_path


def write(root, path, text):
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def program(root, name, output, code=0):
    write(
        root,
        f"bin/{name}",
        f"#!/bin/sh\nwhile IFS= read -r line; do echo \"$line\"; done <<'E'\n{output}\nE\nexit {code}\n",
    )
    (root / "bin" / name).chmod(0o755)


def test_a_bare_machine_is_what_it_says(root):
    machine = probe_machine(root)
    assert (machine.processor, machine.memory_bytes, machine.gpus) == ("A CPU", 8 * GIB, ())
    assert machine.features == ("avx2", "avx512f", "fpu")
    assert machine.cores_count == len(os.sched_getaffinity(0))


def test_arm_says_its_features_in_another_word(root):
    write(root, "proc/cpuinfo", "processor : 0\nFeatures : fp asimd sve\n")
    assert probe_machine(root).features == ("asimd", "fp", "sve")


def test_the_least_of_all_cgroups_counts_version_2(root):
    write(root, "proc/self/cgroup", "0::/system.slice/node.service\n")
    write(root, "sys/fs/cgroup/system.slice/node.service/memory.max", "max\n")
    write(root, "sys/fs/cgroup/system.slice/memory.max", f"{2 * GIB}\n")
    assert memory_bytes(root) == 2 * GIB
    write(root, "sys/fs/cgroup/system.slice/node.service/cpu.max", "50000 100000\n")
    assert cores_count(root) == 1
    write(root, "sys/fs/cgroup/system.slice/node.service/cpu.max", "max 100000\n")
    assert cores_count(root) == len(os.sched_getaffinity(0))


def test_a_container_sees_its_limit_at_the_mount(root):
    write(root, "proc/self/cgroup", "0::/\n")
    write(root, "sys/fs/cgroup/memory.max", f"{GIB}\n")
    assert memory_bytes(root) == GIB
    write(root, "proc/self/cgroup", "0::/../../elsewhere\n")  # as seen from another namespace
    assert memory_bytes(root) in {GIB, 8 * GIB}


def test_the_least_of_all_cgroups_counts_version_1(root):
    write(root, "proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/a/b\n1:name=systemd:/\n")
    write(root, "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n")
    write(root, "sys/fs/cgroup/memory/a/memory.limit_in_bytes", f"{3 * GIB}\n")
    assert memory_bytes(root) == 3 * GIB


def test_nothing_known_is_no_limit(tmp_path):
    assert memory_bytes(tmp_path) == 0
    machine = probe_machine(tmp_path)
    assert usable_bytes(machine, 0) is None
    assert usable_bytes(machine, 7) == 7


def test_a_tenth_is_left_to_others(root):
    assert usable_bytes(probe_machine(root), 0) == int(7.2 * GIB)


def test_gpus_are_listed_as_their_tools_say(root):
    program(root, "nvidia-smi", "NVIDIA H100 80GB HBM3, 81559\nNVIDIA T4, [N/A]")
    program(
        root,
        "vulkaninfo",
        "GPU0:\n\tdeviceType = PHYSICAL_DEVICE_TYPE_DISCRETE_GPU\n\tdeviceName = A card\n"
        "GPU1:\n\tdeviceType = PHYSICAL_DEVICE_TYPE_CPU\n\tdeviceName = llvmpipe",
    )
    assert probe_machine(root).gpus == (
        GpuReport(name="NVIDIA H100 80GB HBM3", runtime="cuda", memory_bytes=81559 * 2**20),
        GpuReport(name="A card", runtime="vulkan"),
    )
    program(root, "nvidia-smi", "no driver", code=9)
    assert [gpu.runtime for gpu in probe_machine(root).gpus] == ["vulkan"]
