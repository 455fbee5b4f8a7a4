"""What to do next: stages and the checker of a reply. Reads and judges text; no GPU, no torch, no triton."""
