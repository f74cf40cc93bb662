"""A power cut at any moment of a workload of commits leaves a whole commit, none older than acknowledged.

What a disk may hold then is built and judged by power.c. The controls are defects of the code: a sync that
is not made, or too early, sums that nobody looks at, a checkpoint that does not say that it begins.
"""

from __future__ import annotations

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

SEEDS = range(1, 4)


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


# Where the code syncs, by name: a history that shows what comes of leaving that out, and the place in it.
SYNCS = {
    "checkpoint": ("checkpoint<mh_checkpoint", 1),
    "mh_commit": ("mh_commit<commit", 1),
    "mh_journal_empty": ("mh_journal_empty<write_back", 1),
    "mh_journal_make_way": ("mh_journal_make_way<mh_commits_make_way", 1),
    "mh_journal_make_way#2": ("mh_journal_make_way<mh_commits_make_way#2", 1),
    "mh_journal_reach": ("mh_journal_reach<reach", 1),
    "mh_journal_reach#2": ("mh_journal_reach<reach#2", 3),
    "recover": ("recover<on_file", 1),
    "write_back": ("write_back<mh_checkpoint", 1),
    "write_back#2": ("write_back<mh_checkpoint#2", 5),
}
# Runs as short as these do not show them: few cuts fall between what they keep apart. The first of
# mh_recover is for records of a killed process that no disk has yet; here disks have all it begins with.
NOT_SHOWN = {"mh_commit#2", "mh_commits_finish", "mh_recover", "mh_recover#2", "mh_recover#3"}


def name_of(place: str) -> str:
    """Places are named by their callers too: those of one name are one sync in the code."""
    return re.sub(r"<[^#]*", "", place)


def test_every_cut_leaves_a_whole_commit(programs: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda seed: cut(programs, seed, 700), SEEDS))
    assert sum(images for images, _, _ in results) > 2000


@pytest.mark.parametrize("lie", ["sums-ignored", "mark-dropped"])
def test_the_judge_sees_records_that_are_believed_unseen(lie: str, programs: Path) -> None:
    assert cut(programs, 1, 1500, lie)[1] > 0


def test_every_place_that_syncs_is_known(programs: Path) -> None:
    places = {place for seed in SEEDS for place in cut(programs, seed, 20)[2]}
    assert {name_of(place) for place in places} == {*SYNCS, *NOT_SHOWN}


@pytest.mark.parametrize("name", SYNCS)
def test_the_judge_sees_a_sync_that_is_left_out(name: str, programs: Path) -> None:
    place, seed = SYNCS[name]
    assert cut(programs, seed, 1500, "sync-dropped", place)[1] > 0
