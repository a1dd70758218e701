"""What is free amid the heap goes back to the kernel."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import psutil
from collector.garbage import give_back
mine = psutil.Process()
kept = [bytes(60_000) if number % 2 else bytes(600) for number in range(1_000)]  # small ones between large ones
full = mine.memory_info().rss
kept[1::2] = [None] * 500
freed = mine.memory_info().rss
give_back()
print(full - freed, freed - mine.memory_info().rss)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library gives back by itself, or never")
def test_what_is_free_between_things_in_use_is_given_back() -> None:
    environment = os.environ | {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
    by_itself, asked = (int(word) for word in done.stdout.split())
    assert by_itself < 5_000_000
    assert asked > 20_000_000
