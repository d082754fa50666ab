"""The documentation: the flags, stages, settings, files and names that it mentions are there."""

import dataclasses
import functools
import importlib
import importlib.util
import pathlib
import re

import pytest

import pnag_tf
from pnag_tf import config, main, overrides, presets
from pnag_tf.latency import export
from pnag_tf.run import evaluate, layout, stages, targets
from pnag_tf.supernet import distribution
from pnag_tf.zoo import shelf

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("android_benchmark/*.md"),
        *ROOT.glob("benchmarks/*.md"),
        *ROOT.glob("docs/**/*.md"),
    ]
)
OWN = ("android_benchmark", "benchmarks", "docs", "pnag_tf", "tests", "tools")  # folders whose files pages name
OTHERS = {
    "config",
    "es",
    "graph",
    "help",
    "install",
    "logdir",
    "no-deps",
    "num_threads",
    "top",
}  # flags of other programs
VALUES = {  # flag -> what it takes
    "baseline_time": ("each", "shared"),
    "baselines": tuple(shelf.NETWORKS),
    "class_weights": ("none", "balanced"),
    "device": targets.DEVICES,
    "kind": export.QUANTIZATIONS,
    "latency": ("table", "measured"),
    "method": evaluate.METHODS,
    "objective": ("top1", "balanced_top1"),
    "preset": presets.NAMES,
    "quantize": export.QUANTIZATIONS,
    "shrinking": presets.SHRINKING,
    "stage": (*main.STAGES, "all"),
    "strategy": distribution.STRATEGIES,
    "weights": ("none", "imagenet"),
}
page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())


@pytest.fixture(scope="module")
def hooks():
    """docs/hooks.py, which makes the tables of the site."""
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs/hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code(text: str) -> list[str]:
    """What stands in a page as code: lines of blocks, a line that ends in a backslash with the next; and spans."""
    blocks = re.findall(r"^ *```.*?\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    blocks += re.findall(r"(?:^    .+\n)+", text, re.MULTILINE)
    lines = [line for block in blocks for line in re.sub(r"\\\n", " ", block).splitlines()]
    return [*lines, *re.findall(r"`([^`\n]+)`", without_blocks(text))]


def without_blocks(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)


@functools.cache
def defined(path: str) -> set[str]:
    """The flags that a program's source defines."""
    return set(re.findall(r"""(?:DEFINE_\w+\(\s*|add_argument\()"(?:--)?(\w+)\"""", (ROOT / path).read_text()))


@functools.cache
def all_flags() -> set[str]:
    """Those of all programs of the repository."""
    sources = ["pnag_tf/latency/android/cli.py", *(f"tools/{each.name}" for each in (ROOT / "tools").glob("*.py"))]
    sources += [f"benchmarks/{each.name}" for each in (ROOT / "benchmarks").glob("*.py")]
    fetch = set(re.findall(r"--(\w+)=", (ROOT / "android_benchmark/fetch.sh").read_text()))
    return defined("pnag_tf/main.py").union(fetch, *map(defined, sources))


def program(line: str) -> str | None:
    """The source of the program that a line of code starts, where it is one of the repository's."""
    if "pnag_tf.main" in line or re.match(r"pnag |.*bin/pnag ", line):
        return "pnag_tf/main.py"
    if re.search(r"bench_android\.sh |pnag-bench-android ", line):
        return "pnag_tf/latency/android/cli.py"
    found = re.search(r"\b((?:tools|benchmarks)/\w+\.py) ", line)
    return found[1] if found else None


@page
def test_flags_exist(page):
    for line in code(page.read_text()):
        named = re.findall(r"(?<![\w-])--([a-z]\w*(?:-\w+)*)", line.split(" #")[0])
        known = defined(program(line)) if program(line) else all_flags()
        unknown = set(named) - known - OTHERS
        assert not unknown, f"`{line}`: no such flag: {unknown}"


@page
def test_values_of_flags_exist(page):
    for line in code(page.read_text()):
        for flag, values in re.findall(r"--(\w+)=([\w,|]+)", line):
            unknown = set(re.split("[,|]", values)) - set(VALUES.get(flag, ())) - {"NAME"}
            assert flag not in VALUES or not unknown, f"`{line}`: no such value: {unknown}"


@page
def test_settings_exist(page):
    known = {name for each in presets.NAMES for name in overrides.names(presets.preset(each))} | set(overrides.FIXED)
    parts = "|".join(field.name for field in dataclasses.fields(config.Config))
    for text in code(page.read_text()):
        named = re.findall(r"--set ([\w.]+)=", text)
        if re.fullmatch(rf"(?:{parts})\.[a-z_0-9.]+", text) and pathlib.Path(text).suffix[1:] not in (
            "csv",
            "jsonl",
            "keras",
        ):
            named.append(text)
        assert set(named) <= known, f"`{text}`: no such setting"


@page
def test_links_lead_somewhere(page, hooks):
    for target in re.findall(r"\]\((?!http)([^)\s]+)\)", without_blocks(page.read_text())):
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), f"{target}: no such file"
        if anchor and anchor.startswith("pnag_tf."):
            shown = re.findall("^::: (.+)$", there.read_text(), re.MULTILINE)
            on_page = anchor in shown or anchor.rpartition(".")[0] in shown  # by itself, or with its module
            assert on_page and found(anchor), f"{target}: no such name on that page"
        elif anchor:
            headings = re.findall("^#+ (.+)$", without_blocks(hooks.filled(there.read_text())), re.MULTILINE)
            assert anchor in map(slug, headings), f"{target}: no such heading"


