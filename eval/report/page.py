"""A page's values -> one HTML file that needs nothing else: no network, no file beside it."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from eval.report.view import Page

TEMPLATES = "templates"


def render(page: Page) -> str:
    """Return the page as HTML.

    Every text is escaped. The page's own policy lets nothing be loaded and no script run but its own.
    """
    css, js = _asset("page.css"), _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(js.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    template = environment().get_template("page.html.j2")
    return template.render(page=page, css=Markup(css), js=Markup(js), policy=policy)


@cache
def environment() -> Environment:
    """Return the templates: HTML escaped, Markdown as it is, an unknown name an error."""
    made = Environment(
        loader=PackageLoader("eval.report", TEMPLATES),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["as_drawn"] = _as_drawn
    return made


def _as_drawn(svg: str, title: str) -> Markup:
    """Return a drawing of ours as an element that a screen reader names."""
    opening = Markup('<svg role="img" aria-label="{}"').format(title)
    return opening + Markup(svg.removeprefix("<svg"))


def _asset(name: str) -> str:
    return (files("eval.report") / TEMPLATES / name).read_text(encoding="utf-8")
