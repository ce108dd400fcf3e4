"""The llama engine: computes all generations at work together, one batch a step, and says what came of it."""

from __future__ import annotations

import datetime as dt
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from edge_node.engine_room import SAVED_LIMIT_BYTES
from edge_node.engines import Finished, Generate, Ready, Refused
from edge_node.engines.llama.admission import Admission
from edge_node.engines.llama.array_chooser import ArrayChooser, suits
from edge_node.engines.llama.batch import Decoder, Outcome
from edge_node.engines.llama.determinism import certified_rows, open_lane
from edge_node.engines.llama.gathering import Gathering
from edge_node.engines.llama.generation import Generation, answer_limit_tokens
from edge_node.engines.llama.library import NativeLog, engine_fingerprint, open_model
from edge_node.engines.llama.memory import KvMemory
from edge_node.engines.llama.pace import Pace
from edge_node.engines.llama.prefix_identity import kernels_digest
from edge_node.engines.llama.prefix_opening import open_store
from edge_node.engines.llama.prompts import PromptReader
from edge_node.engines.llama.sampler import Sampler
from edge_node.engines.llama.sequences import Sequences
from edge_node.engines.llama.speculation import Speculation
from edge_node.engines.llama.vocabulary import Vocabulary
from edge_node.errors import EngineFailedError, OverloadedError, RequestInvalidError, ResumeMismatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_node.engines import Event, Request, Sampling
    from edge_node.engines.llama.exact_lane import ExactLane
    from edge_node.engines.llama.generation import Chooser
    from edge_node.engines.llama.library import OpenModel
    from edge_node.engines.llama.slots import Share
    from edge_node.engines.resume import Resume
    from edge_node.engines.spec import EngineSpec
    from registry.errors import EdgewardError

# A step with this many rows of prompts is the longest that a cancel or a running answer waits; larger ones gain little.
CHUNK_TOKENS = 256


