"""Who speaks over the socket in the runtime directory: the system says which user of this machine it is.

No field and no header names the user. Who that is for us, the rosters say (``identity.py``).
"""

from __future__ import annotations

import pwd
import socket
import struct
from typing import Final

from aiohttp import web

_PEER: Final = struct.Struct("3i")
"""``struct ucred`` of SO_PEERCRED (unix(7)): process, user, group."""


def system_user(request: web.Request) -> tuple[str, int] | None:
    """Return the name and number of the user at the other end of the socket; ``None`` over TCP.

    Raises 403 for a user that this machine does not know.
    """
    transport = request.transport
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    _, user, _ = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    try:
        return pwd.getpwuid(user).pw_name, user
    except KeyError:
        raise web.HTTPForbidden(text=f"user {user} is none of this machine") from None
