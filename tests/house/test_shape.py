"""Sizes, names and docstrings of every source file."""

from __future__ import annotations

import ast
import re
import statistics

VAGUE = {
    "util", "utils", "helper", "helpers", "common", "misc", "base", "core", "manager", "handler", "handlers",
    "service", "types", "models", "main", "constants", "exceptions",
}  # fmt: skip
EVENT = re.compile(r"^[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*$")
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
UNITS = ("_s", "_ms", "_bytes", "_tokens", "_count", "_ratio", "_km", "_percent", "_per_s", "_slots", "port")


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_file_is_short_and_says_what_it_owns(source):
    first_line = (ast.get_docstring(source.tree) or "").partition("\n")[0]
    assert source.text.count("\n") <= 400, "a file is one idea: split it"
    assert first_line, "the first docstring line says what the file owns"
    assert len(first_line) <= 120
    # `models` is also a word of the domain: the verb that lists them. `__main__` is Python's own word.
    named_for_us = source.path.stem == "__main__" or source.name == "deploy/cli/models.py"
    assert named_for_us or not VAGUE & set(source.path.stem.split("_"))


def test_files_of_tests_are_short_too(root):
    files = sorted((root / "tests").rglob("*.py"))
    assert files
    assert [str(path) for path in files if path.read_text("utf-8").count("\n") > 400] == []


def test_functions_fit_a_screen(source):
    assert [f.name for f in functions(source.tree) if f.end_lineno - f.lineno >= 60] == []


def test_log_events_are_literal_nouns_with_past_verbs(source):
    for node in ast.walk(source.tree):
        if not (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS
        ):
            continue
        if isinstance(node.func.value, ast.Name) and node.func.value.id in {"log", "_log"}:
            event = node.args[0] if node.args else None
            assert isinstance(event, ast.Constant), f"line {node.lineno}: the event is a literal"
            assert EVENT.match(event.value), f"line {node.lineno}: {event.value!r} is not noun.past_verb"
            assert all(keyword.arg for keyword in node.keywords), (
                f"line {node.lineno} passes **kwargs to a log"
            )


def test_numbers_in_settings_carry_their_unit(source):
    if source.path.name != "config.py":
        return
    for definition in (node for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef)):
        for field in definition.body:
            if isinstance(field, ast.AnnAssign) and ast.unparse(field.annotation) in {"int", "float"}:
                assert field.target.id.endswith(UNITS), f"{field.target.id} has no unit"


def test_nothing_is_swallowed(source):
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            names = ast.unparse(node.type) if node.type else "everything"
            empty = all(isinstance(step, ast.Pass) for step in node.body)
            assert not (empty and names in {"everything", "Exception", "BaseException"}), (
                f"line {node.lineno}"
            )


def test_the_environment_is_read_in_one_place(source):
    # Set-up and the children of the local network pass the environment on; only settings take meaning from it.
    allowed = {
        "registry/settings.py",
        "deploy/bootstrap.py",
        "deploy/local/child.py",
        "edge_node/engines/process.py",
    }
    reads = re.findall(r"os\.(?:environ\.get|environ\[[^]]*\](?!\s*=)|getenv)", source.text)
    assert source.name in allowed or not reads


def test_files_are_small_on_the_whole(sources):
    assert statistics.median(source.text.count("\n") for source in sources) < 150
