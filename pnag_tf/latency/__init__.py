"""Latency on devices: the host's CPU, a GPU, a phone over adb; a table that predicts it from blocks.

`device` (what a device is), `host`, `gpu`, `android/`, `turns` and `jobs` (many networks in turn, resumable), `table`
(sum over blocks), `measured` (network by network), `export` (Keras to .tflite).
"""
