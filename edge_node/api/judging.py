"""Reranking and classification: what a client may ask, and the answers.

`/v1/rerank` is the form that Jina and Cohere share; `/v1/classify` is vLLM's. Unknown fields are refused with
their path, as everywhere.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from edge_node.errors import RequestInvalidError

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXTS_LIMIT_COUNT = 2048

_ModelName = Annotated[str, Meta(min_length=1, max_length=256)]
_Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class RerankDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document as an object, as Jina allows."""

    text: str


class RerankRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/rerank`. `max_tokens_per_doc` cuts documents; without it, one that does not fit is refused."""

    model: _ModelName
    query: str
    documents: list[str | RerankDocument]
    top_n: _Count | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: _Count | None = None
    user: Any = None


class ClassifyRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/classify`."""

    model: _ModelName
    input: str | list[str]
    user: Any = None


class JudgingUsage(Struct, frozen=True, kw_only=True):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class RerankResult(Struct, frozen=True, kw_only=True):
    """One document's place: `index` is that in the request, `relevance_score` is between 0 and 1."""

    index: int
    relevance_score: float
    document: RerankDocument | UnsetType = UNSET


class RerankList(Struct, frozen=True, kw_only=True):
    """The answer of `/v1/rerank`, the most relevant first."""

    object: Literal["list"] = "list"
    id: str
    model: str
    results: tuple[RerankResult, ...]
    usage: JudgingUsage


class Classified(Struct, frozen=True, kw_only=True):
    """One text's class: the likeliest label, and a probability for each class in the order of `labels`."""

    index: int
    label: str
    probs: tuple[float, ...]
    num_classes: int


class ClassifyList(Struct, frozen=True, kw_only=True):
    """The answer of `/v1/classify`, in the order of the inputs; `labels` is an extension."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    labels: tuple[str, ...]
    data: tuple[Classified, ...]
    usage: JudgingUsage


def check_rerank(request: RerankRequest) -> tuple[str, ...]:
    """The documents' texts.

    Raises:
        RequestInvalidError: nothing to rank, or too much; `param` names it.
    """
    if not request.query:
        raise RequestInvalidError("the query is empty", param="query")
    if not request.documents:
        raise RequestInvalidError("there are no documents", param="documents")
    texts = tuple(part if isinstance(part, str) else part.text for part in request.documents)
    _check_texts(texts, "documents")
    return texts


def check_classify(request: ClassifyRequest) -> tuple[str, ...]:
    """The texts.

    Raises:
        RequestInvalidError: nothing to classify, or too much; `param` names it.
    """
    if isinstance(request.input, str):
        if not request.input:
            raise RequestInvalidError("the input is an empty text", param="input")
        return (request.input,)
    if not request.input:
        raise RequestInvalidError("the input is empty", param="input")
    _check_texts(request.input, "input")
    return tuple(request.input)


def rerank_list(
    values: bytes,
    request: RerankRequest,
    texts: Sequence[str],
    *,
    answer_id: str,
    model: str,
    prompt_tokens: int,
) -> RerankList:
    """Relevances, little-endian float32 in the order of the documents, as an answer; equal ones keep that order."""
    relevances = struct.unpack(f"<{len(texts)}f", values)
    order = sorted(range(len(texts)), key=lambda index: -relevances[index])[: request.top_n]
    return RerankList(
        id=answer_id,
        model=model,
        results=tuple(
            RerankResult(
                index=index,
                relevance_score=relevances[index],
                document=RerankDocument(text=texts[index]) if request.return_documents else UNSET,
            )
            for index in order
        ),
        usage=JudgingUsage(prompt_tokens=prompt_tokens, total_tokens=prompt_tokens),
    )


def classify_list(
    values: bytes,
    labels: tuple[str, ...],
    *,
    answer_id: str,
    created_unix_s: int,
    model: str,
    prompt_tokens: int,
) -> ClassifyList:
    """Probabilities, little-endian float32 of shape [texts, labels], as an answer."""
    rows = struct.iter_unpack(f"<{len(labels)}f", values)
    return ClassifyList(
        id=answer_id,
        created=created_unix_s,
        model=model,
        labels=labels,
        data=tuple(
            Classified(index=index, label=labels[row.index(max(row))], probs=row, num_classes=len(labels))
            for index, row in enumerate(rows)
        ),
        usage=JudgingUsage(prompt_tokens=prompt_tokens, total_tokens=prompt_tokens),
    )


def _check_texts(texts: Sequence[str], param: str) -> None:
    if len(texts) > TEXTS_LIMIT_COUNT:
        raise RequestInvalidError(
            f"{len(texts)} texts are more than the {TEXTS_LIMIT_COUNT} of one request; split them",
            param=param,
        )
    for index, text in enumerate(texts):
        if not text:
            raise RequestInvalidError("the text is empty", param=f"{param}[{index}]")
