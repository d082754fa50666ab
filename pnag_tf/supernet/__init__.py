"""The supernet: one set of weights for every architecture, its training, and the networks taken from it.

`elastic` (layers), `model` (the supernet), `shrinking` (its training), `subnet` (accuracy and extraction), `finetune`
(one network alone), `distribution` (GPUs and machines), `fanout` (Ray), `ofa` (once-for-all's weights).
"""
