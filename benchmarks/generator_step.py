"""Times training steps of the generator in the paper's space: iterations and samples per second.

python benchmarks/generator_step.py [--seconds 5]
"""

import argparse
import os
import sys
import time

import numpy as np

from pnag_tf import config
from pnag_tf.search import evaluator, generator, reinforce
from pnag_tf.space import space as space_lib


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each row")
    arguments = parser.parse_args()
    space, budgets_ms = space_lib.SearchSpace(), np.linspace(20, 40, 10)
    rewards = evaluator.Evaluator(space, config.Evaluator(), budgets_ms).graph
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    for samples in (1, 10, 100):
        settings = config.Generator(samples=samples, iterations=10**9)
        trainer = reinforce.PolicyGradient(generator.Generator(space, settings, budgets_ms), rewards, seed=0)
        trainer.advance()
        start, before = time.perf_counter(), trainer.iteration
        while time.perf_counter() - start < arguments.seconds:
            trainer.advance()
        rate = (trainer.iteration - before) / (time.perf_counter() - start)
        print(f"K·N = {10 * samples:4d}: {rate:6.1f} iterations/s, {rate * 10 * samples:8.0f} samples/s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
