"""Names and texts of a run as they are shown: cleaned for a terminal, escaped for Markdown, rendered in templates.

They come from kernel files, reports and programs and are untrusted. Whatever a template is given is escaped unless it
says that it is Markdown, or HTML, already; a value that nobody gave is an error, not an empty place.
"""

from __future__ import annotations

import html as html_
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2

_UNSEEN = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))"  # a terminal's escape sequences, whole
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"  # control characters but tab and line feed
    r"|[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"  # directions, joints, halves of characters
)
_SPECIAL = re.compile(
    r"\\(?=[!-/:-@\[-`{-~]|$)|[`*|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|<(?=[A-Za-z/!?])|!(?=\[)|\](?=[(\[:])|\[(?=\^)"
    r"|&(?=#?\w+;)|^[#>+-](?=\s)|^>"
)
_CODE = re.compile(r"(`[^`|]+`)")
_MENTION = re.compile(r"(?<!\w)@(?=\w)")


class Markdown(str):
    """A text that is Markdown already."""

    __slots__ = ()


def printable(text: str) -> str:
    """Return a text without what a reader does not see, such as terminal escapes and marks that turn its direction."""
    return _UNSEEN.sub("", text)


def plain(text: str) -> str:
    """Return a text in one line, without what a reader does not see."""
    return printable(re.sub(r"[\t\n\v\f\r\x85\u2028\u2029]+", " ", text))


def bounded(text: str, most: int) -> str:
    """Return a text of at most so many characters, and how many were left out.

    >>> bounded("a" * 10, 4)
    'aaaa [6 characters left out]'
    """
    return text if len(text) <= most else f"{text[:most]} [{len(text) - most} characters left out]"


def escaped(value: object) -> Markdown:
    """Return a value in one line of Markdown that shows it as it is, also in the cell of a table; no link, no HTML.

    Parts in `backticks` are code. Nobody is mentioned: a code host tells the person behind "@name".
    """
    if isinstance(value, Markdown):
        return value
    parts = _CODE.split(_MENTION.sub("@\u2060", plain(str(value))))
    return Markdown("".join(part if place % 2 else _SPECIAL.sub(r"\\\g<0>", part) for place, part in enumerate(parts)))


def emphasised(line: str) -> Markdown:
    """Return a line with its **bold** parts in Markdown, all others escaped."""
    parts = line.split("**")
    if len(parts) % 2 == 0:  # one of them has no counterpart
        return escaped(line)
    return Markdown("".join(f"**{escaped(p)}**" if place % 2 else escaped(p) for place, p in enumerate(parts)))


def code(text: str) -> Markdown:
    """Return a text as a code span, which shows everything as it is."""
    line = plain(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    room = " " * (line.startswith("`") or line.endswith("`"))
    return Markdown(f"{fence}{room}{line}{room}{fence}")


def environment(package: str, *, html: bool = False, markdown: bool = False) -> jinja2.Environment:
    """Return the environment of the templates of a package; values are escaped for HTML or for Markdown.

    With neither they are only made printable, as in a prompt, whose code must stay as it is.
    """
    import jinja2
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    def cleaned(value: Any) -> Any:
        return printable(value) if isinstance(value, str) else value

    found = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=html,  # noqa: S701  # Markdown is escaped by `finalize`
        finalize=shown if html else escaped if markdown else cleaned,
    )
    found.filters |= {
        "code": code,
        "emphasised": emphasised,
        "fenced": lambda text: Markdown(plain(text)),  # in a block of code, each behind a sign of its own
        "in_html": lambda text: Markdown(
            html_.escape(_MENTION.sub("@\u2060", plain(text)))
        ),  # Markdown is not looked for in an HTML block
    }
    return found
