"""Arrays and tensors that pass between rooms say their shape, all in one way."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "pyramid_reid"
ROOMS = ("core", "protocol", "restoration", "reid", "retrieval", "evaluation", "search")
ARRAYS = {"Tensor", "NDArray", "ArrayLike", "ndarray"}


def public_functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """Functions of a module and methods of its classes that others may call."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node)
        elif isinstance(node, ast.FunctionDef) and (
            not node.name.startswith("_") or node.name in ("__init__", "__call__")
        ):
            yield node


def annotations(function: ast.FunctionDef) -> Iterator[ast.expr]:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg]
    yield from (each.annotation for each in every if each is not None and each.annotation)
    if function.returns is not None:
        yield function.returns


def aliases(tree: ast.Module) -> Iterator[str]:
    """Names that a module gives to array types without a shape, such as `Pixels`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(without_shape(node.value, ARRAYS)):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def without_shape(annotation: ast.AST, arrays: Collection[str]) -> Iterator[str]:
    """Names of array types in an annotation that no `Annotated[…, "shape"]` encloses."""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Annotated":
        shape = annotation.slice.elts[1]
        if isinstance(shape, ast.Constant) and isinstance(shape.value, str):
            return
    if isinstance(annotation, ast.Name | ast.Attribute):
        name = ast.unparse(annotation).rpartition(".")[2]
        if name in arrays:
            yield name
    for child in ast.iter_child_nodes(annotation):
        yield from without_shape(child, arrays)


def lacking(source: str, arrays: Collection[str]) -> list[str]:
    return [
        f"{function.name}: {name}"
        for function in public_functions(ast.parse(source))
        for annotation in annotations(function)
        for name in without_shape(annotation, arrays)
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_every_array_in_a_public_signature_has_its_shape(room):
    modules = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]
    arrays = ARRAYS.union(*map(aliases, modules))
    assert {"Pixels", "Floats"} <= arrays
    found = [
        f"{path.relative_to(PACKAGE)}: {each}"
        for path in sorted((PACKAGE / room).rglob("*.py"))
        for each in lacking(path.read_text(encoding="utf-8"), arrays)
    ]
    assert not found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(x: Tensor) -> None: ...", ["f: Tensor"]),
        ("def f() -> list[NDArray[np.float32]]: ...", ["f: NDArray"]),
        ("def f(*x: torch.Tensor | None): ...", ["f: Tensor"]),
        (
            "class A:\n    def __call__(self, x: Annotated[Tensor, 'B'], y: Pixels): ...",
            ["__call__: Pixels"],
        ),
        ("def f(x: Annotated[Tensor, 'B C']) -> Annotated[Tensor, 'C'] | None: ...", []),
        ("def _f(x: Tensor) -> int: ...", []),
    ],
)
def test_what_has_no_shape_is_found(source, expected):
    assert lacking(source, ARRAYS | {"Pixels"}) == expected
