"""What exists: kernel families, their versions and cases, the GPUs' sheets. Reads files, imports no kernel."""
