"""What a TCP connection costs on the air, and whether it moves, as the kernel counts it."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios


def bytes_on_air(sock: socket.socket) -> tuple[int, int] | None:
    """Return (sent, received) with headers from Linux' ``struct tcp_info`` (linux/tcp.h), or None elsewhere.

    Payload is what was acknowledged and received; each segment adds its IP and TCP header. Retransmissions count as
    one header only.
    """
    info = _tcp_info(sock)
    if info is None:
        return None
    acked, received, segments_out, segments_in = struct.unpack_from("=QQII", info, 120)
    header = (40 if sock.family == socket.AF_INET6 else 20) + 20 + (12 if info[5] & 1 else 0)
    return acked + segments_out * header, received + segments_in * header


def bytes_taken(sock: socket.socket) -> int:
    """Return how many bytes the other side's TCP has acknowledged so far (``tcpi_bytes_acked``); 0 if unknown."""
    info = _tcp_info(sock)
    return 0 if info is None else int(struct.unpack_from("=Q", info, 120)[0])


def bytes_waiting(sock: socket.socket) -> int:
    """Return how many bytes are in the socket's send queue (SIOCOUTQ, tcp(7)): unsent or unacknowledged."""
    try:
        return int(struct.unpack("=i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])
    except (OSError, ValueError):  # closed meanwhile
        return 0


def _tcp_info(sock: socket.socket) -> bytes | None:
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 144)
    except (AttributeError, OSError):
        return None
    return info if len(info) >= 144 else None
