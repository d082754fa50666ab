"""FBNet-A and FBNet-C (Wu et al., CVPR 2019)."""

from __future__ import annotations

import functools

from pnag_tf.zoo import bottlenecks
from pnag_tf.zoo.bottlenecks import Layer, Stage
from pnag_tf.zoo.entry import Entry

DEFINITION = "github.com/facebookresearch/mobile-vision, mobile_cv/arch/fbnet_v2/fbnet_modeldef_cls_fbnet.py"

FBNET_A = bottlenecks.Design(
    stem=16,
    stages=(
        Stage(24, 2, (Layer(3, 3), Layer(3, 1))),
        Stage(32, 2, (Layer(5, 6), Layer(3, 3), Layer(5, 1), Layer(3, 3))),
        Stage(64, 2, (Layer(5, 6), Layer(5, 3), Layer(5, 1, groups=2), Layer(5, 6))),
        Stage(112, 1, (Layer(3, 6), Layer(5, 1, groups=2), Layer(5, 3), Layer(3, 1, groups=2))),
        Stage(184, 2, (Layer(5, 6), Layer(5, 6), Layer(5, 3), Layer(5, 6))),
        Stage(352, 1, (Layer(5, 6),)),
    ),
    head=1504,
    activation="relu",
    epsilon=1e-5,
)
FBNET_C = bottlenecks.Design(
    stem=16,
    stages=(
        Stage(16, 1, (Layer(3, 1),)),
        Stage(24, 2, (Layer(3, 6), Layer(3, 1), Layer(3, 1))),
        Stage(32, 2, (Layer(5, 6), Layer(5, 3), Layer(5, 6), Layer(3, 6))),
        Stage(64, 2, (Layer(5, 6), Layer(5, 3), Layer(5, 6), Layer(5, 6))),
        Stage(112, 1, (Layer(5, 6), Layer(5, 6), Layer(5, 6), Layer(5, 3))),
        Stage(184, 2, (Layer(5, 6),) * 4),
        Stage(352, 1, (Layer(3, 6),)),
    ),
    head=1984,
    activation="relu",
    epsilon=1e-5,
)

ENTRIES = {
    "fbnet-a": Entry(
        functools.partial(bottlenecks.build, FBNET_A, "fbnet_a"),
        DEFINITION,
        note="2 % fewer multiply-adds than the paper's 249M: the authors' release counts 244.5M. The release's biases "
        "in front of batch norm, which change nothing, are left out.",
    ),
    "fbnet-c": Entry(
        functools.partial(bottlenecks.build, FBNET_C, "fbnet_c"),
        DEFINITION,
        note="1 % more multiply-adds than the paper's 375M: the authors' release counts 378.2M. The release's biases "
        "in front of batch norm, which change nothing, are left out; its 5.57M parameters are printed as 5.5.",
    ),
}
