"""What runs: ncu, the program that ncu runs, correctness and timing. The only room that asks for a GPU."""
