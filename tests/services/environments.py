"""Environments as docs/installation makes them: what one lock file names, and nothing else."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[2]
WHEELS = ROOT / ".venv" / "wheels"
Part = Literal["agent", "collector"]


def wheels() -> Path:
    """Have the locked wheels of both parts in a folder, and return it: tests have no network."""
    WHEELS.mkdir(exist_ok=True)
    for lock in ("agent", "collector"):
        file = ROOT / "requirements" / f"{lock}.lock"
        stamp = WHEELS / f".{lock}"
        if not stamp.exists() or stamp.read_text() != file.read_text():
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--only-binary=:all:"]
            version = subprocess.run(
                ["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
                capture_output=True, text=True, check=True,
            ).stdout.strip()  # fmt: skip
            command += [f"--python-version={version}", f"--dest={WHEELS}", f"--requirement={file}"]
            subprocess.run(command, check=True)
            stamp.write_text(file.read_text())
    return WHEELS


def lock_only(part: Part) -> Path:
    """Return the Python of an environment that has one part's lock installed, and this repository's packages."""
    folder = ROOT / ".venv" / f"only-{part}"
    lock = (ROOT / "requirements" / f"{part}.lock").read_text()
    python = folder / "bin" / "python"
    with (ROOT / ".venv" / f"only-{part}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # several test processes want it
        stamp = folder / "installed"
        if not stamp.exists() or stamp.read_text() != lock:
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder, with_pip=True)
            subprocess.run(
                [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes",
                 "--no-index", f"--find-links={wheels()}", "--requirement", ROOT / "requirements" / f"{part}.lock"],
                check=True,
            )  # fmt: skip
            _link_repository(folder)
            stamp.write_text(lock)
    return python


def _link_repository(folder: Path) -> None:
    """Let the environment find our packages where they stand, and know their version, without building anything."""
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "kitwatch.pth").write_text(f"{ROOT}\n")
    about = packages / f"kitwatch-{metadata.version('kitwatch')}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: kitwatch\nVersion: {metadata.version('kitwatch')}\n")
