"""The search space as data: architectures, the backbone that gives them shapes, and what they cost.

`space` (architectures and choices), `backbone` (shapes of every layer), `network` (a plain Keras model), `cost`
(multiply-adds and parameters), `features` (0/1 features inside a graph).
"""
