"""A look-up table of blocks: the latency of any architecture from about a hundred short measurements.

Every different block of the space is measured alone; some whole networks then give the three numbers that turn a sum of
blocks into the latency of a network:

    latency = offset + scale * sum + curvature * sum^2

The offset holds stem, first block and head, which all networks share. The scale holds what a block costs more inside a
network than alone, mostly that its weights are no longer in the nearest cache. The curvature, never negative, holds
what grows faster than the sum, for instance because the weights of larger networks do not fit the caches. Where
resolutions are searched, each has its blocks, its networks and its three numbers.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Iterable

import numpy as np

from pnag_tf import config
from pnag_tf.latency import device as devices
from pnag_tf.latency import jobs
from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import network
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors, files, frozen

CANDIDATES = 1000  # random architectures that the calibration networks are chosen from
ARRAYS = ("offset_ms", "layer_ms", "curvature")  # of a table


@dataclasses.dataclass(frozen=True)
class TimedNetwork:
    """A whole network whose predicted and measured latency are known."""

    arch: str
    predicted_ms: float
    measured_ms: float


@dataclasses.dataclass(frozen=True, eq=False)
class LatencyTable:
    """The calibrated table.

    Attributes:
      space: the architectures that it holds for.
      backbone: what it holds for, too.
      device: whose latencies they are: the device's own description.
      offset_ms: latency of the parts that all networks share, at each resolution: float64 [resolutions], [1] where
        they are not searched.
      layer_ms: float64 [layers, layer_settings], what each layer slot adds, in the order of `layer_one_hot`.
      curvature: per ms, [resolutions]; the square of the sum of the layers, times this, is added.
      calibration: the networks that the offset and the scale were fitted to.
      check: other networks, measured in the same run, that only judge.
    """

    space: space_lib.SearchSpace
    backbone: backbone_lib.Backbone
    device: str
    offset_ms: np.ndarray
    layer_ms: np.ndarray
    curvature: np.ndarray
    calibration: tuple[TimedNetwork, ...]
    check: tuple[TimedNetwork, ...]

    def latency_ms(self, choices: np.ndarray) -> np.ndarray:
        """Predicted latency of architectures: int32 [n, tokens] -> float64 [n]."""
        layers_ms = self.space.layer_one_hot(choices).astype(np.float64) @ self.layer_ms.ravel()
        here = self.space.resolution_places(np.atleast_2d(choices))
        return self.offset_ms[here] + layers_ms + self.curvature[here] * layers_ms**2

    @property
    def error(self) -> float:
        """Median error on the check networks, as a fraction of what was measured; NaN without such networks."""
        return median_error(self.check)

    def references(self, count: int) -> list[TimedNetwork]:
        """Networks, spread over the range, whose latencies tell how fast the device was."""
        ordered = sorted(self.calibration, key=lambda net: net.measured_ms)
        places = np.linspace(0, len(ordered) - 1, count + 2)[1:-1].round().astype(int)
        return [ordered[place] for place in dict.fromkeys(places.tolist())]

    def save(self, path: str | os.PathLike) -> None:
        files.write_json(path, dataclasses.asdict(self) | {name: getattr(self, name).tolist() for name in ARRAYS})


def median_error(networks: Iterable[TimedNetwork]) -> float:
    """Median of |predicted / measured - 1|; NaN without networks."""
    each = [abs(net.predicted_ms / net.measured_ms - 1) for net in networks]
    return float(np.median(each)) if each else float("nan")


def load(
    path: str | os.PathLike, space: space_lib.SearchSpace, backbone: backbone_lib.Backbone, device: str
) -> LatencyTable:
    """Reads a table that `LatencyTable.save` wrote.

    Raises:
      UserError: the file cannot be read, is no such table, or holds for another space, backbone or device.
    """
    value = files.read_json(path)
    if not isinstance(value, dict) or value.keys() != {field.name for field in dataclasses.fields(LatencyTable)}:
        raise errors.UserError(f"{path}: expected a latency table")
    expected = {"space": dataclasses.asdict(space), "backbone": dataclasses.asdict(backbone), "device": device}
    # A table of an earlier version: what its space or backbone could not be yet, it was by default.
    usual = {"space": space_lib.SearchSpace(), "backbone": backbone_lib.Backbone()}
    usual = json.loads(json.dumps({part: dataclasses.asdict(settings) for part, settings in usual.items()}))
    found = value | {part: usual[part] | value[part] for part in usual}
    for difference in frozen.differences(expected, found):
        raise errors.UserError(f"{path} is the table of another run: {difference}")
    for name in ARRAYS:  # before resolutions were searched two of them were numbers
        value[name] = np.atleast_1d(np.array(value[name], np.float64))
    for part in ("calibration", "check"):
        value[part] = tuple(TimedNetwork(**net) for net in value[part])
    return LatencyTable(**{**value, "space": space, "backbone": backbone})


def measure_table(
    space: space_lib.SearchSpace,
    backbone: backbone_lib.Backbone,
    device: devices.Device,
    settings: config.Latency,
    rng: np.random.Generator,
    path: str | os.PathLike,
    progress: jobs.Progress = lambda what, done, total: None,
) -> LatencyTable:
    """Measures the blocks, then whole networks, calibrates, and writes the table to `path`.

    The same call with an equally seeded `rng` goes on where a killed one was: a folder beside `path` keeps what is
    finished and is removed at the end.

    Args:
      device: such as `host.device()`.
      settings: how many networks calibrate and how many only judge.

    Raises:
      UserError: networks with slower blocks were not slower, as on a machine that is too busy to measure.
    """
    folder = pathlib.Path(f"{path}.parts")
    slots = [_alone(backbone.slot_block(slot)) for slot in space.layer_slots()]
    blocks = [jobs.Job(block, lambda b=block: network.build_blocks([b])) for block in slots]
    sums = np.array([each.median_ms for each in jobs.measure(folder, "blocks", blocks, device, progress)])

    parts = [_choose(space, place, sums, settings, rng) for place in range(max(1, len(space.resolutions)))]
    choices = np.concatenate([rows for part in parts for rows in part])
    judges = np.repeat([False, True] * len(parts), [len(rows) for part in parts for rows in part])
    archs = space.decode(choices)
    nets = [jobs.Job((backbone, arch), lambda a=arch: network.classifier(network.build(backbone, a))) for arch in archs]
    latencies = jobs.measure(folder, "networks", nets, device, progress)
    network_ms = np.array([each.median_ms for each in latencies])

    sums_ms, here = space.layer_one_hot(choices) @ sums, space.resolution_places(choices)
    fits = [fit(sums_ms[~judges & (here == place)], network_ms[~judges & (here == place)]) for place in np.unique(here)]
    offset_ms, scale, curvature = np.array(fits).T
    predicted_ms = offset_ms[here] + scale[here] * sums_ms + curvature[here] * sums_ms**2
    rows = [TimedNetwork(str(a), float(p), float(m)) for a, p, m in zip(archs, predicted_ms, network_ms, strict=True)]
    table = LatencyTable(
        space=space,
        backbone=backbone,
        device=latencies[0].device,
        offset_ms=offset_ms,
        layer_ms=(sums.reshape(space.layers, len(scale), -1) * scale[:, None]).reshape(space.layers, -1),
        curvature=curvature / scale**2,
        calibration=tuple(row for row, judge in zip(rows, judges, strict=True) if not judge),
        check=tuple(row for row, judge in zip(rows, judges, strict=True) if judge),
    )
    table.save(path)
    shutil.rmtree(folder)
    return table


def fit(sums_ms: np.ndarray, network_ms: np.ndarray) -> tuple[float, float, float]:
    """Offset (ms), scale and curvature (per ms) that fit networks best.

    The sum of absolute relative errors is made small, so that one disturbed network does not count for much. The
    curvature is not negative, which keeps the order of the sums.

    Args:
      sums_ms, network_ms: float [n], sums of blocks and latencies of the networks; n >= 3.

    Raises:
      UserError: the scale is not positive, or the networks are too few.
    """
    if len(sums_ms) < 3:
        raise errors.UserError(f"latency table: expected at least 3 calibration networks, found {len(sums_ms)}")
    powers = np.stack([np.ones_like(sums_ms), sums_ms, sums_ms**2], axis=1)
    solution = _least_relative_errors(powers, network_ms)
    if solution[2] < 0 or solution[1] <= 0:  # a curve through few and noisy networks may fall where none of them lies
        solution = np.append(_least_relative_errors(powers[:, :2], network_ms), 0.0)
    if not (np.isfinite(solution).all() and solution[1] > 0):
        raise errors.UserError("latency table: slower blocks did not make slower networks; the machine is too busy")
    return tuple(solution.tolist())


def _least_relative_errors(features: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Coefficients with the least sum of absolute relative errors, by reweighted least squares."""
    features = features / targets[:, None]
    weights = np.ones(len(targets))
    for _ in range(50):
        solution = np.linalg.lstsq(features * weights[:, None], weights, rcond=None)[0]
        weights = 1 / np.sqrt(np.maximum(np.abs(features @ solution - 1), 1e-3))
    return solution


