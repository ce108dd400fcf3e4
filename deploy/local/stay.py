"""`edgeward up`: the local network, kept running until it is told to stop."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from deploy.bars import BytesBar, ServingBars
from deploy.local.network import SITES, LocalNetwork
from deploy.local.samples import chat_model, embedding_model
from registry.catalog import Catalog
from registry.errors import ConfigError, ReleaseUnknownError
from registry.publish import publish
from registry.reference import parse_reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from registry.trust.signed_store import SignedStore

_SERVE_TIMEOUT_S = 300.0
_LOOK_S = 1.0
_SAMPLE_VERSION = "1.0.0"


@contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """Hold the directory for this process; the lock goes with the process, however it ends.

    Raises:
        ConfigError: another `edgeward up` runs in this directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "up.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise ConfigError(
                f"another `edgeward up` (process {file.read().strip() or 'unknown'}) uses {directory}; "
                "stop it, or choose another directory with --dir"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


async def stay_up(network: LocalNetwork, console: Console, *, samples: bool) -> None:
    """Start everything, publish the sample models if their names are free, then mend what ends until cancelled.

    Raises:
        EdgewardError: a part cannot be started.
    """
    store = await network.start_store()
    await network.start_origin()
    wanted = await _publish_samples(store, console) if samples else []
    for index, site in enumerate(SITES):
        if await asyncio.to_thread(network.readmit, site):
            console.print(f"{site.node_id} had been turned out: it joins again, with a new key")
        network.start_node(site, index)
    with ServingBars(console, wanted) as watch:
        await network.wait_until_serving(wanted, timeout_s=_SERVE_TIMEOUT_S, watch=watch.show)
    _welcome(network, console)
    while True:
        await asyncio.sleep(_LOOK_S)
        for name in network.restart_dead():
            console.print(
                f"[yellow]{name} ended and was started again; logs: {network.directory / 'logs'}[/yellow]"
            )


async def _publish_samples(store: SignedStore, console: Console) -> list[tuple[str, str]]:
    """Publish the samples that have no release yet; returns what the stable channels point at."""
    catalog = Catalog(store)
    for name, path in (("chat", chat_model()), ("embed", embedding_model())):
        try:
            await asyncio.to_thread(catalog.resolve, parse_reference(name))
        except ReleaseUnknownError:
            with BytesBar(console, f"{name}@{_SAMPLE_VERSION}") as bar:
                await asyncio.to_thread(
                    publish, path, name=name, version=_SAMPLE_VERSION, store=store,
                    created_unix_s=int(time.time()), progress=bar.show,
                )  # fmt: skip
    return [await asyncio.to_thread(catalog.resolve, parse_reference(name)) for name in ("chat", "embed")]


def _welcome(network: LocalNetwork, console: Console) -> None:
    table = Table(show_header=True, pad_edge=False, box=None)
    for column in ("part", "address", "where", "process"):
        table.add_column(column)
    pids = network.pids()
    for index, url in enumerate(network.origin_urls):
        name = "origin" if index == 0 else f"origin-{index + 1}"
        table.add_row(name, url, "", str(pids.get(name, "")))
    for index, site in enumerate(SITES):
        url = f"http://127.0.0.1:{network.ports.node(index)}"
        table.add_row(site.node_id, url, site.label, str(pids.get(f"node-{site.node_id}", "")))
    table.add_row("object store", network.store_config.endpoint, "", str(pids.get("object store", "")))
    console.print(table)
    console.print(
        f"\nLogs and data are in {network.directory}. From this directory, in another terminal:\n"
        f"{_activation()}"
        '  edgeward ask "Why is the sky blue?" --from Paris\n'
        "  edgeward route --model chat --from Jakarta\n"
        "  edgeward publish model.gguf --name mine --version 1.0.0\n"
        f"or any OpenAI client with base_url={network.origin_url}/v1{_key_note(network)}\n\n"
        "Ctrl-C stops everything.",
        highlight=False,
    )


def _activation() -> str:
    """What makes the command known to a shell that does not know it, as after `make up`."""
    if shutil.which("edgeward") or sys.prefix == sys.base_prefix:
        return ""
    return f"  source {Path(sys.prefix) / 'bin' / 'activate'}\n"


def _key_note(network: LocalNetwork) -> str:
    if not network.client_key:
        return ""
    return f" and as api_key what is in {network.directory / 'client.key'}"
