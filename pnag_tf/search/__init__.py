"""The search: from a table of measured architectures to a network for any budget. It needs no images and no device.

`records` -> `predictor` (`accuracy`, `regression`, `ensemble`) -> `evaluator` (`pareto`, `budgets`) -> `generator`
(`reinforce`) -> `proposals` (`candidates`), which `rounds` measure and correct. `elsewhere` (`latency_process`) answers
for other devices. `baselines` and `ablation` compare.
"""
