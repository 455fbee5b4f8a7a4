"""The agent's door, by the SDK's own client: over memory, stdio and HTTP; what is bounded, and what is refused."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rooflift.agents.answers import WHOLE, bounded, page
from rooflift.errors import CatalogError
from rooflift.project.operator import load_operator

mcp = pytest.importorskip("mcp")
from mcp.client.client import Client  # noqa: E402
from mcp.client.stdio import StdioServerParameters, stdio_client  # noqa: E402
from mcp.client.streamable_http import streamable_http_client  # noqa: E402

from rooflift.agents.server import make_server, serve_http  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
TOKEN = "a token for these tests alone"
Use = Callable[[Client], Any]


def inside(root: Path, use: Use) -> Any:
    async def talk() -> Any:
        async with Client(make_server(root)) as client:
            return await use(client)

    return asyncio.run(talk())


async def ask(client: Client, tool: str, **given: Any) -> Any:
    result = await client.call_tool(tool, given)
    assert not result.is_error, result.content
    return result.structured_content


async def refused(client: Client, tool: str, **given: Any) -> str:
    result = await client.call_tool(tool, given)
    assert result.is_error
    return " ".join(one.text for one in result.content)


def test_every_tool_says_what_it_does_and_takes_no_path(checkout: Path) -> None:
    async def use(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {
            "list",
            "show",
            "advice",
            "prompt",
            "lint",
            "verify",
            "keep",
            "profile",
            "tune",
            "hotspots",
            "compare",
            "gate",
            "report",
        } <= (tools.keys())
        for tool in tools.values():
            assert tool.description
            assert not {"path", "file", "folder", "out", "root"} & tool.input_schema["properties"].keys()
        assert tools["show"].annotations.read_only_hint
        assert not tools["keep"].annotations.read_only_hint
        prompts = {one.name for one in (await client.list_prompts()).prompts}
        assert {"grid", "tiling", "memory"} <= prompts

    inside(checkout, use)


def test_a_recorded_operator_is_listed_shown_advised_compared_and_judged(checkout: Path) -> None:
    async def use(client: Client) -> None:
        first = await ask(client, "list", limit=2)
        assert len(first["items"]) == 2
        assert first["next_offset"] == 2
        shown = await ask(client, "show", name="rms_norm", version="v0")
        assert "class ModelNew" in shown["code"]
        advised = await ask(client, "advice", name="depthwise_conv2d", version="v0")
        assert "grid" in json.dumps(advised)
        asked = await ask(client, "prompt", operator="depthwise_conv2d", version="v7", stage="memory", gpu="h100")
        assert asked["prompt"].startswith("# ")
        run = (await client.read_resource("rooflift://runs")).contents[0].text
        assert "depthwise_conv2d" in run
        compared = await ask(client, "compare", run="depthwise_conv2d", base="v6", head="v7")
        assert "faster" in json.dumps(compared)
        assert not (await ask(client, "gate", run="depthwise_conv2d", min_sol="99.9%"))["passed"]
        glossary = (await client.read_resource("rooflift://glossary")).contents[0].text
        assert "SOL" in glossary
        prompt = await client.get_prompt("memory", {"operator": "depthwise_conv2d", "version": "v7", "gpu": "h100"})
        assert "memory" in prompt.messages[0].content.text

    inside(checkout, use)


def test_a_path_or_an_unknown_name_names_nothing(checkout: Path) -> None:
    async def use(client: Client) -> None:
        for name in ("/etc/passwd", "../../etc", "reports/rms_norm", "kernels/../..", "no_such"):
            for tool in ("show", "advice", "report"):
                assert "no such run" in await refused(client, tool, name=name), name
            assert "no operator" in await refused(client, "prompt", operator=name, stage="grid"), name
            with pytest.raises(mcp.MCPError):
                await client.read_resource(f"rooflift://runs/{name.replace('/', '%2F')}/report")

    inside(checkout, use)


def test_a_run_behind_a_link_out_of_the_project_is_not_read(checkout: Path, h100_run: Path, tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    (tmp_path / "reports" / "depthwise_conv2d").mkdir(parents=True)
    (tmp_path / "reports" / "depthwise_conv2d" / "linked").symlink_to(h100_run)

    async def use(client: Client) -> None:
        assert "outside the project" in await refused(client, "show", name="linked")

    inside(tmp_path, use)


def test_a_run_is_shown_in_pages_and_an_import_by_its_metrics(
    suite_run: Path, rooflift: Callable[..., Any], checkout: Path, tmp_path: Path
) -> None:
    (tmp_path / "kernels").mkdir()
    for operator in ("depthwise_conv2d", "other"):  # measured together: both runs have the same name
        shutil.copytree(suite_run, tmp_path / "reports" / operator / "suite_run")
    report = checkout / "tests" / "fixtures" / "foreign" / "r15_rtx2060maxq_warps_104.ncu-rep.gz"
    assert rooflift("import", report, "--out", tmp_path / "reports" / "foreign" / "theirs").code == 0

    async def use(client: Client) -> None:
        assert "Name one: depthwise_conv2d/suite_run, other/suite_run." in await refused(
            client, "show", name="suite_run"
        )
        name, rows, offset = "depthwise_conv2d/suite_run", [], 0
        while offset is not None:
            shown = await ask(client, "show", name=name, offset=offset, limit=7)
            rows += shown["summary"]["items"]
            offset = shown["summary"]["next_offset"]
        assert len(rows) == shown["parts"]["summary"] > 20
        timed = await ask(client, "show", name=name, part="timings", limit=3)
        assert len(timed["timings"]["items"]) == 3
        assert "no part 'times'" in await refused(client, "show", name=name, part="times")
        foreign = await ask(client, "show", name="theirs")
        assert foreign["summary"]["items"][0]["bottleneck"] == "latency"

    inside(tmp_path, use)


def test_hot_spots_of_a_run_with_samples_are_lines_of_its_source(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    (tmp_path / "reports" / "depthwise_conv2d").mkdir(parents=True)
    run = tmp_path / "reports" / "depthwise_conv2d" / "sampled"
    shutil.copytree(checkout / "tests" / "fixtures" / "h100_source", run)
    name = json.loads((run / "run.json").read_text())["name"]
    run.rename(run.with_name(name))

    async def use(client: Client) -> None:
        found = await ask(client, "hotspots", name=name, version="v7", top=3)
        assert "94" in json.dumps(found)
        assert "no such run" in await refused(client, "hotspots", name="nothing")

    inside(tmp_path, use)


def test_answers_are_cut_to_a_length_and_say_what_is_missing() -> None:
    cut = bounded({"texts": ["x" * 20_000], "many": list(range(500)), "nan": float("nan")})
    assert cut["texts"][0].endswith("8,000 characters more")
    assert cut["many"][-1] == "... 440 more"
    assert cut["nan"] is None
    assert len(json.dumps(bounded([["y" * 5000] * 50] * 50))) <= WHOLE
    assert page(list(range(5)), 4, 2) == {"items": [4], "total": 5, "next_offset": None}


def test_http_is_served_on_loopback_alone_and_with_a_long_token(checkout: Path) -> None:
    with pytest.raises(CatalogError, match=r"0\.0\.0\.0"):
        serve_http(checkout, "0.0.0.0", 8765, TOKEN)
    with pytest.raises(CatalogError, match="token"):
        serve_http(checkout, "127.0.0.1", 8765, "short")


@pytest.fixture
def served(checkout: Path) -> Iterator[str]:
    """The address of a server of this checkout in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = os.environ | {"ROOFLIFT_MCP_TOKEN": TOKEN, "PYTHONPATH": str(checkout / "profiling")}
    command = [sys.executable, "-m", "rooflift", "mcp", "--http", "--port", str(port), "--root", str(checkout)]
    with subprocess.Popen(command, env=own, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 60
            while time.monotonic() < until:
                with socket.socket() as asked:
                    if asked.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.terminate()


def test_http_needs_the_token(served: str) -> None:
    httpx = pytest.importorskip("httpx2")

    async def talk(token: str) -> list[str]:
        async with (
            httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as own,
            Client(streamable_http_client(served, http_client=own)) as client,
        ):
            shown = await ask(client, "show", name="rms_norm")
            return [shown["operator"], *(tool.name for tool in (await client.list_tools()).tools)]

    assert {"rms_norm", "verify", "tune"} <= set(asyncio.run(talk(TOKEN)))
    assert httpx.post(served, json={}).status_code == 401
    assert httpx.post(served, json={}, headers={"Authorization": "Bearer wrong"}).status_code == 401


def over_stdio(root: Path, checkout: Path, use: Use) -> Any:
    own = {"PYTHONPATH": str(checkout / "profiling"), "CUDA_VISIBLE_DEVICES": ""}
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "rooflift", "mcp", "--root", str(root)], env={**os.environ, **own}
    )

    async def talk() -> Any:
        async with Client(stdio_client(server)) as client:
            return await use(client)

    return asyncio.run(talk())


