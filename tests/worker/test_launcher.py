"""A launch on a GPU recorded and made ready again, as far as that goes without one: a real binary, no launch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import triton
from triton.backends.nvidia import driver as nvidia
from triton.runtime import driver

from rooflift.compile.kernels import stand_in_driver
from rooflift.compile.module import load_module
from rooflift.worker import replay
from rooflift.worker.launch_plan import Launch, LaunchPlan, Region, Returned, decode, encode
from rooflift.worker.launcher import compiled
from rooflift.worker.record import Recorder

KERNEL = """
import triton
import triton.language as tl


@triton.jit
def scale(x_ptr, y_ptr, n, pair, factor, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n)
    tl.store(y_ptr + at, x * factor + tl.load(pair[0]) + pair[1], mask=at < n)
"""


@pytest.fixture
def recorded(tmp_path: Path) -> LaunchPlan:
    """The plan of one launch of a kernel that was compiled for sm_90, as it comes out of its bytes."""
    path = tmp_path / "candidate.py"
    path.write_text(KERNEL)
    kernel = load_module(path).scale
    x = torch.empty(100, device="meta")
    y = torch.empty_like(x)
    args, options = (x, y[4:], 96, (x, 7), 0.5), {"BLOCK": 64, "num_warps": 2}
    before = driver._active  # `active` would ask for a GPU
    driver.set_active(stand_in_driver(90))
    try:
        made = kernel.run(*args, grid=(2,), warmup=True, **options)
    finally:
        driver.set_active(before)
    recorder = Recorder(gpu=True)
    recorder.name(x, origin="input")
    recorder.name(y, origin="fresh")
    recorder.launch(kernel, lambda meta: (triton.cdiv(96, meta["BLOCK"]),), args, options, made)
    recorder.launch(kernel, (3, 1), args, options, made)
    return decode(encode(recorder.plan(y, [])))


def test_a_recorded_launch_holds_its_binary_once_and_every_argument(recorded: LaunchPlan) -> None:
    one, other = recorded.launches
    assert (one.grid, other.grid) == ((2,), (3, 1))
    assert one.arguments[1] == Region(1, 4, (96,), (1,), "float32")
    assert one.arguments[2] == 96
    assert one.arguments[4:] == (0.5, 64)
    (binary,) = recorded.binaries
    assert binary.cubin.startswith(b"\x7fELF")
    assert binary.parameters == ("x_ptr", "y_ptr", "n", "pair", "factor", "BLOCK")
    assert (binary.metadata["num_warps"], binary.signature["x_ptr"]) == (2, "*fp32")
    assert not recorded.sources


def test_a_launch_is_made_ready_with_the_memory_of_who_replays_it(
    recorded: LaunchPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[tuple[Any, ...]] = []
    prepared: list[tuple[Any, Any]] = []

    def launcher(source: Any, metadata: Any) -> Any:
        prepared.append((source, metadata))
        return lambda *args: launched.append(args)

    utils = type("Utils", (), {"load_binary": staticmethod(lambda *_: ("module", "function"))})
    monkeypatch.setattr(driver, "_active", type("Active", (), {"utils": utils}))
    monkeypatch.setattr(nvidia, "CudaLauncher", launcher)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: type("Stream", (), {"cuda_stream": 5}))
    x = torch.arange(100.0)
    held = replay.memory(recorded, [x], {}, "cpu")
    replay.prepare(recorded, held, compiled(recorded))()
    ((source, metadata),) = prepared
    assert source.signature["pair"] == ("*fp32", "i32")
    assert metadata.num_warps == 2
    first, second = launched
    assert first[:5] == (2, 1, 1, 5, "function")
    assert second[:3] == (3, 1, 1)
    given = first[-6:]
    assert given[0].data_ptr() == x.data_ptr()
    assert given[1].data_ptr() == held.tensor(Region(1, 4, (1,), (1,), "float32")).data_ptr()
    assert (given[2], given[3][1], given[4]) == (96, 7, 0.5)


def test_a_grid_without_programs_launches_nothing(recorded: LaunchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rooflift.worker.launcher._load", lambda _: (pytest.fail, "function"))
    empty = Launch("scale", (0,), (), binary=0)
    plan = LaunchPlan(buffers=recorded.buffers, steps=(empty,), results=(Returned("", 1),), binaries=recorded.binaries)
    held = replay.memory(plan, [torch.empty(100)], {}, "cpu")
    replay.prepare(plan, held, compiled(plan))()
