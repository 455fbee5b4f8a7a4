"""Run folders on disk: read, found, written whole or not at all, verified, redacted."""
