"""The pages that people look at. What they show comes from the API; every text is in Chinese and English."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aiohttp import web

STATIC: Final = Path(__file__).parent / "static"


def add_pages(app: web.Application) -> None:
    """Add the board at ``/`` and its files below ``/static/``."""
    app.router.add_get("/", _board)
    app.router.add_static("/static/", STATIC, follow_symlinks=False)


async def _board(request: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "board.html", headers={"Cache-Control": "no-cache"})
