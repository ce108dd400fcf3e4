"""An engine's process, as the front sees it: started, spoken to by many requests at once, ended, mourned."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog

from edge_node.engines import (
    Cancel,
    Delta,
    Embedded,
    Finished,
    Generate,
    Inferred,
    Load,
    LoadFailed,
    Progress,
    Ready,
    Refused,
    Scored,
    Started,
)
from edge_node.engines.channel import FrontChannel
from edge_node.engines.child_end import LastLines, child_environment, death_in_words, memory_bytes
from edge_node.engines.framing import FrameInvalidError
from edge_node.errors import (
    EngineFailedError,
    OverloadedError,
    PromptTooLongError,
    RequestInvalidError,
    ResumeMismatchError,
)
from registry.errors import EdgewardError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from edge_node.engines import Compute, Computed, Event, Request
    from edge_node.engines.spec import EngineSpec

log = structlog.get_logger()

# After SIGTERM; a child that does not end by then is stuck in native code.
_TERM_WAIT_S = 2.0
_REFUSALS: dict[str, type[EdgewardError]] = {
    PromptTooLongError.code: PromptTooLongError,
    RequestInvalidError.code: RequestInvalidError,
    OverloadedError.code: OverloadedError,
    ResumeMismatchError.code: ResumeMismatchError,
}


class EngineProcess:
    """One release at work in a process of its own.

    Attributes:
        exited: set when the process has ended and has been reaped.
        last_words: the last lines that the process printed.
    """

    def __init__(self, spec: EngineSpec, *, start_timeout_s: float = 180.0) -> None:
        self.spec = spec
        self.exited = asyncio.Event()
        self._label = f"{spec.name}@{spec.version}"
        self._start_timeout_s = start_timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._channel: FrontChannel | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._loaded: asyncio.Future[Ready] | None = None
        self._in_flight: dict[str, asyncio.Queue[Event | EngineFailedError]] = {}
        self._printed = LastLines()
        self._closing = False

    @property
    def alive(self) -> bool:
        """The process is started and has not ended."""
        return self._process is not None and not self._closing and not self.exited.is_set()

    @property
    def pid(self) -> int | None:
        """The process id, once started."""
        return self._process.pid if self._process else None

    @property
    def last_words(self) -> tuple[str, ...]:
        """The last lines that the process printed, oldest first."""
        return self._printed.lines()

    def memory_bytes(self) -> int:
        """What the process holds in memory; 0 when the system does not tell."""
        return memory_bytes(self._process.pid) if self._process and self.alive else 0

    async def start(self) -> Ready:
        """Start the process and load the model.

        Raises:
            EngineFailedError: the model cannot be loaded, or not within the time allowed; nothing stays behind.
        """
        if self._process is not None:
            raise EngineFailedError(f"the engine of {self._label} was started before; make a new one")
        self._loaded = asyncio.get_running_loop().create_future()
        try:
            await self._spawn()
            async with asyncio.timeout(self._start_timeout_s):
                ready = await self._loaded
        except TimeoutError as error:
            await self.close(0)
            raise EngineFailedError(
                f"{self._label} was not loaded within {self._start_timeout_s:g} s"
            ) from error
        except BaseException:
            await self.close(0)
            raise
        log.info(
            "engine.loaded",
            release=self._label,
            load_s=round(ready.load_s, 3),
            batches=ready.batches,
            pid=self.pid,
        )
        return ready

    async def generate(
        self, command: Generate
    ) -> AsyncGenerator[Progress | Started | Delta | Finished, None]:
        """The answer as it is made; closing the iterator early cancels the request in the child.

        Raises:
            PromptTooLongError: prompt and answer do not fit the context.
            RequestInvalidError: the engine cannot do what the request asks.
            EngineFailedError: the process died on the way.
        """
        arrivals = self._submit(command)
        working = True
        try:
            while working:
                try:
                    event = await self._next_event(arrivals)
                except EdgewardError:
                    working = False
                    raise
                working = not isinstance(event, Finished)
                assert isinstance(event, Progress | Started | Delta | Finished), (
                    "only these answer a generation"
                )
                yield event
        finally:
            self._forget(command.request_id, cancel=working)

    async def compute(self, command: Compute) -> Computed:
        """What one message answers: vectors, scores, tensors; cancelling the caller cancels the request in the child.

        Raises:
            PromptTooLongError: an input is longer than the model reads; `param` names it.
            RequestInvalidError: this model cannot do it.
            EngineFailedError: the process died on the way.
        """
        arrivals = self._submit(command)
        event: Event | None = None
        try:
            event = await self._next_event(arrivals)
        finally:
            self._forget(command.request_id, cancel=event is None)
        assert isinstance(event, Embedded | Scored | Inferred), "only these answer a computation"
        return event

    async def close(self, grace_s: float) -> None:
        """End the process: its socket first, after `grace_s` SIGTERM, then SIGKILL; requests in flight fail."""
        self._closing = True
        process, channel = self._process, self._channel
        if channel is not None:
            channel.close()
        if process is not None:
            for wait_s, end in ((grace_s, process.terminate), (_TERM_WAIT_S, process.kill)):
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), wait_s)
                if process.returncode is None:
                    with suppress(ProcessLookupError):
                        end()
            await process.wait()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- the inside

    async def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-P", "-m", "edge_node.engines.worker", str(theirs.fileno()), self._label,
                    stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
                    pass_fds=(theirs.fileno(),), env=child_environment(os.environ, self.spec),
                )  # fmt: skip
            except OSError as error:
                ours.close()
                raise EngineFailedError(f"no process for {self._label}: {error.strerror}") from error
            except BaseException:
                ours.close()
                raise
        self._channel = await FrontChannel.over(ours, self._deliver)
        self._tasks = [
            asyncio.create_task(self._read_output(self._process)),
            asyncio.create_task(self._watch(self._process, self._channel)),
        ]
        self._channel.send(Load(self.spec))

    async def _read_output(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while data := await process.stdout.read(4096):
            self._printed.push(data)

    async def _watch(self, process: asyncio.subprocess.Process, channel: FrontChannel) -> None:
        try:
            await channel.ended()
        except FrameInvalidError as error:
            log.error("engine.garbled", release=self._label, error=error.message)  # noqa: TRY400 - no traceback wanted
            with suppress(ProcessLookupError):
                process.kill()
        channel.close()
        return_code = await process.wait()
        # What it printed last arrives after its death.
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._tasks[0]), 1.0)
        self._mourn(return_code)

    def _mourn(self, return_code: int) -> None:
        death = death_in_words(return_code)
        self.exited.set()
        if not self._closing:
            log.error("engine.died", release=self._label, death=death, last_words=self.last_words)
        if self._loaded is not None and not self._loaded.done():
            words = "; ".join(self.last_words[-3:])
            self._loaded.set_exception(
                EngineFailedError(f"the engine of {self._label} ended while loading ({death}): {words}")
            )
            # A start that was cancelled no longer asks for it.
            self._loaded.exception()
        # The last words stay in the log: they may hold paths of this machine, and clients see this message.
        end = "was closed" if self._closing else f"ended at work ({death})"
        for arrivals in self._in_flight.values():
            arrivals.put_nowait(EngineFailedError(f"the engine of {self._label} {end}"))

    def _deliver(self, event: Event) -> None:
        if isinstance(event, Ready | LoadFailed):
            if self._loaded is not None and not self._loaded.done():
                if isinstance(event, Ready):
                    self._loaded.set_result(event)
                else:
                    self._loaded.set_exception(EngineFailedError(f"{self._label}: {event.message}"))
            return
        arrivals = self._in_flight.get(event.request_id)
        if arrivals is not None:  # else cancelled here, and still on its way there
            arrivals.put_nowait(event)

    def _submit(self, request: Request) -> asyncio.Queue[Event | EngineFailedError]:
        if not self.alive or self._channel is None:
            raise EngineFailedError(f"the engine of {self._label} is not running")
        if request.request_id in self._in_flight:
            raise RequestInvalidError(f"request id {request.request_id} is at work already")
        try:
            self._channel.send(request)
        except FrameInvalidError as error:
            raise RequestInvalidError(error.message) from error
        # No bound: an answer is at most one event for each token of the context.
        arrivals: asyncio.Queue[Any] = asyncio.Queue()
        self._in_flight[request.request_id] = arrivals
        return arrivals

    async def _next_event(self, arrivals: asyncio.Queue[Event | EngineFailedError]) -> Event:
        event = await arrivals.get()
        if isinstance(event, EngineFailedError):
            raise event
        if isinstance(event, Refused):
            raise _REFUSALS.get(event.code, EngineFailedError)(event.message, param=event.param)
        return event

    def _forget(self, request_id: str, *, cancel: bool) -> None:
        self._in_flight.pop(request_id, None)
        if cancel and self._channel is not None and self.alive:
            self._channel.send(Cancel(request_id))
