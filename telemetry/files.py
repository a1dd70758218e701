"""Reading the YAML files that people write; every error names file, key, expected and found."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import yaml
from msgspec import inspect as shapes

from telemetry.metrics import nearest
from telemetry.printable import without_password

T = TypeVar("T")


class FileError(ValueError):
    """A file that people wrote is wrong. One line: file, key, expected, found."""

    def __init__(self, file: str | Path, key: str, problem: str) -> None:
        self.file = str(file)
        self.key = key
        self.problem = without_password(problem)
        super().__init__(f"{file}: {key}: {self.problem}" if key else f"{file}: {self.problem}")


_BASE_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The parser of libyaml where PyYAML was built with it: a tenth of the time."""


class _StrictLoader(_BASE_LOADER):  # type: ignore[misc]
    """Safe YAML that takes words as they are written, and refuses a key given twice.

    Where PyYAML follows YAML 1.1, ``no``, ``off``, ``on`` and ``yes`` become booleans (``mode: off``, ``country: no``)
    and ``18:30`` becomes 1110. Here ``true`` and ``false`` alone are booleans (YAML 1.2, 10.3.2), no number has colons.
    """


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, Any] = {}
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(None, None, "a key that is a list or mapping", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
        seen[key] = None
    loader.flatten_mapping(node)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_PLAIN_VALUES: Final = {
    "tag:yaml.org,2002:bool": (r"\A(?:true|True|TRUE|false|False|FALSE)\Z", "tTfF"),
    "tag:yaml.org,2002:int": (r"\A[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)\Z", "-+0123456789"),
    "tag:yaml.org,2002:float": (
        r"\A(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+"
        r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN))\Z",
        "-+0123456789.",
    ),
}
"""What is no text though it stands without quotes, and its first letters."""
_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _PLAIN_VALUES]
    for first, resolvers in _BASE_LOADER.yaml_implicit_resolvers.items()
}
for _tag, (_pattern, _first) in _PLAIN_VALUES.items():
    _StrictLoader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))
