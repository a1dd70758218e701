"""What a TCP connection costs on the air, as the kernel counts it."""

from __future__ import annotations

import socket
import struct


def bytes_on_air(sock: socket.socket) -> tuple[int, int] | None:
    """Return (sent, received) with headers from Linux' ``struct tcp_info`` (linux/tcp.h), or None elsewhere.

    Payload is what was acknowledged and received; each segment adds its IP and TCP header. Retransmissions count as
    one header only.
    """
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 144)
    except (AttributeError, OSError):
        return None
    if len(info) < 144:
        return None
    acked, received, segments_out, segments_in = struct.unpack_from("=QQII", info, 120)
    header = (40 if sock.family == socket.AF_INET6 else 20) + 20 + (12 if info[5] & 1 else 0)
    return acked + segments_out * header, received + segments_in * header