class LlamaEngine:
    """One GGUF model at work on up to `slots_count` generations; further ones wait."""

    def __init__(self, spec: EngineSpec, opened: OpenModel, native_log: NativeLog) -> None:
        self._native_log = native_log  # the library calls back into it
        self._context_tokens = opened.context_tokens
        self._slots_count = opened.slots_count
        self._vocabulary = Vocabulary(opened.model)
        self._prompts = PromptReader(self._vocabulary, opened.template, context_tokens=opened.context_tokens)
        self._decoder = Decoder(opened.context, batch_tokens=opened.batch_tokens)
        self._sequences = Sequences(
            KvMemory(opened.context),
            count=opened.sequences_count,
            cells_count=opened.cells_count,
            copies_parts=opened.copies_parts,
        )
        self._opened_store = open_store(
            spec, self._sequences, slots_count=opened.slots_count, copies_parts=opened.copies_parts
        )
        self._admission = Admission(
            self._sequences,
            self._opened_store.store,
            slots_count=self._slots_count,
            remembered_limit_count=opened.remembered_cells_count,
            saved_limit_bytes=SAVED_LIMIT_BYTES,
        )
        self._gathering = Gathering(self._sequences, scratch=self._opened_store.scratch, clock=time.monotonic)
        self._pace = Pace(CHUNK_TOKENS)
        self._unsaid: list[Event] = []
        self._spec = spec
        self._model = opened.model
        self._deterministic_rows = certified_rows(
            spec, opened.model, tokens_count=self._vocabulary.tokens_count
        )
        self._lane: ExactLane | None = None
        self._batch_tokens = opened.batch_tokens
        self._speculation = Speculation(limit_tokens=spec.guess_tokens if opened.copies_parts else 0)
        self._fingerprint = (
            f"{engine_fingerprint(spec)}-{kernels_digest(opened.context_tokens)}-d{self._deterministic_rows}"
        )

    @classmethod
    def load(cls, spec: EngineSpec) -> LlamaEngine:
        """Load the release's GGUF file.

        Raises:
            EngineFailedError: it cannot be loaded.
        """
        native_log = NativeLog()
        return cls(spec, open_model(spec, native_log, chunk_tokens=CHUNK_TOKENS), native_log)

    def ready(self) -> Ready:
        """What it can do."""
        return Ready(
            abilities=("chat", "completion") if self._prompts.chats else ("completion",),
            slots=self._slots_count,
            context_tokens=self._context_tokens,
            load_s=0.0,
            fingerprint=self._fingerprint,
            deterministic_rows=self._deterministic_rows,
            prefixes_usable=self._opened_store.usable_count,
            prefixes_unusable=self._opened_store.unusable_count,
        )

    @property
    def busy(self) -> bool:
        """There is work, or something to say."""
        lane_busy = self._lane is not None and self._lane.busy
        return bool(self._admission.at_work or len(self._admission.waiting) or self._unsaid or lane_busy)

    def submit(self, request: Request) -> None:
        """Take a generation on.

        Raises:
            PromptTooLongError: prompt and answer do not fit the context.
            RequestInvalidError: the model cannot do what the request asks.
        """
        if not isinstance(request, Generate):
            raise RequestInvalidError("this model makes text, it does not embed", param="model")
        sampling = request.sampling
        begun_unix_s = request.resume.created_unix_s if request.resume else time.time()
        prompt = self._prompts.tokens(request, today=dt.datetime.fromtimestamp(begun_unix_s, dt.UTC).date())
        limit_tokens = answer_limit_tokens(
            len(prompt), sampling.max_tokens, context_tokens=self._context_tokens
        )
        self._vocabulary.check(tuple(sampling.logit_bias), param="logit_bias")
        seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
        generation = Generation(
            request,
            prompt,
            limit_tokens=limit_tokens,
            sampler=self._chooser(sampling, seed),
            now_s=time.monotonic(),
        )
        if request.resume is not None:
            self._resume(generation, request.resume)
        whole = generation.whole(time.monotonic())
        if whole:
            generation.sampler.free()
            self._unsaid.extend(whole)
        elif request.deterministic:
            self._exact_lane().arrive(generation)
        else:
            self._admission.arrive(generation)

    def cancel(self, request_id: str) -> None:
        """End a generation, waiting or at work; what it computed stays for later prompts."""
        for generation in (*self._admission.waiting, *self._admission.at_work):
            if generation.request_id == request_id:
                self._unsaid.append(generation.finished("cancelled", now_s=time.monotonic()))
                self._admission.leave(generation)
        for generation in self._lane.generations() if self._lane else ():
            if generation.request_id == request_id and self._lane:
                self._unsaid.append(generation.finished("cancelled", now_s=time.monotonic()))
                self._lane.leave(generation)

    def step(self) -> Sequence[Event]:
        """Admit what fits, compute one batch, and say what came of it."""
        said, self._unsaid = self._unsaid, []
        now_s = time.monotonic()
        said.extend(self._refuse(late, _TOO_LATE) for late in self._admission.late(now_s))
        self._admission.admit(chunk_tokens=self._pace.chunk_tokens, now_s=now_s)
        shares = self._admission.plan(chunk_tokens=self._pace.chunk_tokens)
        if shares:
            said.extend(self._compute(shares, guesses=True))
        if self._lane is not None and self._lane.busy:
            said.extend(self._lane.step(now_s))
        said.extend(self._progress())
        return [self._with_remembered(event) if isinstance(event, Finished) else event for event in said]

    # ---- the inside

    def _with_remembered(self, event: Finished) -> Finished:
        # Here, because by now what it computed has been given back.
        return msgspec.structs.replace(event, remembered_tokens=self._opened_store.store.remembered_tokens())

    def _chooser(self, sampling: Sampling, seed: int) -> Chooser:
        if suits(sampling):
            return ArrayChooser(sampling, tokens_count=self._vocabulary.tokens_count, seed=seed)
        return Sampler(sampling, self._vocabulary, seed=seed, context_tokens=self._context_tokens)

    def _resume(self, generation: Generation, resume: Resume) -> None:
        """Put a generation where an earlier run was cut off.

        Raises:
            RequestInvalidError: tokens that this vocabulary does not have.
            ResumeMismatchError: tokens that this request cannot have given, or whose text is another one.
        """
        tokens = resume.tokens
        try:
            self._vocabulary.check(tokens, param="edgeward.resume.tokens")
            pieces = [
                None if self._vocabulary.ends_answer(token) else self._vocabulary.piece(token)
                for token in tokens
            ]
            generation.resume(tokens, pieces)
            if len(generation.resumed_text) != resume.text_chars:
                raise ResumeMismatchError(
                    f"the tokens give {len(generation.resumed_text)} characters of text here, "
                    f"and {resume.text_chars} are said to have been told",
                    param="edgeward.resume.text_chars",
                )
        except RequestInvalidError:
            generation.sampler.free()
            raise

    def _generations(self, shares: Sequence[Share]) -> list[Generation]:
        at_work = {
            generation.slot.index: generation for generation in self._admission.at_work if generation.slot
        }
        return [at_work[share.slot] for share in shares]

    def _with_guesses(
        self, shares: Sequence[Share], generations: Sequence[Generation]
    ) -> tuple[Sequence[Share], Sequence[list[int]]]:
        """A step of answers alone, with the rows of what may follow them."""
        if not all(share.count == 1 and share.wants_scores for share in shares):
            return shares, [[] for _ in shares]
        room_count = min(self._batch_tokens, self._sequences.cells.free_count) - len(shares)
        guesses = self._speculation.guesses(generations, room_count=room_count)
        if any(guesses):
            shares = [
                replace(share, count=1 + len(guess), scores_count=1 + len(guess)) if guess else share
                for share, guess in zip(shares, guesses, strict=True)
            ]
        return shares, guesses

    def _compute(self, shares: Sequence[Share], *, guesses: bool) -> list[Event]:
        generations = self._generations(shares)
        guessed: Sequence[list[int]] = [[] for _ in shares]
        if guesses:
            shares, guessed = self._with_guesses(shares, generations)
        parts = [
            [*generation.tokens[share.position : share.position + share.count - len(guess)], *guess]
            for generation, share, guess in zip(generations, shares, guessed, strict=True)
        ]
        began_s = time.monotonic()
        outcome = self._decoder.decode(shares, parts)
        if outcome is Outcome.NO_ROOM and self._admission.make_room():
            return self._compute(self._admission.plan(chunk_tokens=self._pace.chunk_tokens), guesses=False)
        if outcome is Outcome.BROKEN:
            raise EngineFailedError("llama.cpp failed to decode; its memory can no longer be trusted")
        if outcome is not Outcome.DONE:
            return [self._refuse(generation, _UNDECODABLE) for generation in generations]
        for share, part in zip(shares, parts, strict=True):
            self._sequences.extend(self._sequences.slots[share.slot], part)
        self._admission.computed(shares)
        self._note_step(generations, shares, guessed, time.monotonic() - began_s)
        said: list[Event] = []
        row = 0
        for generation, share, guess in zip(generations, shares, guessed, strict=True):
            row += share.count
            if share.wants_scores:
                said.extend(self._take(generation, guess, row - share.scores_count))
        return said

    def _note_step(
        self,
        generations: Sequence[Generation],
        shares: Sequence[Share],
        guessed: Sequence[list[int]],
        took_s: float,
    ) -> None:
        """Learn from how long a step took, and move cells where answers wrote them by turns."""
        rows_count = sum(share.count for share in shares)
        if any(share.count != share.scores_count for share in shares):
            self._pace.note(rows_count, took_s)
            for generation, share in zip(generations, shares, strict=True):
                generation.read_s += took_s * share.count / rows_count
            return
        self._speculation.stepped(answers_count=len(shares), rows_count=rows_count, took_s=took_s)
        if not any(guessed):
            slots = [self._sequences.slots[share.slot] for share in shares]
            self._gathering.stepped(slots, took_s=took_s)

    def _take(self, generation: Generation, guess: list[int], row: int) -> list[Event]:
        """The token that the scores of `row` give, and further ones for as long as they are those that were guessed."""
        said: list[Event] = []
        last, accepted_count = False, 0
        for place in range(len(guess) + 1):
            events, last = self._advance(generation, self._decoder.context, row + place)
            said.extend(events)
            if last or place == len(guess) or generation.tokens[-1] != guess[place]:
                break
            accepted_count += 1
        if guess:
            self._speculation.note(generation, len(guess), accepted_count)
            generation.guessed_tokens += len(guess)
            assert generation.slot is not None, "it was computed in one"
            self._sequences.cut(generation.slot, len(generation.tokens) - 1)
        if last:
            self._admission.leave(generation)
        return said

    def _advance(self, generation: Generation, context: Any, row: int) -> tuple[list[Event], bool]:
        chosen = generation.sampler.choose(context, row)
        return generation.advance(
            chosen,
            self._vocabulary.piece(chosen.token),
            ends=self._vocabulary.ends_answer(chosen.token),
            now_s=time.monotonic(),
        )

    def _exact_lane(self) -> ExactLane:
        """Made for the first deterministic request, since it takes memory."""
        if self._lane is None:
            self._lane = open_lane(
                self._spec, self._model, rows=max(1, self._deterministic_rows),
                context_tokens=self._context_tokens, advance=self._advance,
            )  # fmt: skip
        return self._lane

    def _progress(self) -> list[Event]:
        said: list[Event] = []
        for generation in self._admission.at_work:
            said.extend(generation.progress(0))
        for ahead_count, generation in enumerate(self._admission.waiting):
            said.extend(generation.progress(ahead_count))
        return said

    def _refuse(self, generation: Generation, reason: EdgewardError) -> Refused:
        if generation.slot is not None:  # what could not be decoded is not remembered
            self._sequences.cut(generation.slot, 0)
        self._admission.leave(generation)
        return Refused(request_id=generation.request_id, code=reason.code, message=reason.message)


_TOO_LATE = OverloadedError("the request waited for as long as it may, and is not begun: ask another node")
_UNDECODABLE = EngineFailedError("llama.cpp could not decode this request")
