"""Rules of launches: grid against program axes, tuning, block sizes, what is written, and the base that must hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rooflift.lint.expressions import Launch
from rooflift.lint.host import HostCode
from rooflift.lint.kernels import KernelCode
from rooflift.lint.values import (
    ANY,
    Box,
    Config,
    Function,
    Origin,
    Scalar,
    Tensor,
    Unknown,
    Value,
    join,
    options,
    tensors_in,
)

OPTIONS = {"num_warps": 4, "num_stages": 3, "num_ctas": 1, "maxnreg": None}
_LAUNCH_ONLY = {*OPTIONS, "warmup", "launch_cooperative_grid", "launch_pdl", "debug", "ir_override"}


@dataclass(frozen=True, slots=True)
class Tuning:
    """What the decorators of a kernel decide: the configurations of autotune, the parameters of heuristics."""

    configs: tuple[Config, ...] = ()
    heuristics: frozenset[str] = frozenset()
    known: bool = True

    @property
    def meta(self) -> set[str]:
        """The meta-parameters that a configuration sets."""
        return {name for config in self.configs for name, _ in config.meta}

    def values(self, name: str) -> Value:
        """Return what a meta-parameter may be."""
        return join([value for config in self.configs for key, value in config.meta if key == name])


@dataclass(frozen=True, slots=True)
class Told:
    """One launch with its arguments by parameter, its grid's dimensions, and its options."""

    launch: Launch
    code: KernelCode
    args: dict[str, Value]
    given: dict[str, Value]
    grids: tuple[tuple[Value, ...], ...]

    @property
    def blocks(self) -> dict[str, str]:
        """The formulas of the compile-time arguments that are numbers."""
        meta = {name: value for name, value in self.args.items() if name in self.code.constexprs}
        return {name: _formula(value) for name, value in meta.items()}


