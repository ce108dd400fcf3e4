from pathlib import Path

from origin.build.evaluate.figures import FIGURES, SPEEDUPS


def test_every_figure_is_explained():
    readme = Path(__file__).parents[4].joinpath("origin/build/evaluate/README.md").read_text("utf-8")
    assert [name for name in FIGURES if f"`{name}`" not in readme] == []


def test_what_a_machine_decides_is_no_gate_but_against_a_sibling():
    assert {name for name, meaning in FIGURES.items() if not meaning.repeatable} == SPEEDUPS | {
        "memory_bytes", "decode_tokens_per_s", "first_token_s", "encode_texts_per_s", "load_s",
    }  # fmt: skip
