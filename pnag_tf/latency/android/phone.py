"""One phone: what it is, how warm it is, and a session on it in which the benchmark tool runs again and again."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
import secrets
import shlex
from collections.abc import Iterator, Mapping, Sequence

from pnag_tf.latency.android import adb
from pnag_tf.util import errors

TOOL = "benchmark_model"
FOLDER = "pnag_tf."  # begins the name of a session's folder on the phone
THERMAL_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")  # Android's levels

_PROPERTIES = {
    "manufacturer": "ro.product.manufacturer",
    "model": "ro.product.model",
    "android": "ro.build.version.release",
    "build": "ro.build.id",
    "fingerprint": "ro.build.fingerprint",
    "abi": "ro.product.cpu.abi",
}

# Folders that a killed session left behind go: those whose script is dead, and, an hour old, those that it never
# reached.
_PROBE = """
{properties}
for file in /sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq; do
  echo "$file=$(cat "$file" 2>/dev/null)"
done
echo "low_power=$(settings get global low_power 2>/dev/null)"
cd / && mkdir -p {remote} && cd {remote} || exit
for folder in {folder}*; do
  if [ -f "$folder/pid" ]; then
    if kill -0 "$(cat "$folder/pid")" 2>/dev/null; then echo "busy=$folder"; else rm -rf "$folder"; fi
  elif [ -n "$(find "$folder" -maxdepth 0 -mmin +60 2>/dev/null)" ]; then
    rm -rf "$folder"
  fi
done
mkdir {name} && rmdir {name} && echo writable=1
"""

# Runs on the phone: reads `look` and `run NAME` line by line. When its input ends, because we closed it, were killed or
# the cable was pulled, it ends the tool and removes its folder; while the tool runs, a second reader watches for that.
# Written for mksh, Android's shell; dash and bash run it as well.
_SCRIPT = """
folder=$1 mask=$2
shift 2
tool= watcher=
exec 3<&0 2>&1
stop() {
  trap '' HUP INT TERM PIPE
  [ "$tool" != starting ] || tool=$!
  [ -z "$watcher" ] || kill -9 "$watcher"
  [ -z "$tool" ] || kill -9 "$tool"
  cd / && rm -rf "$folder"
  exit
}
trap stop HUP INT TERM PIPE
cd "$folder" && echo $$ >pid && chmod 755 benchmark_model || stop
set -- ./benchmark_model "$@"
[ "$mask" = none ] || set -- taskset "$mask" "$@"
echo "@pnag ready"
while read -r verb name <&3; do
  code=0
  case $verb in
    look)
      dumpsys thermalservice
      dumpsys battery
      ;;
    run)
      tool=starting
      "$@" "--graph=$name" </dev/null 3<&- &
      tool=$!
      ( read -r line <&3; kill -HUP $$ ) &
      watcher=$!
      wait "$tool"
      code=$?
      tool=
      kill -9 "$watcher" # just started it still has our trap, and would not hear any other signal
      { wait "$watcher"; } 2>/dev/null # without "Killed"
      watcher=
      ;;
  esac
  echo
  echo "@pnag $code"
done
stop
"""


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a phone says of itself.

    Attributes:
      max_khz: (core, its highest frequency) of each core, in kHz; empty where the phone does not tell.
    """

    manufacturer: str
    model: str
    android: str
    build: str
    fingerprint: str
    abi: str
    max_khz: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        return f"{self.manufacturer} {self.model}, Android {self.android} ({self.build})"

    def identity(self) -> Facts:
        """Without the cores: one that is switched off just now does not tell."""
        return dataclasses.replace(self, max_khz=())


@dataclasses.dataclass(frozen=True)
class Conditions:
    """How the phone is; None where it does not tell.

    Attributes:
      thermal_status: Android's level of throttling, an index of `THERMAL_STATUS`; phones before Android 10 have none.
      cpu_c, gpu_c, skin_c: the hottest sensor of the kind, in °C.
      battery_c, battery_percent: temperature and charge of the battery.
    """

    thermal_status: int | None
    cpu_c: float | None
    gpu_c: float | None
    skin_c: float | None
    battery_c: float | None
    battery_percent: float | None


