"""The providers that can be had, once for all tests of a run."""

from __future__ import annotations

import shutil

import pytest

from tests.terraform import aws_schema, parts
from tests.terraform.workspace import Workspace


@pytest.fixture(scope="session")
def providers(tmp_path_factory):
    """Both providers; the tests are skipped, saying why, where they cannot be had."""
    try:
        parts.terraform_binary()
        return parts.providers(tmp_path_factory.mktemp("providers"), aws_schema.write_schema)
    except parts.PartMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def shipped(providers, tmp_path_factory):
    """All that is shipped, with the provider of the version that it is written for."""
    folder = tmp_path_factory.mktemp("shipped") / "terraform"
    shutil.copytree(parts.TERRAFORM, folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    return Workspace(folder, providers.schema)
