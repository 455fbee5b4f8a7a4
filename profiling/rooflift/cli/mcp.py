"""`rooflift mcp`."""

from __future__ import annotations

import os
import secrets
from typing import Annotated

import typer

from rooflift.cli.console import note
from rooflift.cli.options import Root
from rooflift.errors import EnvironmentFault


def mcp(
    http: Annotated[bool, typer.Option("--http", help="Serve HTTP on loopback instead of standard input.")] = False,
    host: Annotated[str, typer.Option(help="With --http: an address of loopback.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="With --http.", min=1, max=65535)] = 8765,
    root: Root = None,
) -> None:
    """Offer the project to an agent over the Model Context Protocol.

    Tools: list, show, hotspots, advice, prompt, lint, verify, keep, profile, compare, gate, report; resources: runs,
    their reports, the glossary; a prompt a stage. Candidates run in a sandbox, and no path is taken. With --http every
    request needs the token of ROOFLIFT_MCP_TOKEN; without one a token is made and printed on standard error.
    """
    try:
        from rooflift.agents import server
    except ImportError as error:
        raise EnvironmentFault(f"{error.name} is not installed", "Run `pip install 'rooflift[agents]'`.") from None
    from rooflift.api.project import project_root

    top = project_root(root)
    if not http:
        server.serve_stdio(top)
        return
    token = os.environ.get("ROOFLIFT_MCP_TOKEN", "")
    if not token:
        token = secrets.token_urlsafe(24)
        note(f"Token: {token}")
    note(f"Serving http://{host}:{port}/mcp")
    server.serve_http(top, host, port, token)
