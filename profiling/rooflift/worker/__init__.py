"""What runs in the child process, with torch, triton and the GPU. The parent imports `protocol` alone."""
