"""The agent as its command runs it, and at the end the names of all modules it had loaded.

``python -m bench.measured_agent run CONFIG FILE``, or ``... import FILE``: load the same modules but the product's own,
do nothing, say ``there`` and wait.
"""

from __future__ import annotations

import sys
from pathlib import Path

OURS = ("agent", "telemetry", "firmware_profiles", "kitwatch", "bench", "__main__")


def main() -> None:
    """Do one or the other."""
    if sys.argv[1] == "run":
        _run(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        _import(Path(sys.argv[2]))


def _run(config: Path, modules: Path) -> None:
    from kitwatch.main import main as command

    if command(["agent", "--config", str(config)]):
        raise SystemExit(1)
    modules.write_text("\n".join(name for name in sys.modules if name.split(".")[0] not in OURS))


def _import(modules: Path) -> None:
    import importlib
    import signal

    for name in modules.read_text().split():
        try:
            importlib.import_module(name)
        except ImportError:  # a name that is no file's: os.path, builtin parts of compiled modules
            continue
    print("there", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
