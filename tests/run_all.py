"""What ``make test`` runs: format, lint, types, import rule, profiles, tests; says how long each took."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parent.parent
WORKERS = (os.cpu_count() or 1) + 1
"""One more than processors, because many tests wait for something most of the time."""
PARTS: list[tuple[str, list[str]]] = [
    ("format", [f"{BIN}/ruff", "format", "--check", "--quiet", "."]),
    ("lint", [f"{BIN}/ruff", "check", "--quiet", "."]),
    ("types", [f"{BIN}/mypy"]),
    ("import rule", [f"{BIN}/lint-imports", "--no-logo"]),
    ("profiles", [f"{BIN}/kitwatch", "profiles", "check"]),
    (
        "tests",
        [f"{BIN}/pytest", "-n", f"{WORKERS}", "--dist", "worksteal", "-m", "not alone", "--durations=15", "tests"],
    ),
    ("tests alone", [f"{BIN}/pytest", "-m", "alone", "--durations=5", "tests"]),
]


def main() -> int:
    """Run every part, whatever the ones before it said."""
    results = []
    for name, command in PARTS:
        print(
            f"== {name}: {' '.join(os.path.relpath(word, ROOT) if word.startswith('/') else word for word in command)}"
        )
        sys.stdout.flush()
        begun = time.monotonic()
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        results.append((name, code, time.monotonic() - begun))
    print("== summary")
    for name, code, seconds in results:
        print(f"{name:12} {'passed' if code == 0 else f'FAILED ({code})':12} {seconds:7.1f} s")
    return 0 if all(code == 0 for _, code, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
