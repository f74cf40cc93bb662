"""A HeapStats as JSON."""

import json

from mheap._core import ClassStats, HeapStats, PageStats


def _plain(value: object) -> object:
    if isinstance(value, (HeapStats, ClassStats, PageStats)):
        return {name: _plain(getattr(value, name)) for name in type(value).__match_args__}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def to_json(stats: HeapStats) -> str:
    return json.dumps(_plain(stats))
