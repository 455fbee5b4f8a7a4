"""The environment that every template is rendered in: a value that nobody gave is an error, not an empty place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2


def environment(package: str, *, html: bool = False) -> jinja2.Environment:
    """Return the environment of the templates of a package; values are escaped for HTML, not for Markdown."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=html,  # noqa: S701  # Markdown needs no escaping of HTML's kind
    )
