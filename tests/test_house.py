"""The floors of the package: a module imports modules of its own or a lower floor, never of a higher one."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "pnag_tf"
FLOORS = {
    0: ("space", "pareto", "backbone", "files", "config", "distribution", "pages", "regression", "scalars", "terminal"),
    1: ("cost", "records", "published", "data", "features", "interpolation", "elastic", "network", "recipes"),
    2: ("supernet", "subnet", "accuracy", "ensemble", "predictor", "candidates", "evaluator", "generator", "zoo"),
    3: ("shrinking", "reinforce", "baselines", "search", "rounds", "export", "finetune", "ofa"),
    4: ("ablation", "devices", "fanout", "latency_table", "measured", "quantization", "tuning"),
    5: ("compare", "deploy", "figures", "presets", "report"),
    6: ("stages",),
    7: ("main",),
}
FLOOR = {module: floor for floor, modules in FLOORS.items() for module in modules}
SEARCH = ("predictor", "evaluator", "generator", "reinforce", "baselines", "search", "rounds", "tuning")
IMAGES = ("supernet", "subnet", "shrinking", "data", "elastic")  # what the search must do without


def modules() -> dict[str, list[pathlib.Path]]:
    """Top-level module or subpackage -> its files."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path != PACKAGE / "__init__.py":
            found.setdefault(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), []).append(path)
    return found


def imported(path: pathlib.Path) -> set[str]:
    """The top-level modules of pnag_tf that a file imports, wherever in the file the import stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively; write `from pnag_tf import ...`"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("pnag_tf.")} & set(modules())


@pytest.mark.parametrize("module", modules())
def test_module_imports_no_higher_floor(module):
    assert module in FLOOR, f"pnag_tf/{module} stands on no floor; give it one in {pathlib.Path(__file__).name}"
    for path in modules()[module]:
        for other in imported(path) - {module}:
            assert FLOOR.get(other, 99) <= FLOOR[module], f"{path.name} (floor {FLOOR[module]}) imports {other}"


def test_imports_have_no_circle():
    graph = {module: set().union(*map(imported, paths)) - {module} for module, paths in modules().items()}
    while leaves := {module for module, others in graph.items() if not others}:
        graph = {module: others - leaves for module, others in graph.items() if module not in leaves}
    assert not graph


def test_search_needs_no_images():
    """Records are all that the search reads: directly or through others, it imports no part of the supernet."""
    graph = {module: set().union(*map(imported, paths)) for module, paths in modules().items()}
    for module in set(SEARCH) & set(graph):
        reached, todo = set(), {module}
        while todo:
            reached |= todo
            todo = set().union(*(graph[name] for name in todo)) - reached
        assert not reached & set(IMAGES), f"{module} reaches {sorted(reached & set(IMAGES))}"


def test_modules_open_with_a_sentence():
    for paths in modules().values():
        for path in paths:
            docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
            assert docstring.split("\n\n")[0].rstrip().endswith((".", ":")), f"{path} opens without a sentence"
