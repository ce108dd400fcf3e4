"""The modules and examples against the schema of AWS 6.62, by the real command line."""

import re

import pytest

from tests.terraform.parts import TERRAFORM

pytestmark = pytest.mark.terraform

MODULES = sorted(f"modules/{path.name}" for path in (TERRAFORM / "modules").iterdir())
EXAMPLES = sorted(f"examples/{path.name}" for path in (TERRAFORM / "examples").iterdir())
RUNS_AT_LEAST = 40
PASSED = re.compile(r"(\d+) passed, (\d+) failed")

INPUTS = {
    "examples/single-region": {"bucket": "releases", "public_host": "{id}.nodes.ai.example.com"},
    "examples/three-regions": {
        "bucket": "releases",
        "zone_id": "Z0123456789ABCDEF",
        "name": "ai.example.com",
    },
    "examples/existing-vpc": {
        "region": "eu-central-1",
        "vpc_id": "vpc-1",
        "subnet_ids": '["subnet-1"]',
        "client_cidrs": '["10.0.0.0/8"]',
        "place": "{ lat = 50.11, lon = 8.68 }",
        "zone_id": "Z0123456789ABCDEF",
        "name": "ai.example.com",
        "origins": '{ a = { ipv4 = "203.0.113.10" } }',
    },
}
PINNED = {
    "origin_url": "https://origin.example.com",
    "origin_ca_pin": "A" * 43,
    "certificate": '{ certificate_parameter = "/tls/cert", key_parameter = "/tls/key", region = "eu-central-1" }',
}


def test_all_of_it_is_formatted(shipped):
    done = shipped.run("fmt", "-check", "-recursive", "-diff")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("part", MODULES + EXAMPLES)
def test_it_fits_the_schema(shipped, part):
    shipped.init(part)
    shipped.must("validate", "-no-color", at=part)


def test_a_misspelt_argument_is_found(shipped):
    """The schema is a schema: what AWS does not know is refused, and named."""
    part = "modules/artifact-store"
    shipped.init(part)
    file = shipped.folder / part / "main.tf"
    right = file.read_text()
    file.write_text(right.replace("  block_public_acls ", "  block_public_aclz "))
    try:
        done = shipped.run("validate", "-no-color", at=part)
    finally:
        file.write_text(right)
    assert done.returncode != 0
    assert 'Did you mean "block_public_acls"?' in unwrapped(done.stderr)


def test_every_run_of_every_module_passes(shipped):
    counts = {}
    for module in MODULES:
        shipped.init(module)
        found = PASSED.search(shipped.must("test", "-no-color", at=module, timeout_s=900))
        assert found, f"{module} says nothing of its runs"
        counts[module] = int(found[1])
    assert all(counts.values()), f"a module without tests: {counts}"
    assert sum(counts.values()) >= RUNS_AT_LEAST, counts


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_output_and_variable_is_described(example):
    for file in ("variables.tf", "outputs.tf"):
        text = (TERRAFORM / example / file).read_text()
        blocks = re.findall(r'^(?:variable|output) "(\w+)" \{\n(.*?)^\}', text, re.DOTALL | re.MULTILINE)
        assert blocks
        assert [name for name, body in blocks if "description =" not in body] == []


@pytest.mark.parametrize("module", MODULES)
def test_a_modules_readme_lists_its_variables_and_outputs(module):
    folder = TERRAFORM / module
    readme = (folder / "README.md").read_text()
    names = re.findall(
        r'^(?:variable|output) "(\w+)"',
        (folder / "variables.tf").read_text() + (folder / "outputs.tf").read_text(),
        re.MULTILINE,
    )
    assert [name for name in names if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_applied_and_a_second_plan_changes_nothing(shipped, example):
    """Against the schema alone: nothing behind it but made-up ids."""
    shipped.init(example)
    given = [f"-var={name}={value}" for name, value in (INPUTS[example] | PINNED).items()]
    # Zones come from data, of which the schema's provider has none of its own.
    shipped.must("apply", "-auto-approve", "-input=false", "-no-color", *given, at=example)
    again = shipped.run("plan", "-input=false", "-no-color", "-detailed-exitcode", *given, at=example)
    assert again.returncode == 0, again.stdout
    shipped.must("destroy", "-auto-approve", "-input=false", "-no-color", *given, at=example)
    assert shipped.must("state", "list", at=example) == ""


def test_no_region_at_all_says_what_to_write(shipped):
    part = "examples/three-regions"
    shipped.init(part)
    given = [f"-var={name}={value}" for name, value in (INPUTS[part] | PINNED).items()]
    done = shipped.run("plan", "-input=false", "-no-color", *given, "-var=regions={}", at=part)
    assert done.returncode != 0
    assert "Write at least one region, such as" in unwrapped(done.stderr)


def unwrapped(text):
    """What was printed as one line, without the frame around it."""
    return " ".join(text.replace("│", " ").split())
