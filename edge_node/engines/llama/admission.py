"""Who is at work and who waits: slots and cells given out, and taken away again where others need them.

Preemption after vLLM (Kwon et al., SOSP 2023): what a generation loses is restored or computed again, and the one
at work for longest always gets on.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from edge_node.engines.llama.slots import Need, plan_step
from edge_node.engines.llama.waiting import WaitingLine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_node.engines.llama.generation import Generation
    from edge_node.engines.llama.prefixes import Found, PrefixStore
    from edge_node.engines.llama.sequences import Sequences
    from edge_node.engines.llama.slots import Share, Slot

# How often others may go before a request that needs more cells than are free.
_PASSES_LIMIT = 32
# Against the row of an answer, what the row of a prompt costs.
_PROMPT_ROW_COST = 0.5


class Admission:
    """The generations of one context.

    Args:
        slots_count: the most at work at once.
        remembered_limit_count: the most cells of sequences that are not at work.
        saved_limit_bytes: memory for the states of those whose cells were taken away; past it they compute again.

    Attributes:
        at_work: in the order of their admission.
        waiting: the others.
    """

    def __init__(
        self,
        sequences: Sequences,
        store: PrefixStore,
        *,
        slots_count: int,
        remembered_limit_count: int,
        saved_limit_bytes: int,
    ) -> None:
        self.at_work: list[Generation] = []
        self.waiting: WaitingLine[Generation] = WaitingLine()
        self._sequences = sequences
        self._store = store
        self._slots_count = slots_count
        self._remembered_limit_count = remembered_limit_count
        self._saved_left_bytes = saved_limit_bytes
        self._passes: Counter[str] = Counter()
        self._changed = True
        self._answers_turn = self._answers_had_turn = False

    def arrive(self, generation: Generation) -> None:
        """Wait for a slot."""
        busy = any(other.client == generation.client for other in self.at_work)
        self.waiting.append(generation, at_work=busy)
        self._changed = True

    def leave(self, generation: Generation) -> None:
        """Go for good; what was computed is remembered."""
        if generation.slot is None:
            self.waiting.remove(generation)
            self._drop_saved(generation)
        else:
            self._vacate(generation)
            self._forget_excess()
        del self._passes[generation.request_id]
        generation.sampler.free()
        self._changed = True

    def admit(self, *, chunk_tokens: int, now_s: float) -> None:
        """Let in whoever may come in: the least served client first, and nobody waits behind one who cannot."""
        if not self._changed or not len(self.waiting):
            return
        while (generation := self._next(chunk_tokens)) is not None:
            self._bring_in(generation, now_s)
        self._changed = False

    def plan(self, *, chunk_tokens: int) -> list[Share]:
        """The rows of the next step, after making room for them; some generation is put off if need be."""
        while True:
            needs = [
                Need(generation.slot, generation.missing_count, generation.client)
                for generation in self.at_work
                if generation.slot
            ]
            prompts = any(need.missing_count > 1 for need in needs)
            answers = any(need.missing_count == 1 for need in needs)
            self._answers_turn = answers and not (prompts and self._answers_had_turn)
            shares = plan_step(needs, answers_turn=self._answers_turn, chunk_tokens=chunk_tokens)
            missing_count = sum(share.count for share in shares) - self._sequences.cells.free_count
            if missing_count > 0:
                self._store.shed(missing_count)
                missing_count = sum(share.count for share in shares) - self._sequences.cells.free_count
            if missing_count <= 0 or len(self.at_work) <= 1:
                return shares
            self._put_off(self._most_greedy()[-1])

    def computed(self, shares: Sequence[Share]) -> None:
        """Charge the clients for a step; the next turn is the others'."""
        self._answers_had_turn = self._answers_turn
        clients = {generation.slot.index: generation.client for generation in self.at_work if generation.slot}
        for share in shares:
            cost = 1.0 if share.count == 1 else share.count * _PROMPT_ROW_COST
            self.waiting.charge(clients[share.slot], cost)
        self.waiting.lift(set(clients.values()))

    def make_room(self) -> bool:
        """Free cells that the books say are free already; False when there are none to free."""
        free_count = self._sequences.cells.free_count
        self._store.shed(self._sequences.cells.count)
        if self._sequences.cells.free_count > free_count:
            return True
        if len(self.at_work) > 1:
            self._put_off(self.at_work[-1])
            return True
        return False

    def late(self, now_s: float) -> list[Generation]:
        """Those whose first token would come too late."""
        return [
            generation
            for generation in self.waiting
            if now_s > generation.latest_s and not generation.started
        ]

    # ---- who comes in

    def _next(self, chunk_tokens: int) -> Generation | None:
        """Who goes to work now; a slot is free for it when this returns."""
        for generation in self.waiting.heads():
            victim = None
            if len(self.at_work) >= self._slots_count:
                victim = self._over_share(generation.client)
                if victim is None:
                    continue
            if self._fits(generation, chunk_tokens, without=victim):
                if victim is not None:
                    self._set_aside(victim)
                return generation
            self._passes[generation.request_id] += 1
            if self._passes[generation.request_id] > _PASSES_LIMIT:
                return None
        return None

    def _fits(self, generation: Generation, chunk_tokens: int, *, without: Generation | None) -> bool:
        """Its own tokens and the prompts of those at work have cells, the remembered ones given up if need be."""
        others = [other for other in self.at_work if other is not without]
        if not others:
            return True
        used = _cells_of(others)
        missing_count = sum(other.missing_count for other in others)
        found = self._store.find(generation.tokens, client=generation.client)
        if found.slot is not None:
            used.update(found.slot.cells[: found.tokens_count])
            missing_count -= found.tokens_count - found.restored_count
        missing_count += len(generation.tokens)
        return len(used) + missing_count + chunk_tokens <= self._sequences.cells.count

    def _bring_in(self, generation: Generation, now_s: float) -> None:
        found = self._store.find(generation.tokens, client=generation.client)
        slot = self._store.take(found, client=generation.client)
        assert slot is not None, "there are at least as many sequences as slots"
        self._restore(generation, slot, found)
        self.waiting.remove(generation)
        generation.admit(slot, cached_from=found.source, now_s=now_s)
        self.at_work.append(generation)

    def _restore(self, generation: Generation, slot: Slot, found: Found) -> None:
        if generation.saved_tokens > found.tokens_count:
            self._sequences.cut(slot, 0)
            self._store.shed(generation.saved_tokens - self._sequences.cells.free_count)
            tokens = generation.tokens[: generation.saved_tokens]
            self._sequences.restore(slot, tokens, generation.saved)
        self._drop_saved(generation)

    # ---- who goes out

    def _over_share(self, client: str) -> Generation | None:
        """The youngest of a client that has at least two slots more than this one, which has one waiting."""
        own_count = sum(1 for generation in self.at_work if generation.client == client)
        greedy = self._most_greedy()
        return greedy[-1] if len(greedy) >= own_count + 2 else None

    def _most_greedy(self) -> list[Generation]:
        """Those at work of the client that has most of them."""
        (client, _), *_ = Counter(generation.client for generation in self.at_work).most_common(1)
        return [generation for generation in self.at_work if generation.client == client]

    def _set_aside(self, generation: Generation) -> None:
        """Take a generation's slot away; its cells are remembered for as long as nobody needs them."""
        self._vacate(generation)
        self.waiting.put_back(generation)

    def _put_off(self, generation: Generation) -> None:
        """Take a generation's cells away; its state is kept elsewhere, or computed again."""
        slot = generation.slot
        assert slot is not None, "only those at work are put off"
        state = self._sequences.save(slot) if self._saved_left_bytes else b""
        if 0 < len(state) <= self._saved_left_bytes:
            generation.saved, generation.saved_tokens = state, len(slot.cached)
            self._saved_left_bytes -= len(state)
        self._sequences.cut(slot, 0)
        self._set_aside(generation)

    def _vacate(self, generation: Generation) -> None:
        slot = generation.slot
        assert slot is not None, "only those at work have a slot"
        self.at_work.remove(generation)
        generation.slot = None
        self._store.give_back(slot)

    def _forget_excess(self) -> None:
        cells = self._sequences.cells
        remembered_count = cells.count - cells.free_count - len(_cells_of(self.at_work))
        if remembered_count > self._remembered_limit_count:
            self._store.shed(remembered_count - self._remembered_limit_count)

    def _drop_saved(self, generation: Generation) -> None:
        self._saved_left_bytes += len(generation.saved)
        generation.saved, generation.saved_tokens = b"", 0


def _cells_of(generations: Sequence[Generation]) -> set[int]:
    return {cell for generation in generations if generation.slot for cell in generation.slot.cells}