def test_stdio_offers_the_same(checkout: Path) -> None:
    async def use(client: Client) -> Any:
        return await ask(client, "show", name="rms_norm")

    assert over_stdio(checkout, checkout, use)["operator"] == "rms_norm"


KERNEL = """
import torch
import triton
import triton.language as tl


@triton.jit
def twice_kernel(x_ptr, out_ptr, size, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < size).to(tl.float32)
    tl.store(out_ptr + at, (FACTOR * x).to(out_ptr.dtype.element_ty), mask=at < size)


class ModelNew(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(x)
        if x.numel():
            twice_kernel[(triton.cdiv(x.numel(), 4096),)](x, out, x.numel(), BLOCK=4096)
        return out
"""


@pytest.mark.slow
@pytest.mark.timeout(900)  # a dozen processes that import torch, one after the other
@pytest.mark.usefixtures("no_gpu")
def test_an_agent_takes_an_operator_from_v0_to_a_kept_version_through_the_door_alone(
    rooflift: Callable[..., Any], checkout: Path, tmp_path: Path
) -> None:
    assert rooflift("new", "twice", folder=tmp_path).code == 0
    header = {"title": "Longer blocks", "stage": "tiling", "change": "blocks of 4096", "why": "fewer programs"}

    async def agent(client: Client) -> dict[str, Any]:
        (operator,) = (await ask(client, "list"))["items"]
        name = operator["operator"]
        assert operator["versions"][-1]["version"] == "v0_baseline"
        assert "nothing is measured yet" in json.dumps(await ask(client, "advice", name=name))
        prompt = await ask(client, "prompt", operator=name, stage="tiling")
        assert "twice_kernel" in prompt["prompt"]
        cheat = "import os\n" + KERNEL.replace("FACTOR", "2")
        assert not (await ask(client, "lint", operator=name, candidate=cheat))["accepted"]
        wrong = await ask(client, "verify", operator=name, candidate=KERNEL.replace("FACTOR", "3"))
        assert not wrong["accepted"]
        assert wrong["faults"]
        refused_one = await ask(
            client, "keep", operator=name, candidate=KERNEL.replace("FACTOR", "3"), idea="wrong", **header
        )
        assert refused_one["kept"] is None
        right = KERNEL.replace("FACTOR", "2")
        assert (await ask(client, "verify", operator=name, candidate=right, stage="tiling"))["accepted"]
        tuned = await ask(client, "tune", operator=name, version="v0", values=["num_warps=2,4"])
        assert (tuned["measured"], len(tuned["cases"][0]["configurations"])) == (False, 2)
        kept = await ask(
            client, "keep", operator=name, candidate=right, idea="long blocks", expect="time_x 0.9..1.1", **header
        )
        assert "NoGpu" in await refused(client, "profile", operator=name)
        report = await ask(client, "report", name=name)
        assert report["written"] == [f"build/twice/unmeasured/report.{kind}" for kind in ("md", "html")]
        assert "**Not measured yet.**" in report["report"]
        return kept

    kept = over_stdio(tmp_path, checkout, agent)
    assert kept["kept"] == "v1_long_blocks"
    version = load_operator(tmp_path, "twice").versions[1]
    assert (version.header.stage, version.header.expect[0].text) == ("tiling", "time_x 0.9..1.1")
