"""The server: tools, resources and prompts over stdio, or over HTTP on loopback for who has the token."""

from __future__ import annotations

import functools
import hmac
import inspect
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from importlib import resources
from pathlib import Path
from typing import Any

import anyio.to_thread
import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp_types import ToolAnnotations

from rooflift import __version__
from rooflift.agents.answers import bounded
from rooflift.agents.skill import LOOP
from rooflift.agents.tools import READING, Answer, Door, tools
from rooflift.api import find
from rooflift.errors import CatalogError, RoofliftError
from rooflift.project.stages import stages

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


def make_server(root: Path) -> MCPServer[Any]:
    """Return the server of a project; nothing runs yet."""
    door = Door(root.resolve())
    server: MCPServer[Any] = MCPServer("rooflift", version=__version__, instructions=LOOP, log_level="WARNING")
    for name, tool in tools(door).items():
        hints = ToolAnnotations(read_only_hint=tool.__name__ in READING, open_world_hint=False)
        server.add_tool(_answering(tool), name=name, description=inspect.getdoc(tool), annotations=hints)
    _add_resources(server, door)
    for name, about in stages().items():
        server.prompt(name, title=about.title, description=about.focus)(_prompt(door, name))
    return server


def _answering(tool: Callable[..., Answer]) -> Callable[..., Awaitable[Answer]]:
    """Return a tool that works in a thread, and whose expected failures say what to do."""

    async def answer(**given: Any) -> Answer:
        try:
            return await anyio.to_thread.run_sync(functools.partial(tool, **given))
        except RoofliftError as error:
            raise ToolError(f"{type(error).__name__}: {error.message}\n{error.remedy}") from None

    answer.__signature__ = inspect.signature(tool, eval_str=True)  # type: ignore[attr-defined]
    answer.__annotations__ = inspect.get_annotations(getattr(tool, "__func__", tool), eval_str=True)
    answer.__name__ = tool.__name__
    return answer


def _prompt(door: Door, stage: str) -> Callable[..., str]:
    def prompt(operator: str, version: str = "", gpu: str = "") -> str:
        try:
            return str(door.prompt(operator, stage, version, gpu)["prompt"])
        except RoofliftError as error:
            raise ValueError(f"{error.message}\n{error.remedy}") from None

    return prompt


def _add_resources(server: MCPServer[Any], door: Door) -> None:
    @server.resource("rooflift://runs", title="Runs", mime_type="application/json")
    def runs() -> Any:
        """The recorded runs: name, operator, GPU, versions, metrics."""
        return bounded(find.runs(root=door.root).record())

    @server.resource("rooflift://runs/{run}/report", title="Report of a run", mime_type="text/markdown")
    def report(run: str) -> str:
        """The report.md that a run was recorded with."""
        try:
            path = door.run(run).folder / "report.md"
        except RoofliftError as error:
            raise ResourceError(f"{error.message}\n{error.remedy}") from None
        if not path.is_file() or path.is_symlink():
            raise ResourceError(f"{run} has no report.md; the tool `report` writes one")
        return str(bounded(path.read_text(encoding="utf-8")))

    @server.resource("rooflift://glossary", title="Glossary", mime_type="text/markdown")
    def glossary() -> str:
        """What each word means: SOL, stage, candidate, verdict."""
        return glossary_text()


def glossary_text() -> str:
    """Return the glossary: of the wheel, or of the checkout that this is."""
    packed = resources.files("rooflift.agents").joinpath("glossary.md")
    if packed.is_file():
        return packed.read_text(encoding="utf-8")
    return Path(__file__).parents[3].joinpath("docs", "glossary.md").read_text(encoding="utf-8")


def serve_stdio(root: Path) -> None:
    """Serve until standard input ends."""
    anyio.run(make_server(root).run_stdio_async)


def serve_http(root: Path, host: str, port: int, token: str) -> None:
    """Serve http://HOST:PORT/mcp until the process is ended; each request needs `Authorization: Bearer TOKEN`.

    Raises:
        CatalogError: the host is not of loopback, or the token is short.
    """
    if host != "localhost" and not _is_loopback(host):
        raise CatalogError(f"{host} is no address of this machine alone", "Serve on 127.0.0.1; reach it by ssh -L.")
    if len(token) < 16:
        raise CatalogError("the token has less than 16 characters", "Leave ROOFLIFT_MCP_TOKEN empty: one is made.")
    app = guarded(make_server(root).streamable_http_app(host=host), token)
    uvicorn.run(app, host=host, port=port, log_level="warning")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def guarded(app: Any, token: str) -> App:
    """Return an ASGI application that answers 401 to every HTTP request without the token."""
    expected = f"Bearer {token}".encode()

    async def guard(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, expected):
                await send(
                    {"type": "http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Bearer")]}
                )
                await send({"type": "http.response.body", "body": b"the token is missing or wrong\n"})
                return
        await app(scope, receive, send)

    return guard
