"""Errors name settings; a command line names its flags."""

import ast
import json
import pathlib
import pickle
import re
import subprocess
import sys

import pytest

from pnag_tf import config as config_lib
from pnag_tf.latency.android import adb
from pnag_tf.latency.android import settings as android
from pnag_tf.util import errors

PACKAGE = pathlib.Path(errors.__file__).parents[1]
COMMAND_LINES = ("classify.py", "main.py", "latency/android/cli.py", "util/errors.py", "util/terminal.py")
OTHERS_FLAGS = {  # of the benchmark tool and of TensorBoard, not ours
    "latency/android/benchmark_tool.py": {
        "num_threads",
        "num_runs",
        "min_secs",
        "warmup_runs",
        "warmup_min_secs",
        "use_",
    },
    "latency/android/phone.py": {"graph"},
    "run/context.py": {"logdir"},
    "run/provenance.py": {"always", "dirty", "abbrev", "exclude"},  # of git
}
BESIDE = {"records_file", "supernet_file", "workdir", "strategy"}  # of a run, beside its `Config`


@pytest.mark.parametrize(
    ("message", "flags", "expected"),
    [
        ("choose one with `phone.serial`;", {"phone.serial": "serial"}, "choose one with --serial;"),
        ("`device=gpu`: no GPU", {"device": "gpu_or_not"}, "--gpu_or_not=gpu: no GPU"),
        ("with `phone.cpu_mask`", {}, "with --set phone.cpu_mask=..."),
        ("`phone.timeout_s=5` and `data.data_dir=/a b`", {}, "--set phone.timeout_s=5 and --set data.data_dir=/a b"),
        ("`supernet.phases.0.epochs`: found 0", {}, "--set supernet.phases.0.epochs=...: found 0"),
        ("`workdir` must be shared", {}, "`workdir` must be shared"),
        ("`apt-get install adb`, `adb devices`", {"adb": "x"}, "`apt-get install adb`, `adb devices`"),
    ],
)
def test_settings_become_flags(message, flags, expected):
    assert errors.with_flags(message, flags) == expected


@pytest.mark.parametrize(
    "error", [errors.UserError("x"), errors.SettingError("data.batch_size", "found 0"), adb.Lost("gone")]
)
def test_errors_come_back_from_other_processes(error):
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error) and str(back) == str(error) and vars(back) == vars(error)


def test_kinds_can_be_told_apart():
    error = errors.SettingError("data.batch_size", "expected 1 or more, found 0")
    assert (error.name, str(error)) == ("data.batch_size", "`data.batch_size`: expected 1 or more, found 0")
    assert issubclass(adb.Lost, errors.DeviceError) and isinstance(error, errors.UserError)
    with pytest.raises(errors.SettingError, match="`phone.max_repetitions`: expected 3 or more, found 1"):
        android.Settings(max_repetitions=1).check()
    with pytest.raises(errors.SettingError, match="`latency.threads`: expected more than 0, found 0"):
        android.Settings(threads=0).check()


def texts(path: pathlib.Path, docstrings: bool) -> list[tuple[int, str]]:
    """(line, text) of all strings of a module, the parts of f-strings among them, with or without docstrings."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    left_out = set() if docstrings else {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    constants = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in left_out]
    return [(node.lineno, node.value) for node in constants if isinstance(node.value, str)]


def library() -> list[tuple[str, pathlib.Path]]:
    names = [(path.relative_to(PACKAGE).as_posix(), path) for path in sorted(PACKAGE.rglob("*.py"))]
    return [(name, path) for name, path in names if name not in COMMAND_LINES]


@pytest.mark.parametrize(("name", "path"), library())
def test_the_library_knows_no_flags(name, path):
    for line, text in texts(path, docstrings=True):
        found = set(re.findall(r"(?<![\w-])--([a-z]\w*)", text)) - OTHERS_FLAGS.get(name, set())
        assert not found, f"{name}:{line} names the flag --{min(found)}; name the setting, such as `data.data_dir`"


def test_settings_that_messages_name_exist():
    """So that the flag's or setting's name that a user reads can be typed."""
    known = BESIDE | {f"phone.{name}" for name in vars(android.Settings())}
    for part, value in vars(config_lib.Config("")).items():
        known |= {f"{part}.{name}" for name in vars(value)} if hasattr(value, "__dataclass_fields__") else {part}
    parts, count = {name.split(".")[0] for name in known}, 0
    for name, path in library():
        for line, text in texts(path, docstrings=False):
            for setting in re.findall(r"`([a-z]\w*\.[a-z_.]+)[`=]", text):
                if setting.split(".")[0] in parts and not setting.endswith("."):
                    count += 1
                    assert setting in known, f"{name}:{line}: there is no setting {setting}"
    assert count > 8


def test_the_phone_command_line_has_the_flags_of_its_settings():
    # In a process of its own: some of its flags are called as some of `main` are.
    code = "import json; from pnag_tf.latency.android import cli; print(json.dumps([cli.SETTINGS, list(cli.FLAGS)]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    settings, flags = json.loads(done.stdout)
    assert set(settings.values()) <= set(flags)
    assert {name.split(".")[1] for name in settings} == set(vars(android.Settings())) - {"delegate", "tool_flags"}
