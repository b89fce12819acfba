"""The shape of the tree, read from the source itself: who may import whom, and how large things may get."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
MOST_LINES = 400
TOP_LEVEL = {
    "monitor",
    "detectors",
    "deploy",
    "grafana",
    "tests",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
}
"""What may stand at the top, beside names that begin with a dot."""
PURE = {
    "__future__",
    "abc",
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "math",
    "operator",
    "types",
    "typing",
}
"""Standard modules without clock, file, thread, process or hidden state."""
SCIPY = {"special", "linalg", "spatial"}
SEEDED = {"Generator", "BitGenerator", "SeedSequence", "PCG64", "Philox", "default_rng"}
"""Names of numpy.random that hold no global state."""
WORLD = {"open", "print", "input", "exec", "eval", "breakpoint", "__import__"}


class Import(NamedTuple):
    """One name that a module imports: ``from a.b import c`` is both ``a.b`` and ``a.b.c``."""

    names: tuple[str, ...]
    top: bool
    line: int


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def tracked(suffix: str = "") -> list[Path]:
    """Files of the tree, without what tools and environments leave in hidden folders."""
    files = (path for path in ROOT.rglob(f"*{suffix}") if path.is_file())
    return [
        path
        for path in files
        if not any(part[0] == "." or part == "__pycache__" for part in path.relative_to(ROOT).parts)
    ]


def sources(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"{package}/ holds no Python"
    return found


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.Module) -> Iterator[Import]:
    """Every import; ``top`` where it runs when the module is imported and at run time."""
    lazy = {
        id(inside)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _for_checkers(node)
        for inside in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                yield Import((one.name,), id(node) not in lazy, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for one in node.names:
                yield Import((str(node.module), f"{node.module}.{one.name}"), id(node) not in lazy, node.lineno)


def _for_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def offences(paths: list[Path], forbidden: tuple[str, ...]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{one.line} imports {one.names[-1]}"
        for path in paths
        for one in imports(parsed(path))
        if any(name == bad or name.startswith(f"{bad}.") for name in one.names for bad in forbidden)
    ]


def test_detectors_import_only_numpy_scipy_and_the_pure_standard_library() -> None:
    wrong = []
    for path in sources("detectors"):
        for one in imports(parsed(path)):
            head, _, rest = one.names[-1].partition(".")
            fine = head in PURE or head in {"detectors", "numpy"} or (head == "scipy" and rest.split(".")[0] in SCIPY)
            if not fine:
                wrong.append(f"{path.relative_to(ROOT)}:{one.line} imports {one.names[-1]}")
    assert wrong == []


def test_detectors_touch_neither_the_world_nor_global_randomness() -> None:
    wrong = []
    for path in sources("detectors"):
        for node in ast.walk(parsed(path)):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in WORLD:
                wrong.append(f"{where} calls {node.func.id}")
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"np.random", "numpy.random"}:
                wrong += [] if node.attr in SEEDED else [f"{where} uses np.random.{node.attr}"]
            if isinstance(node, ast.Attribute) and node.attr in {
                "tofile",
                "fromfile",
                "memmap",
                "save",
                "load",
                "savez",
            }:
                wrong.append(f"{where} uses {node.attr}")
            if isinstance(node, ast.Global):
                wrong.append(f"{where} has a mutable global")
    assert wrong == []


ENGINE = ("engine", "verdicts", "findings", "joint", "classical", "report", "naming", "severity")
"""The modules that judge: what they give depends on nothing but what they are given."""


def test_the_engine_knows_only_detectors_and_its_pure_neighbours() -> None:
    for name in ENGINE:
        path = ROOT / "monitor" / f"{name}.py"
        every = list(imports(parsed(path)))
        own = {one.names[-1] if one.names[0] == "monitor" else one.names[0] for one in every}
        allowed = {f"monitor.{known}" for known in ENGINE}
        assert {one for one in own if one.startswith("monitor")} <= allowed, name
        heavy = {"pyarrow", "time", "threading", "os"}
        assert [one.names[-1] for one in every if one.names[0].split(".")[0] in heavy] == [], name


def test_sources_never_import_sinks_nor_the_agent() -> None:
    assert (
        offences(sources("monitor/sources"), ("monitor.sinks", "monitor.agent", "monitor.app", "monitor.engine")) == []
    )


def test_sinks_never_import_sources() -> None:
    assert offences(sources("monitor/sinks"), ("monitor.sources", "monitor.intake")) == []


def test_what_we_do_without_is_imported_nowhere() -> None:
    everywhere = (
        sources("detectors") + sources("monitor") + [path for path in tracked(".py") if path.parts[-2] == "demo"]
    )
    assert (
        offences(everywhere, ("scipy.stats", "pandas", "pickle", "cPickle", "joblib", "dill", "torch", "sklearn")) == []
    )


def test_numpy_files_are_never_read_with_pickle() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.value.lineno}"
        for path in sources("monitor") + sources("detectors")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False"
    ]
    assert wrong == []


def test_no_import_cycles_at_module_level() -> None:
    paths = {name_of(path): path for package in ("detectors", "monitor") for path in sources(package)}
    edges = {
        name: {
            target
            for one in imports(parsed(path))
            if one.top
            for target in one.names
            if target in paths and target != name
        }
        for name, path in paths.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for target in sorted(edges[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in sorted(edges):
        visit(name, ())
    assert done == set(paths)


def test_files_are_short_enough_to_be_read_in_one_go() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in tracked(".py")}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_packages_are_at_most_two_folders_deep() -> None:
    assert [
        str(path)
        for package in ("detectors", "monitor")
        for path in sources(package)
        if len(path.relative_to(ROOT).parts) > 3
    ] == []


def test_only_what_is_agreed_stands_at_the_top() -> None:
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    made = {"build", "dist", "htmlcov", "driftwarden-data"}  # ignored by git: what tools leave behind
    assert found - made - TOP_LEVEL == set()
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "monitor", "detectors"} <= found


def test_registries_are_literal_and_name_what_exists() -> None:
    from detectors.registry import CATALOG, JOINT, Tolerances
    from detectors.streaming.catalog import CLASSICAL
    from monitor.sources import SOURCES, load

    assert {name: make(Tolerances()).name for name, make in CATALOG.items()} == {name: name for name in CATALOG}
    assert {name: make(Tolerances()).name for name, make in JOINT.items()} == {name: name for name in JOINT}
    assert {name: make().name for name, make in CLASSICAL.items()} == {name: name for name in CLASSICAL}
    for name in SOURCES:
        assert {"start", "stop"} <= set(dir(load(name)))


def _fresh(code: str, folder: Path) -> str:
    """What a new interpreter prints that sees only what is installed."""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_agent_leaves_the_heavy_parts_alone(tmp_path: Path) -> None:
    heavy = ("scipy.stats", "pandas", "pyarrow.flight", "pyarrow.dataset")
    code = f"import sys, monitor.app; print([name for name in {heavy} if name in sys.modules])"
    assert _fresh(code, tmp_path) == "[]"


def test_the_command_starts_without_the_agent(tmp_path: Path) -> None:
    code = "import sys, monitor.cli; print([name for name in ('numpy', 'pyarrow', 'pydantic') if name in sys.modules])"
    assert _fresh(code, tmp_path) == "[]"


def test_the_installed_packages_of_our_names_are_ours(tmp_path: Path) -> None:
    owners = packages_distributions()
    editable = (distribution("driftwarden").read_text("direct_url.json") or "").find('"editable": true') >= 0
    for package in ("monitor", "detectors"):
        assert set(owners.get(package, [])) <= {"driftwarden"}
        place = Path(_fresh(f"import {package}; print({package}.__file__)", tmp_path)).resolve()
        assert editable or package in owners
        ours = {Path(str(file.locate())).resolve() for file in distribution("driftwarden").files or ()}
        assert place in ours or (editable and place.is_relative_to(ROOT))
