"""Versions judged by KernelBench's conventions, in a child process."""

from __future__ import annotations

import asyncio

from rooflift.errors import KernelFault
from rooflift.measure.children import Progress, staged
from rooflift.measure.faults import unfinished
from rooflift.measure.request import Request, in_dtypes
from rooflift.process import child_environment, run_to_end, stream
from rooflift.worker import protocol
from rooflift.worker.protocol import Executed, Plan, read_event


def judge(request: Request, interpret: bool, progress: Progress) -> list[Executed]:
    """Return KernelBench's verdict on each version, case and dtype of a request.

    Raises:
        KernelFault: the reference does not run, or the time limit is over.
    """
    work = in_dtypes(request.cases, request.dtypes)
    environment = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""} if interpret else {}
    found: list[Executed] = []

    def on_line(line: str) -> None:
        match read_event(line):
            case protocol.Doing(text):
                progress(text)
            case Executed() as executed:
                found.append(executed)

    async def run() -> None:
        with staged(request.operator, request.versions, Plan(work=work)) as stage:
            command = protocol.worker_command("kernelbench")
            async with asyncio.timeout(request.timeout_s):
                ended = await stream(command, stage, child_environment() | environment, on_line)
        if ended.returncode != 0 or len(found) != len(work) * len(request.versions):
            raise unfinished(ended)

    try:
        run_to_end(run())
    except TimeoutError:
        raise KernelFault(f"the work ran past {request.timeout_s:g} s", "Give it more time with --timeout.") from None
    return found