class LaunchRules:
    """The rules over all launches of one candidate."""

    def __init__(self, host: HostCode, kernels: Mapping[str, KernelCode], tuning: Mapping[str, Tuning]) -> None:
        self.host = host
        self.kernels = kernels
        self.tuning = tuning
        self.told: list[Told] = []
        self.written: set[Origin] = set()

    def judge(self) -> None:
        """Judge every launch that forward reaches."""
        for name, tuning in self.tuning.items():
            self._autotune(self.kernels[name], tuning)
        for launch in self.host.launches:
            told = self._tell(launch)
            if told is not None:
                self.told.append(told)
                self._grid(told)
                self._blocks(told)
                self._stores(told)

    def _autotune(self, code: KernelCode, tuning: Tuning) -> None:
        name = code.node.name
        if not tuning.known:
            self._refuse(
                "autotune", code, f"{name}: the configurations cannot be read", "List triton.Config(...) literally."
            )
        varied = {key for key in tuning.meta if _varies([dict(config.meta).get(key) for config in tuning.configs])}
        chosen = [dict(config.options) for config in tuning.configs]
        launched = {key for key in OPTIONS if _varies([option.get(key) for option in chosen])}
        if varied and launched:
            what = f"{name} tunes {', '.join(sorted(varied))} and {', '.join(sorted(launched))} together"
            self._refuse("autotune", code, what, "Tune either block sizes, or warps and stages.")
        for key in sorted(tuning.meta - {*code.parameters}):
            self._refuse(
                "autotune", code, f"{name} has no parameter {key}", "Tune the kernel's tl.constexpr parameters."
            )
        if any("pre_hook" in option for option in chosen):
            self._refuse("autotune", code, f"{name}: a configuration with a hook", "Leave pre_hook out.")

    def _tell(self, launch: Launch) -> Told | None:
        code, tuning = self.kernels[launch.kernel], self.tuning.get(launch.kernel, Tuning())
        given = dict(zip(code.parameters, launch.args, strict=False)) | launch.keywords
        decided = tuning.meta | tuning.heuristics
        faults = [f"{name} is given twice" for name in code.parameters[: len(launch.args)] if name in launch.keywords]
        faults += [f"it has no parameter {n}" for n in launch.keywords if n not in {*code.parameters, *_LAUNCH_ONLY}]
        faults += [f"{name} is missing" for name in code.required if name not in {*given, *decided}]
        if len(launch.args) > len(code.parameters):
            faults.append(f"{len(launch.args)} arguments for {len(code.parameters)} parameters")
        for fault in faults:
            self.host.refuse("arguments", launch.node, f"{launch.kernel}: {fault}", "Pass each parameter once.")
        chosen = {name for config in tuning.configs for name, _ in config.options}
        for name in sorted((decided | chosen) & {*given}):
            what = f"{name} is tuned by a decorator of {launch.kernel} and passed at launch"
            self.host.refuse("autotune_repeat", launch.node, what, "Pass it in one place.")
        args = {name: value for name, value in given.items() if name in code.parameters}
        args |= {name: tuning.values(name) for name in tuning.meta} | dict.fromkeys(tuning.heuristics, ANY)
        if tuning.meta:
            self._tuned_grid(launch, tuning.meta)
        return Told(launch, code, args, given, tuple(self._dimensions(launch, args)))

    def _tuned_grid(self, launch: Launch, meta: set[str]) -> None:
        if not all(isinstance(option, Function) for option in options(launch.grid)):
            what = f"the grid of {launch.kernel} is fixed while {', '.join(sorted(meta))} is tuned"
            self.host.refuse("autotune_grid", launch.node, what, "Write grid = lambda META: (...).")

    def _dimensions(self, launch: Launch, args: Mapping[str, Value]) -> Iterator[tuple[Value, ...]]:
        for option in options(launch.grid):
            value: Value = option
            if isinstance(option, Function):
                meta = Box({name: _as_number(name, value) for name, value in args.items()}, rest=ANY)
                value = self.host.enter(option, [meta], {}, launch.node)
            for grid in options(value):
                if isinstance(grid, Box) and grid.items is not None and grid.rest is None:
                    yield tuple(grid.items.values())
                elif not (isinstance(grid, Unknown) and grid.told):
                    what = f"the grid of {launch.kernel} is no tuple of a fixed length"
                    self.host.refuse("grid_rank", launch.node, what, "Write a tuple of one to three dimensions.")

    def _grid(self, told: Told) -> None:
        code, launch = told.code, told.launch
        ranks = {len(grid) for grid in told.grids}
        if len(ranks) > 1 or not ranks <= {1, 2, 3}:
            what = f"the grid of {launch.kernel} has {' or '.join(map(str, sorted(ranks)))} dimensions"
            self.host.refuse("grid_rank", launch.node, what, "Use one to three, and always as many.")
            return
        used: set[int] = set()
        for axis, call in code.axes(_constants(told.args)):
            if axis is None:
                self.host.refuse("grid_axes", call, "the axis is not a literal", "Write tl.program_id(0), (1) or (2).")
                return
            used.add(axis)
            if ranks and axis >= max(ranks):
                what = f"{launch.kernel} asks for program_id({axis}); its grid has {max(ranks)} dimensions"
                self.host.refuse("grid_axes", call, what, "Give the grid that dimension, or ask for one it has.")
        for grid in told.grids:
            for axis, length in enumerate(grid):
                one = isinstance(length, Scalar) and length.constants == frozenset({1})
                if axis not in used and not one:
                    what = f"grid dimension {axis} of {launch.kernel} is used by no tl.program_id({axis})"
                    self.host.refuse("grid_axes", launch.node, what, "Use it in the kernel, or drop it from the grid.")

    def _blocks(self, told: Told) -> None:
        for size, node in told.code.block_sizes():
            if isinstance(size, int):
                possible: Sequence[object] = [size]
            else:
                value = told.args.get(size, self.host.scope.find(size))
                possible = list(value.constants or ()) if isinstance(value, Scalar) else []
            wrong = sorted(n for n in possible if isinstance(n, int) and (n < 1 or n & (n - 1)))
            if wrong:
                where = told.launch.node if isinstance(size, str) and size in told.given else node
                what = f"{size} = {wrong[0]} is a block size" if isinstance(size, str) else f"a block of {size}"
                self.host.refuse(
                    "power_of_two", where, f"{told.launch.kernel}: {what}", "Use a power of two and a mask."
                )

    def _stores(self, told: Told) -> None:
        for name, *path in sorted(told.code.stored):
            for tensor in tensors_in(_within(told.args.get(name), path)):
                kinds = {origin.kind for origin in tensor.origins}
                if kinds & {"input", "parameter"}:
                    what = f"{told.launch.kernel} stores to {name}, which is {tensor.text}"
                    self.host.refuse("input_changed", told.launch.node, what, "Give it an output of your own.")
                if "kept" in kinds:
                    what = f"{told.launch.kernel} stores to {name}, {tensor.text}, which outlives the call"
                    self.host.refuse("caching", told.launch.node, what, "Allocate it in forward.")
                self.written |= tensor.origins

    def unwritten(self, value: Value) -> Iterator[str]:
        """Return why a result of forward is none of the kernels'."""
        found = list(tensors_in(value))
        if not found:
            yield "forward returns no tensor"
        for tensor in found:
            for origin in sorted(tensor.origins, key=lambda origin: (origin.kind, origin.name)):
                if origin.kind in ("input", "parameter"):
                    yield f"forward returns {tensor.text}, which it was given"
                elif origin.kind == "kept":
                    yield f"forward returns {tensor.text}, which outlives the call"
                elif origin.kind == "fresh" and origin not in self.written and origin.name != "torch":
                    yield f"forward returns {tensor.text}, which no kernel writes"

    def _refuse(self, rule: str, code: KernelCode, what: str, remedy: str) -> None:
        self.host.refuse(rule, code.node, what, remedy)


