"""Many operators and versions on many GPUs: jobs, a cluster that does them, a journal to resume from."""
