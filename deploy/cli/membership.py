"""`edgeward node join` and `edgeward node status`: a node's membership of a fleet, made and shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploy.cli.terminal import show_json

if TYPE_CHECKING:
    import argparse

    from edge_node.config import NodeConfig
    from edge_node.enrolment.membership import Membership

_PATIENCE_S = 2.0


def join_fleet(args: argparse.Namespace, config: NodeConfig) -> int:
    """Join; returns the exit code."""
    import asyncio
    import secrets
    import socket
    import time

    from edge_node.enrolment.joining import join
    from edge_node.identity import fresh_id, kept_id
    from registry.errors import InputInvalidError

    token = args.token or config.join_token
    if not token:
        raise InputInvalidError(
            "say the token: `edgeward node join TOKEN --origin https://HOST:7743`; `edgeward token create` makes one",
            param="token",
        )
    node_id = config.node_id or kept_id(config.data_dir, fresh_id(socket.gethostname(), secrets.token_hex(3)))
    made = asyncio.run(
        join(config.data_dir, token, config.origin, node_id, now_unix_s=time.time(), again=args.again)
    )
    if args.json:
        show_json(_facts(config, made, None))
        return 0
    print(f"{made.node_id} is in {made.fleet}; its certificate is good until {_stamp(made.lifetime()[1])}")
    print("`edgeward node serve` renews it by itself; a node that runs must be started again")
    return 0


def show_status(args: argparse.Namespace, config: NodeConfig) -> int:
    """Show who this node is, until when its certificate is good, and how the running node is; returns the exit code."""
    import asyncio
    import time

    from edge_node.enrolment.membership import load_membership

    kept = load_membership(config.data_dir)
    running = asyncio.run(running_node(config))
    if args.json:
        show_json(_facts(config, kept, running))
        return 0
    if kept is None:
        print(
            f"fleet        none: {config.data_dir} holds no certificate; `edgeward node join TOKEN` gets one"
        )
    else:
        ends_unix_s = kept.lifetime()[1]
        left_s = ends_unix_s - time.time()
        told = f"{left_s / 3600:.1f} h left" if left_s > 0 else "ended; a running node renews it for 30 days"
        where = ", ".join(filter(None, (kept.pool, kept.region)))
        print(f"node         {kept.node_id}" + (f" ({where})" if where else ""))
        print(f"fleet        {kept.fleet}, joined at {', '.join(kept.origins)}")
        print(f"certificate  good until {_stamp(ends_unix_s)}, {told}")
    if running is None:
        print(f"process      nothing answers at {_url(config)}; `edgeward node serve` runs it")
        return 0
    problem = (running.get("enrolment") or {}).get("problem")
    print(f"process      {_url(config)}: {'ready' if running['ready'] else 'not ready'}")
    print(f"origin       {'answers' if running['origin_up'] else 'does not answer'}")
    if problem:
        print(f"renewal      {problem}")
    for model in running["models"]:
        print(f"  {model['name']}@{model['version']} {model['state']}")
    return 0


def _facts(config: NodeConfig, kept: Membership | None, running: dict[str, Any] | None) -> dict[str, Any]:
    """Everything but the key."""
    member = None
    if kept is not None:
        begins, ends = kept.lifetime()
        member = {
            "node_id": kept.node_id, "fleet": kept.fleet, "origins": kept.origins, "pool": kept.pool,
            "region": kept.region, "not_before_unix_s": begins, "not_after_unix_s": ends,
        }  # fmt: skip
    return {"data_dir": str(config.data_dir), "enrolment": member, "running": running}


async def running_node(config: NodeConfig) -> dict[str, Any] | None:
    """What the node's process says of itself; None when nothing answers."""
    import json

    page = await node_page(config, "/readyz")
    try:
        said = json.loads(page) if page else None
    except ValueError:
        return None
    return said if isinstance(said, dict) and {"ready", "origin_up", "models"} <= said.keys() else None


async def node_page(config: NodeConfig, path: str) -> str | None:
    """A page of the node on this machine; None when nothing answers."""
    import aiohttp

    # This asks the machine that it runs on, whose certificate names the host that clients use.
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.get(f"{_url(config)}{path}", ssl=False) as reply,
        ):
            return await reply.text()
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None


def _url(config: NodeConfig) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(config.host, config.host)  # noqa: S104  # compared with
    return f"{'http' if config.tls_cert_file is None else 'https'}://{host}:{config.port}"


def _stamp(unix_s: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
