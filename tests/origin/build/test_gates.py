import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.build.evaluate.figures import FIGURES, Evaluation, Figure
from origin.build.gates import Limit, check_gates, default_gates, judge
from origin.errors import RecipeInvalidError


def figure(value, spread=0.0):
    return Figure(value=value, low=value - spread, high=value + spread)


def evaluation(kind="gguf", faults=(), new_space=False, **figures):
    return Evaluation(
        candidate="c", reference="r", kind=kind, texts_sha256="t", seed=7, new_space=new_space, figures=figures,
        sizes={}, faults=tuple(faults), versions={},
    )  # fmt: skip


# As measured by hand on SmolLM2-135M and MiniLM-L6 before this was written.
GOOD_CHAT = {
    "kl_mean": figure(0.0579, 0.004), "kl_p99": figure(0.385, 0.05), "top1": figure(0.866, 0.01),
    "perplexity_ratio": figure(1.064, 0.01), "tokenizer_same": figure(1.0), "leaked_share": figure(0.0),
}  # fmt: skip
GOOD_VECTORS = {
    "cosine_mean": figure(0.9919, 0.0005), "cosine_min": figure(0.972), "nn10": figure(0.838, 0.008),
    "similarity_share": figure(1.0, 0.01), "probe_share": figure(1.02, 0.02), "leaked_share": figure(0.0),
}  # fmt: skip


def test_the_default_gate_lets_good_variants_through():
    assert judge(evaluation(**GOOD_CHAT), None).passed
    assert judge(evaluation("onnx", **GOOD_VECTORS), None).passed


@pytest.mark.parametrize(
    ("kl", "p99", "top1", "ppl"),
    [
        (0.333, 2.4, 0.69, 1.36),  # two of thirty layers dropped
        (0.20, 1.4, 0.75, 1.15),  # the same, healed
        (0.305, 1.83, 0.703, 1.21),  # Q4_0 without an importance matrix
        (0.21, 1.5, 0.77, 1.21),  # narrower inside
        (0.795, 4.0, 0.531, 2.0),  # magnitude 30 %
    ],
)
def test_the_default_gate_refuses_what_lost_too_much(kl, p99, top1, ppl):
    spoiled = GOOD_CHAT | {
        "kl_mean": figure(kl), "kl_p99": figure(p99), "top1": figure(top1), "perplexity_ratio": figure(ppl),
    }  # fmt: skip
    verdict = judge(evaluation(**spoiled), None)
    assert not verdict.passed
    assert any("kl_mean" in reason for reason in verdict.reasons)


@pytest.mark.parametrize(("mean", "least", "kept"), [(0.9592, 0.862, 0.686), (0.9260, 0.837, 0.578)])
def test_the_default_gate_refuses_vectors_that_moved_though_tasks_did_not(mean, least, kept):
    moved = {"cosine_mean": figure(mean), "cosine_min": figure(least), "nn10": figure(kept)}
    verdict = judge(evaluation("onnx", **(GOOD_VECTORS | moved)), None)
    assert {row.name for row in verdict.rows if not row.passed} == set(moved)


def test_a_student_is_judged_by_its_tasks_alone_and_must_have_one():
    far = {"cosine_mean": figure(0.84), "nn10": figure(0.44), "leaked_share": figure(0.0)}
    assert judge(evaluation("onnx", new_space=True, retrieval_share=figure(0.92, 0.05), **far), None).passed
    without = judge(evaluation("onnx", new_space=True, **far), None)
    assert without.reasons == ("retrieval_share was not measured",)


def test_the_far_end_of_the_interval_counts_unless_the_recipe_says_otherwise():
    found = evaluation(kl_mean=figure(0.09, 0.02))
    assert not judge(found, {"kl_mean": Limit(max=0.1)}).passed
    assert judge(found, {"kl_mean": Limit(max=0.1, against="value")}).passed
    assert judge(found, {"kl_mean": Limit(max=0.11)}).passed


def test_what_was_not_measured_or_is_no_number_never_passes():
    nothing = Figure(value=None, low=None, high=None)
    assert not judge(evaluation(), {"kl_mean": Limit(max=1)}).passed
    assert not judge(evaluation(kl_mean=nothing), {"kl_mean": Limit(max=1e9)}).passed
    half = Figure(value=0.1, low=0.1, high=None)
    assert not judge(evaluation(kl_mean=half), {"kl_mean": Limit(max=1e9)}).passed
    nan = Figure(value=math.nan, low=math.nan, high=math.nan)
    assert not judge(evaluation(kl_mean=nan), {"kl_mean": Limit(max=1e9)}).passed
    assert not judge(evaluation(kl_mean=nan), {"kl_mean": Limit(min=-1e9)}).passed


