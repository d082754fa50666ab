"""What a phone is measured with: the phone itself, the benchmark tool for it, and the cores that it runs on."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import os
import pathlib

from pnag_tf.latency.android import adb, benchmark_tool, phone
from pnag_tf.latency.android import journal as journal_lib
from pnag_tf.latency.android import settings as settings_lib
from pnag_tf.util import errors

_PLATFORMS = {"arm64-v8a": ("android_aarch64", 183), "armeabi-v7a": ("android_arm", 40)}  # ABI -> its name, ELF machine


def find(settings: settings_lib.Settings) -> tuple[adb.Adb, journal_lib.Setup, bytes]:
    """The phone, what figures of it hold for, and the tool. Raises UserError."""
    device = adb.find(settings.serial)
    facts = phone.probe(device, settings.remote_dir)
    tool = read_tool(settings.tool, facts)
    sha256 = hashlib.sha256(tool).hexdigest()
    mask = _mask(settings, facts)
    flags = benchmark_tool.flags(
        settings.threads,
        settings.runs,
        settings.run_secs,
        settings.warm_up_runs,
        settings.warm_up_secs,
        settings.delegate,
        settings.tool_flags,
    )
    parts = [
        facts.name,
        f"benchmark_model {sha256[:12]}",
        settings.delegate.upper() or "CPU",
        f"mask {mask}",
        f"{settings.threads} thread{'s' if settings.threads > 1 else ''}",
        *settings.tool_flags,
    ]
    return (
        device,
        journal_lib.Setup(", ".join(parts), device.serial, facts, sha256, mask, settings.threads, flags),
        tool,
    )


def tools() -> pathlib.Path:
    """The user's folder, where android_benchmark/fetch.sh puts benchmark_model: one folder a platform."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pnag_tf"


def read_tool(path: str, facts: phone.Facts) -> bytes:
    """The content of benchmark_model. Raises UserError when it is missing or made for other processors."""
    platform, machine = _PLATFORMS.get(facts.abi, (None, None))
    if not path and platform is None:
        raise errors.DeviceError(
            f"no benchmark_model is published for {facts.abi}: build one and name it with `phone.tool`"
        )
    path = path or tools() / platform / phone.TOOL
    try:
        tool = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise errors.UserError(
            f"{path}: cannot read benchmark_model ({error.strerror}); "
            "android_benchmark/fetch.sh in the sources of this package fetches it"
        ) from None
    if tool[:4] == b"\x7fELF" and machine not in (None, found := int.from_bytes(tool[18:20], "little")):
        raise errors.UserError(f"{path}: expected a program for {facts.abi} (ELF machine {machine}), found {found}")
    return tool


def _mask(settings: settings_lib.Settings, facts: phone.Facts) -> str:
    """The affinity in hexadecimal, or 'none'. Raises UserError."""
    if settings.cpu_mask == "none":
        return "none"
    if settings.cpu_mask:
        try:
            mask = int(settings.cpu_mask, 16)
        except ValueError:
            mask = 0
        if mask <= 0:
            raise errors.SettingError(
                "phone.cpu_mask", f"expected hexadecimal such as f0, or none, found '{settings.cpu_mask}'"
            )
        return f"{mask:x}"
    for profile in profiles():
        if not facts.max_khz and facts.model in profile["models"] and settings.threads <= profile["threads"]:
            return profile["cpu_mask"]
    if not facts.max_khz:
        raise errors.DeviceError(f"{facts.name} does not tell how fast its cores are: name them with `phone.cpu_mask`")
    return f"{phone.big_cores(dict(facts.max_khz), settings.threads):x}"


def profiles() -> list[dict]:
    """Known phones: name, models (ro.product.model), cpu_mask and the threads it has room for."""
    return json.loads(importlib.resources.files(__package__).joinpath("profiles.json").read_text(encoding="utf-8"))
