"""What a candidate may name: modules, host functions, tensor methods; and what the installed triton offers.

The lists are of what is allowed, so that an operator of torch that nobody thought of is refused. Allowed in `forward`
are allocation, shapes, views, and copies that change no value but its type or place (`contiguous`, `clone`, `to`):
they compute nothing, and a run counts their bytes and time. Constructors may draw and scale parameters as well.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


MODULES = {
    "torch": words("torch torch.nn torch.nn.init torch.cuda"),
    "triton": words(
        """triton triton.language triton.language.math triton.language.extra triton.language.extra.libdevice
        triton.language.extra.cuda triton.language.extra.cuda.libdevice triton.tools triton.tools.tensor_descriptor
        triton.runtime triton.runtime.driver triton.runtime.driver.active triton.runtime.driver.active.utils"""
    ),
}
STANDARD = {
    "__future__": words("annotations"),
    "math": None,  # all of it: numbers only
    "typing": words(
        """Any Callable ClassVar Dict Final Iterable Iterator List Literal Mapping NamedTuple Optional Sequence Tuple
        Type TypeAlias TypeVar Union cast"""
    ),
    "collections": words("abc namedtuple OrderedDict"),
    "collections.abc": words("Callable Iterable Iterator Mapping Sequence"),
    "dataclasses": words("dataclass field replace"),
    "enum": words("Enum IntEnum auto"),
    "functools": words("partial reduce"),
    "itertools": words("product chain count permutations combinations zip_longest accumulate"),
}

ALLOCATION = words("empty empty_like empty_strided zeros zeros_like ones ones_like full full_like")
VIEW_FUNCTIONS = words(
    """as_strided reshape squeeze unsqueeze flatten transpose permute movedim broadcast_to narrow unbind split chunk
    t swapaxes swapdims clone"""
)
INIT_FUNCTIONS = words("rand randn randint rand_like randn_like tensor arange linspace eye normal randperm")
DTYPES = words(
    """float32 float float64 double float16 half bfloat16 int8 int16 short int32 int int64 long uint8 bool
    float8_e4m3fn float8_e5m2 uint16 uint32 uint64"""
)
TORCH_PLAIN = DTYPES | words(
    """Tensor Size device dtype finfo iinfo is_tensor is_floating_point promote_types result_type contiguous_format
    channels_last preserve_format strided broadcast_shapes is_grad_enabled nn.Module nn.Parameter nn.parameter.Parameter
    no_grad inference_mode cuda.device cuda.current_device cuda.get_device_properties cuda.get_device_capability
    cuda.is_available cuda.device_count get_default_dtype"""
)
HOLDERS = words(
    """Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d Linear Bilinear Embedding BatchNorm1d
    BatchNorm2d BatchNorm3d LayerNorm GroupNorm RMSNorm InstanceNorm1d InstanceNorm2d InstanceNorm3d PReLU"""
)
HOLDER_TENSORS = words("weight bias running_mean running_var")
HOLDER_NUMBERS = words(
    """stride padding dilation groups kernel_size in_channels out_channels in_features out_features num_features eps
    momentum normalized_shape num_groups num_channels num_embeddings embedding_dim output_padding affine"""
)
TRITON_PLAIN = words(
    """cdiv next_power_of_2 set_allocator runtime.driver.active.get_current_target
    runtime.driver.active.get_current_device runtime.driver.active.utils.get_device_properties
    tools.tensor_descriptor.TensorDescriptor tools.tensor_descriptor.TensorDescriptor.from_tensor"""
)
TRITON_DECORATORS = words("autotune heuristics jit constexpr_function Config")
DECORATORS = words(
    """triton.jit triton.autotune triton.heuristics triton.constexpr_function torch.no_grad torch.inference_mode
    dataclasses.dataclass builtins.staticmethod"""
)
CONTEXTS = words("torch.no_grad torch.inference_mode torch.cuda.device")

TENSOR_FACTS = words("shape dtype device ndim is_cuda is_cpu requires_grad itemsize nbytes layout")
TENSOR_FACT_METHODS = words(
    """size stride dim ndimension numel nelement element_size is_contiguous storage_offset is_floating_point
    get_device data_ptr is_complex is_signed"""
)
TENSOR_VIEWS = words("T mT H mH data")
TENSOR_VIEW_METHODS = words(
    """view view_as reshape reshape_as flatten unflatten squeeze unsqueeze transpose t permute movedim swapaxes swapdims
    expand expand_as broadcast_to contiguous to type float half bfloat16 double type_as detach narrow select as_strided
    cuda requires_grad_ diagonal"""
)  # these may share memory with their tensor
TENSOR_PARTS = words("chunk split unbind tensor_split")
TENSOR_COPIES = words("clone new_empty new_zeros new_ones new_full new_empty_strided")
FILLS = words("zero_ fill_")
INIT_METHODS = words("uniform_ normal_ zero_ fill_ mul_ div_ add_ sub_ copy_ kaiming_uniform_ clamp_ exponential_")

BUILTINS = words(
    """abs all any bool dict divmod enumerate float frozenset int isinstance len list max min pow range reversed round
    set slice sorted str sum super tuple zip map filter NotImplemented Ellipsis repr format staticmethod
    ValueError TypeError RuntimeError NotImplementedError AssertionError IndexError KeyError ArithmeticError
    OverflowError"""
)
TIMERS = words("time timeit datetime perf_counter")
THREADS = words("threading multiprocessing concurrent asyncio _thread queue sched contextvars")
CODE = words(
    """eval exec compile __import__ getattr setattr delattr hasattr vars globals locals dir type object callable
    classmethod property memoryview id hash importlib inspect types ctypes cffi builtins operator sys gc weakref pickle
    marshal ast code codeop runpy __builtins__ __loader__ __spec__ __file__ __name__"""
)
SYSTEM = words(
    """open input print breakpoint exit quit os io pathlib subprocess socket shutil tempfile urllib http requests signal
    glob mmap fcntl resource platform getpass logging warnings random secrets"""
)


def refusal(path: str) -> str:
    """Return the rule that refuses a dotted name."""
    parts = path.split(".")
    name = parts[1] if parts[0] == "builtins" and len(parts) > 1 else parts[0]
    if name in THREADS or (name == "torch" and words("Stream ExternalStream stream Event") & {*parts}):
        return "streams_threads"
    if name == "torch" and words("current_stream default_stream set_stream CUDAGraph graph multiprocessing") & {*parts}:
        return "streams_threads"
    if name in TIMERS:
        return "patching"
    if name in CODE or (name == "torch" and words("compile jit ops utils library _C hub load") & {*parts}):
        return "dynamic_code"
    if name in SYSTEM or (name == "torch" and words("save distributed from_file") & {*parts}):
        return "system_access"
    if name == "functools":
        return "caching"
    return "torch_compute" if name == "torch" else "import"


@cache
def triton_names(module: str) -> frozenset[str] | None:
    """Return the names of a module of the installed triton, read from its source; triton is not imported.

    None: triton is not installed or has no such module.
    """
    file = _source(module)
    if file is None:
        return None
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names.update(alias.asname or alias.name.split(".")[0] for alias in aliases)
            case ast.Assign(targets=targets):
                names.update(target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    if file.name == "__init__.py":
        names.update(path.stem for path in file.parent.glob("*.py"))
        names.update(path.parent.name for path in file.parent.glob("*/__init__.py"))
    return frozenset(names)


def unknown_attribute(path: str) -> tuple[str, str] | None:
    """Return the module and the attribute that it lacks, for a dotted name under triton; None where all is well."""
    parts = path.split(".")
    for length in range(1, len(parts)):
        module = ".".join(parts[:length])
        names = triton_names(module)
        if names is None:
            return None
        if parts[length] not in names:
            return module, parts[length]
        if _source(f"{module}.{parts[length]}") is None:
            return None
    return None


@cache
def _source(module: str) -> Path | None:
    first, *rest = module.split(".")
    spec = find_spec(first)
    if spec is None or spec.origin is None:
        return None
    at = Path(spec.origin).parent.joinpath(*rest)
    for file in (at / "__init__.py", at.with_suffix(".py")):
        if file.is_file():
            return file
    return None
