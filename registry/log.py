"""structlog set up the same way in every process: lines for people on a terminal, JSON otherwise.

Library code only says `log = structlog.get_logger()`; a process calls `configure_logging` once, first thing.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

log = structlog.get_logger()

LogFormat = Literal["auto", "console", "json"]


def configure_logging(*, service: str, level: str = "info", form: LogFormat = "auto") -> None:
    """Set the process's log form and level; logs go to standard error.

    Args:
        service: bound to every line, such as `origin` or `node`.
        level: `debug`, `info`, `warning` or `error`.
        form: `auto` is `console` on a terminal and `json` elsewhere.
    """
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    threshold = logging.getLevelNamesMapping()[level.upper()]
    last: structlog.types.Processor = (
        # structlog's own choice shows the values of local variables, and those may be prompts.
        structlog.dev.ConsoleRenderer(pad_event_to=24, exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *([] if console else [structlog.processors.format_exc_info]),
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(service=service)
    # What libraries log through the standard library is rare and worth seeing.
    logging.basicConfig(
        level=max(threshold, logging.WARNING), stream=sys.stderr, format="%(name)s: %(message)s"
    )
    logging.getLogger("aiohttp.server").addFilter(_in_one_line)


class LineBudget:
    """So many lines a second, for what happens too often to be told each time.

    What is left out is counted and told with the next line.
    """

    def __init__(self, lines_per_s: int) -> None:
        self._lines_per_s = lines_per_s
        self._second_s = 0
        self._lines_count = 0
        self._unlogged_count = 0

    def take(self, now_s: float) -> int | None:
        """How many were left out since the last line; None when this one is to be left out too."""
        second_s = int(now_s)
        if second_s != self._second_s:
            self._second_s, self._lines_count = second_s, 0
        if self._lines_count >= self._lines_per_s:
            self._unlogged_count += 1
            return None
        self._lines_count += 1
        unlogged_count, self._unlogged_count = self._unlogged_count, 0
        return unlogged_count


def _in_one_line(record: logging.LogRecord) -> bool:
    """Whether the HTTP server's own words stay; it shows a traceback for whatever its clients do.

    A client that sends something else than HTTP is worth a line, and one that hangs up none: the request's own
    line says so.
    """
    error = record.exc_info[1] if record.exc_info else None
    if type(error).__module__ == "aiohttp.http_exceptions":
        client = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
        log.info("request.malformed", client=client, reason=type(error).__name__)
        return False
    return not isinstance(error, ConnectionError)