_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds. Raises FileError if it cannot be read or is no YAML."""
    return parse_yaml(read_text(path), path)


def read_text(path: Path) -> str:
    """Return what a text file holds. Raises FileError if it cannot be read or is no UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(path, "", f"expected a readable file, found: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise FileError(path, "", f"expected UTF-8, found other bytes at {error.start}") from None


def parse_yaml(text: str, path: str | Path) -> Any:
    """Return what YAML text holds. ``path`` names it in errors (FileError)."""
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}" if mark else ""
        raise FileError(path, where, f"expected YAML, found: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FileError(path, "", f"expected YAML, found: {' '.join(str(error).split())}") from None


def load(path: Path, type: type[T]) -> T:
    """Return the file as ``type``. Raises FileError."""
    return convert(read_yaml(path), type, path)


def convert(data: Any, type: type[T], path: str | Path, key: str = "") -> T:
    """Return plain data as ``type``. ``path`` and ``key`` say where it came from. Raises FileError."""
    try:
        return msgspec.convert(data, type)
    except msgspec.ValidationError as error:
        where, problem = _locate(data, shapes.type_info(type), key, str(error))
        raise FileError(path, where, problem) from None


def _locate(data: Any, shape: shapes.Type, key: str, message: str) -> tuple[str, str]:
    """Return (key, problem) of the innermost part that does not fit: msgspec itself does not name mapping keys."""
    kinds = _kinds(shape)
    if kinds and isinstance(data, Mapping):
        field = next(iter(kinds.values())).tag_field
        tag = data.get(field)
        if not isinstance(tag, str) or tag not in kinds:
            found = f"{tag!r}{nearest(str(tag), kinds)}" if field in data else "none"
            return f"{key}.{field}" if key else str(field), f"expected one of {', '.join(kinds)}; found {found}"
        shape = kinds[tag]
    for name, part, part_shape in _parts(data, shape):
        try:
            msgspec.convert(part, _python_type(part_shape))
        except msgspec.ValidationError as error:
            return _locate(part, part_shape, f"{key}.{name}" if key else str(name), str(error))
    return key, _explain(data, shape, message)


def _kinds(shape: shapes.Type) -> dict[str, shapes.StructType]:
    """Return the types of a union that are told apart by a key, by that key's value; empty for any other shape."""
    parts = shape.types if isinstance(shape, shapes.UnionType) else ()
    found = {str(part.tag): part for part in parts if isinstance(part, shapes.StructType) and part.tag_field}
    return found if len(found) > 1 else {}


def _parts(data: Any, shape: shapes.Type) -> list[tuple[Any, Any, shapes.Type]]:
    if isinstance(shape, shapes.UnionType):
        inner = [part for part in shape.types if not isinstance(part, shapes.NoneType)]
        return _parts(data, inner[0]) if len(inner) == 1 and data is not None else []
    if isinstance(shape, shapes.StructType) and isinstance(data, Mapping):
        fields = {field.encode_name: field for field in shape.fields}
        return [(name, data[name], fields[name].type) for name in data if name in fields]
    if isinstance(shape, shapes.DictType) and isinstance(data, Mapping):
        return [(name, part, shape.value_type) for name, part in data.items()]
    if isinstance(shape, shapes.ListType | shapes.VarTupleType | shapes.SetType) and isinstance(data, list):
        return [(number, part, shape.item_type) for number, part in enumerate(data)]
    return []


def _python_type(shape: shapes.Type) -> Any:
    """Return a type that ``msgspec.convert`` takes for a shape; constraints are kept where it matters."""
    match shape:
        case shapes.StructType():
            return shape.cls
        case shapes.UnionType():
            result: Any = None
            for number, part in enumerate(shape.types):
                result = _python_type(part) if number == 0 else result | _python_type(part)
            return result
        case shapes.NoneType():
            return None
        case shapes.DictType():
            return dict[_python_type(shape.key_type), _python_type(shape.value_type)]  # type: ignore[misc]
        case shapes.ListType():
            return list[_python_type(shape.item_type)]  # type: ignore[misc]
        case shapes.VarTupleType():
            return tuple[_python_type(shape.item_type), ...]  # type: ignore[misc]
        case shapes.TupleType():
            return tuple.__class_getitem__(tuple(_python_type(part) for part in shape.item_types))
        case shapes.LiteralType():
            from typing import Literal

            return Literal.__getitem__(tuple(shape.values))
        case shapes.StrType():
            return _with_meta(str, shape, ("pattern", "min_length", "max_length"))
        case shapes.IntType():
            return _with_meta(int, shape, ("gt", "ge", "lt", "le"))
        case shapes.FloatType():
            return _with_meta(float, shape, ("gt", "ge", "lt", "le"))
        case shapes.BoolType():
            return bool
        case shapes.DateType():
            return datetime.date
        case _:
            return Any


def _with_meta(base: type, shape: Any, names: tuple[str, ...]) -> Any:
    from typing import Annotated

    given = {name: getattr(shape, name) for name in names if getattr(shape, name) is not None}
    return Annotated[base, msgspec.Meta(**given)] if given else base


def _explain(data: Any, shape: shapes.Type, message: str) -> str:
    if isinstance(shape, shapes.UnionType):
        inner = [part for part in shape.types if not isinstance(part, shapes.NoneType)]
        shape = inner[0] if len(inner) == 1 else shape
    if isinstance(shape, shapes.StructType) and isinstance(data, Mapping):
        names = [*filter(None, [shape.tag_field]), *(field.encode_name for field in shape.fields)]
        unknown = re.search(r"unknown field `(.+?)`", message)
        if unknown:
            word = unknown.group(1)
            hint = nearest(word, names)
            return f"expected one of the keys {', '.join(names)}; found {word!r}{hint}"
        missing = re.search(r"required field `(.+?)`", message)
        if missing:
            return f"expected the key {missing.group(1)!r}, found only {', '.join(map(str, data)) or 'nothing'}"
    text = re.sub(r" - at `.*", "", message).replace("`", "")
    text = re.sub(r", got .*", "", text)
    if isinstance(shape, shapes.DateType):
        text = "Expected a day such as 2026-10-01"
    if isinstance(shape, shapes.LiteralType):
        text = f"Expected one of {', '.join(map(str, shape.values))}"
    if isinstance(shape, shapes.DictType) and isinstance(data, Mapping):
        # the only thing that can be wrong once all the parts fit is a key
        return f"{_plain(text)}, found the key {_bad_key(data, shape)!r}"
    if text.startswith("Expected"):
        shown = "a mapping" if isinstance(data, Mapping) else "a list" if isinstance(data, list) else repr(data)
        return f"{_plain(text)}, found {shown[:80]}"
    return text  # a type's own word on how its keys go together


def _plain(text: str) -> str:
    text = re.sub(r"str matching regex '\\\\A\[A-Za-z0-9_-\]\{1,32\}\\\\Z'", "1 to 32 letters, digits, _ or -", text)
    text = re.sub(r"\bbool\b", "true or false", text)
    return text.replace("Expected object", "expected a mapping").replace("Expected", "expected")


def _bad_key(data: Mapping[Any, Any], shape: shapes.DictType) -> Any:
    for key in data:
        try:
            msgspec.convert(key, _python_type(shape.key_type))
        except msgspec.ValidationError:
            return key
    return next(iter(data), None)


def read_secret(path: str | Path, key: str) -> str:
    """Return the secret in a file, without its line end. Raises FileError; the secret is in no message.

    A file that others can read is refused. Files below ``$CREDENTIALS_DIRECTORY`` may show their group
    a right to read: that is how the access list of a systemd credential looks.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "other bytes than UTF-8"
        raise FileError(file, key, f"expected a secret's file that can be read, found: {reason}") from None
    check_secret_mode(file, key)
    if not text:
        raise FileError(file, key, "expected a secret, found an empty file")
    return text


def check_secret_mode(path: str | Path, key: str) -> None:
    """Raise FileError for a secret's file that others may read; see ``read_secret``."""
    file = Path(path)
    try:
        mode = file.stat().st_mode & 0o777
    except OSError as error:
        raise FileError(file, key, f"expected a secret's file that can be read, found: {error.strerror}") from None
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    ours = credentials is not None and file.resolve().is_relative_to(Path(credentials).resolve())
    if mode & (0o037 if ours else 0o077):
        raise FileError(file, key, f"expected mode 0600, found {mode:04o}")
