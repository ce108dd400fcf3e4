"""`edgeward node install | uninstall | certificate | drain | uncordon | doctor | rejoin`: this machine as a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploy.cli.terminal import show_json

if TYPE_CHECKING:
    import argparse

    from edge_node.config import NodeConfig

_MARKS = {"well": "ok  ", "warning": "look", "bad": "BAD "}


def add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    """Their flags."""
    parser.add_argument("--release", metavar="DIR", help="install: the unpacked release (install.sh says it)")
    parser.add_argument(
        "--no-start", action="store_true", help="install: put everything in place, start nothing"
    )
    parser.add_argument("--gpu", action="store_true", help="install: let the node use NVIDIA GPUs")
    parser.add_argument(
        "--purge", action="store_true", help="uninstall: settings, models and the node's identity too"
    )
    for what in ("certificate", "key"):
        parser.add_argument(
            f"--{what}-parameter",
            metavar="NAME",
            help=f"certificate: AWS's parameter that holds the {what}, PEM",
        )
    parser.add_argument(
        "--parameter-region", metavar="REGION", help="certificate: where they are (the instance's region)"
    )
    parser.add_argument(
        "--wait-s",
        type=float,
        default=60.0,
        metavar="S",
        help="drain: wait this long for running answers (60)",
    )


def install(args: argparse.Namespace, _config: NodeConfig) -> int:
    """Make this machine a node, or upgrade its node; returns the exit code."""
    from pathlib import Path

    from deploy.machine.installing import Wishes
    from deploy.machine.installing import install as carry_out
    from deploy.machine.layout import Layout
    from registry.errors import InputInvalidError

    _need_root("install")
    layout = Layout()
    release = Path(args.release) if args.release else layout.current
    if not (release / "bin" / "python").exists():
        raise InputInvalidError(
            f"{release} is no unpacked release: install.sh unpacks one, `curl -fsSL ORIGIN/install.sh | sh`"
        )
    wishes = Wishes(
        release=release.resolve(),
        origin=args.origin or "",
        token=args.join_token or "",
        starts=not args.no_start,
        gpu=args.gpu,
    )
    carry_out(layout, wishes, lambda: _probe(args), lambda text: print(text, flush=True))
    return 0


def uninstall(args: argparse.Namespace, _config: NodeConfig) -> int:
    """Take the node away from this machine; returns the exit code."""
    from deploy.machine.layout import Layout
    from deploy.machine.removing import uninstall as carry_out

    _need_root("uninstall")
    for path in carry_out(Layout(), purge=args.purge):
        print(f"kept: {path} (--purge removes it)")
    print("edgeward is removed")
    return 0


def certificate(args: argparse.Namespace, _config: NodeConfig) -> int:
    """Read the certificate for clients out of AWS's Parameter Store; returns the exit code."""
    import asyncio
    import time

    from deploy.machine.layout import Layout
    from deploy.machine.parameter_store import put_certificate, read_parameters
    from edge_node.enrolment.aws_instance import this_instance
    from registry.errors import InputInvalidError

    _need_root("certificate")
    if not args.certificate_parameter or not args.key_parameter:
        raise InputInvalidError("say where they are: --certificate-parameter NAME --key-parameter NAME")

    async def read() -> list[str]:
        instance = await this_instance()
        return await read_parameters(
            instance,
            [args.certificate_parameter, args.key_parameter],
            region=args.parameter_region or instance.region,
            now_unix_s=time.time(),
        )

    layout = Layout()
    changed = put_certificate(layout, *asyncio.run(read()))
    print(f"{layout.tls}: {'written' if changed else 'the same as before'}")
    return 0


def drain(args: argparse.Namespace, config: NodeConfig) -> int:
    """Stand aside, and wait until nothing runs; returns the exit code."""
    import time

    from edge_node.cordon import Cordon

    Cordon(config.data_dir).set(on=True)
    print("no client is sent here any more; `edgeward node uncordon` ends that")
    until_s = time.monotonic() + args.wait_s
    while (count := _running_count(config)) and time.monotonic() < until_s:
        time.sleep(0.5)
    if count:
        print(f"{count} requests still run after {args.wait_s:.0f} s")
        return 1
    print("nothing runs" if count == 0 else "no node answers here; it will stand aside when it starts")
    return 0


