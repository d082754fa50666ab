"""Our exported network with the settings of MobileNetV3-Large against keras.applications' own, in one run.

    python benchmarks/latency_parity.py [--repeats 3] [--threads 1]

The space has ratios 3, 4 and 6 and one width a unit; of MobileNetV3-Large (Howard et al., 2019, Table 1) it takes the
kernel and the nearest ratio of each layer, at width 1.0. What is compared is time per multiply-add.
"""

import argparse
import os
import sys

from pnag_tf import zoo
from pnag_tf.latency import export, host
from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import cost, network
from pnag_tf.space import space as space_lib
from pnag_tf.zoo import counting

# 24 wide: 3x3, ratios 4 and 3; 40: 5x5, ratio 3; 80: 3x3, ratios 6, 2.5, 2.3 and 2.3; 112: 3x3, ratio 6; 160: 5x5 and
# ratio 6.
LIKE_LARGE = "2,3,4,2,3:3,3,0,0,5,5,5,0,3,3,3,3,3,3,0,0,5,5,5,0:4,3,0,0,3,3,3,0,6,3,3,3,6,6,0,0,6,6,6,0"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    backbone, arch = backbone_lib.Backbone(), space_lib.Architecture.parse(LIKE_LARGE)
    theirs = zoo.build("mobilenetv3-large-1.0")
    madds = {"subnet": cost.madds(backbone, arch), "keras.applications": counting.madds(theirs)}
    models = [export.convert(network.randomise(model)) for model in (network.build(backbone, arch), theirs)]
    print(f"machine: {host.describe(args.threads)}, load {os.getloadavg()[0]:.1f}")
    for _ in range(args.repeats):
        times = dict(zip(madds, host.measure(models, args.threads), strict=True))
        each = {name: times[name].median_ms / madds[name] * 1e9 for name in madds}
        for name, value in each.items():
            work = f"{madds[name] / 1e6:6.1f}M madds"
            print(f"{name:20s} {times[name].median_ms:7.2f} ms {work} {value:6.1f} ms per 10^9")
        print(f"ratio of time per multiply-add {each['subnet'] / each['keras.applications']:.3f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
