"""Launches with the values of a configuration in place of those that a version gives, or that its autotuner chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rooflift.project.space import LAUNCH_OPTIONS, Value


def with_configuration(call: Callable[..., Any], configuration: Mapping[str, Value] | None) -> Callable[..., Any]:
    """Return a call whose launches take a configuration; without one it is the call itself."""
    if not configuration:
        return call

    def configured(*inputs: Any) -> Any:
        with _forced(configuration):
            return call(*inputs)

    return configured


@contextmanager
def noticed(found: dict[str, list[dict[str, Value]]]) -> Iterator[None]:
    """Put the configurations of every autotuned kernel that is launched into `found`, by the kernel's name."""
    from triton.runtime.autotuner import Autotuner

    tune = Autotuner.run

    def notice(tuner: Any, *args: Any, **kwargs: Any) -> Any:
        found[tuner.base_fn.__name__] = [_parameters(config) for config in tuner.configs]
        return tune(tuner, *args, **kwargs)

    Autotuner.run = notice
    try:
        yield
    finally:
        Autotuner.run = tune


@contextmanager
def _forced(configuration: Mapping[str, Value]) -> Iterator[None]:
    """Let every launch of this process take the configuration: an autotuner tries nothing, and a grid follows."""
    import triton
    from triton.runtime.autotuner import Autotuner
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    kernels: Any = InterpretedFunction if triton.knobs.runtime.interpret else JITFunction
    run, tune = kernels.run, Autotuner.run

    def run_configured(kernel: Any, *args: Any, **kwargs: Any) -> Any:
        places = {name: place for place, name in enumerate(kernel.arg_names[: len(args)])}
        positional = list(args)
        for name, value in _of_kernel(kernel.__name__, configuration).items():
            if name in places:
                positional[places[name]] = value
            elif name in LAUNCH_OPTIONS or name in kernel.arg_names:
                kwargs[name] = value
        return run(kernel, *positional, **kwargs)

    def tune_configured(tuner: Any, *args: Any, **kwargs: Any) -> Any:
        configs = tuner.configs
        tuner.configs = [_chosen(configs, _of_kernel(tuner.base_fn.__name__, configuration))]
        try:
            return tune(tuner, *args, **kwargs)
        finally:
            tuner.configs = configs

    kernels.run, Autotuner.run = run_configured, tune_configured
    try:
        yield
    finally:
        kernels.run, Autotuner.run = run, tune


def _of_kernel(kernel: str, configuration: Mapping[str, Value]) -> dict[str, Value]:
    """Return what a configuration says of a kernel: NAME of every kernel, KERNEL.NAME of one."""
    own = {}
    for name, value in configuration.items():
        wanted, _, parameter = name.rpartition(".")
        if wanted in ("", kernel):
            own[parameter] = value
    return own


def _parameters(config: Any) -> dict[str, Value]:
    """Return a triton.Config as a configuration, without what it leaves to the compiler or what is no number or name.

    num_ctas is left out where it is 1, as it is everywhere but in clusters.
    """
    every = config.all_kwargs()
    plain = {name: value for name, value in every.items() if isinstance(value, bool | int | float | str)}
    return {name: value for name, value in plain.items() if (name, value) != ("num_ctas", 1)}


def _chosen(configs: list[Any], wanted: Mapping[str, Value]) -> Any:
    """Return the autotuner's own configuration that is wanted, or its first with the wanted values in it."""
    for config in configs:
        if _parameters(config).items() <= wanted.items():
            return config
    from triton import Config

    first = configs[0]
    options = {name: wanted.get(name, getattr(first, name)) for name in LAUNCH_OPTIONS}
    return Config({n: wanted.get(n, v) for n, v in first.kwargs.items()}, **options, pre_hook=first.pre_hook)
