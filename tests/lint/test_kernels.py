"""What is read from a kernel: axes, stores through names and helpers, block sizes."""

from __future__ import annotations

import ast

from rooflift.lint.kernels import KernelCode


def kernel(body: str, parameters: str = "x, y, n, BLOCK: tl.constexpr", others: str = "") -> KernelCode:
    """Return a kernel with this body, beside helpers."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    tree = ast.parse(f"{others}\ndef main({parameters}):\n{lines}")
    found: dict[str, KernelCode] = {}
    for node in tree.body:
        assert isinstance(node, ast.FunctionDef)
        found[node.name] = KernelCode(node, found, {"tl": "triton.language"})
    return found["main"]


def test_a_loaded_index_is_no_pointer_to_its_table() -> None:
    assert kernel("at = tl.load(x)\ntl.store(y + at, 1)").stored == {("y",)}


def test_a_store_is_found_through_names_helpers_and_tuples() -> None:
    others = "def put(pair, v):\n    tl.store(pair[1], v)\n"
    assert kernel("p = x + n\nq = p\ntl.store(q, 1)").stored >= {("x",)}
    assert kernel("put((x, y), 1)", others=others).stored == {("y",)}
    assert kernel("a, b = pair\ntl.store(b, tl.load(a))", "pair").stored == {("pair", 1)}
    assert kernel("d = tl.make_tensor_descriptor(x, [n], [1], [BLOCK])\nd.store([0], 1)").stored >= {("x",)}


def test_an_axis_is_found_in_a_helper_that_is_given_it() -> None:
    others = "def at(axis):\n    return tl.program_id(axis)\n"
    assert [axis for axis, _ in kernel("i = at(2) + tl.program_id(axis=0)", others=others).axes()] == [0, 2]


def test_block_sizes_are_lengths_of_ranges_and_blocks() -> None:
    found = kernel("a = tl.arange(0, BLOCK)\nb = tl.zeros([BLOCK, 3], tl.float32)\nc = tl.arange(4, 7)")
    assert [size for size, _ in found.block_sizes()] == ["BLOCK", "BLOCK", 3]


def test_kernels_that_call_each_other_are_no_endless_loop() -> None:
    found = kernel("main(x, y, n, BLOCK)\ntl.store(y, 1)")
    assert found.stored == {("y",)}
    assert list(found.axes()) == []
