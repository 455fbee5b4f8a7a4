"""Around the child: Landlock, seccomp, limits, namespaces."""
