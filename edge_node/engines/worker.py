"""The child's main loop: load one engine, then hear commands between its steps until the front is gone."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Protocol

import msgspec

from edge_node.engines import Cancel, Load, LoadFailed, Refused
from edge_node.engines.channel import ChildChannel
from registry.errors import EdgewardError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_node.engines import Command, Event, Ready, Request
    from edge_node.engines.spec import EngineSpec

_PR_SET_PDEATHSIG = 1


class Engine(Protocol):
    """A loaded runtime, working in steps that are short enough to hear a cancel between them."""

    def ready(self) -> Ready:
        """What it can do; `load_s` is filled in by the loop."""

    def submit(self, request: Request) -> None:
        """Take a request on.

        Raises:
            EdgewardError: it cannot be done; the code goes into `Refused`.
        """

    def cancel(self, request_id: str) -> None:
        """End a request, if it is still there."""

    @property
    def busy(self) -> bool:
        """There is work, or something to say."""

    def step(self) -> Sequence[Event]:
        """Do one step of work and say what came of it."""


def load_engine(spec: EngineSpec) -> Engine:
    """Load the engine of this kind; each runtime is imported only where it is needed.

    Raises:
        EdgewardError: the model cannot be loaded.
    """
    if spec.kind == "llama":
        from edge_node.engines.llama.engine import LlamaEngine  # noqa: PLC0415 - a heavy import of one kind

        return LlamaEngine.load(spec)
    from edge_node.engines.onnx.engine import OnnxEngine  # noqa: PLC0415 - a heavy import of one kind

    return OnnxEngine.load(spec)


def serve(channel: ChildChannel) -> int:
    """Load, then work until the front is gone; the exit code."""
    commands = channel.receive(wait=True)
    if not commands:
        return 0
    first, *rest = commands
    if not isinstance(first, Load):
        channel.send([LoadFailed("the first command must be `load`")])
        return 1
    started_s = time.monotonic()
    try:
        engine = load_engine(first.spec)
    except EdgewardError as error:
        channel.send([LoadFailed(error.message)])
        return 1
    gc.freeze()  # as in `edge_node.pauses`; a collection before it would keep whoever waits for the engine waiting
    channel.send([msgspec.structs.replace(engine.ready(), load_s=time.monotonic() - started_s)])
    _hear(engine, channel, rest)
    while True:
        heard = channel.receive(wait=not engine.busy)
        if heard is None:
            return 0
        _hear(engine, channel, heard)
        if engine.busy:
            channel.send(engine.step())


def _hear(engine: Engine, channel: ChildChannel, commands: Sequence[Command]) -> None:
    for command in commands:
        if isinstance(command, Cancel):
            engine.cancel(command.request_id)
        elif not isinstance(command, Load):
            try:
                engine.submit(command)
            except EdgewardError as error:
                refusal = Refused(
                    request_id=command.request_id, code=error.code, message=error.message, param=error.param
                )
                channel.send([refusal])


def _die_with_the_front() -> None:
    """Belt and braces beside the end of the socket, which native code that hangs would not hear."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(descriptor: int) -> int:
    """Run on an inherited socket."""
    _die_with_the_front()
    # Ctrl-C goes to the whole group; when to stop is the front's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = ChildChannel.of_descriptor(descriptor)
    try:
        return serve(channel)
    except ConnectionError:  # the front went while we spoke
        return 0


if __name__ == "__main__":
    code = main(int(sys.argv[1]))
    # Tearing native runtimes down can hang or crash, and there is nothing left to save.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
