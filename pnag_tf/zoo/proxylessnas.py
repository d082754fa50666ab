"""ProxylessNAS for CPU, GPU and mobile (Cai, Zhu and Han, ICLR 2019, Figure 4)."""

from __future__ import annotations

import functools

from pnag_tf.zoo import bottlenecks
from pnag_tf.zoo.bottlenecks import Layer, Stage
from pnag_tf.zoo.entry import Entry

DEFINITION = "github.com/han-cai/files, proxylessnas/proxyless_{}.config"

CPU = bottlenecks.Design(
    stem=40,
    stages=(
        Stage(24, 1, (Layer(3, 1),)),
        Stage(32, 2, (Layer(3, 6), Layer(3, 3), Layer(3, 3), Layer(3, 3))),
        Stage(48, 2, (Layer(3, 6), Layer(3, 3), Layer(3, 3), Layer(5, 3))),
        Stage(88, 2, (Layer(3, 6), Layer(3, 3))),
        Stage(104, 1, (Layer(5, 6), Layer(3, 3), Layer(3, 3), Layer(3, 3))),
        Stage(216, 2, (Layer(5, 6), Layer(5, 3), Layer(5, 3), Layer(3, 3))),
        Stage(360, 1, (Layer(5, 6),)),
    ),
    head=1432,
    activation="relu6",
    epsilon=1e-3,
)
GPU = bottlenecks.Design(
    stem=40,
    stages=(
        Stage(24, 1, (Layer(3, 1),)),
        Stage(32, 2, (Layer(5, 3),)),
        Stage(56, 2, (Layer(7, 3), Layer(3, 3))),
        Stage(112, 2, (Layer(7, 6), Layer(5, 3))),
        Stage(128, 1, (Layer(5, 6), Layer(3, 3), Layer(5, 3))),
        Stage(256, 2, (Layer(7, 6), Layer(7, 6), Layer(7, 6), Layer(5, 6))),
        Stage(432, 1, (Layer(7, 6),)),
    ),
    head=1728,
    activation="relu6",
    epsilon=1e-3,
)
MOBILE = bottlenecks.Design(
    stem=32,
    stages=(
        Stage(16, 1, (Layer(3, 1),)),
        Stage(32, 2, (Layer(5, 3), Layer(3, 3))),
        Stage(40, 2, (Layer(7, 3), Layer(3, 3), Layer(5, 3), Layer(5, 3))),
        Stage(80, 2, (Layer(7, 6), Layer(5, 3), Layer(5, 3), Layer(5, 3))),
        Stage(96, 1, (Layer(5, 6), Layer(5, 3), Layer(5, 3), Layer(5, 3))),
        Stage(192, 2, (Layer(7, 6), Layer(7, 6), Layer(7, 3), Layer(7, 3))),
        Stage(320, 1, (Layer(7, 6),)),
    ),
    head=1280,
    activation="relu6",
    epsilon=1e-3,
)

ENTRIES = {
    f"proxylessnas-{device}": Entry(
        functools.partial(bottlenecks.build, network, f"proxylessnas_{device}"),
        DEFINITION.format(device),
        note="PNAG's tables leave out the classifier's multiply-adds.",
    )
    for device, network in (("cpu", CPU), ("gpu", GPU), ("mobile", MOBILE))
}
