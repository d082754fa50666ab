"""Where the networks of a run come from: command, versions, commit and images."""

from __future__ import annotations

import importlib.metadata
import pathlib
import platform
import shlex
import subprocess
import sys

import pnag_tf

PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "numpy")


def of_call() -> dict:
    """The call that is running: its command, and the versions of what computes."""
    return {"command": _command(), "versions": _versions(), "commit": _commit()}


def _command() -> str:
    """What was typed, or the program that uses the package."""
    program = pathlib.Path(sys.argv[0])
    if program.parent == pathlib.Path(pnag_tf.__file__).parent:
        program = f"python -m pnag_tf.{program.stem}"
    else:
        program = shlex.quote(program.name or "python")
    return " ".join([str(program), *map(shlex.quote, sys.argv[1:])])


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "pnag_tf": pnag_tf.__version__}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # TensorFlow has several names
            versions[name] = "unknown"
    return versions


def _commit() -> str:
    """Of the checkout that the package is in, with `-dirty` where it was changed; empty for an installed one."""
    root = pathlib.Path(pnag_tf.__file__).parents[1]
    if not (root / ".git").exists():
        return ""
    try:
        found = subprocess.run(
            ["git", "-C", root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()
