"""From a recipe to a signed release with its lineage, and back: rebuilt from its parent, bit for bit."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from origin.build.building import Build
from origin.build.evaluate.figures import Evaluation, Figure
from origin.build.gates import Verdict
from origin.build.gguf.model_file import ModelFile
from origin.build.planning import plan_build
from origin.build.publishing import check_publishable, publish_build
from origin.build.recipe import parse_recipe
from origin.build.rederiving import rederive_release
from origin.build.workspace import Workspace
from origin.errors import GateRefusedError, StepFailedError
from registry.catalog import Catalog
from registry.errors import (
    InputInvalidError,
    KeyUnusableError,
    ManifestInvalidError,
    ReleaseConflictError,
    ReleaseUnknownError,
    ReleaseYankedError,
)
from registry.manifest import Variant, lineage_of
from registry.progress import ignore_progress
from registry.publish import publish
from registry.trust.in_memory import signed_in_memory
from registry.trust.keys import KeysInMemory
from registry.trust.signed_store import SignedStore
from tests.origin.build.toy_builds import Heard
from tests.origin.build.toy_llama import write_toy_llama
from tests.origin.build.toy_recipes import head, step, table, texts, variant, weighed_four

EVALUATED = texts("eval", "eval.txt") + table("[evaluate]", texts="eval")
RECIPE = (
    head("chat")
    + step("eight", "quantize", type="Q8_0")
    + step("plain", "dequantize", "eight")
    + step("four", "quantize", "plain", type="Q4_0", embedding="Q5_1")
    + variant("q8", "eight")
    + variant("q4", "four", cpu=["avx2"])
    + EVALUATED
)
WEIGHED_RECIPE = (
    head("chat")
    + texts("learn", "learn.txt")
    + weighed_four("four", data="learn", tokens=256)
    + variant("q4", "four")
    + EVALUATED
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A build of real steps on a toy, made once."""
    folder = tmp_path_factory.mktemp("build")
    write_toy_llama(folder / "toy.gguf")
    (folder / "eval.txt").write_text("one\n\ntwo")
    return folder


class Built:
    def __init__(self, folder, *, passed=(True, True), require="all", text=RECIPE):
        text += f'[publish]\nrequire = "{require}"\n'
        self.workspace = Workspace(folder / "ws")
        bare = plan_build(
            parse_recipe(text.partition("[evaluate]")[0].encode(), folder / "r.toml"), self.workspace
        )
        built = Build(bare, self.workspace, Heard(), threads_count=1).run()
        self.plan = plan_build(parse_recipe(text.encode(), folder / "r.toml"), self.workspace)
        self.built = [
            dataclasses.replace(it, verdict=Verdict(passed=ok, rows=(), faults=() if ok else ("it broke",)))
            for it, ok in zip(built, passed, strict=True)
        ]
        self.store = signed_in_memory()

    def publish(self):
        return publish_build(
            self.plan, self.built, self.workspace, store=self.store, channel="stable", created_unix_s=1,
            progress=ignore_progress,
        )  # fmt: skip

    def release(self, target):
        """As a node has it."""
        data, manifest = Catalog(self.store).manifest("chat", "1.0.0")
        target.mkdir()
        (target / "manifest.eaf").write_bytes(data)
        for it in self.built:
            if it.passed:
                one = len(manifest.variants) == 1
                place = target / "files" / ("" if one else it.plan.table.name)
                shutil.copytree(it.artifact.directory, place, dirs_exist_ok=True)
        return manifest, target


def test_a_build_becomes_a_release_with_its_lineage(folder, tmp_path):
    built = Built(folder)
    report = built.publish()
    assert (report.outcome, report.variants, report.channel) == ("published", ("q8", "q4"), "stable")
    manifest, _ = built.release(tmp_path / "r")
    assert manifest.license_name == "Apache-2.0"
    q8, q4 = manifest.variants
    assert (q8.quantization, q4.quantization) == ("Q8_0", "Q4_0")
    assert (q8.needs.features, q4.needs.features) == ((), ("avx2",))
    assert q4.space_id == ""
    lineage = lineage_of(q4)
    assert lineage.root_sha256 == built.plan.source.weights_sha256
    assert [(step.id, step.op) for step in lineage.steps] == [
        ("eight", "quantize"), ("plain", "dequantize"), ("four", "quantize"),
    ]  # fmt: skip
    assert lineage.steps[2].parameters["embedding"] == "Q5_1"
    assert lineage.steps[2].inputs == {"source": "plain"}
    assert lineage.steps[2].made_sha256 == q4.files[0].sha256
    assert lineage.parent_sha256 == lineage.steps[1].made_sha256
    assert (lineage.seed, lineage.recipe_sha256) == (7, built.plan.recipe.sha256)
    assert set(lineage.texts_sha256) == {"eval"}
    assert "llama-cpp-python" in lineage.steps[0].tools
    assert [step.id for step in lineage_of(q8).steps] == ["eight"]
    assert built.publish().outcome == "unchanged"


