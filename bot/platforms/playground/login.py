"""Logs people in with the playground's token, where there is one."""

from __future__ import annotations

import base64
import hashlib
import html

from aiohttp import web

from bot.platforms.playground import texts
from bot.platforms.playground.guard import HEADERS, Guard
from bot.platforms.playground.refusal import Refused

_MAX_TOKEN = 1000

_STYLE = """
:root { color-scheme: light dark; --ink: #22231f; --bg: #f6f5f2; --card: #fff; --line: #d9d7cf;
  --accent: #0d6b62; --on-accent: #fff; --bad: #a3282b; }
@media (prefers-color-scheme: dark) { :root { --ink: #ecebe6; --bg: #161715; --card: #1f211e;
  --line: #3a3c37; --accent: #58c4b4; --on-accent: #0c1f1c; --bad: #ff9d98; } }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--bg);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { width: min(22rem, calc(100vw - 3rem)); padding: 2rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 14px; box-sizing: border-box; }
h1 { margin: 0 0 .25rem; font-size: 1.25rem; } p { margin: 0 0 1.25rem; }
label { display: block; font-weight: 600; margin-bottom: .35rem; }
input, button { width: 100%; box-sizing: border-box; font: inherit; padding: .6rem .75rem;
  border-radius: 9px; border: 1px solid var(--line); background: var(--bg); color: var(--ink); }
button { margin-top: .9rem; border: 0; background: var(--accent); color: var(--on-accent);
  font-weight: 600; cursor: pointer; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.bad { color: var(--bad); }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
{extra}<style>{style}</style>
</head>
<body><main>{body}</main></body>
</html>
"""
_FORM = f"""<h1>{texts.LOGIN_HEADING}</h1>
{{line}}
<form method="post" action="/playground/login">
<label for="token">{texts.LOGIN_FIELD}</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>{texts.LOGIN_BUTTON}</button>
</form>"""


def login_page(status: int = 401, *, wrong: bool = False) -> web.Response:
    line = (
        f'<p class="bad" role="alert">{texts.WRONG_TOKEN}</p>'
        if wrong
        else f"<p>{texts.LOGIN_HINT}</p>"
    )
    return _html(status, _FORM.format(line=line))


async def log_in_by_link(request: web.Request, guard: Guard) -> web.Response:
    """`/?token=…`: log in, then open the page without the token in its address.

    A refresh instead of a redirect, because browsers withhold a strict cookie from a redirect
    that began with a link on another site.
    """
    link = f'<p><a href="/">{texts.LOGIN_CONTINUE}</a></p>'
    response = _html(200, link, refresh="/")
    if await guard.log_in(response, request.query["token"], secure=request.secure):
        return response
    return login_page(wrong=True)


async def log_in_by_form(request: web.Request, guard: Guard) -> web.Response:
    """Check the submitted form. Raises Refused (413) for an overlong token."""
    form = await request.post()
    offered = form.get("token")
    if not isinstance(offered, str) or len(offered) > _MAX_TOKEN:
        raise Refused(413, texts.NO_TOKEN)
    response = web.Response(status=303, headers={"Location": "/"})
    if await guard.log_in(response, offered, secure=request.secure):
        return response
    return login_page(wrong=True)


def _html(status: int, body: str, *, refresh: str | None = None) -> web.Response:
    extra = (
        f'<meta http-equiv="refresh" content="0;url={html.escape(refresh)}">\n' if refresh else ""
    )
    return web.Response(
        status=status,
        text=_PAGE.format(title=texts.LOGIN_TITLE, extra=extra, style=_STYLE, body=body),
        content_type="text/html",
        headers={
            **HEADERS,
            "Content-Security-Policy": _POLICY,
            # With "no-referrer" browsers send the form with `Origin: null`.
            "Referrer-Policy": "same-origin",
            "Cache-Control": "no-store",
        },
    )
