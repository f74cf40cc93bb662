"""A power cut at any moment of a workload of commits leaves a whole commit, none older than acknowledged.

What a disk may hold then is built and judged by power.c. The controls are defects of the code: a sync that
is not made, or too early, sums that nobody looks at, a checkpoint that does not say that it begins.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import pytest

SEEDS = range(1, 4)
MORE_SEEDS = range(1, 11)  # for what one history may not have: each until one sees the defect


def cut(programs: Path, seed: int, images: int, *lie: str) -> tuple[int, int, list[str]]:
    """How many images there were, how many of them bad, and the places that sync."""
    done = subprocess.run(
        [programs / "crash_power", "-n", str(images), "-s", str(seed), *lie],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    found = re.search(
        r"^(\d+) images of \d+ operations, .* (\d+) places that sync, (\d+) bad$", done.stdout, re.M
    )
    assert found, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == (int(found[3]) > 0), done.stdout
    places = re.findall(r"^place (.*)$", done.stdout, re.M)
    assert len(places) == int(found[2])
    assert lie or int(found[3]) == 0, done.stdout
    return int(found[1]), int(found[3]), places


def is_caught(programs: Path, *lies: tuple[str, ...]) -> bool:
    return any(cut(programs, seed, 1500, *lie)[1] > 0 for seed in MORE_SEEDS for lie in lies)


def groups(places: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Places are named by their callers too: those of one name are one sync in the code."""
    names = [re.sub(r"<[^#]*", "", place) for place in places]
    for name in dict.fromkeys(names):
        yield name, [place for place, other in zip(places, names, strict=True) if other == name]


def test_every_cut_leaves_a_whole_commit(programs: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda seed: cut(programs, seed, 700), SEEDS))
    assert sum(images for images, _, _ in results) > 2000


@pytest.mark.parametrize("lie", ["sums-ignored", "mark-dropped"])
def test_the_judge_sees_records_that_are_believed_unseen(lie: str, programs: Path) -> None:
    assert is_caught(programs, (lie,))


def test_every_sync_is_needed(programs: Path) -> None:
    _, _, places = cut(programs, 1, 20)
    assert len(places) > 12
    lies = ("sync-dropped", "sync-early")
    for name, members in groups(places):
        assert is_caught(programs, *product(lies, members)), f"{name} can go without a sync"
