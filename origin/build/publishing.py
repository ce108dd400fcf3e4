"""Publishing a build: its variants as one release, with their lineage; what a gate refused is never uploaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.build.building import refusals
from origin.build.lineage import lineage_of_build, space_of
from origin.build.source import digest_of_file
from origin.errors import GateRefusedError, StepFailedError
from registry.catalog import Catalog
from registry.errors import ReleaseConflictError, ReleaseUnknownError
from registry.manifest import lineage_of
from registry.publish import PublishReport, VariantSource, publish
from registry.reference import check_channel
from registry.trust.statements import role_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from origin.build.building import BuiltVariant
    from origin.build.planning import Plan
    from origin.build.workspace import Workspace
    from registry.manifest import Manifest
    from registry.progress import ProgressHook
    from registry.trust.signed_store import SignedStore


def publish_build(
    plan: Plan,
    built: Sequence[BuiltVariant],
    workspace: Workspace,
    *,
    store: SignedStore,
    channel: str | None,
    created_unix_s: int,
    progress: ProgressHook,
) -> PublishReport:
    """Publish what passed.

    Raises:
        GateRefusedError: not enough passed; nothing was uploaded.
        StepFailedError: what was built is damaged.
        EdgewardError: as `registry.publish.publish`.
    """
    check_gates_passed(plan, built)
    sources = [_source(plan, it, workspace) for it in built if it.passed]
    model = plan.recipe.model
    return publish(
        sources,
        name=model.name,
        version=model.version,
        store=store,
        channel=channel,
        license_name=model.license,
        parent=model.parent or None,
        created_unix_s=created_unix_s,
        progress=progress,
    )


def check_publishable(plan: Plan, store: SignedStore, channel: str | None) -> None:
    """Refuse, before anything is built, what would be refused when all of it is: the words, keys, release and parent.

    A release that this recipe may have made is not refused: built again, it may come out the same.

    Raises:
        GateRefusedError: the recipe has no `[evaluate]`.
        ReleaseConflictError: this version is published already, and something else made it.
        EdgewardError: as `registry.publish.publish`.
    """
    _check_evaluated(plan)
    if channel is not None:
        check_channel(channel)
    model, catalog = plan.recipe.model, Catalog(store)
    try:
        _, manifest = catalog.manifest(model.name, model.version)
    except ReleaseUnknownError:
        if model.parent:
            catalog.resolve(model.parent)
        manifest = None
    store.publisher.require(role_of(model.name))
    done = all(it.done for it in plan.steps) and all(it.evaluated for it in plan.variants)
    if manifest is not None and not done and not _may_have_made(plan, manifest):
        raise ReleaseConflictError(
            f"{model.name}@{model.version} is published already, and neither this recipe nor this source made it; a "
            f"version never changes: give [model] of {plan.recipe.path.name} a new one"
        )


def _may_have_made(plan: Plan, manifest: Manifest) -> bool:
    """Whether a release says of all its variants that they come from this recipe and this source."""
    made = {
        lineage and (lineage.recipe_sha256, lineage.root_sha256)
        for lineage in map(lineage_of, manifest.variants)
    }
    return made == {(plan.recipe.sha256, plan.source.weights_sha256)}


def _check_evaluated(plan: Plan) -> None:
    if plan.recipe.evaluate is None:
        raise GateRefusedError(
            f"{plan.recipe.path.name} has no [evaluate], so nothing would say that its variants are any good: add one "
            "that names texts",
            param="evaluate",
        )


def check_gates_passed(plan: Plan, built: Sequence[BuiltVariant]) -> None:
    """Refuse what must not be published.

    Raises:
        GateRefusedError: the message says of each variant why.
    """
    reasons = refusals(plan, built)
    if reasons:
        model = plan.recipe.model
        raise GateRefusedError(
            f"{model.name}@{model.version} is not published: {'. '.join(reasons)}", param="gate"
        )


def _checked_path(plan: Plan, built: BuiltVariant) -> Path:
    directory = built.artifact.directory
    digests = plan.source.digests
    if built.records:
        digests = {name: file.sha256 for name, file in built.records[-1][1].files.items()}
    for name, sha256 in digests.items():
        path = directory / name
        if not path.is_file() or digest_of_file(path) != sha256:
            raise StepFailedError(
                f"{path} is not what was made: remove the folder {directory.parent} and build again"
            )
    return directory


def _source(plan: Plan, built: BuiltVariant, workspace: Workspace) -> VariantSource:
    return VariantSource(
        path=_checked_path(plan, built),
        name=built.plan.table.name,
        features=built.plan.table.cpu,
        memory_bytes=_measured_bytes(built),
        space_id=space_of(plan, built, workspace),
        lineage=lineage_of_build(plan, built, workspace),
    )


def _measured_bytes(built: BuiltVariant) -> int:
    """The memory that its evaluation says it takes; 0 where the system that it was judged on did not tell."""
    figure = None if built.evaluation is None else built.evaluation.figures.get("memory_bytes")
    return 0 if figure is None or figure.value is None else int(figure.value)
