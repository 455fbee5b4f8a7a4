"""The three kernels as the nodes of a CUDA graph, which is replayed."""

from __future__ import annotations

import torch
from three_kernels import SIZE, STEPS, step

x = torch.randn(SIZE, SIZE, device="cuda", dtype=torch.float16)
side = torch.cuda.Stream()
with torch.cuda.stream(side):
    step(x)
side.synchronize()
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    step(x)
for _ in range(STEPS):
    graph.replay()
torch.cuda.synchronize()
