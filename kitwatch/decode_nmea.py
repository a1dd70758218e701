"""``kitwatch decode nmea``: what the agent would make of a receiver's log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.protocols.fixes import Epoch

_CHUNK = 4096


def decode_nmea(path: str | Path) -> dict[str, Any]:
    """Return what the log at ``path`` says; raises OSError when it cannot be read.

    ``epochs`` have ``time`` (UTC, ``HH:MM:SS`` with the fraction printed), ``date`` (``YYYY-MM-DD``) and ``utc`` (both
    together), ``fix`` (the words of ``gnss.fix``), ``latitude`` and ``longitude`` in degrees, ``altitude_m``,
    ``satellites``, ``hdop`` and ``speed_kmh``; what the receiver did not say, or cannot be believed, is null.
    ``summary`` counts: ``fixes`` (epochs with a fix), ``nmea_seen`` (false is not "no fix"), ``binary_frames``,
    ``unfinished`` (a ``$`` without checksum) and ``flags``; ``last_fix`` is the last epoch with a fix, or null.
    """
    from agent.protocols.fixes import Fixes

    fixes = Fixes()
    log = without_comments(Path(path).read_bytes())
    epochs = []
    for start in range(0, len(log), _CHUNK):
        epochs += fixes.feed(log[start : start + _CHUNK], 0.0)
    epochs += fixes.finish(0.0)
    rows = [_row(epoch) for epoch in epochs]
    fixed = [row for row in rows if row["fix"] != "none"]
    return {
        "sentences": fixes.framer.sentences,
        "bad_checksums": fixes.framer.bad_checksums,
        "epochs": rows,
        "summary": {
            "epochs": len(rows),
            "fixes": len(fixed),
            "last_fix": fixed[-1] if fixed else None,
            "nmea_seen": fixes.seen is not None,
            "antenna": fixes.antenna,
            "binary_frames": fixes.framer.binary_frames,
            "unfinished": fixes.framer.unfinished,
            "flags": [f"{flag} ({count} times)" if count > 1 else flag for flag, count in fixes.flags.items()],
        },
    }


def without_comments(log: bytes) -> bytes:
    """Return the log without its lines of comment: those that begin with ``#`` and are text throughout."""
    return b"".join(line for line in log.splitlines(keepends=True) if not _is_comment(line))


def _is_comment(line: bytes) -> bool:
    if not line.startswith(b"#"):
        return False
    try:
        return line.decode("utf-8").rstrip("\r\n").replace("\t", " ").isprintable()
    except UnicodeDecodeError:
        return False


def _row(epoch: Epoch) -> dict[str, Any]:
    date = None if epoch.date is None else epoch.date.isoformat()
    return {
        "time": epoch.time,
        "date": date,
        "utc": f"{date}T{epoch.time}Z" if date and epoch.time else None,
        "fix": epoch.fix,
        "latitude": epoch.latitude,
        "longitude": epoch.longitude,
        "altitude_m": epoch.altitude_m,
        "satellites": epoch.satellites,
        "hdop": epoch.hdop,
        "speed_kmh": epoch.speed_kmh,
    }
