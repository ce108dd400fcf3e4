"""Supervisor: keeps the engine of one release alive: loads and warms it, and starts it again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import structlog

from edge_node.blame import fingerprint
from edge_node.engines import ChatMessage, Embed, Finished, Generate, Sampling, Started
from edge_node.errors import EngineDiedError, EngineFailedError, ModelNotReadyError, RequestInvalidError
from registry.errors import EdgewardError
from registry.works import first_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

    from edge_node.blame import Blame
    from edge_node.engines import Compute, Computed, Delta, Progress, Ready
    from edge_node.engines.spec import EngineSpec
    from registry.digest import Digest

log = structlog.get_logger()

EngineState = Literal["loading", "ready", "failed", "closed"]

_CRASH_WAIT_S = (0.2, 30.0)
"""The pause after a second crash in a row, doubled with each further one up to the second figure; after a first one
there is none."""
_LOAD_WAIT_S = (5.0, 300.0)
"""The same after loads that failed, the first one included."""
_STABLE_S = 5.0
"""An engine that has worked this long, and longer than its load took, did not crash in a row with the one before."""
_WARM_TOKENS = 8
_WARM_TEXT = "The quick brown fox jumps over the lazy dog, and the dog sleeps on in the sun."
_LOAD_GUESS_S = 5.0


class Engine(Protocol):
    """What an engine's process offers (`edge_node.engines.process.EngineProcess`)."""

    @property
    def exited(self) -> asyncio.Event:
        """Set when the process has ended."""

    @property
    def alive(self) -> bool:
        """Whether the process runs; False as soon as its end has failed a request."""

    def memory_bytes(self) -> int:
        """What the process holds in memory; 0 when the system does not tell."""

    async def start(self) -> Ready:
        """Load the model. Raises EngineFailedError."""

    def generate(self, command: Generate) -> AsyncGenerator[Progress | Started | Delta | Finished, None]:
        """Generate; closing the generator cancels. Raises EngineFailedError, RequestInvalidError."""

    async def compute(self, command: Compute) -> Computed:
        """Vectors, scores, tensors. Raises as `generate` does."""

    async def close(self, grace_s: float) -> None:
        """End the process, by force after `grace_s`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time as the supervisor and the runner see it: monotonic seconds, and a way to wait."""

    now_s: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]


