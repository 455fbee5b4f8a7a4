"""Static pages of a whole project: what its runs say, without a server."""
