"""A simulated kit in a process of its own, so that answering costs the measured process nothing."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from simulator.kit import Endpoints, Kit
from simulator.scenario import load_scenario

COMMUNITY: Final = "bench-only"


@contextlib.contextmanager
def simulated_kit(cameras: int) -> Iterator[Endpoints]:
    """Run a kit with so many cameras; nothing ever fails in it."""
    command = [sys.executable, "-m", "bench.simulated_kit", str(cameras)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield Endpoints(**json.loads(child.stdout.readline()))
        finally:
            child.kill()


async def main(cameras: int) -> None:
    """Print where the kit answers and go on until killed."""
    names = tuple(f"camera-{number + 1}" for number in range(cameras))
    kit = Kit("amb-01", load_scenario("quiet"), COMMUNITY, names)
    print(json.dumps(dataclasses.asdict(await kit.start())), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