class Supervisor:
    """One release's engine, restarted for as long as it is wanted.

    Attributes:
        state: `loading` also while a dead engine waits for its restart; `failed` when loading failed.
        detail: why it is not ready, for people.
        ready: what the engine said; None until it was ready once.
        prefill_tokens_per_s, decode_tokens_per_s: measured at the warm-up; None until then.
        memory_bytes: the most that the engine was seen to hold; 0 until it was warmed up.
        decided: set when the first attempt has ended, well or not, and when there will be none.
    """

    def __init__(
        self,
        spec: EngineSpec,
        *,
        build: Callable[[EngineSpec], Engine],
        blame: Blame,
        clock: Clock,
        changed: Callable[[Supervisor], None],
    ) -> None:
        self.spec = spec
        self.state: EngineState = "loading"
        self.detail = ""
        self.ready: Ready | None = None
        self.prefill_tokens_per_s: float | None = None
        self.memory_bytes = 0
        self.decode_tokens_per_s: float | None = None
        self.decided = asyncio.Event()
        self._moved = asyncio.Event()
        self._build = build
        self._blame = blame
        self._clock = clock
        self._changed = changed
        self._engine: Engine | None = None
        self._retry_at_s: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def release(self) -> str:
        """The release, as `name@version`."""
        return f"{self.spec.name}@{self.spec.version}"

    def start(self) -> None:
        """Begin loading; `changed` is called at every change of state."""
        self._task = asyncio.create_task(self._run(), name=f"engine {self.release}")

    async def close(self, grace_s: float) -> None:
        """Stop supervising and end the engine; requests still running get EngineFailedError."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self.state = "closed"
        self.decided.set()
        self._moved.set()
        await self._end_engine(grace_s)

    async def generate(
        self, command: Generate
    ) -> AsyncGenerator[Progress | Started | Delta | Finished, None]:
        """Generate with the engine as it is now.

        Raises:
            RequestInvalidError: refused, by the engine or because it was at work in two deaths of engines.
            EngineDiedError: the engine died; `back` says whether it lives again.
            EngineFailedError: the engine broke, or was closed.
            ModelNotReadyError: the engine has died and is not back yet.
        """
        with self._work(command) as (engine, request):
            # Closed here and now: an abandoned answer is cancelled in the engine, not at garbage collection.
            async with contextlib.aclosing(engine.generate(command)) as events:
                async for event in events:
                    if isinstance(event, Finished):  # nobody reads on
                        self._blame.answered(request)
                    yield event

    async def compute(self, command: Compute) -> Computed:
        """Compute with the engine as it is now. Raises as `generate` does."""
        with self._work(command) as (engine, request):
            computed = await engine.compute(command)
            self._blame.answered(request)
            return computed

    async def back(self, within_s: float) -> bool:
        """Whether an engine answers within that time; said at once where it would take longer, or will not come."""
        until_s = self._clock.now_s() + within_s
        while not self._closing and self.state != "failed":
            if self.state == "ready" and self._engine is not None and self._engine.alive:
                return True
            left_s = until_s - self._clock.now_s()
            if self.load_left_s() > left_s:
                return False
            await first_of(self._moved, self._clock.sleep(left_s))
        return False

    def measure(self) -> None:
        """Note what the engine holds now; it grows with the largest requests that it has had."""
        if self._engine is not None and self._engine.alive:
            self.memory_bytes = max(self.memory_bytes, self._engine.memory_bytes())

    def retry_after_s(self) -> float:
        """When asking again makes sense, if it is not ready now."""
        return max(1.0, self.load_left_s())

    def load_left_s(self) -> float:
        """How long it takes until it is ready, by the pause and the last load."""
        load_s = self.ready.load_s if self.ready else _LOAD_GUESS_S
        pause_s = max(0.0, self._retry_at_s - self._clock.now_s()) if self._retry_at_s is not None else 0.0
        return pause_s + load_s

    @contextlib.contextmanager
    def _work(self, command: Generate | Compute) -> Iterator[tuple[Engine, Digest]]:
        request = fingerprint(self.release, command)
        if self._blame.refuses(request):
            raise RequestInvalidError(
                f"this request was at work both times when an engine of {self.release} died; "
                "it is refused, since it may be the cause"
            )
        if self._engine is None or not self._engine.alive or self.state != "ready":
            raise ModelNotReadyError(
                f"{self.release} is not ready: its engine is being started",
                retry_after_s=self.retry_after_s(),
            )
        engine = self._engine
        try:
            yield engine, request
        except EngineFailedError as error:
            if not engine.alive and not self._closing:
                self._blame.died([request])
                raise EngineDiedError(error.message, retry_after_s=self.retry_after_s()) from error
            raise

    async def _run(self) -> None:
        failures_count = 0
        while True:
            engine = await self._load()
            if engine is None:
                pause_s = _pause_s(_LOAD_WAIT_S, failures_count)
            else:
                ready_s = self._clock.now_s()
                await engine.exited.wait()
                if self._clock.now_s() - ready_s >= max(_STABLE_S, self.ready.load_s if self.ready else 0.0):
                    failures_count = 0
                self._move("loading", "its engine died and is being started again")
                pause_s = _pause_s(_CRASH_WAIT_S, failures_count - 1) if failures_count else 0.0
            await self._end_engine(0)
            failures_count += 1
            self._retry_at_s = self._clock.now_s() + pause_s
            log.warning(
                "restart.scheduled", release=self.release, pause_s=pause_s, failures_count=failures_count
            )
            await self._clock.sleep(pause_s)
            self._retry_at_s = None

    async def _load(self) -> Engine | None:
        """A loaded and warmed engine; None, and the state `failed`, when that did not work."""
        try:
            self._engine = engine = self._build(self.spec)
            ready = await engine.start()
            await self._warm(engine, ready)
        except EdgewardError as error:
            detail = error.message
        except Exception as error:  # a defect of ours must not end the supervision
            log.exception("engine.load_broke", release=self.release)
            detail = f"{type(error).__name__}: {error}"
        else:
            self.ready = ready
            self.measure()
            self._move("ready", "")
            return engine
        log.error("engine.load_failed", release=self.release, detail=detail)
        self._move("failed", detail)
        return None

    async def _warm(self, engine: Engine, ready: Ready) -> None:
        """One tiny request, so that the first real one finds pages read in, and a rate to route by."""
        if "chat" in ready.abilities or "completion" in ready.abilities:
            chat = "chat" in ready.abilities
            command = Generate(
                request_id="warm-up",
                messages=(ChatMessage(role="user", content=_WARM_TEXT),) if chat else None,
                text=None if chat else _WARM_TEXT,
                sampling=Sampling(max_tokens=_WARM_TOKENS, temperature=0.0),
            )
            async with contextlib.aclosing(engine.generate(command)) as events:
                async for event in events:
                    if isinstance(event, Started) and event.prefill_s > 0:
                        self.prefill_tokens_per_s = event.prompt_tokens / event.prefill_s
                    if isinstance(event, Finished) and event.completion_tokens > 1 and event.decode_s > 0:
                        self.decode_tokens_per_s = event.completion_tokens / event.decode_s
        elif "embedding" in ready.abilities:
            await engine.compute(Embed(request_id="warm-up", inputs=(_WARM_TEXT,)))

    def _move(self, state: EngineState, detail: str) -> None:
        self.state = state
        self.detail = detail
        self._moved.set()
        self._moved = asyncio.Event()
        if state != "loading":
            self.decided.set()
        self._changed(self)

    async def _end_engine(self, grace_s: float) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close(grace_s)


def _pause_s(first_and_most_s: tuple[float, float], earlier_count: int) -> float:
    """How long to wait before the next start, after so many pauses before this one."""
    first_s, most_s = first_and_most_s
    return min(most_s, first_s * 2.0 ** min(earlier_count, 32))
