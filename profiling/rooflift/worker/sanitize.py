"""Runs each version once on each case, for compute-sanitizer, on inputs that were made on the CPU."""

from __future__ import annotations

from rooflift.worker import protocol
from rooflift.worker.program import Program, guarded
from rooflift.worker.protocol import Ran, say
from rooflift.worker.tensors import make_inputs, make_model


def run(plan: protocol.Plan, device: str = "cuda") -> None:
    """Run every version of a plan once on each case; parameters and inputs are made on the CPU."""
    import torch

    program = Program(plan, device)
    with torch.no_grad():
        for case in plan.work:
            with guarded("reference", case):
                made = make_inputs(program.reference, case, "cpu", seed=1)
                inputs = [x.to(device) if torch.is_tensor(x) else x for x in made]
            for name, module in program.versions.items():
                with guarded(name, case):
                    make_model(module.ModelNew, program.reference, case, "cpu", seed=0).to(device)(*inputs)
                    if device == "cuda":
                        torch.cuda.synchronize()
            say(Ran(case.name, case.dtype))
