"""What says that it is pure is held to it: the contract in pyproject.toml forbids I/O, directly and through others."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]


def says_pure(path: Path) -> bool:
    """Say whether a module's docstring says so."""
    return re.search(r"\bPure\b", ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "") is not None


def pure_modules() -> list[str]:
    paths = (path for package in SETTINGS["root_packages"] for path in sorted((ROOT / package).rglob("*.py")))
    found = [path.relative_to(ROOT).with_suffix("") for path in paths if says_pure(path)]
    return [".".join(path.parts).removesuffix(".__init__") for path in found]


@pytest.mark.long
def test_every_module_that_says_pure_is_in_the_contract() -> None:
    (contract,) = (one for one in SETTINGS["contracts"] if "pure" in one["name"])
    assert not contract.get("allow_indirect_imports", False)
    held = contract["source_modules"]
    assert len(pure_modules()) > 50
    for module in pure_modules():
        assert any(module == one or module.startswith(f"{one}.") for one in held), f"{module} is not in the contract"
