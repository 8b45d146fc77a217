"""The AWS provider's schema, as far as ``deploy/aws`` uses it: which arguments and blocks each type takes and needs.

``aws_schema.json`` was extracted by ``python -m retail_platform_tests.deploy.aws_schema WHEEL`` from the package
cdktf-cdktf-provider-aws 21.22.1 (HashiCorp, MPL-2.0), bindings that were generated from the schema of hashicorp/aws 6.25.0.
Run it again when ``deploy/aws`` uses another type.
"""

from __future__ import annotations

import ast
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import hcl2

from retail_platform.settings import PROJECT_ROOT

AWS = PROJECT_ROOT / "deploy" / "aws"
SCHEMA = Path(__file__).with_name("aws_schema.json")

#: Of Terraform itself, in every resource.
META = {"for_each", "count", "depends_on", "lifecycle", "provider"}
_BINDINGS = {"connection", "provisioners", "timeouts"}

Block = dict[str, Any]


def parsed(folder: Path = AWS) -> Block:
    """All ``.tf`` files of a folder as one: block type to the list of its blocks."""
    whole: Block = {}
    for path in sorted(folder.glob("*.tf")):
        for kind, blocks in hcl2.loads(path.read_text(encoding="utf-8")).items():
            if isinstance(blocks, list):
                whole.setdefault(kind, []).extend(blocks)
    return whole


def plain(value: Any) -> Any:
    """The parser's value without the quotes and marks that it keeps."""
    if isinstance(value, str):
        return value.strip('"')
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    if isinstance(value, dict):
        return {plain(key): plain(entry) for key, entry in value.items() if not key.startswith("__")}
    return value


def declared(kind: str, folder: Path = AWS) -> list[tuple[str, str, Block]]:
    """(type, name, body) of every ``resource``, ``data`` or ``ephemeral``."""
    return [
        (type_, name, body)
        for entry in plain(parsed(folder).get(kind, []))
        for type_, named in entry.items()
        for name, body in named.items()
    ]


def complaints(label: str, body: Block, schema: Block) -> list[str]:
    """What the provider would refuse in this block: names that it does not know, names that it misses."""
    wrong = []
    given = set(body) - META
    dynamic = [plain(entry) for entry in body.get("dynamic", [])]
    blocks = {name: [content["content"][0]] for entry in dynamic for name, content in entry.items()}
    given = (given - {"dynamic"}) | set(blocks)
    wrong += [f"{label}: no argument {name}" for name in sorted(given - set(schema["takes"]))]
    wrong += [f"{label}: {name} is missing" for name in sorted(set(schema["needs"]) - given)]
    for name in sorted(given & set(schema["takes"])):
        inner = schema["takes"][name]
        if inner is not None:
            values = blocks.get(name, body.get(name))
            for value in values if isinstance(values, list) else [values]:
                wrong += complaints(f"{label}.{name}", value, inner)
    return wrong


def _extract(wheel: zipfile.ZipFile, module: str) -> Block:
    tree = ast.parse(wheel.read(f"cdktf_cdktf_provider_aws/{module}/__init__.py"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    (config,) = [name for name in classes if any("TerraformMetaArguments" in ast.dump(b) for b in classes[name].bases)]

    def block(name: str) -> Block:
        (init,) = [node for node in classes[name].body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
        takes: Block = {}
        needs = []
        for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
            if argument.arg in _BINDINGS | META or argument.annotation is None:
                continue
            words = {
                node.value if isinstance(node, ast.Constant) else getattr(node, "id", None)
                for node in ast.walk(argument.annotation)
            }
            inner = sorted(word for word in words if word in classes)
            takes[argument.arg] = block(inner[0]) if inner else None
            if default is None:
                needs.append(argument.arg)
        return {"takes": takes, "needs": needs}

    return block(config)


def main(wheel_path: str) -> None:
    """Write the schema of the types that are used."""
    found: Block = {}
    with zipfile.ZipFile(wheel_path) as wheel:
        for kind, prefix in (("resource", ""), ("data", "data_aws_"), ("ephemeral", "")):
            for type_, _, _ in declared(kind):
                name = type_.removeprefix("aws_")
                if kind != "ephemeral":  # the bindings know none
                    found[f"{kind} {type_}"] = _extract(wheel, f"{prefix}{name}")
    SCHEMA.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