def against_base(new: LaunchRules, base: LaunchRules) -> Iterator[tuple[str, Launch | None, str, str]]:
    """Return what a candidate changed in the launches of its base: rule, launch, what, remedy."""
    for name in {told.launch.kernel: None for told in base.told}:
        before = [told for told in base.told if told.launch.kernel == name]
        after = [told for told in new.told if told.launch.kernel == name]
        if not after:
            yield (
                "grid_changed",
                None,
                f"the base launches {name}, this candidate does not",
                "Keep the kernels of the base.",
            )
            continue
        was, now = ({tuple(map(_formula, grid)) for told in tolds for grid in told.grids} for tolds in (before, after))
        if was != now:
            what = f"the grid of {name} was {_listed(was)} and is {_listed(now)}"
            yield "grid_changed", after[0].launch, what, "Keep the grid of the base."
        sizes, others = (_sizes(tolds) for tolds in (before, after))
        for block in sorted({*sizes, *others}):
            if sizes.get(block) != others.get(block):
                what = f"{block} of {name} was {_listed(sizes.get(block))} and is {_listed(others.get(block))}"
                yield "blocks_changed", after[0].launch, what, "Keep the block sizes of the base."
    for told in new.told:
        if told.launch.kernel not in {other.launch.kernel for other in base.told}:
            what = f"{told.launch.kernel} is launched and was not in the base"
            yield "grid_changed", told.launch, what, "Keep the kernels of the base."


def lost_configuration(new: LaunchRules, base: LaunchRules) -> Iterator[tuple[KernelCode, str]]:
    """Return the tuned kernels whose configurations lack the one that the base launches."""
    for name, tuning in new.tuning.items():
        before = [told for told in base.told if told.launch.kernel == name]
        if not tuning.configs or not before or len(base.tuning.get(name, Tuning()).configs) > 1:
            continue
        wanted = _original(before[0], base.tuning.get(name, Tuning()), tuning.meta)
        if not any(_config(config) | wanted == _config(config) for config in tuning.configs):
            text = ", ".join(f"{key}={value}" for key, value in sorted(wanted.items()))
            yield new.kernels[name], f"{name}: no configuration is the base's ({text})"


def _original(told: Told, tuning: Tuning, meta: set[str]) -> dict[str, object]:
    options_ = dict(tuning.configs[0].options) if tuning.configs else {}
    named = {name: _single(value) for name, value in told.args.items() if name in meta}
    chosen = {name: _single(told.given.get(name, options_.get(name, ANY))) for name in ("num_warps", "num_stages")}
    known = {name: value for name, value in named.items() if value is not None}
    return known | {name: OPTIONS[name] if value is None else value for name, value in chosen.items()}


def _config(config: Config) -> dict[str, object]:
    given = {name: _single(value) for name, value in (*config.meta, *config.options)}
    return {"num_warps": 4, "num_stages": 3} | given


def _single(value: Value) -> object:
    if isinstance(value, Scalar) and value.constants is not None and len(value.constants) == 1:
        return next(iter(value.constants))
    return None


def _varies(values: Sequence[Value | None]) -> bool:
    shown = {repr(_single(value)) if value is not None else "default" for value in values}
    return len(shown) > 1


def _constants(args: Mapping[str, Value]) -> dict[str, int]:
    return {name: single for name, value in args.items() if isinstance(single := _single(value), int)}


def _as_number(name: str, value: Value) -> Value:
    if isinstance(value, Scalar) and value.text == "?":
        return Scalar(name, value.constants)
    return value


def _within(value: Value | None, path: Sequence[int]) -> Value:
    if value is None:
        return ANY
    if path and isinstance(value, Box):
        item = (value.items or {}).get(path[0])
        return _within(item, path[1:]) if item is not None else join([ANY, *value.elements()])
    return value


def _formula(value: Value) -> str:
    if isinstance(value, Scalar) and value.constants and all(isinstance(c, int) for c in value.constants):
        return " or ".join(sorted(map(str, value.constants)))
    return value.text if isinstance(value, Scalar | Tensor) else "?"


def _sizes(tolds: Sequence[Told]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for told in tolds:
        for name, formula in told.blocks.items():
            found.setdefault(name, set()).add(formula)
    return found


def _listed(formulas: object) -> str:
    if not isinstance(formulas, set) or not formulas:
        return "absent"
    return " or ".join(sorted(f"({', '.join(f)})" if isinstance(f, tuple) else str(f) for f in formulas))
