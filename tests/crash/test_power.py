"""A power cut at any moment of a history of commits leaves a whole commit, none older than promised.

What a disk may hold then is built and judged by power.c: of each stretch between two syncs all subsets of up
to 12 writes, in the history that comes by every sync, and some images of each in others. 200,000 images, with
MHEAP_POWER_IMAGES, as in

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
EVERYWHERE = 0  # seed of the history that comes by every sync
BY_CHANCE = range(1, 4)

# Where the code syncs, by name.
SYNCS = (
    "checkpoint",
    "mh_commit",
    "mh_commit#2",
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
TOLD = [(lie, place) for lie in LIES for place in SYNCS]


@dataclass(frozen=True)
class Verdict:
    images: int
    bad: int
    small: int  # stretches between syncs with up to 12 writes
    whole: int  # of which all subsets were judged
    places: frozenset[str]


def cut(programs: Path, seed: int, *arguments: object) -> Verdict:
    done = subprocess.run(
        [str(word) for word in (programs / "crash_power", "-s", seed, *arguments)],
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
    assert bad == 0 or re.search("sync-|swapped|ignored|dropped", " ".join(map(str, arguments))), done.stdout
    places = frozenset(re.findall(r"^place (.*)$", done.stdout, re.M))
    if IMAGES:
        print(done.stdout)
    return Verdict(int(images[1]), bad, int(epochs[1]), int(epochs[2]), places)


def test_every_cut_leaves_a_whole_commit(programs: Path) -> None:
    """Half of the images begin with the history that comes by every sync."""
    half = ("-n", -(-IMAGES // 2))
    halves = {EVERYWHERE: half, 1000: half}
    runs = halves if IMAGES else {EVERYWHERE: (), **dict.fromkeys(BY_CHANCE, ("-e", 4))}
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda seed: cut(programs, seed, *runs[seed]), runs))
    everywhere = results[0]
    assert everywhere.places == {*SYNCS}
    assert everywhere.whole == everywhere.small > len(SYNCS)
    assert all(verdict.places <= {*SYNCS} for verdict in results)
    assert sum(verdict.images for verdict in results) >= max(2000, IMAGES)


@pytest.mark.parametrize("defect", ["sums-ignored", "placed-ignored", "mark-dropped"])
def test_the_judge_sees_what_is_believed_unseen(defect: str, programs: Path) -> None:
    assert cut(programs, EVERYWHERE, defect).bad > 0


@pytest.mark.parametrize(("lie", "place"), [told for told in TOLD if told not in HARMLESS])
def test_the_judge_sees_a_sync_in_a_wrong_place(lie: str, place: str, programs: Path) -> None:
    assert cut(programs, EVERYWHERE, lie, place).bad > 0


@pytest.mark.parametrize(("lie", "place"), sorted(HARMLESS))
def test_what_need_not_be_in_its_place_does_no_harm(lie: str, place: str, programs: Path) -> None:
    verdict = cut(programs, EVERYWHERE, lie, place)
    assert verdict.bad == 0
    assert verdict.whole == verdict.small > 0