# ---- which blocks and networks --------------------------------------------------------------------------------------


def _alone(block: backbone_lib.Block) -> backbone_lib.Block:
    """The block without its place in the network: equal blocks are measured once."""
    return dataclasses.replace(block, name="block", unit=0, layer=0)


def _choose(
    space: space_lib.SearchSpace, place: int, sums: np.ndarray, settings: config.Latency, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Calibration networks, spread evenly over the range of skewed ones, and check networks, uniform and skewed.

    Args:
      place: of their resolution among those of the space.
    """

    def here(choices: np.ndarray) -> np.ndarray:
        if space.resolutions:
            choices[:, -1] = place
        return choices

    candidates = here(skewed(space, rng, CANDIDATES))
    order = np.argsort(space.layer_one_hot(candidates) @ sums, kind="stable")
    calibration = candidates[order[np.linspace(0, CANDIDATES - 1, settings.calibration_networks).astype(int)]]
    count = settings.check_networks
    check = np.concatenate([space.sample(rng, count - count // 2), skewed(space, rng, count // 2)])
    return calibration, here(check)


def skewed(space: space_lib.SearchSpace, rng: np.random.Generator, count: int) -> np.ndarray:
    """Random architectures of which each prefers some options, such as small kernels: int32 [count, tokens].

    Uniform ones are all alike: each has layers with the slowest option, which hide what the others cost. What a search
    finds has none of them.
    """
    choices = np.zeros((count, space.tokens), np.int32)
    for kind, values in space.options.items():
        columns, options = np.flatnonzero(np.array(space.token_kinds) == kind), len(values)
        shares = rng.dirichlet(np.full(options, 0.4), count).cumsum(axis=1)
        drawn = np.sum(rng.random((count, len(columns), 1)) > shares[:, None, :], axis=2)
        choices[:, columns] = np.minimum(drawn, options - 1)  # shares may end a rounding error below 1
    return space.canonical(choices)
