"""Operations that do next to nothing, on models that are none: what a build does around them is what is tested."""

from __future__ import annotations

from typing import ClassVar

from origin.build.step import Step


class Copy(Step, frozen=True, kw_only=True, tag="copy"):
    """Its source again, with `text` at the end; counts to `slow_count`, slowly."""

    INPUTS: ClassVar = {"source": ("gguf",), "importance": ("importance",)}
    TEXTS: ClassVar = ("data",)
    MAKES: ClassVar = "gguf"
    MODULE: ClassVar = "tests.origin.build.toy_copy"

    text: str = ""
    importance: str = ""
    data: str = ""
    slow_count: int = 0
    fail: str = ""


class Measure(Step, frozen=True, kw_only=True, tag="measure"):
    """An importance of nothing."""

    INPUTS: ClassVar = {"source": ("gguf",)}
    TEXTS: ClassVar = ("data",)
    MAKES: ClassVar = "importance"
    MODULE: ClassVar = "tests.origin.build.toy_copy"

    data: str


TOYS = {"copy": Copy, "measure": Measure}
