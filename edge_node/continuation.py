"""Going on with an answer that was cut off: what has been told of it, and whether it may go on with a given engine.

The tokens go on, not the text: other tokens could spell the same text, and the model would go on from them in another
way. Whoever follows an answer (this node, when its engine dies; a client, when a node does) keeps its tokens, and the
same command with them as its `resume` gives the rest.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from edge_node.engines.resume import Resume
from edge_node.errors import ResumeMismatchError

if TYPE_CHECKING:
    from edge_node.engines import Delta, Generate
    from edge_node.residents import Lease


def identity_of(lease: Lease, *, deterministic: bool) -> str:
    """What must be the same for an answer to go on.

    The release; for a deterministic answer also its variant and all that its engine's rounding depends on.
    """
    if not deterministic:
        return lease.manifest_sha256
    # It ends in how many answers may share a batch: within what is certified that changes nothing.
    exact = lease.stamp.rpartition("-d")[0] or lease.stamp
    return hashlib.sha256(exact.encode()).hexdigest()


def refuse_foreign(lease: Lease, command: Generate) -> None:
    """Refuse to go on with what another release, or for a deterministic answer another engine, has begun.

    Raises:
        ResumeMismatchError: says which is here.
    """
    if command.resume is None:
        return
    if command.resume.release == identity_of(lease, deterministic=command.deterministic):
        return
    kind = "release, variant, engine and processor" if command.deterministic else "release"
    raise ResumeMismatchError(
        f"the answer was begun with another {kind} than {lease.name}@{lease.version} is here: "
        "ask another node, or begin anew",
        param="edgeward.resume.release",
    )


class Written:
    """What has been told of one answer.

    Attributes:
        tokens: those whose text has been told.
        text_chars: the characters of that text.
        known: whether the engine said the ids of all of them; without them nothing can go on.
    """

    def __init__(self, resume: Resume | None = None) -> None:
        self.tokens: list[int] = list(resume.tokens) if resume else []
        self.text_chars = resume.text_chars if resume else 0
        self.known = True

    def note(self, delta: Delta) -> None:
        """More of it has been told."""
        self.tokens.extend(delta.tokens)
        self.text_chars += len(delta.text)
        self.known = self.known and len(delta.tokens) == delta.tokens_count

    def resume(self, identity: str, *, created_unix_s: int) -> Resume:
        """What the rest of the answer is asked for with."""
        return Resume(
            tokens=tuple(self.tokens),
            text_chars=self.text_chars,
            release=identity,
            created_unix_s=created_unix_s,
        )