def slug(heading: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


@page
def test_files_exist(page):
    for text in code(page.read_text()):
        for path in re.findall(rf"(?<![\w/.~-])(?:{'|'.join(OWN)})/[\w/.-]*\w", text):
            assert (ROOT / path).exists(), f"`{text}`: no such file"


@page
def test_names_exist(page):
    text = page.read_text()
    names = set(re.findall(r"\bpnag_tf(?:\.\w+)+", text)) - {"pnag_tf.main"}
    names |= {f"pnag_tf.{name}" for name in re.findall(r"(?<![\w/])pnag\.(\w+)", text)}
    for name in names:
        assert found(name), f"{name}: no such name"


def found(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    thing = pnag_tf
    for number, part in enumerate(parts := name.split(".")[1:], 1):
        if not hasattr(thing, part):
            try:
                thing = importlib.import_module(".".join(["pnag_tf", *parts[:number]]))
            except ModuleNotFoundError:
                return False
        else:
            thing = getattr(thing, part)
    return True


@page
def test_targets_of_make_exist(page):
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in code(page.read_text()):
        for target in re.findall(r"^make (?:\w+=\S+ )?(\w+)", line):
            assert target in targets, f"`{line}`: no such target"


def test_the_readme_has_the_table_of_stages(hooks):
    expected = hooks.stages()
    assert expected in (ROOT / "README.md").read_text(), f"the stages have changed; README.md needs\n\n{expected}\n"


def test_the_page_of_files_has_every_path_of_a_run():
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs/reference/files.md").read_text(), re.MULTILINE)
    there = layout.Layout(pathlib.Path("/run"))
    paths = [getattr(there, name) for name, value in vars(layout.Layout).items() if isinstance(value, property)]
    paths = {path.relative_to("/run").as_posix() for path in paths if path != there.root}
    for path in paths:
        assert any(row.startswith(path) or path.startswith(row) for row in rows), f"{path} is in no row"
    for stage in stages.STAGES.values():
        for path in stage.writes.split(", "):
            assert any(row.startswith(path) or path.startswith(row) for row in rows), f"{path} is in no row"
    for row in rows[: rows.index("report/index.html")]:
        assert row == "logs/" or any(row.startswith(path) for path in paths), f"{row}: no run has it"


def test_the_page_of_the_comparison_has_every_method():
    table = (ROOT / "docs/guide/comparison.md").read_text().partition("| `--method` |")[2].partition("\n\n")[0]
    named = [name for cells in re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE) for name in cells.split(", ")]
    assert sorted(named) == sorted(f"`{method}`" for method in evaluate.METHODS)


def test_tables_name_every_flag_and_setting(hooks):
    named = re.findall(r"^\| `--(\w+)`", hooks.flags(), re.MULTILINE)
    assert set(named) == defined("pnag_tf/main.py") and len(named) == len(set(named))
    assert f"`{main.FLAGS['preset'].default}`" in hooks.flags()
    named = set(re.findall(r"^\| `([\w.]+)`", hooks.settings(), re.MULTILINE))
    known = {re.sub(r"phases\.\d+", "phases.N", name) for name in overrides.names(presets.preset("demo"))}
    assert known <= named


def test_a_comment_becomes_what_a_setting_is(hooks):
    said = hooks.comments(config.Evaluator)
    assert said["pseudo_labels"].startswith("architectures near the frontier")  # behind it
    assert said["loss"].startswith("'hinge' (Eqn. F)")  # above it
    assert set(said) == {field.name for field in dataclasses.fields(config.Evaluator)}


def test_links_of_the_repository_become_links_of_the_site(hooks):
    assert hooks.linked("README.md", "index.md", "docs/guide/phone.md") == "guide/phone.md"
    assert hooks.linked("docs/guide/phone.md", "guide/phone.md", "../../BUILD.md") == "../install.md"
    assert hooks.linked("benchmarks/results.md", "figures.md", "../README.md") == "index.md"
    assert hooks.linked("docs/method/space.md", "method/space.md", "nowhere.md") == "nowhere.md"
    for path in hooks.ELSEWHERE:
        assert (ROOT / path).exists()
