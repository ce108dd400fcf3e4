"""Which requests were at work when an engine died, so that one that kills engines is refused in the end."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from registry.digest import Digest, digest_of
from registry.wire import to_msgpack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_node.engines import Request

_DEATHS_ALLOWED_COUNT = 2
_REMEMBERED_COUNT = 1024


def fingerprint(release: str, command: Request) -> Digest:
    """What makes two requests the same work: the release and the whole command but its id, and where it goes on."""
    same = {"request_id": "", "resume": None}
    fields = (release, type(command).__name__, {**_fields(command), **same})
    return digest_of(to_msgpack(fields))


def _fields(command: Request) -> dict[str, object]:
    return {name: getattr(command, name) for name in command.__struct_fields__}


class Blame:
    """Counts deaths for each request; forgets the least recently blamed beyond a bound."""

    def __init__(self, *, remembered_count: int = _REMEMBERED_COUNT) -> None:
        self._deaths: OrderedDict[Digest, int] = OrderedDict()
        self._remembered_count = remembered_count

    def died(self, working: Iterable[Digest]) -> None:
        """An engine died while it worked on these requests; which of them did it is not known."""
        for request in set(working):
            self._deaths[request] = self._deaths.get(request, 0) + 1
            self._deaths.move_to_end(request)
        while len(self._deaths) > self._remembered_count:
            self._deaths.popitem(last=False)

    def answered(self, request: Digest) -> None:
        """A request was answered: it only happened to stand by when an engine died."""
        self._deaths.pop(request, None)

    def refuses(self, request: Digest) -> bool:
        """Whether a request was at work in two engine deaths and has never been answered since."""
        return self._deaths.get(request, 0) >= _DEATHS_ALLOWED_COUNT
