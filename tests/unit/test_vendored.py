"""Files of other projects stand in the tree as they were published, with their licences."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT / "collector/web/static/vendor", ROOT / "tests/browser/vendor"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_vendored_files_are_the_published_ones(folder: Path) -> None:
    lines = [line.split() for line in (folder / "VENDORED").read_text().splitlines() if not line.startswith("#")]
    listed = {name: digest for digest, name, _, _ in lines}
    found = {
        one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in folder.iterdir() if one.name != "VENDORED"
    }
    assert found == listed
    packages = {package for _, _, package, _ in lines}
    assert packages == {package for _, name, package, _ in lines if name.startswith("LICENSE")}
