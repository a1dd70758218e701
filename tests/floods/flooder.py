"""``python -m tests.floods.flooder PORT FLOOD SECONDS``: pour it out as fast as the broker takes it; print how much.

A client of MQTT 3.1.1 as small as can be: it waits for no acknowledgement. Messages are made beforehand as far as that
goes, so that it is not the making that bounds the flood.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator

from tests.floods.floods import FLOODS, Flood, packet

MADE_S = 4.0
"""Time for making them, as long as the flood at most."""
MOST_BYTES = 200 * 2**20
CHUNK = 256 * 1024


def main(port: int, name: str, seconds: float) -> None:
    """Connect, make, pour."""
    flood = FLOODS[name]
    packets = _packets(flood)
    made: list[bytes] = []
    size, until = 0, time.monotonic() + min(MADE_S, seconds)
    while size < MOST_BYTES and time.monotonic() < until and len(made) < 400_000:
        made.append(next(packets))
        size += len(made[-1])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        id = b"flooder"
        head = b"\0\4MQTT\4\2\xff\xff" + len(id).to_bytes(2, "big") + id
        sock.sendall(bytes([0x10, len(head)]) + head)
        assert sock.recv(4)[3] == 0, "the broker refuses us"
        threading.Thread(target=_read, args=(sock,), daemon=True).start()
        print("begin", flush=True)
        sys.stdin.readline()
        sock.settimeout(10)
        begun, messages, sent = time.monotonic(), 0, 0
        chunk = bytearray()
        row: Iterator[bytes] = iter(made)
        while time.monotonic() - begun < seconds:
            one = next(row, None)
            if one is None:
                row = packets
                continue
            chunk += one
            messages += 1
            if len(chunk) >= CHUNK or row is packets:
                try:
                    sock.sendall(chunk)
                except OSError:
                    break  # the broker has had enough of us
                sent += len(chunk)
                chunk.clear()
    print(json.dumps({"messages": messages, "bytes": sent, "seconds": round(time.monotonic() - begun, 1)}))


def _packets(flood: Flood) -> Iterator[bytes]:
    for number, said in enumerate(flood.says()):
        yield packet(said, flood, number)


def _read(sock: socket.socket) -> None:
    try:
        while sock.recv(65_536):
            pass
    except OSError:
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
