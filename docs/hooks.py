"""What MkDocs does beside rendering: pages that lie elsewhere in the repository, and tables written by the code.

README.md is the first page of the site, and a few other files are pages of it too. Links are written as they work in
the repository; here they become links of the site. A line such as `<!-- stages -->` is replaced by a table.
"""

from __future__ import annotations

import ast
import dataclasses
import pathlib
import posixpath
import re
import typing
from collections.abc import Iterable, Sequence

from pnag_tf import config, presets
from pnag_tf.space import backbone, space

ROOT = pathlib.Path(__file__).resolve().parents[1]
ELSEWHERE = {  # path in the repository -> page of the site
    "README.md": "index.md",
    "BUILD.md": "install.md",
    "LICENSE": "LICENSE.txt",
    "android_benchmark/README.md": "guide/benchmark_tool.md",
    "benchmarks/results.md": "figures.md",
    "examples/android/README.md": "guide/example_android.md",
    "examples/web/README.md": "guide/example_web.md",
    "pnag_tf/latency/android/profiles.json": "guide/profiles.json",
}
_LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
_TABLE = re.compile(r"^<!-- (\w+) -->$", re.MULTILINE)
_SHOWN = ("demo", "photos", "search", "paper")  # presets beside each other in the table of settings


def on_files(files, config):
    """Adds the pages that lie elsewhere."""
    from mkdocs.structure.files import File

    for path, page in ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Fills in the tables, and turns links of the repository into links of the site."""
    source = pathlib.Path(page.file.abs_src_path).relative_to(ROOT).as_posix()
    if source == "README.md":
        page.meta["hide"] = ["navigation"]
    return _LINK.sub(lambda found: found[1] + linked(source, page.file.src_uri, found[2]) + found[3], filled(markdown))


def filled(markdown: str) -> str:
    """A page with its tables."""
    return _TABLE.sub(lambda found: TABLES[found[1]](), markdown)


def linked(source: str, page: str, target: str) -> str:
    """A link of the file `source` as a link of `page`, which is what the site calls it."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if not (ROOT / path).exists():  # MkDocs complains of it
        return target
    uri = ELSEWHERE.get(path) or path.removeprefix("docs/")
    return posixpath.relpath(uri, posixpath.dirname(page) or ".")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def stages() -> str:
    """The stages of a run: name, files, and what happens."""
    from pnag_tf.run import stages as stages_lib

    rows = []
    for stage in stages_lib.STAGES.values():
        writes = ", ".join(f"`{path}`" for path in stage.writes.split(", "))
        rows.append((f"`{stage.name}`", writes, stage.what))
    return table(("stage", "makes", "what happens"), rows)


def needs() -> str:
    """The stages of a run, and those that each reads from."""
    from pnag_tf.run import stages as stages_lib

    rows = [
        (f"`{stage.name}`", ", ".join(f"`{need}`" for need in stage.needs) or "nothing", "yes" if stage.device else "")
        for stage in stages_lib.STAGES.values()
    ]
    return table(("stage", "needs", "asks for the device"), rows)


def flags() -> str:
    """The flags of the command line."""
    from pnag_tf import main

    rows = []
    for flag in main.FLAGS.flags_by_module_dict()[main.__name__]:
        default = "" if flag.default in (None, "", []) else f"`{str(flag.default).lower()}`"
        said = flag.help.splitlines()[0].rstrip(";")  # absl adds a line to flags that may be repeated
        rows.append((f"`--{flag.name}`", default, said.replace("<", "&lt;")))
    return table(("flag", "default", "what it says"), rows)


def settings() -> str:
    """Every setting: its name, what it is, and its value in the presets."""
    known = {name: presets.preset(name) for name in _SHOWN}
    parts, single = [], []
    for field in dataclasses.fields(config.Config):
        owner = getattr(known[_SHOWN[0]], field.name)
        if field.name == "preset":
            continue
        values = {name: getattr(each, field.name) for name, each in known.items()}
        if dataclasses.is_dataclass(owner):
            parts.append(_section(field.name, type(owner), values))
        else:
            said = comments(config.Config)[field.name]
            single.append((f"`{field.name}`", said, *(_value(values[name]) for name in _SHOWN)))
    phase = [
        (f"`supernet.phases.N.{name}`", said, *[""] * len(_SHOWN)) for name, said in comments(config.Phase).items()
    ]
    parts = [_settings_table("The run", single), *parts]
    phases = next(place for place, part in enumerate(parts, 1) if part.startswith("### supernet\n"))
    return "\n\n".join([*parts[:phases], _settings_table("supernet.phases", phase), *parts[phases:]])


def _section(name: str, kind: type, values: dict[str, object]) -> str:
    rows = []
    for key, said in comments(kind).items():
        if key == "phases" or f"{name}.{key}" == "backbone.classes":
            continue
        rows.append((f"`{name}.{key}`", said, *(_value(getattr(values[preset], key)) for preset in _SHOWN)))
    return _settings_table(name, rows)


def _settings_table(title: str, rows: Iterable[Sequence[str]]) -> str:
    return f"### {title}\n\n" + table(("setting", "what it is", *(f"`{name}`" for name in _SHOWN)), rows)


def _value(value: object) -> str:
    if isinstance(value, tuple):
        value = ", ".join(map(str, value))
    return f"`{value}`" if value != "" else ""


def comments(kind: type) -> dict[str, str]:
    """What the source says of each field of a dataclass: the comment behind it, else the one above it."""
    path = pathlib.Path(typing.cast(str, _module(kind).__file__))
    lines = path.read_text().splitlines()
    nodes = {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)}
    said = {}
    for node in nodes[kind.__name__].body:
        if isinstance(node, ast.AnnAssign):
            behind = lines[node.end_lineno - 1][node.end_col_offset :].strip()
            above = lines[node.lineno - 2].strip()
            comment = behind if behind.startswith("#") else above if above.startswith("#") else ""
            said[node.target.id] = comment.lstrip("# ")
    return said


def _module(kind: type):
    return {each.__name__: each for each in (config, space, backbone)}[kind.__module__]


TABLES = {"stages": stages, "needs": needs, "flags": flags, "settings": settings}
