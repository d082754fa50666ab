"""The phone's end of adb on loopback: a daemon that a real adb talks to, over a folder that stands for the phone.

    python tests/latency/android/adb_daemon.py FOLDER    # prints HOST:PORT for `adb connect`, and its benchmark_model

It speaks what AOSP's protocol.txt, SYNC.TXT and shell_protocol.h describe, as far as push and shell need it. Commands
run in mksh with toybox, as on Android, where both are installed, else in sh; /data, /system and the CPU's files of /sys
lie in the folder. Like adbd it sends a shell SIGHUP and closes its pipes when the other side goes away, and no more.
"""

import contextlib
import os
import pathlib
import queue
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

VERSION, MAX_DATA = 0x01000001, 256 * 1024  # the first version without checksums
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)  # packets of the shell protocol
PIXEL_4_KHZ = [1785600] * 4 + [2419200] * 3 + [2841600]
IS_ANDROID = bool(shutil.which("mksh") and shutil.which("toybox"))
PROGRAMS = dict.fromkeys("cat chmod find kill mkdir rm rmdir sleep touch".split(), "toybox") | {"sh": "mksh"}
PROPERTIES = {
    "ro.product.manufacturer": "Google",
    "ro.product.model": "Pixel 4",
    "ro.build.version.release": "13",
    "ro.build.id": "TP1A.221005.002",
    "ro.build.fingerprint": "google/flame/flame:13/TP1A.221005.002/9012097:user/release-keys",
    "ro.product.cpu.abi": "arm64-v8a",
}
COMMANDS = {
    "getprop": 'cat "$PHONE/properties/$1" 2>/dev/null || echo',
    "settings": 'cat "$PHONE/settings/$3" 2>/dev/null || echo null',
    "dumpsys": 'cat "$PHONE/dumpsys/$1" 2>/dev/null || echo "Can\'t find service: $1"',
    "taskset": 'echo "$1" >>"$PHONE/masks"; shift; exec "$@"',
}


