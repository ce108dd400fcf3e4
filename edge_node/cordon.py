"""A node that stands aside: a mark in its directory, by which routers send nobody here while what comes is answered.

The mark survives restarts and upgrades; whoever may write the directory sets it (`edgeward node drain`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

import structlog

from registry.durable import make_folders, write_durably

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = structlog.get_logger()

_FILE = "cordoned"
_LOOK_S = 0.5


class Cordon:
    """Whether the node of a data directory stands aside.

    Attributes:
        leaving: set by a node that ends: it stands aside too, but leaves no mark.
    """

    def __init__(self, data_dir: Path) -> None:
        self.leaving = False
        self._path = data_dir / _FILE
        self._marked = self._path.exists()

    @property
    def on(self) -> bool:
        """Whether nobody should be sent here."""
        return self.leaving or self._marked

    def set(self, *, on: bool) -> None:
        """Make the mark, or take it away; a running node sees it within a second."""
        if on:
            make_folders(self._path.parent)
            write_durably(self._path, b"")
        else:
            self._path.unlink(missing_ok=True)

    async def watch(self, changed: Callable[[], object]) -> NoReturn:
        """Look for ever; `changed` is called when it is another than before."""
        while True:
            marked = await asyncio.to_thread(self._path.exists)
            if marked != self._marked:
                self._marked = marked
                log.info("cordon.changed", on=marked)
                changed()
            await asyncio.sleep(_LOOK_S)
