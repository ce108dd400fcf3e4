"""`edgeward build`: a recipe becomes variants of a model, judged, and with --publish a release."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.cli.connect import add_store_arguments
from deploy.cli.terminal import add_json_argument, dim, show_json, show_table
from deploy.sizes import human_bytes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from origin.build.building import BuiltVariant
    from origin.build.planning import Plan, PlannedStep
    from origin.build.workspace import Workspace
    from registry.publish import PublishReport

DESCRIPTION = """\
Make a model smaller and faster as a recipe (TOML) says: prune, distill, quantize; then judge every variant against
the source and hold it against the recipe's gate. A step that was done before on the same inputs is not done again,
and one that was interrupted goes on. The exit code is 0 only if the gates let the variants through. With --publish
they become one release with their lineage; what a gate refuses is never published."""

EXAMPLES = """\
  edgeward build chat.toml --source model.gguf --plan     # what would be done, and what is done already
  edgeward build chat.toml --source model.gguf
  edgeward build chat.toml --only small --out ./made
  edgeward build chat.toml --publish --channel canary
  edgeward build chat.toml --clean                        # remove what this recipe does not need"""

_WORKSPACE = "~/.cache/edgeward/build"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("recipe", metavar="RECIPE", help="the recipe, a TOML file")
    parser.add_argument("--source", metavar="PATH", help="the model to begin with, instead of the recipe's")
    parser.add_argument("--plan", action="store_true", help="show what would be done, and do nothing")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="VARIANT",
        help="make this variant alone; may be repeated",
    )
    parser.add_argument("--out", metavar="DIR", help="put the report and the variants' files here")
    parser.add_argument(
        "--workspace", metavar="DIR", default=_WORKSPACE, help=f"what steps made is kept here ({_WORKSPACE})"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="how many threads may compute (all cores)")
    parser.add_argument(
        "--clean",
        action="store_true",
        help="remove from the workspace what this recipe does not need, and stop",
    )
    parser.add_argument(
        "--publish", action="store_true", help="publish the variants if the gates let them through"
    )
    channel = parser.add_mutually_exclusive_group()
    channel.add_argument("--channel", help="the channel to point at the release (default: the recipe's)")
    channel.add_argument("--no-channel", action="store_true", help="point no channel at it yet")
    add_store_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Build; returns the exit code."""
    from origin.build.planning import plan_build
    from origin.build.recipe import read_recipe
    from origin.build.workspace import Workspace

    workspace = Workspace(Path(args.workspace).expanduser())
    _check_flags(args)
    source = Path(args.source).expanduser() if args.source else None
    plan = plan_build(read_recipe(Path(args.recipe)), workspace, source_path=source, only=args.only)
    if args.plan:
        _show_plan(args, plan, workspace)
        return 0
    if args.clean:
        freed_bytes = workspace.clean(plan.kept_keys)
        kept_bytes = workspace.size_bytes()
        if args.json:
            show_json({"freed_bytes": freed_bytes, "kept_bytes": kept_bytes})
        else:
            print(f"freed {human_bytes(freed_bytes)}, kept {human_bytes(kept_bytes)} in {workspace.root}")
        return 0
    return _build(args, plan, workspace)


def _check_flags(args: argparse.Namespace) -> None:
    from registry.errors import InputInvalidError

    if args.publish and args.only:
        raise InputInvalidError(
            "--publish takes all variants of the recipe: a release gets no variants later"
        )
    if (args.channel or args.no_channel) and not args.publish:
        raise InputInvalidError("--channel and --no-channel go with --publish")
    if args.threads is not None and args.threads < 1:
        raise InputInvalidError("--threads takes a number from 1 on")


def _build(args: argparse.Namespace, plan: Plan, workspace: Workspace) -> int:
    import os
    import time

    from rich.console import Console

    from deploy.bars import WorkBar
    from origin.build.building import Build, refusals
    from origin.build.outputs import copy_variants, write_build_report

    if args.publish:
        _check_publishable(args, plan)
    threads_count = args.threads or len(os.sched_getaffinity(0))
    try:
        with WorkBar(Console(stderr=True)) as bar:
            built = Build(plan, workspace, bar, threads_count=threads_count).run()
    except KeyboardInterrupt:
        dim("stopped; the same command goes on from here")
        raise
    model = plan.recipe.model
    created_unix_s = int(time.time())
    folder = Path(args.out).expanduser() if args.out else None
    where = folder or workspace.root / "reports" / f"{model.name.replace('/', '~')}-{model.version}"
    page = write_build_report(plan, built, where, created_unix_s=created_unix_s)
    if folder is not None:
        copy_variants(built, folder)
    reasons = refusals(plan, built) if plan.recipe.evaluate is not None else ()
    published = _publish(args, plan, built, workspace, created_unix_s) if args.publish else None
    if args.json:
        show_json(_as_json(plan, built, page, published))
    else:
        _show_built(built, page)
        for reason in reasons:
            print(f"refused  {reason}")
        if published is not None:
            print(
                f"{published.outcome} {published.name}@{published.version}: {', '.join(published.variants)}"
            )
    return 1 if reasons else 0


def _channel(args: argparse.Namespace, plan: Plan) -> str | None:
    return None if args.no_channel else args.channel or plan.recipe.publish.channel


def _check_publishable(args: argparse.Namespace, plan: Plan) -> None:
    from deploy.cli.connect import open_store
    from origin.build.publishing import check_publishable

    check_publishable(plan, open_store(args), _channel(args, plan))


def _publish(
    args: argparse.Namespace,
    plan: Plan,
    built: Sequence[BuiltVariant],
    workspace: Workspace,
    created_unix_s: int,
) -> PublishReport:
    from deploy.cli.connect import open_store
    from deploy.cli.terminal import progress_bar
    from origin.build.publishing import check_gates_passed, publish_build

    check_gates_passed(plan, built)
    with progress_bar(f"{plan.recipe.model.name}@{plan.recipe.model.version}") as progress:
        return publish_build(
            plan,
            built,
            workspace,
            store=open_store(args),
            channel=_channel(args, plan),
            created_unix_s=created_unix_s,
            progress=progress,
        )


def _show_plan(args: argparse.Namespace, plan: Plan, workspace: Workspace) -> None:
    if args.json:
        show_json({
            "model": plan.recipe.model.name,
            "version": plan.recipe.model.version,
            "source": {"kind": plan.source.kind, "sha256": plan.source.weights_sha256},
            "workspace_bytes": workspace.size_bytes(),
            "steps": [_step_as_json(step) for step in plan.steps],
            "variants": [
                {"name": it.table.name, "key": it.key, "evaluated": it.evaluated} for it in plan.variants
            ],
        })  # fmt: skip
        return
    source = plan.source
    print(f"source {source.kind}, {human_bytes(source.weights_bytes)}, {source.weights_sha256[:12]}")
    rows = [
        [
            it.step.id,
            str(it.step.__struct_config__.tag),
            ", ".join(str(getattr(it.step, name)) for name in it.inputs),
            _state(it),
            _size(it),
        ]
        for it in plan.steps
    ]
    show_table(["step", "does", "with", "state", "size"], rows, numbers=[4])
    for variant in plan.variants:
        judged = (
            "not judged" if variant.evaluation is None else "judged" if variant.evaluated else "to be judged"
        )
        print(f"variant {variant.table.name} from {variant.table.source}: {judged}")
    needed = {it.step.id for it in plan.steps}
    if unused := [step.id for step in plan.recipe.steps if step.id not in needed]:
        print(f"not needed by any variant: {', '.join(unused)}")
    to_do = sum(not it.done for it in plan.steps)
    print(
        f"{to_do} of {len(plan.steps)} steps to do; {human_bytes(workspace.size_bytes())} in {workspace.root}"
    )


def _state(step: PlannedStep) -> str:
    if step.done:
        return f"done ({step.took_s:.0f} s)"
    return "to go on with" if step.begun else "to do"


def _size(step: PlannedStep) -> str:
    if step.weights_bytes is None:
        return ""
    return human_bytes(step.weights_bytes) if step.done else f"~{human_bytes(step.weights_bytes)}"


def _step_as_json(step: PlannedStep) -> dict[str, Any]:
    return {
        "id": step.step.id,
        "op": step.step.__struct_config__.tag,
        "key": step.key,
        "state": "done" if step.done else "begun" if step.begun else "to_do",
        "weights_bytes": step.weights_bytes,
        "took_s": step.took_s,
    }


def _show_built(built: Sequence[BuiltVariant], page: Path | None) -> None:
    rows = []
    for it in built:
        figures = it.evaluation.figures if it.evaluation is not None else {}
        told = [f"{name} {figures[name].value:.4g}" for name in _TOLD if _has(figures, name)]
        state = "not judged" if it.verdict is None else "passed" if it.passed else "REFUSED"
        rows.append(
            [it.plan.table.name, human_bytes(it.artifact.model_file.stat().st_size), state, ", ".join(told)]
        )
    show_table(["variant", "size", "gate", "figures"], rows, numbers=[1])
    if page is not None:
        print(f"report  {page}")


_TOLD = (
    "kl_mean", "top1", "perplexity_ratio", "cosine_mean", "nn10", "similarity_share", "probe_share",
    "retrieval_share",
)  # fmt: skip


def _has(figures: Any, name: str) -> bool:
    return name in figures and figures[name].value is not None


def _as_json(
    plan: Plan, built: Sequence[BuiltVariant], page: Path | None, published: PublishReport | None
) -> dict[str, Any]:
    return {
        "model": plan.recipe.model.name,
        "version": plan.recipe.model.version,
        "recipe_sha256": plan.recipe.sha256,
        "variants": [
            {
                "name": it.plan.table.name,
                "directory": str(it.artifact.directory),
                "weights_bytes": it.artifact.model_file.stat().st_size,
                "passed": it.passed,
                "reasons": [] if it.verdict is None else list(it.verdict.reasons),
                "evaluation": it.evaluation,
            }
            for it in built
        ],
        "report": None if page is None else str(page),
        "published": published,
    }
