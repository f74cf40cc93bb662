"""A short round of fuzz_heap.c under ASan and UBSan, from seeds made here.

MHEAP_FUZZ_SECONDS (12): how long. MHEAP_FUZZ_CORPUS: a directory of inputs to start from and to
add to, for long rounds. An input that fails stays in MHEAP_FUZZ (.cache/fuzz), as crash-*; it is
run again by `MHEAP_FUZZ_IMAGES=.cache/fuzz/images .cache/fuzz/fuzz_heap INPUT`.
"""

from __future__ import annotations

import gzip
import os
import re
import shlex
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from c_tools import CORE, INCLUDE, ROOT, run
from filelock import FileLock

HERE = Path(__file__).parent
GOLDEN = ROOT / "tests" / "core" / "golden"
CLANG = shlex.split(os.environ.get("CLANG", "clang"))
SANITIZE = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-O1", "-g"]
FLAGS = ["-std=c17", "-D_GNU_SOURCE", "-DMHEAP_BUILDING", "-pthread", f"-I{INCLUDE}", f"-I{CORE}"]
SECONDS = int(os.environ.get("MHEAP_FUZZ_SECONDS", "12"))


def has_libfuzzer(directory: Path) -> bool:
    probe = directory / "probe.c"
    probe.write_text("int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d == 0 && n; }\n")
    command = [*CLANG, "-fsanitize=fuzzer", str(probe), "-o", str(directory / "probe")]
    return shutil.which(CLANG[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0


def compile_target(directory: Path) -> None:
    """Each source for itself, as many at a time as there are processors."""
    sources = [*CORE.glob("*.c"), *(CORE / "objects").glob("*.c"), HERE / "fuzz_heap.c"]
    objects = directory / "objects"
    shutil.rmtree(objects, ignore_errors=True)
    objects.mkdir(parents=True)
    script = "\n".join(
        shlex.join([*CLANG, *FLAGS, *SANITIZE, "-c", str(source), "-o", str(objects / f"{number}.o")])
        for number, source in enumerate(sources)
    )
    workers = str(os.cpu_count() or 1)
    subprocess.run(["xargs", "-P", workers, "-I{}", "sh", "-c", "{}"], input=script, text=True, check=True)
    run(*CLANG, *SANITIZE, "-pthread", *sorted(objects.glob("*.o")), "-o", directory / "fuzz_heap")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The target's directory: the program, and the images it changes."""
    if not has_libfuzzer(tmp_path_factory.mktemp("probe")):
        pytest.skip("clang with libFuzzer is not installed (Debian: clang, libclang-rt-14-dev)")
    directory = Path(os.environ.get("MHEAP_FUZZ", ROOT / ".cache" / "fuzz"))
    (directory / "images").mkdir(parents=True, exist_ok=True)
    with FileLock(directory / "lock"):
        compile_target(directory)
        for packed in GOLDEN.glob("*.gz"):
            (directory / "images" / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
        yield directory


def seeds() -> Iterator[bytes]:
    """Every image in every mode and turn, plain; and patches of the kinds that matter."""
    for image in (0, 1, 2, 3, 32, 64, 96):
        for mode in range(16):
            yield bytes([image, mode])
            yield bytes([image | 8 | 4, mode])
        yield bytes([image | 16, 0x50]) + struct.pack("<HBQ", 130, 0, 2 | 1 << 37)
        yield bytes([image | 4, 0]) + struct.pack("<HBQ", 5, 5, 3)
        for word in range(0, 400, 7):
            yield bytes([image, word % 16]) + struct.pack("<HBQ", word, 1, 1)
    yield bytes([128, 1]) + b"\x93mheap\r\n"
    yield bytes([128, 0])


def fuzz(directory: Path, corpus: Path, seconds: int, **environment: str) -> subprocess.CompletedProcess[str]:
    seeded = directory / "seeds"
    shutil.rmtree(seeded, ignore_errors=True)
    seeded.mkdir()
    for number, seed in enumerate(seeds()):
        (seeded / f"{number:04}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=3000", "-max_len=800"]
    return subprocess.run(
        [str(directory / "fuzz_heap"), *options, f"-artifact_prefix={directory}/", str(corpus), str(seeded)],
        env={**os.environ, "MHEAP_FUZZ_IMAGES": str(directory / "images"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_bug_would_be_found(target: Path, tmp_path: Path) -> None:
    done = fuzz(target, tmp_path, 60, MHEAP_FUZZ_CONTROL="1")
    assert done.returncode != 0
    assert "the control's bug was found" in done.stderr
    for artifact in target.glob("crash-*"):
        artifact.unlink()


def test_no_input_ends_the_process(target: Path, tmp_path: Path) -> None:
    corpus = Path(os.environ.get("MHEAP_FUZZ_CORPUS", tmp_path))
    done = fuzz(target, corpus, SECONDS)
    kept = [f"{path}: {path.read_bytes().hex()}" for path in target.glob("crash-*")]
    assert done.returncode == 0, "\n".join([done.stderr[-6000:], *kept])
    runs = re.search(r"^Done (\d+) runs", done.stderr, re.MULTILINE)
    assert runs, done.stderr[-2000:]
    assert int(runs[1]) > len(list(seeds())), "nothing but the seeds was tried"
