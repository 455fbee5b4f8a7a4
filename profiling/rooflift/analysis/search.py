"""Which configurations to try next: a small space whole, a large one by TPE or at random. Measures nothing.

TPE is the tree-structured Parzen estimator (Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011) of
optuna, which is asked and told; what it was told decides what it asks, so a search that is told the same goes on alike.
"""

from __future__ import annotations

import math
import random
import warnings
from itertools import islice
from typing import Any, Literal, get_args

from rooflift.errors import CatalogError, EnvironmentFault, did_you_mean
from rooflift.project.space import Configuration, Space, Value, label

Method = Literal["auto", "all", "tpe", "random"]
WALKED = 128  # a space with so many configurations or fewer is walked whole
FEWEST, MOST = 64, 256  # evaluations of a larger one, a quarter of it between these
FIRST = 16  # evaluations at random before TPE has anything to go by
PENALTY = 10.0  # the figure of what cannot run, in units of the worst that could: TPE keeps away from its neighbours
DRAWS = 8  # that an untried configuration is looked for before one is drawn from all that are left


class Search:
    """One search of a space: `ask` for configurations, `tell` what they took."""

    def __init__(self, space: Space, method: Method, seed: int) -> None:
        """Begin a search.

        Raises:
            EnvironmentFault: TPE needs optuna, which is not installed.
        """
        self.space, self.method = space, method
        self.told: dict[str, float | None] = {}
        self.asked: dict[str, Any] = {}  # by label; of TPE its trial
        self._draw = random.Random(seed)  # noqa: S311  # a search is no secret
        self._study = _study(seed) if method == "tpe" else None
        self._ordered = {name: _ordered(values) for name, values in space.values.items()}
        self._left = iter(self._shuffled() if method == "random" else space)
        self._listed = {label(one): one for one in space.listed}

    def ask(self, count: int) -> list[Configuration]:
        """Return up to so many configurations that were not asked before; fewer at the end of the space."""
        found: list[Configuration] = []
        while len(found) < min(count, self.space.size):
            one = self._suggest() if self._study is not None else next(self._left, None)
            if one is None:
                break
            found.append(one)
        return found

    def tell(self, configuration: Configuration, figure: float | None) -> None:
        """Take what a configuration took, the smaller the better; None where it does not run or is wrong."""
        name = label(configuration)
        self.told[name] = figure
        trial = self.asked.get(name)
        if trial is not None and self._study is not None:
            worst = max((told for told in self.told.values() if told is not None), default=1.0)
            self._study.tell(trial, math.log(PENALTY * worst if figure is None else figure))

    def _suggest(self) -> Configuration | None:
        assert self._study is not None
        for _ in range(DRAWS):
            trial = self._study.ask()
            one: Configuration = {name: values[self._place(trial, name)] for name, values in self._ordered.items()}
            name = label(one)
            if name in self.asked or (self._listed and name not in self._listed):
                known = self.told.get(name)
                self._study.tell(trial, *([math.log(known)] if known else [None, _failed()]))
                continue
            self.asked[name] = trial
            return one
        for left in self._shuffled():
            if label(left) not in self.asked:
                self.asked[label(left)] = None
                return left
        return None

    def _place(self, trial: Any, name: str) -> int:
        last = len(self._ordered[name]) - 1
        return int(trial.suggest_int(name, 0, last)) if last else 0

    def _shuffled(self) -> list[Configuration]:
        every = list(self.space)
        self._draw.shuffle(every)
        return every


def settled_method(method: str, space: Space, evaluations: int | None) -> tuple[Method, int]:
    """Return how a space is searched and with how many evaluations, where `auto` or None leave it open.

    Raises:
        CatalogError: there is no such method.
    """
    known: tuple[Method, ...] = get_args(Method)
    if method not in known:
        raise CatalogError(f"no way to search called {method!r}", did_you_mean(method, known))
    chosen = next(one for one in known if one == method)
    if chosen == "auto":
        chosen = "all" if space.size <= max(WALKED, evaluations or 0) else "tpe"
    if evaluations is None:
        evaluations = space.size if chosen == "all" else min(max(FEWEST, math.ceil(space.size / 4)), MOST)
    return chosen, min(evaluations, space.size)


def first_of(space: Space, count: int, method: Method, seed: int) -> list[Configuration]:
    """Return configurations where nothing can be told: the first of a walk, or some at random."""
    return list(islice(space, count)) if method == "all" else Search(space, "random", seed).ask(count)


def _ordered(values: tuple[Value, ...]) -> list[Value]:
    """Return numbers by size, so that neighbours are neighbours; names as they were given."""
    numbers = all(isinstance(value, int | float) for value in values)
    return sorted(values, key=float) if numbers else list(values)


def _study(seed: int) -> Any:
    try:
        import optuna
    except ImportError:
        remedy = "Install rooflift[tune], or walk the space whole with --search all, or try some with --search random."
        raise EnvironmentFault("optuna is not installed, which searches large spaces", remedy) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=FIRST, multivariate=True, constant_liar=True, n_ei_candidates=64
        )
    return optuna.create_study(sampler=sampler)


def _failed() -> Any:
    import optuna

    return optuna.trial.TrialState.FAIL
