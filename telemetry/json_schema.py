"""JSON Schemas of our types, with the text that stands below each field: what files may hold, what the API answers.

msgspec makes a schema of a type, but knows neither the texts nor that editors read patterns as ECMA-262 has them.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, is_typeddict

import msgspec
from msgspec import inspect as shapes


def explain(definitions: dict[str, Any], types: Sequence[type]) -> None:
    """Put each key's meaning into a schema's definitions, and patterns into the editors' language.

    JSON Schema's patterns are ECMA-262's, which has no ``\\A`` and ``\\Z``: an editor would refuse them.
    """
    for one in types:
        definition = definitions.get(one.__name__)
        if definition is None:
            continue
        documented = meanings(one)
        for name, key in _keys(one):
            if name in documented and key in definition["properties"]:
                # beside $ref nothing else counts in older drafts; 2020-12, which msgspec writes, allows it
                definition["properties"][key]["description"] = documented[name]
    _translate_patterns(definitions)


def types_in(root: type) -> list[type]:
    """Return the structs and typed dictionaries of a type, itself first, each once, as a reader meets them."""
    found: list[type] = []
    row: list[type] = [root]
    while row:
        one = row.pop(0)
        if one in found:
            continue
        found.append(one)
        info = shapes.type_info(one)
        assert isinstance(info, shapes.StructType | shapes.TypedDictType)
        for field in info.fields:
            row += _types_in(field.type)
    return found


@functools.cache
def meanings(type: type) -> dict[str, str]:
    """Return the text below each field of a type and of those it extends, on one line each (PEP 257, attributes)."""
    found: dict[str, str] = {}
    try:
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(type))).body
        assert isinstance(body, ast.ClassDef)
    except OSError:  # made by defstruct: what it adds is explained where it is made
        body = ast.ClassDef(name=type.__name__, bases=[], keywords=[], body=[], decorator_list=[])
    for base in _bases(type, body):
        found |= meanings(base)
    for node, after in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            found[node.target.id] = " ".join(after.value.value.split())
    return found


def _bases(one: type, written: ast.ClassDef) -> Iterator[type]:
    """Yield what a type extends and has fields; a typed dictionary itself does not remember it."""
    if not is_typeddict(one):
        yield from (base for base in one.__bases__ if issubclass(base, msgspec.Struct) and base is not msgspec.Struct)
        return
    for name in (base.id for base in written.bases if isinstance(base, ast.Name)):
        base: type | None = getattr(sys.modules[one.__module__], name, None)
        if base is not None and is_typeddict(base):
            yield base


def _keys(one: type) -> Iterator[tuple[str, str]]:
    """Yield (name in the code, key on the wire) of each field."""
    if is_typeddict(one):
        yield from ((name, name) for name in one.__annotations__)
    else:
        yield from ((field.name, field.encode_name) for field in msgspec.structs.fields(one))


def _translate_patterns(part: Any) -> None:
    if isinstance(part, dict):
        if isinstance(part.get("pattern"), str):
            part["pattern"] = part["pattern"].replace(r"\A", "^").replace(r"\Z", "$")
        for inner in part.values():
            _translate_patterns(inner)
    elif isinstance(part, list):
        for inner in part:
            _translate_patterns(inner)


def _types_in(info: shapes.Type) -> Iterator[type]:
    match info:
        case shapes.StructType() | shapes.TypedDictType():
            yield info.cls
        case shapes.UnionType():
            for part in info.types:
                yield from _types_in(part)
        case shapes.DictType():
            yield from _types_in(info.value_type)
        case shapes.CollectionType():
            yield from _types_in(info.item_type)
        case shapes.TupleType():
            for part in info.item_types:
                yield from _types_in(part)
        case shapes.Metadata():
            yield from _types_in(info.type)
