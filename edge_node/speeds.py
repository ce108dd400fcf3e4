"""Speeds: how fast this machine writes with each quantization, measured whenever a model is loaded, kept over restarts.

A speed is bytes of weights in a second of writing: nearly the same for models of all sizes, so what one model of a
quantization showed says what to expect of others.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from registry.durable import write_durably
from registry.errors import InputInvalidError
from registry.wire import from_json, to_json

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger()

_FILE = "speeds.json"


class SpeedTable:
    """The best speed that was seen for each quantization; all calls block, and may come from several threads."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / _FILE
        self._turn = threading.Lock()
        self.speeds: dict[str, float] = {}
        try:
            self.speeds = from_json(self._path.read_bytes(), dict[str, float])
        except FileNotFoundError:
            pass
        except (InputInvalidError, OSError) as error:
            log.warning("speeds.discarded", reason=str(error))

    def note(self, quantization: str, *, weights_bytes: int, tokens_per_s: float) -> None:
        """Take a measurement; slower ones than before say how busy the machine was, not how fast it is."""
        speed = weights_bytes * tokens_per_s
        with self._turn:  # two models may be loaded at once, and the file has one writer at a time
            if not quantization or speed <= self.speeds.get(quantization, 0.0):
                return
            self.speeds[quantization] = speed
            log.info("speed.measured", quantization=quantization, tokens_per_s=round(tokens_per_s, 1))
            try:
                write_durably(self._path, to_json(self.speeds))
            except OSError as error:  # a full disk: it is measured again
                log.warning("speeds.not_kept", reason=str(error))
