"""The house: folders stand on floors, and a folder imports folders of lower floors only."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "pnag_tf"
FLOORS = (
    ("util",),
    ("space",),
    ("config",),
    ("data", "overrides", "search", "zoo"),
    ("latency", "presets", "supernet", "tuning", "figures"),
    ("run",),
    ("api",),
    ("classify", "main"),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
PATHS = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name(path: pathlib.Path) -> str:
    """'search.records' for pnag_tf/search/records.py, 'data' for pnag_tf/data/__init__.py."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imported(path: pathlib.Path) -> set[str]:
    """The modules of the package that a file imports, wherever in the file the import stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively; write `from pnag_tf import ...`"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    names = {each.removeprefix("pnag_tf.") for each in names if each.startswith("pnag_tf.")}
    known = {name(each) for each in PATHS}
    return {each if each in known else each.rpartition(".")[0] for each in names} & known


def room(module: str) -> str:
    return module.split(".")[0]


@pytest.mark.parametrize("module, path", [(name(path), path) for path in PATHS])
def test_a_folder_imports_lower_floors_only(module, path):
    assert room(module) in FLOOR, f"pnag_tf/{room(module)} stands on no floor; give it one in tests/test_house.py"
    for other in imported(path):
        below = FLOOR[room(other)] < FLOOR[room(module)]
        assert below or room(other) == room(module), f"pnag_tf/{module} imports pnag_tf/{other}"


def test_search_imports_neither_supernet_nor_data_nor_latency():
    """Records are all that the search reads: directly or through others."""
    graph = {name(path): imported(path) for path in PATHS}
    todo = {module for module in graph if room(module) in ("search", "tuning")}
    reached = set()
    while todo:
        reached |= todo
        todo = set().union(*(graph[module] for module in todo)) - reached
    assert not {module for module in reached if room(module) in ("supernet", "data", "latency")}


def test_imports_have_no_circle():
    graph = {name(path): imported(path) - {name(path)} for path in PATHS}
    while leaves := {module for module, others in graph.items() if not others}:
        graph = {module: others - leaves for module, others in graph.items() if module not in leaves}
    assert not graph


def test_modules_open_with_a_sentence():
    for path in PATHS:
        text = path.read_text()
        docstring = ast.get_docstring(ast.parse(text)) or ""
        opens = docstring.split("\n\n")[0].rstrip().endswith((".", ":"))
        assert opens or not text, f"{path} opens without a sentence"
