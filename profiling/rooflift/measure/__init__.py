"""What the parent does to measure: sessions, requests, environment, checkpoints. Loads neither torch nor triton."""
