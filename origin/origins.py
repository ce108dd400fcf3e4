"""Origins: which of several origins to call next. No clock is read here: `now_s` is the caller's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from registry.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ASIDE_S = 10.0
ASIDE_LIMIT_S = 60.0
_LEARNT_LIMIT_COUNT = 16


@dataclass(slots=True)
class _Failing:
    failures_count: int = 0
    aside_until_s: float = float("-inf")


class Origins:
    """The origins that were stated, in that order, then those that were learnt.

    One that fails n times in a row is set aside for 10 s · n, at most a minute, and then tried first again: the
    order is the operator's wish. While all are set aside, all are tried, the one back soonest first.

    Args:
        urls: the stated ones.

    Raises:
        ConfigError: there is none, or one is not http:// or https://.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        if not urls:
            raise ConfigError("no origin is stated: give the URL of at least one")
        for url in urls:
            if not is_origin_url(url):
                raise ConfigError(
                    f"{url[:120]!r} is not the URL of an origin: it starts with http:// or https://"
                )
        self._stated = tuple(dict.fromkeys(url.rstrip("/") for url in urls))
        self._learnt: tuple[str, ...] = ()
        self._failing: dict[str, _Failing] = {}

    @property
    def urls(self) -> tuple[str, ...]:
        """All of them, the preferred one first."""
        return (*self._stated, *self._learnt)

    def learn(self, urls: Iterable[str]) -> None:
        """Take these as further ones, in place of those learnt before; none are learnt from an empty list."""
        told = [url.rstrip("/") for url in urls if is_origin_url(url)]
        if not told:
            return
        fresh = dict.fromkeys(url for url in told if url not in self._stated)
        self._learnt = tuple(fresh)[:_LEARNT_LIMIT_COUNT]
        self._failing = {url: failing for url, failing in self._failing.items() if url in self.urls}

    def order(self, now_s: float) -> tuple[str, ...]:
        """All of them, the one to call first first."""
        return tuple(sorted(self.urls, key=lambda url: self._aside_until_s(url, now_s)))  # a stable sort

    def well(self, now_s: float) -> tuple[str, ...]:
        """Those that are not set aside."""
        return tuple(url for url in self.urls if not self._aside_until_s(url, now_s))

    def answered(self, url: str) -> None:
        """It is in good standing again."""
        self._failing.pop(url, None)

    def failed(self, url: str, now_s: float) -> None:
        """Set it aside."""
        failing = self._failing.setdefault(url, _Failing())
        failing.failures_count += 1
        failing.aside_until_s = now_s + min(ASIDE_S * failing.failures_count, ASIDE_LIMIT_S)

    def _aside_until_s(self, url: str, now_s: float) -> float:
        failing = self._failing.get(url)
        return failing.aside_until_s if failing and failing.aside_until_s > now_s else 0.0


def is_origin_url(url: str) -> bool:
    """Whether this is the URL of an HTTP server and nothing else."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and parts.port != 0
            and not (parts.query or parts.fragment)
            and url.isprintable()
        )
    except ValueError:  # a port that is no number, a broken IPv6 address
        return False
