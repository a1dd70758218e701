"""Missions as a dispatch system (120 调度) tells them: ``POST /api/missions``, signed (docs/missions.md).

The one change that is taken without a sign-in, since its signature says who speaks: by the same scheme as our own
webhooks, within 300 s of our clock. ``webhook-id`` is the idempotency key: the same request again answers the same,
with another body it is refused. It becomes an action that the site's owner takes, like what people want.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from aiohttp import web
from sqlalchemy.exc import IntegrityError

from collector.accounts.accounts import Author
from collector.channels.pace import Pace
from collector.site.acts import MISSION_ACTION, MissionBody
from collector.store import queries
from collector.store.rows import Action
from collector.web import answer_types as shown
from collector.web.actions import keep, refuse_too_many
from collector.web.app import SOURCES, Sources, json
from collector.web.operations import operation
from collector.web.problems import unexpected
from collector.web.requests import bytes_of, read_body, refuse_foreign
from collector.web.vehicles import site_of
from collector.webhook_signature import BadSignature, verify
from telemetry.earliest import EARLIEST_MS
from telemetry.files import FileError, read_secret

routes = web.RouteTableDef()
PACE: web.AppKey[Pace] = web.AppKey("pace", Pace)
WHO: Final = "dispatch"
"""Who stands in an action that a dispatch system asked for."""
AHEAD_MS: Final = 300_000
"""So far a mission's time may be in the future."""


class MissionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request."""

    mission: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:/-]{1,64}\Z")]
    """Dispatch's own id."""
    vehicle: str
    """As the fleet file names it."""
    what: Literal["begins", "ends"]
    at: str
    """When, ISO 8601 with its zone."""


@routes.post("/api/missions")
@operation(
    shown.MissionKept,
    status=202,
    body=MissionRequest,
    headers={
        "webhook-id": "The idempotency key: the same request again answers the same.",
        "webhook-timestamp": "When it was signed, seconds since 1970, within 300 s of our clock.",
        "webhook-signature": "By the scheme of Standard Webhooks, with the key of `missions.signing_key_file`.",
    },
    refuses={
        401: "No signature, a wrong one, or of another time.",
        404: "Missions are not taken here, or nobody knows the vehicle.",
        409: "There is a request of this `webhook-id` with another body.",
        429: "Too many in a minute (`missions.per_minute`), or too many wait for the vehicle.",
    },
)
async def tell_mission(request: web.Request) -> web.Response:
    """Tell, as a dispatch system, that a mission begins or ends (docs/missions.md).

    The same request again (``webhook-id`` and body) answers the same action.
    """
    sources = request.app[SOURCES]
    if sources.missions is None:
        raise web.HTTPNotFound(text="missions are not taken: expected the key missions in collector.yaml")
    refuse_foreign(request)
    body = await bytes_of(request)
    now_ms = time.time_ns() // 1_000_000
    try:
        key = read_secret(sources.missions.signing_key_file, "missions.signing_key_file")
        id = verify(key, request.headers, body, now_ms // 1000)
    except BadSignature as bad:
        raise web.HTTPUnauthorized(text=str(bad)) from None
    except FileError as error:
        raise web.HTTPServiceUnavailable(text="the key of missions cannot be read now") from error
    pace, now_s = request.app[PACE], time.monotonic()
    if (wait_s := pace.wait_s(now_s)) > 0:
        after = {"Retry-After": str(int(wait_s) + 1)}
        most = sources.missions.per_minute
        raise web.HTTPTooManyRequests(text=f"expected at most {most} requests a minute", headers=after)
    pace.note(now_s)
    wish = read_body(body, MissionRequest)
    content = MissionBody(wish.mission, wish.what, _ms(wish.at, now_ms))
    found = await _take(sources, id, wish.vehicle, msgspec.json.encode(content).decode())
    if found.site in sources.wakes:
        sources.wakes[found.site]()
    return json(shown.MissionKept(action=found.id, url=f"/api/actions/{found.id}"), 202)


def _ms(at: str, now_ms: int) -> int:
    try:
        time_of = datetime.fromisoformat(at)
        found = -1 if time_of.tzinfo is None else round(time_of.timestamp() * 1000)
    except (ValueError, OverflowError):
        found = -1
    if not EARLIEST_MS <= found <= now_ms + AHEAD_MS:
        raise unexpected("at", "a time with its zone, not in the future", at)
    return found


async def _take(sources: Sources, id: str, vehicle: str, body: str) -> Action:
    """Return the action of this key, made now if there is none. Raises 404, 409, 429."""
    key, engine = f"{MISSION_ACTION}:{id}", sources.store.engine
    known = await asyncio.to_thread(queries.action_of_key, engine, key)
    if known is None:
        site = await asyncio.to_thread(site_of, sources, vehicle)
        if site is None:
            raise web.HTTPNotFound(text=f"no vehicle {vehicle[:50]!r}")
        await refuse_too_many(sources, site, vehicle)
        by = Author(WHO, "signature", time.time_ns() // 1_000_000)
        with contextlib.suppress(IntegrityError):  # the same request, at the same time
            await asyncio.to_thread(keep, sources, site, vehicle, MISSION_ACTION, body, WHO, by, id, key)
        known = await asyncio.to_thread(queries.action_of_key, engine, key)
        assert known is not None
    if (known.vehicle, known.body) != (vehicle, body):
        raise web.HTTPConflict(text=f"webhook-id {id}: expected the body of before, found another")
    return known