class Phone:
    """A phone that listens; `address` is what `adb connect` takes."""

    def __init__(self, folder, khz=PIXEL_4_KHZ, properties=None, authorized=True):
        self.folder, self.authorized = pathlib.Path(folder), authorized
        self.services = []  # what was asked for, such as 'sync:' and 'shell,v2,raw:ls'
        self.drop_after_bytes = None  # of pushed files, after which the phone vanishes
        self.drop_after_text = None  # in a shell's output, after which the phone vanishes, once
        self._connections = []
        self._furnish(khz, PROPERTIES | (properties or {}))
        self._listener, self._port = None, 0
        self.come_back()

    @property
    def address(self):
        return f"127.0.0.1:{self._port}"

    @property
    def is_there(self):
        return self._listener.fileno() >= 0

    @property
    def tmp(self):
        """/data/local/tmp."""
        return self.folder / "data/local/tmp"

    def come_back(self):
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def vanish(self):
        """The cable is pulled."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        for connection in self._connections:
            connection.close()
        self._connections = []

    def set_thermal(self, status):
        write(self.folder / "dumpsys/thermalservice", THERMAL.format(status=status))

    def processes(self):
        """Command lines of what runs on the phone."""
        mark, found = f"PHONE={self.folder}\0".encode(), []
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                pass  # it has just ended, or is somebody else's
        return found

    def _furnish(self, khz, properties):
        self.tmp.mkdir(parents=True)
        for core, value in enumerate(khz):
            write(self.folder / f"sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq", f"{value}\n")
        for name, value in properties.items():
            write(self.folder / "properties" / name, f"{value}\n")
        write(self.folder / "dumpsys/battery", BATTERY)
        self.set_thermal(0)
        for name, text in COMMANDS.items():
            write(self.folder / "bin" / name, f"#!/bin/sh\n{text}\n", executable=True)
        for name, program in PROGRAMS.items() if IS_ANDROID else ():
            (self.folder / "bin" / name).symlink_to(shutil.which(program))

    def _accept(self, listener):
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            self._connections.append(Connection(self, connection))

    # ---- services, each of which has a stream and a thread of its own --------------------------------------------

    def serve(self, stream, service):
        self.services.append(service)
        if service == "sync:":
            self._sync(stream)
        elif service.startswith("shell"):
            self._shell(stream, service.partition(":")[2])
        stream.close()

    def path(self, path):
        return re.sub(r"(?<![\w.])/(?=(data|sys/devices|system)\b)", f"{self.folder}/", path)

    def _shell(self, stream, command):
        bin_path = f"{self.folder}/bin" if IS_ANDROID else f"{self.folder}/bin:{os.environ['PATH']}"
        shell = shutil.which("mksh") if IS_ANDROID else "/bin/sh"
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen(
            [shell, "-c", self.path(command)],
            env={"PATH": bin_path, "PHONE": str(self.folder)},
            cwd=self.folder,
            start_new_session=True,
            # A phone's shell dies of SIGHUP, also where these tests run under nohup.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
            **pipes,
        )
        ends = [
            threading.Thread(target=self._pump, args=[stream, kind, pipe], daemon=True)
            for kind, pipe in ((STDOUT, process.stdout), (STDERR, process.stderr))
        ]
        for end in ends:
            end.start()
        threading.Thread(target=self._listen, args=[stream, process], daemon=True).start()
        for end in ends:
            end.join()
        stream.write(struct.pack("<BIB", EXIT, 1, process.wait() % 256))

    def _pump(self, stream, kind, pipe):
        with pipe, contextlib.suppress(EOFError, OSError):
            while data := os.read(pipe.fileno(), 1 << 15):
                stream.write(struct.pack("<BI", kind, len(data)) + data)
                if self.drop_after_text and self.drop_after_text in data:
                    self.drop_after_text = None
                    self.vanish()

    def _listen(self, stream, process):
        with process.stdin:
            try:
                while True:
                    kind, size = struct.unpack("<BI", stream.read(5))
                    data = stream.read(size)
                    if kind == CLOSE_STDIN:
                        process.stdin.close()
                    elif kind == STDIN and not process.stdin.closed:
                        process.stdin.write(data)
                        process.stdin.flush()
            except EOFError:
                if process.poll() is None:
                    process.send_signal(signal.SIGHUP)
            except OSError:
                pass  # the command does not read

    def _sync(self, stream):
        while True:
            kind, size = struct.unpack("<4sI", stream.read(8))
            if kind == b"QUIT":
                return
            name = self.path(stream.read(size).decode())
            if kind == b"STAT":
                found = os.stat(name) if os.path.exists(name) else os.stat_result([0] * 10)
                stream.write(struct.pack("<4sIII", kind, found.st_mode, found.st_size, 0))
            elif kind == b"SEND":
                name, mode = name.rsplit(",", 1)
                error = self._receive(stream, pathlib.Path(name), int(mode) & 0o777)
                stream.write(struct.pack("<4sI", b"FAIL", len(error)) + error if error else b"OKAY\0\0\0\0")
            else:
                raise NotImplementedError(kind)

    def _receive(self, stream, path, mode):
        """Writes a pushed file; returns why not, as bytes."""
        content = bytearray()
        while True:
            kind, size = struct.unpack("<4sI", stream.read(8))
            if kind == b"DONE":
                break
            content += stream.read(size)
            if self.drop_after_bytes is not None:
                self.drop_after_bytes -= size
                if self.drop_after_bytes < 0:
                    self.drop_after_bytes = None
                    self.vanish()
        if self.folder / "data" not in path.parents:
            return b"couldn't create file: Read-only file system"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(mode)
        except OSError as error:
            return f"couldn't create file: {error.strerror}".encode()
        return b""


class Connection:
    """One adb server: messages of six words and data, for streams that both sides number."""

    def __init__(self, phone, sock):
        self._phone, self._socket, self._lock, self._streams, self._last = phone, sock, threading.Lock(), {}, 0
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, command, arg0, arg1, data=b""):
        number = int.from_bytes(command, "little")
        with self._lock:
            self._socket.sendall(struct.pack("<6I", number, arg0, arg1, len(data), 0, number ^ 0xFFFFFFFF) + data)

    def close(self):
        with_error = struct.pack("ii", 1, 0)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, with_error)
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()
        for stream in list(self._streams.values()):
            stream.end()

    def _read(self):
        try:
            while True:
                command, arg0, arg1, size, _, _ = struct.unpack("<4s5I", self._exactly(24))
                self._handle(command, arg0, arg1, self._exactly(size))
        except (OSError, EOFError):
            self.close()

    def _exactly(self, size):
        data = bytearray()
        while len(data) < size:
            if not (more := self._socket.recv(size - len(data))):
                raise EOFError
            data += more
        return bytes(data)

    def _handle(self, command, theirs, mine, data):
        stream = self._streams.get(mine)
        if command in (b"CNXN", b"AUTH") and not self._phone.authorized:
            if (command, theirs) != (
                b"AUTH",
                3,
            ):  # 3: a new key, which waits for the user
                self.send(b"AUTH", 1, 0, bytes(20))
        elif command == b"CNXN":
            banner = "device::ro.product.name=flame;ro.product.model=Pixel 4;ro.product.device=flame;"
            self.send(b"CNXN", VERSION, MAX_DATA, f"{banner}features=shell_v2,cmd".encode())
        elif command == b"OPEN":
            self._last += 1
            stream = self._streams[self._last] = Stream(self, self._last, theirs)
            self.send(b"OKAY", self._last, theirs)
            service = data.rstrip(b"\0").decode()
            threading.Thread(target=self._serve, args=[stream, service], daemon=True).start()
        elif command == b"WRTE" and stream:
            stream.received(data)
            self.send(b"OKAY", mine, theirs)
        elif command == b"OKAY" and stream:
            stream.may_write.set()
        elif command == b"CLSE" and stream:
            del self._streams[mine]
            stream.end()

    def _serve(self, stream, service):
        try:
            self._phone.serve(stream, service)
        except (EOFError, OSError):
            pass  # the other side has gone


class Stream:
    """Bytes both ways; each side waits for an OKAY before it writes again."""

    def __init__(self, connection, mine, theirs):
        self._connection, self._mine, self._theirs = connection, mine, theirs
        self._incoming, self._rest, self._ended, self._writing = queue.Queue(), b"", False, threading.Lock()
        self.may_write = threading.Event()
        self.may_write.set()

    def received(self, data):
        self._incoming.put(data)

    def end(self):
        """The other side has closed, or gone."""
        self._ended = True
        self._incoming.put(None)
        self.may_write.set()

    def read(self, size):
        while len(self._rest) < size:
            if (data := self._incoming.get()) is None:
                self._incoming.put(None)
                raise EOFError
            self._rest += data
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def write(self, data):
        with self._writing:
            for start in range(0, len(data), MAX_DATA):
                self.may_write.wait()
                if self._ended:
                    raise EOFError
                self.may_write.clear()
                self._connection.send(b"WRTE", self._mine, self._theirs, data[start : start + MAX_DATA])

    def close(self):
        if not self._ended:
            self.may_write.wait()
            self._connection.send(b"CLSE", self._mine, self._theirs)


def write(path, text, executable=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")  # the phone may be reading what it replaces
    beside.write_text(text)
    if executable:
        beside.chmod(0o755)
    beside.replace(path)


THERMAL = """IsStatusOverride: false
ThermalEventListeners:
	callbacks: 1
