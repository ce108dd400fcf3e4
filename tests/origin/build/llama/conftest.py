"""The toy model and how a step is run on it, as with operations on files."""

from tests.origin.build.gguf.conftest import do, texts, toy  # noqa: F401 - fixtures are found by their names
