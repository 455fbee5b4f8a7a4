"""What a forward asks of its GPU is answered where there is none, and only while a stand-in lasts."""

from __future__ import annotations

import pytest
import torch

from rooflift.worker.stand_in import gpu_stands_in


@pytest.mark.parametrize("place", ["cpu", "meta"])
def test_tensors_are_taken_for_a_gpu_s_and_stay_where_they_are(place: str) -> None:
    x = torch.ones(3, device=place)
    with gpu_stands_in(place):
        assert x.is_cuda
        assert not x.is_cpu
        assert (x.device.type, x.get_device()) == ("cuda", 0)
        made = [
            torch.empty(3, device=x.device),
            torch.zeros((2,), device="cuda"),
            torch.tensor([1], device="cuda:0"),
            x.new_empty(3, device=torch.device("cuda")),
            x.to("cuda"),
            x.to(x.device, torch.float16),
            x.cuda(),
            *torch.nn.Linear(2, 2, device="cuda").parameters(),
        ]
    assert {tensor.device.type for tensor in made} == {place}


def test_the_usual_questions_to_torch_are_answered_for_the_gpu_that_is_compiled_for() -> None:
    before = torch.cuda.is_available()
    with gpu_stands_in("cpu"), torch.cuda.device(0):
        assert torch.cuda.get_device_properties(0).multi_processor_count == 132
        assert torch.cuda.get_device_capability() == (9, 0)
        assert torch.cuda.current_stream().cuda_stream == 0
        torch.cuda.synchronize()
    assert torch.cuda.is_available() == before


def test_where_there_is_a_gpu_nothing_stands_in() -> None:
    with gpu_stands_in("cuda"):
        assert not torch.ones(1).is_cuda