ThermalStatusListeners:
	callbacks: 2
Thermal Status: {status}
Cached temperatures:
	Temperature{{mValue=61.0, mType=0, mName=CPU7, mStatus=0}}
HAL Ready: true
HAL connection:
	ThermalHAL 2.0 connected: yes
Current temperatures from HAL:
	Temperature{{mValue=38.5, mType=0, mName=CPU0, mStatus=0}}
	Temperature{{mValue=41.25, mType=0, mName=CPU7, mStatus=0}}
	Temperature{{mValue=36.0, mType=1, mName=GPU, mStatus=0}}
	Temperature{{mValue=30.9, mType=3, mName=skin, mStatus=0}}
	Temperature{{mValue=0.0, mType=2, mName=battery, mStatus=0}}
Current cooling devices from HAL:
	CoolingDevice{{mValue=0, mType=2, mName=thermal-cpufreq-0}}
"""
BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  status: 2
  level: 87
  scale: 100
  voltage: 4123
  temperature: 274
  technology: Li-ion
"""

# ---- a benchmark_model that runs .tflite files for real --------------------------------------------------------------


def write_tool(path):
    """Writes a program that can be pushed in place of benchmark_model."""
    here = str(pathlib.Path(__file__).parent)
    lines = [f"#!{sys.executable}", "import sys", f"sys.path.insert(0, {here!r})", "import adb_daemon"]
    write(pathlib.Path(path), "\n".join([*lines, "sys.exit(adb_daemon.benchmark_model(sys.argv[1:]))", ""]))
    return path


