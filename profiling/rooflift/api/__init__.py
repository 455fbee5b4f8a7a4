"""The Python API: the functions and objects behind `import rooflift as rl`. Prints nothing."""