def uncordon(_args: argparse.Namespace, config: NodeConfig) -> int:
    """Take part again; returns the exit code."""
    from edge_node.cordon import Cordon

    Cordon(config.data_dir).set(on=False)
    print("the node takes part again")
    return 0


def rejoin(args: argparse.Namespace, config: NodeConfig) -> int:
    """Join anew, with a new key, as the node's own user, and start it again; returns the exit code."""
    import os
    import subprocess
    import sys

    from deploy.machine.layout import NODE, Layout
    from deploy.machine.running import has_systemd, is_active, run
    from registry.errors import InputInvalidError

    token = args.token or config.join_token
    if not token:
        raise InputInvalidError("say the token: `edgeward node rejoin TOKEN`", param="token")
    owner = config.data_dir.stat() if config.data_dir.exists() else None
    user: dict[str, Any] = {}
    if owner is not None and os.geteuid() == 0:
        user = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    words = ["--config", args.config] if args.config else []
    words += ["--origin", args.origin] if args.origin else []
    done = subprocess.run(
        [sys.executable, "-P", "-m", "deploy.cli", "node", "join", "--again", *words],
        check=False,
        cwd="/",
        # Not on the command line, which others can read.
        env=os.environ
        | {
            "EDGEWARD_NODE_JOIN_TOKEN": token,
            "EDGEWARD_NODE_DATA_DIR": str(config.data_dir),
            "HOME": str(config.data_dir),  # root's own is closed to that user
        },
        **user,
    )
    if done.returncode == 0 and has_systemd(Layout()) and is_active(NODE):
        run("systemctl", "restart", "--no-block", NODE)
    return done.returncode


def doctor(args: argparse.Namespace, config: NodeConfig) -> int:
    """Look at everything; returns 1 when something is bad."""
    import asyncio
    import time

    from deploy.machine.doctor import examine
    from deploy.machine.layout import Layout
    from edge_node.enrolment.membership import load_membership

    kept = load_membership(config.data_dir)
    left_s = kept.lifetime()[1] - time.time() if kept else None
    findings = list(
        examine(
            Layout(), config, _probe(args), skew_s=asyncio.run(_skew_s(config)), certificate_left_s=left_s
        )
    )
    if args.json:
        show_json([{"what": it.what, "verdict": it.verdict, "text": it.text} for it in findings])
    else:
        for it in findings:
            print(f"{_MARKS[it.verdict]}  {it.what:<11} {it.text}")
    return 1 if any(it.verdict == "bad" for it in findings) else 0


def _probe(args: argparse.Namespace) -> dict[str, Any] | None:
    """What the installed node says of itself, by its settings as they are now."""
    import asyncio

    from deploy.cli.connect import config_file
    from deploy.cli.membership import running_node
    from edge_node.config import NodeConfig
    from registry.settings import load_settings

    return asyncio.run(running_node(load_settings(NodeConfig, "node", file=config_file(args))))


def _running_count(config: NodeConfig) -> int | None:
    """Requests at work here; None when nothing answers."""
    import asyncio

    from deploy.cli.membership import node_page

    page = asyncio.run(node_page(config, "/metrics"))
    if page is None:
        return None
    lines = [line for line in page.splitlines() if line.startswith("edge_requests_running{")]
    return int(sum(float(line.rpartition(" ")[2]) for line in lines))


async def _skew_s(config: NodeConfig) -> float | None:
    """This machine's clock less that of the first origin that answers, by its Date header."""
    import time
    from email.utils import parsedate_to_datetime

    import aiohttp

    # A clock is no secret, and a wrong one fails the check of a certificate.
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
        for url in config.origin:
            try:
                async with http.get(f"{url.rstrip('/')}/healthz", ssl=False) as reply:
                    return time.time() - parsedate_to_datetime(reply.headers["Date"]).timestamp()
            except (aiohttp.ClientError, TimeoutError, OSError, KeyError, ValueError):
                continue
    return None


def _need_root(action: str) -> None:
    import os

    from registry.errors import InputInvalidError

    if os.geteuid() != 0:
        raise InputInvalidError(f"`edgeward node {action}` changes this machine: run it as root, with sudo")
