"""What runs on the database's thread touches no stage: it is handed values and returns its results."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TREES = ("gateway",)
#: What a transaction function is handed to, on whatever is called a store or a database.
DOORS = {"write", "read", "write_later", "_write"}
STORES = ("store", "db", "database")

_VALUES = "reads values set once, when its object is made"
#: Functions that still read their object on the database's thread, by file: how often at most, and why that is right for now.
REMAINING: dict[str, tuple[int, str]] = {
    "gateway/alarm/answer_bodies.py": (1, "a method of a frozen value made for this call"),
    "gateway/alarm/answering.py": (5, _VALUES),
    "gateway/alarm/confirming.py": (
        2,
        "what it reads is changed by its own task only, which waits for the reading",
    ),
    "gateway/alarm/pushing.py": (1, _VALUES),
    "gateway/app/commands/fsck.py": (1, "the clock"),
    "gateway/fsck/object_audit.py": (2, _VALUES),
    "gateway/recording/deletion.py": (7, _VALUES),
    "gateway/recording/holds.py": (4, _VALUES),
    "gateway/recording/object_locks.py": (2, _VALUES),
    "gateway/watch/access_register.py": (1, "the clock"),
    "gateway/watch/supervising.py": (6, _VALUES),
    "gateway/watch/witness.py": (1, "the clock"),
}


def _is_store(receiver: ast.expr) -> bool:
    name = receiver.attr if isinstance(receiver, ast.Attribute) else getattr(receiver, "id", "")
    return name.strip("_") in STORES


def _handed(call: ast.Call) -> list[ast.expr]:
    """The transaction function of a call to a store, and of a stage's own ``_write`` in front of it."""
    func = call.func
    if not isinstance(func, ast.Attribute) or func.attr not in DOORS or not call.args:
        return []
    is_own_door = func.attr == "_write" and ast.unparse(func.value) == "self"
    return call.args[:1] if is_own_door or _is_store(func.value) else []


def _functions(tree: ast.AST) -> dict[str, list[ast.AST]]:
    functions: dict[str, list[ast.AST]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            functions.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            functions.setdefault(node.targets[0].id, []).append(node.value)
    return functions


def _selves(node: ast.AST) -> Iterator[str]:
    """Every use of ``self`` that runs with the transaction: in a lambda or a function, not in the values bound around it."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and inner.id == "self":
            yield f"line {inner.lineno}"


def _faulty(work: ast.expr, scope: ast.AST) -> Iterator[str]:
    """Why the function handed in touches an object's state."""
    if isinstance(work, ast.Lambda):
        yield from _selves(work)
    elif isinstance(work, ast.Attribute):
        yield f"line {work.lineno}: the method {ast.unparse(work)}"
    elif isinstance(work, ast.Call) and ast.unparse(work.func).endswith("partial"):
        # What is bound is read on the loop, before the transaction.
        yield from _faulty(work.args[0], scope)
    elif isinstance(work, ast.Name):
        for found in _functions(scope).get(work.id, ()):
            if isinstance(found, ast.FunctionDef):
                yield from _selves(found)
            elif isinstance(found, ast.expr):
                yield from _faulty(found, scope)


def faults_of(source: str) -> list[str]:
    """Every use of an object's state in what is handed to a store, once each."""
    tree = ast.parse(source)
    outer: dict[ast.AST, ast.AST] = {}
    for parent in ast.walk(tree):
        for child in ast.iter_child_nodes(parent):
            outer[child] = parent
    faults: list[str] = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        scope: ast.AST = call
        while scope in outer and not isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            scope = outer[scope]
        for work in _handed(call):
            faults += [fault for fault in _faulty(work, scope) if fault not in faults]
    return faults


def _files() -> list[Path]:
    return sorted(file for tree in TREES for file in (ROOT / tree).rglob("*.py"))


def test_no_transaction_function_touches_a_stage() -> None:
    """Of the whole tree, but for what is listed with its reason: there no more than that."""
    found = {str(f.relative_to(ROOT)): faults_of(f.read_text()) for f in _files()}
    more = {name: faults for name, faults in found.items() if len(faults) > REMAINING.get(name, (0, ""))[0]}
    assert not more


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("await self._store.write(lambda tx: tx.add(self._row))", 1),
        ("await self.store.read(lambda tx: self._look(tx))", 1),
        ("await self._store.write(self._do)", 1),
        ("await self._store.write(partial(self._do, row=1))", 1),
        ("self._store.write_later(partial(_do, row=self._row))", 0),
        ("await self._write(lambda tx: tell(tx, self._envelopes))", 1),
        ("row = self._row\n        await self._store.write(lambda tx: tx.add(row))", 0),
        ("def work(tx):\n            tx.add(self._row)\n        await parts.store.write(work)", 1),
        ("work = lambda tx: self.x\n        await store.read(work)", 1),
        ("file.write(lambda tx: self.x)", 0),
    ],
)
def test_the_check_finds_them(body: str, count: int) -> None:
    """Lambdas, methods, nested functions, and what partial binds to them; values read before are no fault."""
    source = f"class Stage:\n    async def act(self):\n        {body}\n"
    assert len(faults_of(source)) == count