def measured(it, **figures):
    """A built variant with an evaluation that says this."""
    evaluation = Evaluation(
        candidate="c", reference="r", kind="gguf", texts_sha256="t", seed=7, sizes={}, versions={},
        figures={name: Figure(value=value, low=value, high=value) for name, value in figures.items()},
    )  # fmt: skip
    return dataclasses.replace(it, evaluation=evaluation)


def needs_in_bytes(built):
    built.publish()
    _, manifest = Catalog(built.store).manifest("chat", "1.0.0")
    return [variant.needs.memory_bytes for variant in manifest.variants]


def test_each_variant_needs_what_was_measured_of_it(folder):
    built = Built(folder)
    q8, q4 = built.built
    built.built = [measured(q8, memory_bytes=3e9), measured(q4, memory_bytes=2_000_000_001)]
    assert needs_in_bytes(built) == [3_000_000_000, 2_000_000_001]


def test_what_was_not_measured_is_estimated(folder):
    estimates = needs_in_bytes(Built(folder))
    assert all(96 << 20 < estimate < 112 << 20 for estimate in estimates)
    for figures in ({}, {"memory_bytes": None}, {"bytes": 3e9, "wire_bytes": 3e9}):
        built = Built(folder)
        built.built = [measured(it, **figures) for it in built.built]
        assert needs_in_bytes(built) == estimates


def test_what_a_gate_refuses_is_not_published(folder):
    built = Built(folder, passed=(True, False))
    with pytest.raises(GateRefusedError, match=r"chat@1.0.0 is not published: q4: it broke"):
        built.publish()
    with pytest.raises(ReleaseUnknownError):
        Catalog(built.store).manifest("chat", "1.0.0")


def test_with_any_what_passed_is_published(folder):
    assert Built(folder, passed=(True, False), require="any").publish().variants == ("q8",)
    with pytest.raises(GateRefusedError, match=r"q8: it broke\. q4: it broke"):
        Built(folder, passed=(False, False), require="any").publish()


def test_without_evaluation_nothing_is_published(folder):
    built = Built(folder)
    built.plan = dataclasses.replace(built.plan, recipe=dataclasses.replace(built.plan.recipe, evaluate=None))
    with pytest.raises(GateRefusedError, match=r"has no \[evaluate\]"):
        check_publishable(built.plan, built.store, "stable")
    with pytest.raises(GateRefusedError, match=r"has no \[evaluate\]"):
        built.publish()


class TestBeforeAnyWork:
    """What would be refused when hours of work are done is refused before them."""

    @staticmethod
    def planned(folder, *, old="", new="", source="toy.gguf"):
        """The recipe that `Built` publishes, or one that says something else, where nothing is made yet."""
        text = (RECIPE + '[publish]\nrequire = "all"\n').replace(old, new)
        workspace = Workspace(folder / "nothing")
        plan = plan_build(
            parse_recipe(text.encode(), folder / "r.toml"), workspace, source_path=folder / source
        )
        assert not any(step.done for step in plan.steps)
        return plan

    def test_a_new_version_and_the_very_same_recipe_are_let_through(self, folder):
        built = Built(folder)
        check_publishable(self.planned(folder), built.store, "stable")
        built.publish()
        check_publishable(self.planned(folder), built.store, "stable")
        check_publishable(self.planned(folder, old="1.0.0", new="1.0.1"), built.store, None)

    def test_a_version_that_something_else_made_is_a_conflict(self, folder):
        built = Built(folder)
        built.publish()
        other = self.planned(folder, old="seed = 7", new="seed = 8")
        with pytest.raises(
            ReleaseConflictError, match=r"chat@1\.0\.0 is published already, .* of r\.toml a new"
        ):
            check_publishable(other, built.store, None)
        write_toy_llama(folder / "other.gguf", seed=9)
        with pytest.raises(ReleaseConflictError):
            check_publishable(self.planned(folder, source="other.gguf"), built.store, None)

    def test_a_version_without_a_lineage_is_a_conflict(self, folder):
        store = signed_in_memory()
        publish(
            folder / "toy.gguf", name="chat", version="1.0.0", store=store, channel=None, created_unix_s=1
        )
        with pytest.raises(ReleaseConflictError):
            check_publishable(self.planned(folder), store, None)

    def test_wrong_words_withdrawn_versions_and_parents_that_are_not_there(self, folder):
        built = Built(folder)
        with pytest.raises(InputInvalidError, match="channel"):
            check_publishable(self.planned(folder), built.store, "Not A Channel")
        child = self.planned(folder, old="license = ", new='parent = "chat@0.9.0"\nlicense = ')
        with pytest.raises(ReleaseUnknownError, match="chat"):
            check_publishable(child, built.store, None)
        built.publish()
        Catalog(built.store).yank("chat", "1.0.0")
        with pytest.raises(ReleaseYankedError):
            check_publishable(self.planned(folder), built.store, None)

    def test_keys_that_are_not_here(self, folder):
        built = Built(folder)
        built.publish()
        others = SignedStore(built.store.reader, KeysInMemory())
        with pytest.raises(KeyUnusableError, match="too few keys"):
            check_publishable(self.planned(folder, old="1.0.0", new="1.0.1"), others, None)


