"""Runs each version once on each case, for compute-sanitizer, on inputs that were made on the CPU."""

from __future__ import annotations

from rooflift.worker import protocol
from rooflift.worker.inputs import each_tensor, make_inputs
from rooflift.worker.program import Program, guarded
from rooflift.worker.protocol import Ran, say
from rooflift.worker.tensors import make_model


def run(plan: protocol.Plan, device: str = "cuda") -> None:
    """Run every version of a plan once on each case; parameters and inputs are made on the CPU."""
    import torch

    program = Program(plan, device)
    with torch.no_grad():
        for case in plan.work:
            with guarded("reference", case):
                reference = program.reference(case)
                inputs = each_tensor(make_inputs(reference, case, "cpu", seed=1), lambda x: x.to(device))
            for name in program.plan.versions:
                with guarded(name, case):
                    make_model(program.version(name, case).ModelNew, reference, case, "cpu", seed=0).to(device)(*inputs)
                    if device == "cuda":
                        torch.cuda.synchronize()
            say(Ran(case.name, case.dtype))