def benchmark_model(arguments):
    """LiteRT behind the command line and the output of the official tool; returns the exit code."""
    known = {"graph": "", "num_threads": 1, "num_runs": 50, "min_secs": 1.0, "warmup_runs": 1, "warmup_min_secs": 0.5}
    say("INFO: STARTING!")
    given = dict(argument.lstrip("-").split("=", 1) for argument in arguments)
    if unknown := [f"--{name}={value}" for name, value in given.items() if name not in known]:
        say("WARN: Unconsumed cmdline flags: " + " ".join(unknown))
    settings = {name: type(default)(given.get(name, default)) for name, default in known.items()}
    say(f"INFO: Graph: [{settings['graph']}]")
    start = time.perf_counter()
    try:
        from ai_edge_litert import interpreter as litert

        interpreter = litert.Interpreter(model_path=settings["graph"], num_threads=settings["num_threads"])
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        say(f"ERROR: {str(error).splitlines()[0]}", sys.stderr)
        say(f"ERROR: Failed to load model {settings['graph']}", sys.stderr)
        say("ERROR: Benchmarking failed.", sys.stderr)
        return 1
    init_us = round(1e6 * (time.perf_counter() - start))
    say(f"INFO: Loaded model {settings['graph']}")
    say(f"INFO: Initialized session in {init_us / 1e3:g}ms.")
    warm_up = run(interpreter, settings["warmup_runs"], settings["warmup_min_secs"])
    timed = run(interpreter, settings["num_runs"], settings["min_secs"])
    mean = [sum(part) / max(len(part), 1) for part in (warm_up, timed)]
    say(
        f"INFO: Inference timings in us: Init: {init_us}, First inference: {warm_up[0] if warm_up else 0}, "
        f"Warmup (avg): {mean[0]:g}, Inference (avg): {mean[1]:g}"
    )
    return 0


def run(interpreter, runs, secs):
    """Inferences; prints and returns their times in microseconds."""
    say(f"INFO: Running benchmark for at least {runs} iterations and at least {secs:g} seconds but terminate if ...")
    times, end = [], time.perf_counter() + secs
    while len(times) < runs or time.perf_counter() < end:
        start = time.perf_counter()
        interpreter.invoke()
        times.append(round(1e6 * (time.perf_counter() - start)))
    ordered = sorted(times) or [0]
    percentiles = (f"{name}={ordered[int(part * (len(ordered) - 1))]}" for name, part in PERCENTILES.items())
    if len(set(times)) > 1:
        mean = sum(times) / len(times)
        std = (sum((each - mean) ** 2 for each in times) / len(times)) ** 0.5
        fields = f" first={times[0]} curr={times[-1]} min={ordered[0]} max={ordered[-1]} avg={mean:g} std={std:.0f}"
    else:
        fields = f" curr={times[-1]}" if times else ""
    say(f"INFO: count={len(times)}{fields} {' '.join(percentiles)}\n")
    return times


PERCENTILES = {"p5": 0.05, "median": 0.5, "p95": 0.95}


def say(text, stream=None):
    print(text, file=stream or sys.stdout, flush=True)


if __name__ == "__main__":
    made = Phone(sys.argv[1])
    print(made.address, write_tool(made.folder / "benchmark_model"), flush=True)
    threading.Event().wait()
