"""rooflift: profile versioned Triton kernels with Nsight Compute and place every version under the measured roof."""

__version__ = "0.1.0"
