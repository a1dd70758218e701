"""A network namespace that loses packets, for tests. Needs root, iproute2 and nftables."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.services.process import need

_CLONE_NEWNET = 0x40000000
T = TypeVar("T")


class Namespace:
    """A namespace with a loopback interface. ``prefix`` makes a command run in it."""

    def __init__(self, name: str, ip: str, nft: str) -> None:
        self.name = name
        self.prefix = [ip, "netns", "exec", name]
        self._nft = nft

    def lose(self, percent: int, protocol: str) -> None:
        """Drop a share of what arrives over ``udp``, ``tcp`` or ``icmp``, at random, and count it."""
        rules = f"""
            table inet test {{
                chain input {{
                    type filter hook input priority 0;
                    meta l4proto {protocol} numgen random mod 100 < {percent} counter drop
                }}
            }}"""
        subprocess.run([*self.prefix, self._nft, "-f", "-"], input=rules.encode(), check=True)

    def lost(self) -> int:
        """Return how many packets were dropped so far."""
        rules = subprocess.run([*self.prefix, self._nft, "list", "ruleset"], capture_output=True, check=True)
        found = re.search(rb"counter packets (\d+)", rules.stdout)
        assert found is not None
        return int(found[1])

    def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` in a thread whose sockets, and those of the threads it starts, belong to the namespace."""
        results: list[T] = []
        errors: list[BaseException] = []

        def inside() -> None:
            try:
                with Path("/run/netns", self.name).open() as file:
                    if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                results.append(function())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """Make a namespace and remove it. Skips loudly where that is not allowed, fails under ``CI=true``."""
    ip, nft = need("ip", "iproute2"), need("nft", "nftables")
    name = f"kitwatch-{secrets.token_hex(4)}"
    made = subprocess.run([ip, "netns", "add", name], capture_output=True, check=False)
    if made.returncode != 0:
        message = f"no network namespace can be made ({made.stderr.decode().strip()}): packet loss is NOT tested"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        warnings.warn(message, stacklevel=2)
        pytest.skip(message)
    try:
        subprocess.run([ip, "-n", name, "link", "set", "lo", "up"], check=True)
        yield Namespace(name, ip, nft)
    finally:
        subprocess.run([ip, "netns", "delete", name], check=True)
