"""What was seen: reports into tidy frames, compiled kernels into resources."""