def test_a_fault_refuses_whatever_the_figures_say_and_is_the_only_reason():
    verdict = judge(evaluation(faults=["it cannot be computed: why"]), None)
    assert not verdict.passed
    assert verdict.reasons == ("it cannot be computed: why",)


def test_tokenizer_and_leaks_are_judged_beside_what_a_recipe_says_unless_it_says_so():
    found = evaluation(kl_mean=figure(0.01), tokenizer_same=figure(0.98), leaked_share=figure(0.3))
    assert {row.name for row in judge(found, {"kl_mean": Limit(max=0.1)}).rows if not row.passed} == {
        "tokenizer_same",
        "leaked_share",
    }
    own = {"tokenizer_same": Limit(min=0.9), "leaked_share": Limit(max=0.5)}
    assert judge(found, own).passed


def test_a_speed_is_held_against_the_sibling_that_is_named():
    found = evaluation(**{"decode_speedup": figure(1.2), "decode_speedup@km4": figure(1.5)})
    assert judge(found, {"decode_speedup": Limit(min=1.4, vs="km4")}).passed
    assert not judge(found, {"decode_speedup": Limit(min=1.4)}).passed


@pytest.mark.parametrize(
    ("text", "most"), [("90 MB", 90e6), ("90MiB", 90 * 2**20), ("1.5 GB", 1.5e9), ("12 kB", 12e3), ("7 B", 7)]
)
def test_bytes_may_be_written_with_a_unit(text, most):
    check_gates({"bytes": Limit(max=text)}, frozenset())
    assert judge(evaluation(bytes=figure(most)), {"bytes": Limit(max=text)}).passed
    assert not judge(evaluation(bytes=figure(most + 1)), {"bytes": Limit(max=text)}).passed


@pytest.mark.parametrize(
    ("gates", "hint"),
    [
        ({"kl_means": Limit(max=1)}, 'did you mean "kl_mean"'),
        ({"zzz": Limit(max=1)}, "kl_mean, kl_p99"),
        ({"kl_mean": Limit()}, "no bound"),
        ({"kl_mean": Limit(min=2, max=1)}, "above its max"),
        ({"kl_mean": Limit(max=math.nan)}, "is no bound"),
        ({"kl_mean": Limit(max="90 MB")}, "is no bound"),
        ({"bytes": Limit(max="90 miles")}, "is no bound"),
        ({"bytes": Limit(max="90 iB")}, "is no bound"),
        ({"kl_mean": Limit(max=1, vs="km4")}, "is not a speed"),
        ({"decode_speedup": Limit(min=1, vs="km5")}, "no variant of this recipe"),
        ({"decode_tokens_per_s": Limit(min=100)}, "limit decode_speedup"),
        ({"load_s": Limit(max=1)}, "limit load_speedup"),
        ({"encode_texts_per_s": Limit(min=1)}, "limit encode_speedup, which is against a sibling"),
        ({"memory_bytes": Limit(max="1 GB")}, "depends on the machine: limit bytes, which"),
    ],
)
def test_limits_that_cannot_hold_are_refused_before_anything_is_built(gates, hint):
    with pytest.raises(RecipeInvalidError, match=hint):
        check_gates(gates, frozenset({"km4"}))


def test_every_default_is_a_gate_that_a_recipe_could_have():
    for found in (
        evaluation(**GOOD_CHAT),
        evaluation("onnx", **GOOD_VECTORS),
        evaluation("onnx", new_space=True),
    ):
        check_gates(default_gates(found), frozenset())


@given(
    st.floats(-10, 10), st.floats(0, 5), st.floats(-10, 10), st.sampled_from(["min", "max"]),
    st.sampled_from(sorted(name for name in FIGURES if FIGURES[name].unit != "bytes")),
)  # fmt: skip
def test_a_row_passes_exactly_when_its_whole_interval_is_within(value, spread, edge, side, name):
    found = figure(value, spread)
    row = judge(evaluation(**{name: found}), {name: Limit(**{side: edge})}).rows[0]
    assert row.passed == (found.low >= edge if side == "min" else found.high <= edge)
    assert bool(row.reason) != row.passed
