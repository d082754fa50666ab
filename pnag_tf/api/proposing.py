"""What a search answers, on its own device and on others."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from pnag_tf import config as config_lib
from pnag_tf import overrides
from pnag_tf.search import candidates, elsewhere, generator
from pnag_tf.space import space as space_lib


@dataclasses.dataclass(frozen=True)
class Found:
    """A network that a search proposes for a budget.

    Attributes:
      budget_ms: the latency budget asked for.
      architecture: the `Architecture`.
      top1: predicted accuracy, a fraction; after `rounds`, of the best measured network, as measured.
      latency_ms: predicted, or measured like `top1`.
    """

    budget_ms: float
    architecture: space_lib.Architecture
    top1: float
    latency_ms: float


class Elsewhere:
    """A search whose budgets are of another device; made by `Search.elsewhere`.

    Attributes:
      report: as of `Search`; errors of latency, such as `latency_rmse_ms`, are those of measured networks left out.
    """

    def __init__(self, config: config_lib.Config, made: generator.Generator, known: elsewhere.There):
        self._config, self._made, self._known, self.report = config, made, known, known.report

    def propose(self, budgets_ms: Iterable[float]) -> list[Found]:
        """As `Search.propose`, by the latency of the other device."""
        how = asked(self._config, budgets_ms)
        if not how.budgets:
            return []
        found = elsewhere.propose(
            self._made, self._known, how.budgets, how.samples, self._config.seed, how.pessimism, how.refinement
        )
        return best_of(found, self._known.space)


def asked(config: config_lib.Config, budgets_ms: Iterable[float], **changes) -> config_lib.Eval:
    """What is asked for. Raises SettingError where it cannot be."""
    how = dataclasses.replace(config.eval, budgets=tuple(map(float, budgets_ms)), **changes)
    overrides.check(dataclasses.replace(config, eval=how))
    return how


def best_of(proposed: Iterable[candidates.Candidates], space: space_lib.SearchSpace) -> list[Found]:
    """The best of each budget's candidates."""
    return [
        Found(each.budget_ms, space.decode(each.choices[:1])[0], float(each.top1[0]), float(each.latency_ms[0]))
        for each in proposed
    ]
