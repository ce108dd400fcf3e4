"""`edgeward bundle`: Edgeward itself as a signed file that machines install."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_store_arguments
from deploy.cli.terminal import add_json_argument, show_json

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

DESCRIPTION = """\
Make what nodes are installed from: a bundle of this checkout with all that it needs but Python, and with the root of
trust in store.keys_dir, signed with a key of its own there; and install.sh with that key pinned. An origin with
origin.bundles_dir set serves both.

  build  make them for machines with this machine's Python and platform; fetches wheels, compiles llama.cpp if no
         wheel is named"""

EXAMPLES = """\
  edgeward bundle build --out ./bundles
  edgeward bundle build --deb
  edgeward bundle build --out ./bundles --wheel llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl --build 2"""

EXTRAS = "node,origin,fleet,otel"
"""What a bundle brings unless told otherwise."""
_X86_64_V3 = "avx,avx2,bmi2,f16c,fma"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("action", choices=("build",))
    parser.add_argument("--out", metavar="DIR", default="bundles", help="where they go (./bundles)")
    parser.add_argument(
        "--wheel",
        metavar="FILE",
        action="append",
        default=[],
        help="take this wheel rather than a fetched one",
    )
    parser.add_argument("--extras", default=EXTRAS, help=f"optional parts to bring ({EXTRAS})")
    parser.add_argument(
        "--cpu-features",
        metavar="NAMES",
        help=f"what processors must have, in the kernel's words (on x86_64 {_X86_64_V3})",
    )
    parser.add_argument("--build", metavar="NUMBER", help="tells builds of one version apart: 0.1.0+NUMBER")
    parser.add_argument("--deb", action="store_true", help="make a Debian package of it, too")
    parser.add_argument("--keys-dir", metavar="DIR", help="where the signing key is (store.keys_dir)")
    add_json_argument(parser)
    add_store_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Build; returns the exit code."""
    import platform
    import tempfile
    from pathlib import Path

    from deploy.bootstrap import CONSTRAINTS, ROOT
    from deploy.bundle.deb import write_deb
    from deploy.bundle.engine import portable_llama_wheel
    from deploy.bundle.packing import write_bundle
    from deploy.bundle.serving import KEY_LABEL, write_installer
    from deploy.bundle.tree import make_tree
    from deploy.cli.connect import store_settings
    from registry.errors import InputInvalidError
    from registry.trust.keys import ROOT_FILE, KeyDirectory

    if not (ROOT / "pyproject.toml").is_file():
        raise InputInvalidError(
            "bundles are built in a checkout of Edgeward: there is no pyproject.toml here"
        )
    settings = store_settings(args)
    keys = KeyDirectory(Path(args.keys_dir) if args.keys_dir else settings.keys_dir, settings.keys_passphrase)
    signer = keys.detached(KEY_LABEL)
    out = Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    wheels = [Path(name).resolve() for name in args.wheel] or [portable_llama_wheel()]
    default = _X86_64_V3 if platform.machine() == "x86_64" else ""
    features = (default if args.cpu_features is None else args.cpu_features).split(",")
    version = _version(ROOT) + (f"+{args.build}" if args.build else "")
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "release"
        make_tree(tree, ROOT, extras=args.extras.split(","), wheels=wheels, constraints=CONSTRAINTS)
        if keys.begun:
            (tree / "share").mkdir()
            (tree / "share" / ROOT_FILE).write_bytes(keys.read(ROOT_FILE))
        made = write_bundle(
            tree, out, version=version, cpu_features=[name for name in features if name], signer=signer
        )
    script = write_installer(out, public_key=signer.public_hex, version=version)
    facts: dict[str, str | int] = {
        "bundle": str(made), "size_bytes": made.stat().st_size, "version": version, "public_key": signer.public_hex,
        "installer": str(script),
    }  # fmt: skip
    if args.deb:
        facts["package"] = str(write_deb(made, script, out, version=version))
    if args.json:
        show_json(facts)
    else:
        for name, value in facts.items():
            print(f"{name:<12} {value}")
    return 0


def _version(root: Path) -> str:
    import tomllib

    version: str = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    return version
