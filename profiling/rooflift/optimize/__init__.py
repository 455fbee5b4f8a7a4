"""The loop of an agent, a profiler and a judge: prompts, stages, journal."""
