"""``kitwatch agent --once [DEVICE]``: what one poll of each device brings, for whoever stands in the vehicle."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from telemetry.files import FileError
from telemetry.metrics import nearest

if TYPE_CHECKING:
    from agent.config import AgentConfig
    from agent.once import Look


def once(config: AgentConfig, path: Path, device: str, *, as_json: bool) -> int:
    """Poll all devices, or one, and print what came of it; return 1 if one is not there or could not be read.

    Raises FileError for a device that the configuration does not have.
    """
    from agent.once import look

    if device and device not in config.devices:
        known = ", ".join(config.devices) or "none"
        hint = nearest(device, config.devices)
        raise FileError(path, "devices", f"expected one of its devices ({known}), found {device!r}{hint}")
    looks = asyncio.run(look(config, [device] if device else list(config.devices)))
    if as_json:
        print(json.dumps({"inputs": [_row(one) for one in looks]}, ensure_ascii=False))
    else:
        print("\n".join(line for one in looks for line in _lines(one)))
    return 0 if all(one.well for one in looks) else 1


def _row(one: Look) -> dict[str, Any]:
    return {
        "device": one.device,
        "kind": one.kind,
        "input": one.input,
        "seconds": round(one.seconds, 3),
        "profile": one.profile,
        "identity": one.identity,
        "readings": [
            {"metric": column.metric, "labels": dict(column.labels), "value": value} for column, value in one.values
        ],
        "flags": list(one.flags),
        "problem": one.problem or None,
    }


def _lines(one: Look) -> list[str]:
    by = f", read by {one.profile}" if one.profile else ""
    lines = [f"{one.device}/{one.input} ({one.kind}): {one.seconds:.2f} s{by}"]
    if one.identity:
        lines.append("  " + ", ".join(f"{name} {text}" for name, text in one.identity.items()))
    names = [(_series(column.metric, column.labels), value) for column, value in one.values]
    width = max((len(name) for name, _ in names), default=0)
    lines += [f"  {name:<{width}}  {_shown(value)}" for name, value in names]
    lines += [f"  flag: {_plain(flag)}" for flag in one.flags]
    if one.problem:
        lines.append(f"  problem: {_plain(one.problem)}")
    return lines


def _series(metric: str, labels: Any) -> str:
    told = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    return f"{metric}{{{told}}}" if told else metric


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else _plain(str(value))


def _plain(text: str) -> str:
    """Return what a device said without control characters: a terminal obeys them."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
