"""`GET /v1/models` and `GET /v1/models/{id}`: what this node answers for now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_node.api.replies import ModelCard, ModelList
from edge_node.errors import ModelNotHereError
from edge_node.web.letting_in import caller_of
from edge_node.web.parts import PARTS
from edge_node.web.payload import respond

if TYPE_CHECKING:
    from aiohttp import web

    from edge_node.residents import ReadyModel


async def list_models(request: web.Request) -> web.Response:
    """Every model that the caller may ask, by name; of two releases side by side during a swap, the newer."""
    caller = caller_of(request)
    ready = request.app[PARTS].residents.ready_models()
    newest = {model.name: model for model in ready if caller.may_ask(model.name)}
    return respond(request, ModelList(data=tuple(_card(name, newest[name]) for name in sorted(newest))))


async def show_model(request: web.Request) -> web.Response:
    """One model, by any reference that a request may name it with.

    Raises:
        ModelOutOfScopeError: the client's key may not ask it.
        ModelNotHereError: this node does not serve it.
        ModelNotReadyError: it is being fetched or loaded.
    """
    reference = request.match_info["id"]
    caller_of(request).check_model(reference)
    residents = request.app[PARTS].residents
    async with residents.lease(reference) as lease:
        for model in residents.ready_models():
            if (model.name, model.version) == (lease.name, lease.version):
                return respond(request, _card(reference, model))
    raise ModelNotHereError(f"this node does not serve {reference!r} any more", param="model")


def _card(reference: str, model: ReadyModel) -> ModelCard:
    return ModelCard(
        id=reference,
        created=model.created_unix_s,
        version=model.version,
        abilities=model.abilities,
        context_tokens=model.context_tokens,
        asleep=model.asleep,
    )
