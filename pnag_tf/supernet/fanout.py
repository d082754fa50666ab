"""Which images many subnets get right, on many processes or machines, with Ray.

Each actor loads the supernet once and has few architectures at a time, which share a pass over the images. One that
dies is replaced, and only the architectures that it had are given out again; each result comes back once.
"""

from __future__ import annotations

import os
import pathlib
import socket
from collections.abc import Iterator, Sequence

import numpy as np

from pnag_tf import config as config_lib
from pnag_tf import data
from pnag_tf.supernet import shrinking, subnet, transfer
from pnag_tf.util import errors, terminal

CORES = 4  # of an actor where there is no GPU
REACH_S = 10.0  # for how long to wait for a cluster
DEATHS = 3  # of actors in a row, with no result in between, after which it is no accident


def hits(
    config: config_lib.Config,
    supernet_path: str | os.PathLike,
    choices: np.ndarray,
    address: str,
    workers: int = 0,
    copies: str | os.PathLike = "",
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (row of `choices`, which validation images are right: bool [images]) as they come, each row once.

    Args:
      config: data, and how subnets are measured; the images lie under the same path on all machines.
      supernet_path: a saved supernet, readable on all machines.
      choices: int32 [n, tokens].
      address: 'local' starts Ray on this machine; 'auto' finds the cluster that this machine is in, and host:port one
        elsewhere.
      workers: actors; 0 = one for each GPU, or for each CORES cores where there is none.
      copies: folder with the copies of photos, see `data.load`; the same on all machines.

    Raises:
      UserError: Ray is not installed or cannot be reached, or actors die again and again.
    """
    ray = _library()
    _connect(ray, address)
    try:
        count, needs = _actors(ray.cluster_resources(), workers)
        actor = ray.remote(max_restarts=0, **needs)(Judge)
        start = (config, os.path.abspath(supernet_path), os.path.abspath(copies) if copies else "")
        yield from _give_out(ray, lambda: actor.remote(*start), min(len(choices), count), choices)
    finally:
        ray.shutdown()


def _give_out(ray, make, count: int, choices: Sequence[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    share = max(1, min(subnet.SHARED_PASS, len(choices) // max(count, 1)))
    waiting = [range(start, min(start + share, len(choices))) for start in range(0, len(choices), share)][::-1]
    running = {}  # reference of a result -> (actor, rows)

    def send(actor):
        if waiting:
            rows = waiting.pop()
            running[actor.hits.remote(choices[rows.start : rows.stop])] = (actor, rows)

    for _ in range(count):
        send(make())
    deaths = 0
    while running:
        (done,), _ = ray.wait(list(running), num_returns=1)
        actor, rows = running.pop(done)
        try:
            found = ray.get(done)
        except ray.exceptions.RayActorError as error:
            deaths += 1
            if deaths == DEATHS:
                raise errors.UserError(
                    f"Ray: {deaths} actors died one after the other: {terminal.first_line(error)}"
                ) from None
            waiting.append(rows)
            send(make())
            continue
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, errors.UserError):
                raise error.cause from None
            raise
        deaths = 0
        send(actor)  # before the result is used: the actor does not wait for that
        yield from zip(rows, found, strict=True)


class Judge:
    """What runs in an actor."""

    def __init__(self, config: config_lib.Config, supernet_path: str, copies: str):
        splits = data.load(
            config.data, config.backbone.resolution, config.seed, pathlib.Path(copies) if copies else None
        )
        net = transfer.load(supernet_path, config.space, config.backbone)
        self._subnets = subnet.Subnets(net, shrinking.calibration_batches(config, splits))
        self._validation = shrinking.validation_batches(config, splits, config.measure.validation_images)

    def hits(self, choices: np.ndarray) -> list[np.ndarray]:
        """Which validation images each architecture gets right, bool [images]: choices int32 [n, tokens]."""
        return [first for first, _ in self._subnets.hits(choices, self._validation)]


def _library():
    try:
        import ray
    except ImportError:
        raise errors.SettingError("ray.address", "Ray is not installed: python -m pip install -e '.[ray]'") from None
    return ray


def _connect(ray, address: str) -> None:
    options = {"logging_level": "error", "log_to_driver": False}
    try:
        if address == "local":
            options["include_dashboard"] = False
        elif address != "auto":  # Ray itself would try for minutes
            host, port = address.removeprefix("ray://").rsplit(":", 1)
            socket.create_connection((host, int(port)), REACH_S).close()
        ray.init(address=address, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise errors.UserError(
            f"`ray.address={address}`: no Ray cluster can be reached ({terminal.first_line(error)})"
        ) from None


def _actors(resources: dict[str, float], workers: int) -> tuple[int, dict[str, int]]:
    """How many actors, and what each needs of a cluster's resources."""
    gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    if gpus:
        return workers or gpus, {"num_gpus": 1}
    return workers or max(1, cores // CORES), {"num_cpus": max(1, cores // workers if workers else min(CORES, cores))}
