"""A power cut at any moment of a history of commits leaves a whole commit, none older than promised; a live
heap is as it was closed, or refused.

What a disk may hold then is built and judged by power.c: of each stretch between two syncs all subsets of up
to 12 writes, in the histories that come by every sync, and some images of each in others. 200,000 images,
with MHEAP_POWER_IMAGES, as in

    MHEAP_POWER_IMAGES=200000 pytest -s tests/crash/test_power.py -k whole_commit

which takes some minutes. The controls are defects of the code: each sync left out, too early, too late, the
writes on its two sides exchanged; sums that nobody looks at, a checkpoint that does not say that it begins.
In what order the writes between two syncs are made is of no interest: a disk has any of them.
"""

from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

IMAGES = int(os.environ.get("MHEAP_POWER_IMAGES", "0"))
EVERYWHERE = ("-s", 0)  # the history of commits that comes by every sync
LIVE = ("-l",)  # the same of a live heap
BY_CHANCE = [("-s", seed, "-e", 4) for seed in range(1, 4)]

# Where the code syncs, by name.
COMMIT_SYNCS = (
    "checkpoint",
    "commit",
    "commit#2",
    "mh_commit_sync",
    "mh_commits_finish",
    "mh_journal_empty",
    "mh_journal_make_way",
    "mh_journal_make_way#2",
    "mh_journal_reach",
    "mh_journal_reach#2",
    "mh_recover",
    "mh_recover#2",
    "mh_recover#3",
    "recover",
    "write_back",
    "write_back#2",
)
LIVE_SYNCS = (
    "mh_region_begin_slowly",
    "mh_region_finish",
    "mh_region_finish#2",
    "sync_live",  # which calls mheap_sync
)
LIES = ("sync-dropped", "sync-early", "sync-late", "swapped")
HARMLESS = {
    # What is written before is zeros, where a file that was just made longer reads as zero anyway; how long
    # it is counts, and stays on its side of the sync.
    ("sync-early", "mh_journal_reach"),
    ("sync-early", "mh_journal_reach#2"),
    # What is redone first is of the first record, and lower than all that any record says was placed: with
    # the mark or without, the same records are believed. It is the writes behind that need the mark.
    ("sync-late", "mh_recover#2"),
}
TOLD: list[tuple[str, tuple[str | int, ...], str]] = [
    (lie, EVERYWHERE, place) for lie in LIES for place in COMMIT_SYNCS if (lie, place) not in HARMLESS
]
TOLD += [(lie, LIVE, place) for lie in LIES for place in LIVE_SYNCS]


@dataclass(frozen=True)
class Verdict:
    images: int
    bad: int
    small: int  # stretches between syncs with up to 12 writes
    whole: int  # of which all subsets were judged
    places: frozenset[str]


def cut(programs: Path, *arguments: object, lie: tuple[str, ...] = ()) -> Verdict:
    done = subprocess.run(
        [str(word) for word in (programs / "crash_power", *arguments, *lie)],
        capture_output=True,
        text=True,
        check=False,
        timeout=None if IMAGES else 200,
    )
    images = re.search(r"^(\d+) images of .*: (\d+) bad$", done.stdout, re.M)
    epochs = re.search(r"^\d+ epochs, (\d+) of up to 12 writes, all subsets of (\d+)$", done.stdout, re.M)
    assert images, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert epochs, done.stdout
    bad = int(images[2])
    assert done.returncode == (bad > 0), done.stdout
    assert lie or bad == 0, done.stdout
    places = frozenset(re.findall(r"^place (.*)$", done.stdout, re.M))
    if IMAGES:
        print(done.stdout)
    return Verdict(int(images[1]), bad, int(epochs[1]), int(epochs[2]), places)


def cut_all(programs: Path, runs: list[tuple[object, ...]]) -> list[Verdict]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda run: cut(programs, *run), runs))


def test_every_cut_leaves_a_whole_commit(programs: Path) -> None:
    """Many images are of two rows of histories, one of which begins with that of every sync."""
    half = -(-IMAGES // 2)
    many: list[tuple[object, ...]] = [(*EVERYWHERE, "-n", half), ("-s", 1000, "-n", half)]
    everywhere, *others = cut_all(programs, many if IMAGES else [EVERYWHERE, *BY_CHANCE])
    assert everywhere.places == {*COMMIT_SYNCS}
    assert everywhere.whole == everywhere.small > 0
    assert all(other.places <= everywhere.places for other in others)
    assert everywhere.images + sum(other.images for other in others) >= max(2000, IMAGES)


def test_every_cut_of_a_live_heap_leaves_what_was_closed(programs: Path) -> None:
    verdict = cut(programs, *LIVE)
    assert verdict.places == {*LIVE_SYNCS}
    assert verdict.whole == verdict.small > len(LIVE_SYNCS)


@pytest.mark.parametrize("defect", ["sums-ignored", "records-ignored", "placed-ignored", "mark-dropped"])
def test_the_judge_sees_what_is_believed_unseen(defect: str, programs: Path) -> None:
    assert cut(programs, *EVERYWHERE, lie=(defect,)).bad > 0


@pytest.mark.parametrize(("lie", "history", "place"), TOLD)
def test_the_judge_sees_a_sync_in_a_wrong_place(
    lie: str, history: tuple[object, ...], place: str, programs: Path
) -> None:
    assert cut(programs, *history, lie=(lie, place)).bad > 0


@pytest.mark.parametrize(("lie", "place"), sorted(HARMLESS))
def test_what_need_not_be_in_its_place_does_no_harm(lie: str, place: str, programs: Path) -> None:
    verdict = cut(programs, *EVERYWHERE, lie=(lie, place))
    assert verdict.bad == 0
    assert verdict.whole == verdict.small > 0