def probe(device: adb.Adb, remote_dir: str) -> Facts:
    """What the phone is; also clears what killed sessions left in the remote folder.

    Raises:
      UserError: the phone saves its battery, another session runs, or nothing can be written to the folder.
    """
    command = _PROBE.format(
        properties="\n".join(f'echo "{name}=$(getprop {prop})"' for name, prop in _PROPERTIES.items()),
        remote=shlex.quote(remote_dir),
        folder=FOLDER,
        name=FOLDER + secrets.token_hex(4),
    )
    lines = device.shell(command).splitlines()
    told = dict(line.split("=", 1) for line in lines if "=" in line)
    if told.get("low_power") == "1":
        raise errors.DeviceError(
            f"phone {device.serial} saves its battery, which slows it down: switch Battery Saver off"
        )
    if "busy" in told:
        raise errors.DeviceError(
            f"phone {device.serial} is measuring for somebody else, see {remote_dir}/{told['busy']} on it: wait for it"
        )
    if "writable" not in told:
        why = lines[-1].strip() if lines and "=" not in lines[-1] else "no reason given"
        raise errors.DeviceError(f"phone {device.serial}: cannot write to `phone.remote_dir={remote_dir}`: {why}")
    cores = (re.fullmatch(r".*/cpu(\d+)/cpufreq/.*", name) for name, value in told.items() if value.isdigit())
    max_khz = sorted((int(core[1]), int(told[core[0]])) for core in cores if core)
    return Facts(**{name: told.get(name, "").strip() or "unknown" for name in _PROPERTIES}, max_khz=tuple(max_khz))


def big_cores(max_khz: Mapping[int, int], threads: int) -> int:
    """Affinity mask of the fastest cores: whole clusters of equal cores, the fastest first, until each thread has one.

    Args:
      max_khz: core -> its highest frequency.
    """
    mask = 0
    for khz in sorted(set(max_khz.values()), reverse=True):
        mask |= sum(1 << core for core, highest in max_khz.items() if highest == khz)
        if mask.bit_count() >= threads:
            break
    return mask


def parse_conditions(text: str) -> Conditions:
    """What `dumpsys thermalservice` and `dumpsys battery` print, one after the other."""
    thermal, _, battery = text.partition("Current Battery Service state")
    status = re.search(r"Thermal Status: (\d+)", thermal)
    # Cached values are those of the last event, which may be long ago.
    current = thermal.partition("Current temperatures from HAL")[2] or thermal
    sensors = re.findall(r"Temperature\{mValue=([-\d.]+), mType=(\d+)", current)

    def hottest(kind: int) -> float | None:
        return max((float(value) for value, of in sensors if int(of) == kind and float(value) > 0), default=None)

    def number(name: str) -> float | None:
        found = re.search(rf"^\s*{name}: (-?\d+)", battery, re.MULTILINE)
        return float(found[1]) if found else None

    tenths = number("temperature")
    return Conditions(
        thermal_status=int(status[1]) if status else None,
        cpu_c=hottest(0),
        gpu_c=hottest(1),
        skin_c=hottest(3),
        battery_c=None if tenths is None else tenths / 10,
        battery_percent=number("level"),
    )


class Session:
    """A running session; see `session`."""

    def __init__(self, conversation: adb.Conversation):
        self._conversation = conversation

    def look(self) -> Conditions:
        """How the phone is now. Raises Lost."""
        try:
            return parse_conditions("\n".join(self._conversation.ask("look")[0]))
        except TimeoutError:
            raise adb.Lost("the phone does not answer") from None

    def run(self, name: str, timeout_s: float) -> tuple[str, int]:
        """Runs the tool on a model by its name on the phone; returns what it printed, and its exit code.

        Raises:
          TimeoutError: it does not end in time. The session is then over.
          Lost: the phone went away.
        """
        lines, code = self._conversation.ask(f"run {name}", timeout_s)
        return "\n".join(lines), int(code)


def new_folder(remote_dir: str) -> str:
    """The path of a folder for sessions, unlike any other."""
    return f"{remote_dir.rstrip('/')}/{FOLDER}{secrets.token_hex(4)}"


@contextlib.contextmanager
def session(device: adb.Adb, folder: str, content: pathlib.Path, mask: str, flags: Sequence[str]) -> Iterator[Session]:
    """Pushes the tool and models, and runs the tool on them; at the end nothing of it is left on the phone.

    Args:
      folder: see `new_folder`.
      content: a folder here with `TOOL` and the models; the script is added.
      mask: affinity in hexadecimal, or 'none'.
      flags: of the tool.

    Raises:
      UserError: the phone takes no files.
      Lost: the phone went away.
    """
    (content / "run.sh").write_text(_SCRIPT)
    try:
        device.shell(f"mkdir {shlex.quote(folder)}")
        device.push(content, folder)
        with device.talk("exec " + shlex.join(["sh", f"{folder}/run.sh", folder, mask, *flags])) as conversation:
            conversation.ready()
            yield Session(conversation)
    finally:
        with contextlib.suppress(errors.UserError):  # without the phone the script has ended itself
            clear(device, folder)


def clear(device: adb.Adb, folder: str) -> None:
    """Ends the session of a folder, if it still runs, and removes the folder. Raises Lost."""
    quoted = shlex.quote(folder)
    device.shell(f'[ -f {quoted}/pid ] && kill -HUP "$(cat {quoted}/pid)" && sleep 1; rm -rf {quoted}')
