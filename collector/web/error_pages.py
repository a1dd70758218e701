"""What a person sees in place of a page that cannot be shown: what is the matter and what to do, in their language.

Made without the database, which may be what is the matter. Programs are told the same in a line of text; the API has
its own (``problems.py``).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from collector.web.problems import AGAIN_S, KEPT
from collector.web.texts import Words

if TYPE_CHECKING:
    from collector.web.requests import Handler

log = logging.getLogger(__name__)


@web.middleware
async def as_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer the errors of pages as pages, to whoever reads HTML."""
    if request.path.startswith("/api/") or "text/html" not in request.headers.get("Accept", ""):
        return await handler(request)
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400 or error.content_type == "text/html":
            raise
        answer = _page(request, error.status, error.text or error.reason)
        answer.headers.update({name: error.headers[name] for name in KEPT if name in error.headers})
        return answer
    except SQLAlchemyError as error:
        log.warning("%s: %s", request.path, error)
        answer = _page(request, 503, "", again_s=AGAIN_S)
        answer.headers["Retry-After"] = str(AGAIN_S)
        return answer
    except Exception:
        log.exception("%s %s: a fault of our own", request.method, request.path)
        return _page(request, 500, "")


def _page(request: web.Request, status: int, words: str, again_s: int = 0) -> web.Response:
    from collector.web.pages import language_of, render_plain

    t = Words(language_of(request))
    what = t.name("page_error", str(status) if t.has("page_error", str(status)) else "other")
    return render_plain(
        request, "error.html", status, what=what, detail=words.removeprefix(f"{status}: "), again_s=again_s
    )
