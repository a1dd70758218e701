"""Whether a vehicle can send video now, in one word and why: the first question of whoever dispatches it. Pure.

It goes by what the kit said last (``key_figures``) and by its problems. That its streams play shows the whole way to
the encoder; that the vehicle is heard shows its way out. Nothing is made of silence but that nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

from collector.core.vehicle.key_figures import KeyFigure
from collector.core.vehicle.summary import Details
from telemetry.fleet import VehiclePlan

Can = Literal["yes", "limited", "no", "unknown", "off"]
"""``limited``: it plays, and something makes it worse; ``off``: parked or in the workshop, its kit may be without
power; ``unknown``: nobody can tell."""
STOPS: Final = ("video_all_down", "encoder_down", "encoder_no_video", "wan_no_data", "router_dead")
"""Faults with which no picture leaves the vehicle, the first one is named."""
NO_WAY_OUT: Final = ("sim_absent", "sim_locked", "registration_denied", "modem_hung")
"""Faults of a modem: no picture leaves the vehicle by it."""
HAMPERS: Final = (
    "stream_frozen", "stream_lossy", "camera_down", "packet_loss", "high_delay", "antenna_degraded", "nr_fallback",
    "modem_hot",
)  # fmt: skip
_VIDEO_KINDS: Final = ("camera", "encoder")


class Video(NamedTuple):
    """Whether it can, and the fault (an id of the catalogue) or the word that says why not; empty: nothing does."""

    can: Can
    why: str = ""


def video_of(state: str, details: Details, plan: VehiclePlan, *, is_heard: bool, is_listening: bool) -> Video:
    """Return whether a vehicle can send video.

    ``is_heard``: it has spoken within its interval; ``is_listening``: so have we, else nothing is known of anybody.
    """
    resting = state in ("parked", "workshop")
    if not is_listening:
        return Video("unknown", "not_listening")
    if not is_heard or state in ("silent", "unheard", "never_heard"):
        return Video("off", state) if resting else Video("unknown", "silent")
    faults = {problem.fault for problem in details.problems if problem.state == "active"}
    for fault in STOPS:
        if fault in faults:
            return Video("no", fault)
    cut = {problem.device: problem.fault for problem in details.problems if problem.fault in NO_WAY_OUT}
    others = [one for one in details.figures if one.metric == "modem.registration" and one.device not in cut]
    if cut and not any(one.value in ("home", "roaming") for one in others):
        return Video("no", next(iter(cut.values())))
    found = _seen(details.figures, plan)
    if found is None:
        return Video("off", state) if resting else Video("unknown", "unread")
    if not found:
        return Video("off", state) if resting else Video("no", "no_picture")
    worse = next((fault for fault in (*HAMPERS, *NO_WAY_OUT) if fault in faults), "")
    if not worse and not all(found):
        worse = "some_down"
    return Video("limited", worse) if worse else Video("yes")


def _seen(figures: Sequence[KeyFigure], plan: VehiclePlan) -> list[bool] | None:
    """Return of each source of pictures whether it works, empty if none does; ``None``: nobody reads any.

    Streams tell best, then an encoder's inputs, then whether cameras and encoders answer.
    """
    frozen = {(one.device, one.label) for one in figures if one.metric == "stream.frozen" and one.value is True}
    streams = [
        one.value is True and (one.device, one.label) not in frozen for one in figures if one.metric == "stream.up"
    ]
    inputs = [one.value is True for one in figures if one.metric == "device.video_input"]
    kinds = {id: device.kind for _, id, device in plan.devices()}
    answers = [
        one.value is True
        for one in figures
        if one.metric == "device.reachable" and kinds.get(one.device) in _VIDEO_KINDS
    ]
    for told in (streams, inputs, answers):
        if told:
            return told if any(told) else []
    return None


def newest_of(figures: Iterable[KeyFigure]) -> dict[str, KeyFigure]:
    """Return the newest figure of each metric; of several at one time the first."""
    found: dict[str, KeyFigure] = {}
    for one in figures:
        if (known := found.get(one.metric)) is None or known.time_ms < one.time_ms:
            found[one.metric] = one
    return found
