"""The search space as data: architectures, their strings, and the int32 vectors every other module works on.

Two forms of one architecture:

* `Architecture`, frozen and hashable, with values a person reads (kernel 5, expand ratio 6) and the string form
  ``depths:kernels:ratios`` of the public PNAG record file, with ``:resolution`` behind it where that is searched;
* *choices*, int32 ``[tokens]``: indices into the options, in the order in which the generator decides
  (supplement, section D): per unit the depth, then for each layer the expand ratio and the kernel; at the end the
  resolution, where it is searched.

Layers beyond a unit's depth carry the value 0 in both forms, so that equal networks are equal data.
Batches of choices, ``[n, tokens]``, are what the supernet, the predictors, the evaluator and the search consume.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One network of a search space.

    Attributes:
      depths: layers of each unit, ``[units]``.
      kernels: kernel size of each layer slot, ``[units * max_depth]``, 0 beyond the unit's depth.
      ratios: expand ratio of each layer slot, same shape, 0 beyond the unit's depth.
      resolution: side of the images in pixels; 0 for the backbone's.
    """

    depths: tuple[int, ...]
    kernels: tuple[int, ...]
    ratios: tuple[int, ...]
    resolution: int = 0

    def __str__(self) -> str:
        parts = [self.depths, self.kernels, self.ratios, *([(self.resolution,)] if self.resolution else [])]
        return ":".join(",".join(map(str, part)) for part in parts)

    @classmethod
    def parse(cls, text: str) -> Architecture:
        """Reads ``depths:kernels:ratios`` or ``depths:kernels:ratios:resolution``.

        Whether it lies in a space is `SearchSpace.check`'s business.

        Raises:
          ValueError: the text is not three colon-separated lists of whole numbers, with one number behind or none.
        """
        parts = str(text).strip().split(":")
        if len(parts) not in (3, 4):
            expected = "expected depths:kernels:ratios or depths:kernels:ratios:resolution"
            raise ValueError(f"architecture '{text}' has {len(parts)} parts; {expected}")
        try:
            lists = (tuple(int(value) for value in part.split(",")) for part in parts[:3])
            return cls(*lists, *map(int, parts[3:]))
        except ValueError:
            raise ValueError(f"architecture '{text}' holds a value that is no whole number") from None


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """Which depths, kernels and expand ratios may be chosen, and in how many units; and which resolutions.

    The default is the space of the paper: (81 + 729 + 6561)^5, about 2.2e19 architectures.
    """

    units: int = 5  # stages of the network, each with a depth of its own
    depths: tuple[int, ...] = (2, 3, 4)  # layers that a unit may have
    kernels: tuple[int, ...] = (3, 5, 7)  # that a layer may have
    ratios: tuple[int, ...] = (3, 4, 6)  # that a layer may expand its channels by
    resolutions: tuple[int, ...] = ()  # of the images, in pixels; empty = not searched, the backbone's alone

    def __post_init__(self):
        for name in ("depths", "kernels", "ratios", "resolutions"):
            options = getattr(self, name)
            if not options and name == "resolutions":
                continue
            if not options or list(options) != sorted(set(options)) or options[0] < 1:
                raise ValueError(f"{name} {options}: expected increasing positive numbers")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"kernels {self.kernels}: expected odd sizes")

    # ---- shape of the space -------------------------------------------------------------------------------------

    @property
    def max_depth(self) -> int:
        return self.depths[-1]

    @property
    def layers(self) -> int:
        """Layer slots: units × largest depth."""
        return self.units * self.max_depth

    @property
    def tokens(self) -> int:
        """Length of a choices vector."""
        return len(self.token_kinds)

    @property
    def size(self) -> int:
        """Number of different architectures."""
        per_layer = len(self.kernels) * len(self.ratios)
        return sum(per_layer**depth for depth in self.depths) ** self.units * max(1, len(self.resolutions))

    @property
    def without_resolutions(self) -> SearchSpace:
        """The same space at the backbone's resolution."""
        return dataclasses.replace(self, resolutions=())

    @functools.cached_property
    def options(self) -> dict[str, tuple[int, ...]]:
        """Kind of token, in the order in which they first appear -> what may be chosen."""
        kinds = {"depth": self.depths, "ratio": self.ratios, "kernel": self.kernels}
        return kinds | ({"resolution": self.resolutions} if self.resolutions else {})

    @functools.cached_property
    def depth_columns(self) -> np.ndarray:
        """int ``[units]``: where the depths stand in a choices vector."""
        return np.arange(self.units) * (1 + 2 * self.max_depth)

    @functools.cached_property
    def ratio_columns(self) -> np.ndarray:
        """int ``[units, max_depth]``."""
        return self.depth_columns[:, None] + 1 + 2 * np.arange(self.max_depth)

    @functools.cached_property
    def kernel_columns(self) -> np.ndarray:
        """int ``[units, max_depth]``."""
        return self.ratio_columns + 1

    @functools.cached_property
    def token_kinds(self) -> tuple[str, ...]:
        """'depth', 'ratio', 'kernel' or 'resolution' for each token, in order."""
        units = ("depth", *("ratio", "kernel") * self.max_depth) * self.units
        return units + (("resolution",) if self.resolutions else ())

    @functools.cached_property
    def token_units(self) -> np.ndarray:
        """int ``[tokens]``: the unit that a token is about; 0 for the resolution, which is about all."""
        units = np.zeros(self.tokens, int)
        for columns in (self.depth_columns[:, None], self.ratio_columns, self.kernel_columns):
            units[columns] = np.arange(self.units)[:, None]
        return units

    @functools.cached_property
    def token_sizes(self) -> np.ndarray:
        """int ``[tokens]``: number of options of each token."""
        return np.array([len(self.options[kind]) for kind in self.token_kinds])

    @functools.cached_property
    def token_layers(self) -> np.ndarray:
        """int ``[tokens]``: the layer of its unit that a token is about; −1 for what is always there."""
        layers = np.full(self.tokens, -1)
        layers[self.ratio_columns] = layers[self.kernel_columns] = np.arange(self.max_depth)
        return layers

    @functools.cached_property
    def one_hot_columns(self) -> tuple[np.ndarray, np.ndarray]:
        """(token, option) that each column of `one_hot` tells of, int ``[sum(token_sizes)]`` both."""
        options = np.concatenate([np.arange(size) for size in self.token_sizes])
        return np.repeat(np.arange(self.tokens), self.token_sizes), options

    @functools.cached_property
    def layer_one_hot_columns(self) -> tuple[np.ndarray, np.ndarray]:
        """(layer slot, its setting as one number) that each column of `layer_one_hot` tells of, int both."""
        return np.divmod(np.arange(self.layers * self.layer_settings), self.layer_settings)

    @property
    def layer_settings(self) -> int:
        """In how many ways a layer that is there can be: its resolution, ratio and kernel."""
        return max(1, len(self.resolutions)) * len(self.ratios) * len(self.kernels)

    def layer_slots(self) -> list[tuple[int, int, int, int, int]]:
        """(unit, layer, resolution, ratio, kernel) of each column of `layer_one_hot`; resolution 0: the backbone's."""
        ranges = range(self.units), range(self.max_depth), self.resolutions or (0,), self.ratios, self.kernels
        return list(itertools.product(*ranges))

    # ---- choices ------------------------------------------------------------------------------------------------

    def depth_values(self, choices: np.ndarray) -> np.ndarray:
        """Depth of each unit: int ``[n, units]`` from choices ``[n, tokens]``."""
        return np.asarray(self.depths)[np.asarray(choices)[..., self.depth_columns]]

    def layer_active(self, choices: np.ndarray) -> np.ndarray:
        """bool ``[n, units, max_depth]``: which layer slots are part of the network."""
        return self.active(choices)[..., self.ratio_columns]

    def active(self, choices: np.ndarray) -> np.ndarray:
        """bool ``[n, tokens]``: which tokens say something about the network."""
        depths = self.depth_values(choices)
        return self.token_layers < depths[..., self.token_units]

    def resolution_places(self, choices: np.ndarray) -> np.ndarray:
        """Which of the resolutions each network takes, int ``[n]`` from choices ``[n, tokens]``; else 0."""
        choices = np.asarray(choices)
        return choices[..., -1] if self.resolutions else np.zeros(choices.shape[:-1], int)

    def canonical(self, choices: np.ndarray) -> np.ndarray:
        """The same networks with 0 in every token beyond the depth: int32 ``[n, tokens]``."""
        return np.where(self.active(choices), choices, 0).astype(np.int32)

    def sample(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """`count` architectures, every token uniform (section E): int32 ``[count, tokens]``, canonical."""
        return self.canonical(rng.integers(0, self.token_sizes, (count, self.tokens)))

    def sample_distinct(self, rng: np.random.Generator, count: int, beside: np.ndarray) -> np.ndarray:
        """As `sample`, but all different, and none of the rows of `beside`; fewer where the space has no more.

        Args:
          beside: canonical choices ``[n, tokens]``, all different.
        """
        count, found = min(count, self.size - len(beside)), beside[:0]
        while len(found) < count:
            rows = np.concatenate([beside, found, self.sample(rng, count - len(found))])
            first = np.unique(rows, axis=0, return_index=True)[1]
            found = rows[np.sort(first[first >= len(beside)])]
        return found

    def smallest(self) -> np.ndarray:
        return self.canonical(np.zeros(self.tokens, np.int32))

    def largest(self) -> np.ndarray:
        return self.canonical(self.token_sizes - 1)

    def mutate(self, rng: np.random.Generator, choices: np.ndarray, probability: float) -> np.ndarray:
        """Each token is redrawn with the given probability: int32 ``[n, tokens]``, canonical.

        Layers that a deeper unit brings in get random settings, not option 0.
        """
        choices = np.asarray(choices)
        fresh = rng.integers(0, self.token_sizes, choices.shape)
        redrawn = rng.random(choices.shape) < probability
        return self.canonical(np.where(redrawn | ~self.active(choices), fresh, choices))

    def crossover(self, rng: np.random.Generator, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Each token from one of the parents by a fair coin: int32 ``[n, tokens]``, canonical.

        Where the coin names a parent whose layer is not there, the other parent's settings are taken.
        """
        first, second = np.asarray(first), np.asarray(second)
        take_first = rng.random(first.shape) < 0.5
        take_first = np.where(self.active(first) == self.active(second), take_first, self.active(first))
        return self.canonical(np.where(take_first, first, second))

    # ---- architectures and strings ------------------------------------------------------------------------------

    def check(self, arch: Architecture) -> None:
        """Raises ValueError, naming value and place, unless the architecture lies in this space."""
        if len(arch.depths) != self.units:
            raise ValueError(f"architecture '{arch}' has {len(arch.depths)} units; this space has {self.units}")
        for name, values, options in (("kernel", arch.kernels, self.kernels), ("ratio", arch.ratios, self.ratios)):
            if len(values) != self.layers:
                raise ValueError(f"architecture '{arch}' has {len(values)} {name}s; this space has {self.layers}")
            for slot, value in enumerate(values):
                unit, layer = divmod(slot, self.max_depth)
                if arch.depths[unit] not in self.depths:
                    raise ValueError(f"depth {arch.depths[unit]} in unit {unit}; choose from {_join(self.depths)}")
                inside = layer < arch.depths[unit]
                if value not in (options if inside else (0,)):
                    expected = f"choose from {_join(options)}" if inside else "expected 0 beyond the depth"
                    raise ValueError(f"{name} {value} in layer {slot}; {expected}")
        if arch.resolution and arch.resolution not in self.resolutions:
            expected = f"choose from {_join(self.resolutions)}" if self.resolutions else "this space searches none"
            raise ValueError(f"resolution {arch.resolution} in architecture '{arch}'; {expected}")

    def encode(self, architectures: Iterable[Architecture | str]) -> np.ndarray:
        """Choices int32 ``[n, tokens]`` of architectures or their strings.

        Where resolutions are searched, an architecture that names none takes the largest.

        Raises:
          ValueError: one of them does not lie in this space.
        """
        rows = [Architecture.parse(a) if isinstance(a, str) else a for a in architectures]
        for arch in rows:
            self.check(arch)
        choices = np.zeros((len(rows), self.tokens), np.int32)
        if rows:
            for columns, options, values in (
                (self.depth_columns, self.depths, [a.depths for a in rows]),
                (self.ratio_columns.ravel(), self.ratios, [a.ratios for a in rows]),
                (self.kernel_columns.ravel(), self.kernels, [a.kernels for a in rows]),
            ):
                choices[:, columns] = np.maximum(np.searchsorted(options, np.asarray(values)), 0)
            if self.resolutions:
                choices[:, -1] = [self.resolutions.index(a.resolution or self.resolutions[-1]) for a in rows]
        return self.canonical(choices)

    def decode(self, choices: np.ndarray) -> list[Architecture]:
        """Architectures of a batch of choices ``[n, tokens]``."""
        choices = np.atleast_2d(choices)
        layers = self.layer_active(choices).reshape(len(choices), self.layers)
        depths = self.depth_values(choices)
        ratios = np.where(layers, np.asarray(self.ratios)[choices[:, self.ratio_columns.ravel()]], 0)
        kernels = np.where(layers, np.asarray(self.kernels)[choices[:, self.kernel_columns.ravel()]], 0)
        pixels = np.asarray(self.resolutions or (0,))[self.resolution_places(choices)]
        return [
            Architecture(tuple(d), tuple(k), tuple(r), p)
            for d, k, r, p in zip(depths.tolist(), kernels.tolist(), ratios.tolist(), pixels.tolist(), strict=True)
        ]

    # ---- features for predictors --------------------------------------------------------------------------------

    def one_hot(self, choices: np.ndarray) -> np.ndarray:
        """float32 ``[n, sum(token_sizes)]``: each active token one-hot, inactive ones all zero."""
        choices = np.atleast_2d(choices)
        tokens, options = self.one_hot_columns
        marked = np.where(self.active(choices), choices, -1)
        # Indexed, it would come in another memory order, by which products of matrices round.
        return (np.take(marked, tokens, 1) == options).astype(np.float32)

    def layer_one_hot(self, choices: np.ndarray) -> np.ndarray:
        """float32 ``[n, layers * layer_settings]``: each active layer's (resolution, ratio, kernel) jointly.

        A cost that is a sum over layers, such as latency on most devices, is linear in these features.
        """
        choices = np.atleast_2d(choices)
        layers, settings = self.layer_one_hot_columns
        first = self.resolution_places(choices)[:, None, None] * len(self.ratios)
        joint = (first + choices[:, self.ratio_columns]) * len(self.kernels) + choices[:, self.kernel_columns]
        marked = np.where(self.layer_active(choices), joint, -1).reshape(len(choices), -1)
        return (np.take(marked, layers, 1) == settings).astype(np.float32)


def _join(options: Sequence[int]) -> str:
    return ", ".join(map(str, options))
