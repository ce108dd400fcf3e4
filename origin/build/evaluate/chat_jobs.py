"""What a child is told to measure of chat models, and what it answers."""

from __future__ import annotations

import msgspec


class Chunk(msgspec.Struct, frozen=True):
    """A stretch of a document that is judged by itself.

    Attributes:
        tokens: the reference's.
        scored_bytes: of the text that the predicted tokens stand for.
    """

    text: str
    tokens: list[int]
    scored_bytes: int


class ChatJob(msgspec.Struct, frozen=True, kw_only=True, tag_field="job"):
    """What every job has."""

    threads_count: int


class PrepareJob(ChatJob, frozen=True, kw_only=True, tag="prepare"):
    """Cut the texts, and put what the reference thinks of them into a directory."""

    reference: str
    texts: tuple[str, ...]
    tokens_count: int
    directory: str


class CompareJob(ChatJob, frozen=True, kw_only=True, tag="compare"):
    """Hold a candidate against what `PrepareJob` left; its rows go into a file."""

    candidate: str
    directory: str
    rows_file: str


class RaceJob(ChatJob, frozen=True, kw_only=True, tag="race"):
    """Let two models read and write in turns."""

    candidate: str
    sibling: str
    directory: str
    rounds_count: int


class WeighJob(ChatJob, frozen=True, kw_only=True, tag="weigh"):
    """Read a prompt with a model as a node has it; the answer is the most memory that it took, in bytes.

    Attributes:
        context_tokens: of its context, or fewer where the model was made for fewer.
    """

    candidate: str
    context_tokens: int


AnyChatJob = PrepareJob | CompareJob | RaceJob | WeighJob


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison found besides its rows.

    Attributes:
        same_texts: chunks that the candidate's tokenizer cuts into the same tokens.
        same_pieces: ids of tokens that stand for the same.
        pieces_count: the larger of both vocabularies.
        same_special: the same ids begin and end texts.
        same_length: both vocabularies are as large as each other, so divergences exist.
        own_bits: for each chunk what the candidate's own tokens of it cost; nothing where they are the reference's.
        own_bytes: of the text that they stand for.
    """

    same_texts: int
    same_pieces: int
    pieces_count: int
    same_special: bool
    same_length: bool
    own_bits: list[float | None] = []
    own_bytes: list[int] = []


class Lap(msgspec.Struct, frozen=True):
    """CPU seconds of one model in one round: to load, to read a prompt up to the first logits, for each token after."""

    load_s: float
    read_s: float
    token_s: float
