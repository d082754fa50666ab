"""Dataclasses that went through JSON."""

import dataclasses
import json

from pnag_tf.space import space as space_lib
from pnag_tf.util import frozen


def test_restored_equals_what_was_written(space):
    written = json.loads(json.dumps(dataclasses.asdict(space)))
    again = frozen.restore(space_lib.SearchSpace, written)
    assert again == space and hash(again) == hash(space)
    assert list(frozen.differences(dataclasses.asdict(space), written)) == []


def test_differences_name_the_whole_way_to_a_setting():
    expected = {"seed": 0, "part": {"deep": {"sizes": (1, 2)}}, "other": {"a": 1}}
    found = {"seed": 5, "part": {"deep": {"sizes": [1, 3]}}, "other": 7, "unasked": 1}
    assert list(frozen.differences(expected, found)) == [
        "seed is 5 there and 0 here",
        "part.deep.sizes is [1, 3] there and (1, 2) here",
        "other is 7 there and {'a': 1} here",
    ]
    assert list(frozen.differences(expected, {}))[0] == "seed is None there and 0 here"
