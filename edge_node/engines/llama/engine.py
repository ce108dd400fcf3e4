"""The llama engine: admits generations to slots and computes them all together, one batch a step."""

from __future__ import annotations

import datetime as dt
import secrets
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

from edge_node.engines import Generate, Ready, Refused
from edge_node.engines.chat_template import ChatTemplate, ChatTemplateInvalidError
from edge_node.engines.llama.batch import Decoder, Outcome
from edge_node.engines.llama.generation import Generation, answer_limit_tokens
from edge_node.engines.llama.library import NativeLog, engine_fingerprint, open_model
from edge_node.engines.llama.sampler import Sampler
from edge_node.engines.llama.slots import Slot, choose_slot, plan_step, reusable_count, slots_to_empty
from edge_node.engines.llama.vocabulary import Vocabulary
from edge_node.errors import EngineFailedError, RequestInvalidError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_node.engines import EngineSpec, Event, Request
    from edge_node.engines.llama.library import OpenModel
    from edge_node.engines.llama.slots import Share

SLOTS_COUNT = 4
# A step with this many rows of prompts is the longest that a cancel or a running answer waits.
CHUNK_TOKENS = 128
_BATCH_TOKENS = 256


class LlamaEngine:
    """One GGUF model at work on up to `SLOTS_COUNT` generations; further ones wait in order."""

    def __init__(self, spec: EngineSpec, opened: OpenModel, native_log: NativeLog) -> None:
        self._native_log = native_log  # the library calls back into it
        self._context_tokens = opened.context_tokens
        self._cells_count = opened.cells_count
        self._vocabulary = Vocabulary(opened.model)
        self._template = _template(opened, self._vocabulary)
        self._decoder = Decoder(opened.context, batch_tokens=_BATCH_TOKENS)
        self._slots = [Slot(index) for index in range(SLOTS_COUNT)]
        self._waiting: deque[Generation] = deque()
        self._active: list[Generation] = []  # in the order of their admission
        self._unsaid: list[Event] = []
        self._uses_count = 0
        self._fingerprint = engine_fingerprint(spec)

    @classmethod
    def load(cls, spec: EngineSpec) -> LlamaEngine:
        """Load the release's GGUF file.

        Raises:
            EngineFailedError: it cannot be loaded.
        """
        native_log = NativeLog()
        return cls(
            spec,
            open_model(spec, native_log, slots_count=SLOTS_COUNT, batch_tokens=_BATCH_TOKENS),
            native_log,
        )

    def ready(self) -> Ready:
        """What it can do."""
        return Ready(
            abilities=("chat", "completion") if self._template else ("completion",),
            slots=SLOTS_COUNT,
            context_tokens=self._context_tokens,
            load_s=0.0,
            fingerprint=self._fingerprint,
        )

    @property
    def busy(self) -> bool:
        """There is work, or something to say."""
        return bool(self._waiting or self._active or self._unsaid)

    def submit(self, request: Request) -> None:
        """Take a generation on.

        Raises:
            PromptTooLongError: prompt and answer do not fit the context.
            RequestInvalidError: the model cannot do what the request asks.
        """
        if not isinstance(request, Generate):
            raise RequestInvalidError("this model makes text, it does not embed", param="model")
        sampling = request.sampling
        prompt = self._prompt(request)
        limit_tokens = answer_limit_tokens(
            len(prompt), sampling.max_tokens, context_tokens=self._context_tokens
        )
        self._vocabulary.check(tuple(sampling.logit_bias), param="logit_bias")
        seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
        sampler = Sampler(sampling, self._vocabulary, seed=seed, context_tokens=self._context_tokens)
        self._waiting.append(
            Generation(request, prompt, limit_tokens=limit_tokens, sampler=sampler, now_s=time.monotonic())
        )

    def cancel(self, request_id: str) -> None:
        """End a generation, waiting or at work; what it computed stays for later prompts."""
        for generation in (*self._waiting, *self._active):
            if generation.request_id == request_id:
                self._unsaid.append(generation.finished("cancelled", now_s=time.monotonic()))
                self._leave(generation)

    def step(self) -> Sequence[Event]:
        """Admit what fits, compute one batch, and say what came of it."""
        said, self._unsaid = self._unsaid, []
        self._admit()
        shares = self._plan()
        if shares:
            said.extend(self._compute(shares))
        return said

    # ---- admission and room

    def _admit(self) -> None:
        while self._waiting and len(self._active) < SLOTS_COUNT:
            generation = self._waiting[0]
            slot = choose_slot(self._idle(), generation.tokens)
            at_work_count = sum(len(other.tokens) for other in self._active)
            # Its own slot and those of the others can be emptied for it, the cells of those at work cannot.
            if self._active and at_work_count + len(generation.tokens) + CHUNK_TOKENS > self._cells_count:
                return
            self._waiting.popleft()
            self._cut(slot, reusable_count(slot.cached, generation.tokens))
            generation.admit(slot, now_s=time.monotonic())
            self._active.append(generation)

    def _plan(self) -> list[Share]:
        """The rows of this step, after making room for them; the youngest generation is put off if need be."""
        while True:
            needs = [(generation.slot, generation.tokens) for generation in self._active if generation.slot]
            shares = plan_step(needs, batch_tokens=_BATCH_TOKENS, chunk_tokens=CHUNK_TOKENS)
            rows_count = sum(share.count for share in shares)
            used_count = sum(len(slot.cached) for slot in self._slots)
            missing_count = used_count + rows_count - self._cells_count
            for slot in slots_to_empty(self._idle(), missing_cells_count=missing_count):
                missing_count -= len(slot.cached)
                self._cut(slot, 0)
            if missing_count <= 0 or len(self._active) <= 1:
                return shares
            self._put_off(self._active[-1])

    def _put_off(self, generation: Generation) -> None:
        """Take a generation's cells away; it computes them again when its turn comes back."""
        slot = generation.slot
        assert slot is not None, "only those at work are put off"
        self._active.remove(generation)
        generation.slot = None
        self._cut(slot, 0)
        self._waiting.appendleft(generation)

    def _made_room(self) -> bool:
        """Free cells that the count says are free already; False when there are none to free."""
        remembering = [slot for slot in self._idle() if slot.cached]
        for slot in remembering:
            self._cut(slot, 0)
        if not remembering and len(self._active) > 1:
            self._put_off(self._active[-1])
            return True
        return bool(remembering)

    def _idle(self) -> list[Slot]:
        taken = {generation.slot.index for generation in self._active if generation.slot}
        return [slot for slot in self._slots if slot.index not in taken]

    def _cut(self, slot: Slot, keep_count: int) -> None:
        """Keep the first tokens of a slot; a memory that cannot be cut (recurrent models) is emptied."""
        if keep_count < len(slot.cached):
            if not self._decoder.forget(slot.index, keep_count):
                self._decoder.forget(slot.index, 0)
                keep_count = 0
            del slot.cached[keep_count:]

    # ---- computing

    def _compute(self, shares: Sequence[Share]) -> list[Event]:
        at_work = {generation.slot.index: generation for generation in self._active if generation.slot}
        generations = [at_work[share.slot] for share in shares]
        parts = [
            generation.tokens[share.position : share.position + share.count]
            for generation, share in zip(generations, shares, strict=True)
        ]
        outcome = self._decoder.decode(shares, parts)
        if outcome is Outcome.NO_ROOM and self._made_room():
            return self._compute(self._plan())
        if outcome is Outcome.BROKEN:
            raise EngineFailedError("llama.cpp failed to decode; its memory can no longer be trusted")
        if outcome is not Outcome.DONE:
            return [self._refuse(generation) for generation in generations]
        said: list[Event] = []
        row = -1
        for generation, share, part in zip(generations, shares, parts, strict=True):
            row += share.count
            self._slots[share.slot].cached.extend(part)
            if share.wants_scores:
                said.extend(self._advance(generation, row))
        return said

    def _advance(self, generation: Generation, row: int) -> list[Event]:
        token = generation.sampler.choose(self._decoder.context, row)
        said, last = generation.advance(
            token,
            self._vocabulary.piece(token),
            ends=self._vocabulary.ends_answer(token),
            now_s=time.monotonic(),
        )
        if last:
            self._leave(generation)
        return said

    def _refuse(self, generation: Generation) -> Refused:
        slot = generation.slot
        self._leave(generation)
        if slot is not None:
            self._cut(slot, 0)
        return Refused(
            request_id=generation.request_id,
            code=EngineFailedError.code,
            message="llama.cpp could not decode this request",
        )

    def _leave(self, generation: Generation) -> None:
        if generation.slot is None:
            self._waiting.remove(generation)
        else:
            self._uses_count += 1
            generation.slot.used_at = self._uses_count
            self._active.remove(generation)
            generation.slot = None
        generation.sampler.free()

    def _prompt(self, request: Generate) -> list[int]:
        if request.messages is not None:
            if self._template is None:
                raise RequestInvalidError(
                    "this model has no chat template; use completions instead", param="messages"
                )
            text = self._template.render(request.messages, today=dt.datetime.now(dt.UTC).date())
            return self._vocabulary.prompt_of_template(text, context_tokens=self._context_tokens)
        if request.tokens is not None:
            return self._vocabulary.prompt_of_ids(request.tokens)
        return self._vocabulary.prompt_of_text(request.text or "", context_tokens=self._context_tokens)


def _template(opened: OpenModel, vocabulary: Vocabulary) -> ChatTemplate | None:
    if not opened.template:
        return None
    try:
        return ChatTemplate(opened.template, bos_token=vocabulary.bos_text, eos_token=vocabulary.eos_text)
    except ChatTemplateInvalidError as error:
        sys.stderr.write(f"no chat with this model: {error.message}\n")
        return None
