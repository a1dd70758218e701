"""The locks on every platform that docs/installation promises, by wheels only: nobody compiles in an ambulance.

pip resolves for another platform without installing anything; it asks the index for metadata, so it needs a network.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guide import DOCS, LANGUAGES

LOCKS = Path(__file__).parents[2] / "requirements"
GLIBC = ("2_36", "2_31", "2_28", "2_17")
"""Manylinux tags that Debian 12 (glibc 2.36) takes, as far as packages use them."""
FROM_SOURCE = ("msgspec", "psutil", "PyYAML", "cffi")
"""What has no wheel for armv7: docs/installation says how it is built."""


def resolve(lock: Path, architecture: str, directory: Path) -> str:
    """Return what pip complains of, or an empty text."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--no-deps",
               "--disable-pip-version-check", "--require-hashes", "--only-binary=:all:", "--python-version=3.11",
               "--implementation=cp", *(f"--platform=manylinux_{version}_{architecture}" for version in GLIBC),
               f"--platform=linux_{architecture}", f"--target={directory}", f"--requirement={lock}"]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300).stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize("lock", ["agent", "collector"])
@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_a_promised_platform_needs_no_compiler(lock: str, architecture: str, tmp_path: Path) -> None:
    assert resolve(LOCKS / f"{lock}.lock", architecture, tmp_path) == ""


@pytest.mark.timeout(300)
def test_on_armv7_the_agent_needs_one_for_what_the_guide_names_only(tmp_path: Path) -> None:
    entries = re.split(r"^(?=[A-Za-z0-9])", (LOCKS / "agent.lock").read_text(), flags=re.MULTILINE)
    named = {name.lower() for name in FROM_SOURCE}
    wheels = [entry for entry in entries if entry.partition("==")[0].lower() not in named]
    assert len(entries) - len(wheels) == len(FROM_SOURCE)
    (tmp_path / "wheels.lock").write_text("".join(wheels))
    assert resolve(tmp_path / "wheels.lock", "armv7l", tmp_path) == ""


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_guide_names_what_is_built_from_its_source(language: str) -> None:
    assert ", ".join(FROM_SOURCE) in (DOCS / f"installation.{language}.md").read_text(encoding="utf-8")