def test_what_was_damaged_in_the_workspace_is_not_published(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "b")
    built = Built(tmp_path / "b")
    model = built.built[1].artifact.model_file
    model.chmod(0o644)
    with model.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(StepFailedError, match="is not what was made"):
        built.publish()


class TestRederiving:
    @pytest.fixture
    def release(self, folder, tmp_path):
        built = Built(folder)
        built.publish()
        _, target = built.release(tmp_path / "r")
        return built, target

    def test_variants_are_rebuilt_from_what_they_were_made_from(self, release, folder):
        built, target = release
        q8, q4 = rederive_release(target, folder / "toy.gguf")
        assert q8.proven
        assert q8.exact_counts["Q8_0"] == 15
        assert not q4.proven
        assert "needs what step eight made" in q4.reason
        q8, q4 = rederive_release(target, built.built[0].artifact.model_file)
        assert "was made from" in q8.reason
        assert q4.proven
        assert q4.steps == ("plain", "four")
        assert set(q4.exact_counts) >= {"Q4_0", "Q5_1"}

    def test_a_changed_byte_is_found(self, release, folder):
        _, target = release
        model = target / "files/q8/model.gguf"
        model.chmod(0o644)
        data = bytearray(model.read_bytes())
        data[-5] ^= 1
        model.write_bytes(data)
        q8, _ = rederive_release(target, folder / "toy.gguf")
        assert len(q8.different) == 1
        assert not q8.proven

    def test_what_an_importance_weighed_is_not_called_different(self, tmp_path):
        write_toy_llama(tmp_path / "toy.gguf")
        (tmp_path / "learn.txt").write_text(" ".join(["tin shore a note rest old sun that land"] * 90))
        (tmp_path / "eval.txt").write_text("one\n\ntwo")
        release = Built(tmp_path, text=WEIGHED_RECIPE, passed=(True,))
        release.publish()
        _, target = release.release(tmp_path / "r")
        (four,) = rederive_release(target, tmp_path / "toy.gguf")
        assert four.different == ()
        assert "blk.0.ffn_up.weight" in four.untold
        assert four.exact_counts["F32"] > 0
        assert not four.proven
        # What no importance touches is still held against the parent.
        model = target / "files/model.gguf"
        made = ModelFile(model)
        norm = made.tensors["blk.0.attn_norm.weight"]
        model.chmod(0o644)
        data = bytearray(model.read_bytes())
        data[norm.start] ^= 1
        model.write_bytes(data)
        (four,) = rederive_release(target, tmp_path / "toy.gguf")
        assert four.different == ("blk.0.attn_norm.weight",)

    def test_a_file_that_is_no_parent_is_said(self, release, tmp_path):
        _, target = release
        with pytest.raises(InputInvalidError, match=r"nothing can be rebuilt from .*q8 was made from"):
            rederive_release(target, write_toy_llama(tmp_path / "other.gguf", seed=9))
        with pytest.raises(InputInvalidError, match="there is no file"):
            rederive_release(target, tmp_path / "no.gguf")
        with pytest.raises(InputInvalidError, match="holds no release"):
            rederive_release(tmp_path, target / "files/q8/model.gguf")


def test_a_lineage_that_is_none_is_refused():
    assert lineage_of(Variant(name="v", kind="gguf", files=())) is None
    for wrong in (b"\xc1", b"\x80", b"\x93\x01\x02\x03", b"\x00" * 9):
        with pytest.raises(ManifestInvalidError, match="the lineage of v"):
            lineage_of(Variant(name="v", kind="gguf", files=(), lineage=wrong))
