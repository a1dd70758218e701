"""``kitwatch schema``: what the files that people write may hold, for editors (JSON Schema) and for readers (Markdown).

Both come from the very types that read the files, and from the text beside each field, so that neither can fall behind.
``docs/configuration.md`` is ``kitwatch schema --markdown``; a test holds them together.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import inspect as shapes

from telemetry.json_schema import explain, meanings, types_in

FILES: Final[dict[str, tuple[str, str, str]]] = {
    "fleet": ("fleet.yaml", "telemetry.fleet", "Fleet"),
    "agent": ("agent.yaml", "agent.config", "AgentConfig"),
    "collector": ("collector.yaml", "collector.config", "CollectorConfig"),
    "sms-gateway": ("sms-gateway.yaml", "collector.channels.sms_gateway", "SmsGateway"),
    "contract": ("contract.yaml", "collector.contract", "ContractFile"),
    "calendar": ("calendar/YEAR.yaml", "collector.calendars", "YearFile"),
    "profile": ("firmware_profiles/MAKER/NAME.yaml", "firmware_profiles.model", "ProfileFile"),
    "scenario": ("scenario.yaml", "simulator.scenario", "Scenario"),
}
"""The files that one type reads: name, and the type. Rules are read in steps: ``rules_reference``."""
RULES: Final = "rules"
DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_EDITORS: Final = """An editor that knows JSON Schema completes keys and marks mistakes while one types.
`kitwatch schema --to DIR` writes the schema of every file there (a release has them in `schema/`); a first line in the
file says which is meant:

```yaml
# yaml-language-server: $schema=/usr/local/share/kitwatch/fleet.schema.json
```

VS Code (extension *YAML*), Neovim, Helix, Emacs and all others with yaml-language-server go by that line; JetBrains'
editors take the schema in *Settings, JSON Schema Mappings*. What no schema can say (names that must be in another
file, intervals and deadlines, series from two inputs) is found by `kitwatch fleet check`, `agent --check`,
`collector --check`, `rules check`, `contract check` and `profiles check`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("file", nargs="?", choices=[*FILES, RULES], help="one file's JSON Schema (draft 2020-12)")
    what.add_argument("--markdown", action="store_true", help="every key of every file, as docs/configuration.md")
    what.add_argument("--to", type=Path, metavar="DIR", help="write all JSON Schemas there, as NAME.schema.json")


def run(args: argparse.Namespace) -> int:
    """Run it."""
    if args.markdown:
        print(markdown(), end="")
    elif args.file:
        print(_text(args.file), end="")
    elif args.to:
        return _write(args.to)
    else:
        for name, (file, _, _) in FILES.items():
            print(f"{name:<10} {file}")
        print(f"{RULES:<10} rules/NAME.yaml")
    return 0


def _text(name: str) -> str:
    from kitwatch import rules_reference

    found = rules_reference.json_schema() if name == RULES else json_schema(name)
    return json.dumps(found, ensure_ascii=False, indent=2) + "\n"


def _write(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (*FILES, RULES):
            (folder / f"{name}.schema.json").write_text(_text(name), encoding="utf-8")
    except OSError as error:
        print(f"kitwatch: {folder}: expected a folder that can be written, found: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a file, each key with its meaning."""
    root = _root(name)
    schema: dict[str, Any] = msgspec.json.schema(root)
    explain(schema["$defs"], types_in(root))
    return {"$schema": DRAFT, "title": FILES[name][0], **schema}


def undocumented(name: str) -> list[str]:
    """Return the keys of a file that no text explains, as ``Type.key``."""
    return [
        f"{struct.__name__}.{field.encode_name}"
        for struct in types_in(_root(name))
        for field in msgspec.structs.fields(struct)
        if not meanings(struct).get(field.name)
    ]


def markdown() -> str:
    """Return the reference of all files."""
    lines = [
        "# Every key of every file",
        "",
        "Written by `kitwatch schema --markdown` from the types that read the files; do not edit it by hand.",
        "Rules files stand in [rules.md](rules.md). A key without a default is required.",
        "",
        "## In an editor",
        "",
        _EDITORS,
    ]
    seen: set[type] = set()
    for name, (file, _, _) in FILES.items():
        lines += ["", f"## {file}"]
        for struct in types_in(_root(name)):
            anchor = f"### {struct.__name__}"
            if struct in seen:
                continue
            seen.add(struct)
            lines += ["", anchor, "", *reference(struct)]
    return "\n".join(lines) + "\n"


def reference(struct: type[msgspec.Struct], keys: Sequence[str] | None = None) -> list[str]:
    """Return what a type is and a table of its keys, in Markdown; ``keys``: only the fields of these names."""
    lines = [inspect.cleandoc(struct.__doc__ or "").split("\n\n")[0].replace("\n", " "), ""]
    lines += ["| key | what it takes | default | meaning |", "|---|---|---|---|"]
    documented = meanings(struct)
    for field in msgspec.structs.fields(struct):
        if keys is None or field.name in keys:
            lines.append(
                f"| `{field.encode_name}` | {_cell(_words(shapes.type_info(field.type)))} |"
                f" {_cell(_default(field))} | {_cell(documented.get(field.name, ''))} |"
            )
    return lines


def _root(name: str) -> type[msgspec.Struct]:
    _, module, attribute = FILES[name]
    root: type[msgspec.Struct] = getattr(importlib.import_module(module), attribute)
    return root


def _words(info: shapes.Type) -> str:
    """Return what a value may be, in words."""
    match info:
        case shapes.Metadata():
            return _words(info.type)
        case shapes.StructType():
            return f"[{info.cls.__name__}](#{info.cls.__name__.lower()})"
        case shapes.UnionType():
            return " or ".join(_words(part) for part in info.types if not isinstance(part, shapes.NoneType))
        case shapes.DictType():
            return f"{_words(info.key_type)} → {_words(info.value_type)}"
        case shapes.CollectionType():
            return f"list of {_words(info.item_type)}"
        case shapes.TupleType():
            return "[" + ", ".join(_words(part) for part in info.item_types) + "]"
        case shapes.LiteralType():
            return ", ".join(f"`{value}`" for value in info.values)
        case shapes.IntType() | shapes.FloatType():
            name = "whole number" if isinstance(info, shapes.IntType) else "number"
            limits = [
                f"{word} {value:g}"
                for word, value in (("≥", info.ge), (">", info.gt), ("≤", info.le), ("<", info.lt))
                if value is not None
            ]
            return " ".join([name, ", ".join(limits)]).strip()
        case shapes.BoolType():
            return "`true` or `false`"
        case shapes.StrType():
            return f"text matching `{info.pattern}`" if info.pattern else "text"
        case _:
            return "anything"


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None or value in ((), [], {}, ""):
        return "none"
    if isinstance(value, msgspec.Struct):
        return "its defaults"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    return "`" + ", ".join(map(str, value)) + "`" if isinstance(value, tuple) else f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
