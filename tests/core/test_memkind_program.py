"""Programs written for memkind: compiled as a user compiles them, with the names memkind has."""

from __future__ import annotations

from pathlib import Path

import pytest
from c_tools import CC, run

import mheap.config

ARENAS = r"""
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <memkind.h>
#include <memkind/internal/memkind_arena.h>
#include <memkind/internal/memkind_default.h>
#include <memkind/internal/memkind_private.h>

static struct memkind_ops ops = {
    .create = memkind_arena_create,
    .destroy = memkind_arena_destroy,
    .malloc = memkind_arena_malloc,
    .calloc = memkind_arena_calloc,
    .posix_memalign = memkind_arena_posix_memalign,
    .realloc = memkind_arena_realloc,
    .free = memkind_arena_free,
    .get_arena = memkind_thread_get_arena,
    .init_once = memkind_default_init_once,
    .malloc_usable_size = memkind_default_malloc_usable_size,
    .finalize = memkind_arena_finalize,
    .update_memory_usage_policy = memkind_arena_update_memory_usage_policy,
};

static struct memkind kind;

static void *work(void *unused) {
  for (int i = 1; i < 1000; i++) {
    char *block = memkind_malloc(&kind, i);
    if (block == NULL) return "no memory";
    memset(block, i, i);
    memkind_free(i % 2 ? &kind : NULL, block);
  }
  return unused;
}

int main(int argc, char **argv) {
  char message[MEMKIND_ERROR_MESSAGE_SIZE];
  int err = ops.create(&kind, &ops, "mine");
  if (err != MEMKIND_SUCCESS) {
    memkind_error_message(err, message, sizeof message);
    fprintf(stderr, "%s\n", message);
    return 1;
  }
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, work, NULL);
  for (int i = 0; i < 4; i++) {
    void *failed;
    pthread_join(threads[i], &failed);
    if (failed) return 2;
  }
  void *aligned;
  if (memkind_posix_memalign(&kind, &aligned, 64, 100) || (size_t)aligned % 64) return 3;
  if (memkind_detect_kind(aligned) != &kind) return 4;
  memkind_free(MEMKIND_DEFAULT, aligned);
  memkind_t pmem;
  if (memkind_create_pmem(argv[argc - 1], MEMKIND_PMEM_MIN_SIZE, &pmem)) return 5;
  char *text = memkind_calloc(pmem, 10, 10);
  strcpy(text, "in a file");
  text = memkind_realloc(pmem, text, 10000);
  printf("%s %d\n", text, memkind_detect_kind(text) == pmem);
  return memkind_destroy_kind(pmem) != MEMKIND_SUCCESS;
}
"""

DECORATED = r"""
#include <stdio.h>
#include <memkind.h>

void memkind_malloc_pre(memkind_t *kind, size_t *size) {
  printf("pre %d %zu\n", *kind == MEMKIND_DEFAULT, *size);
  *size *= 1000;
}
void memkind_malloc_post(memkind_t kind, size_t size, void **result) {
  printf("post %zu %d\n", size, memkind_malloc_usable_size(kind, *result) >= size);
}
void memkind_free_post(memkind_t kind, void *ptr) { printf("freed %d\n", memkind_detect_kind(ptr) == NULL); }

int main(void) {
  memkind_free(MEMKIND_DEFAULT, memkind_malloc(MEMKIND_DEFAULT, 3));
  return 0;
}
"""


def build(text: str, directory: Path, library: str) -> Path:
    source, binary = directory / "program.c", directory / "program"
    source.write_text(text)
    flags = f"-I{mheap.config.includedir()}/mheap {mheap.config.cflags()} {source} {library} -pthread"
    run("sh", "-c", f"{' '.join(CC)} -g -Wall -Werror {flags} -o {binary}")
    return binary


@pytest.fixture(params=["shared", "static"])
def library(request: pytest.FixtureRequest) -> str:
    return mheap.config.libs() if request.param == "shared" else f"{mheap.config.libdir()}/libmheap.a"


def test_a_program_with_a_kind_of_its_own(tmp_path: Path, library: str) -> None:
    assert run(build(ARENAS, tmp_path, library), tmp_path) == "in a file 1\n"


def test_decorators_of_the_program_are_called(tmp_path: Path, library: str) -> None:
    assert run(build(DECORATED, tmp_path, library)).split("\n") == ["pre 1 3", "post 3000 1", "freed 1", ""]


def test_a_program_in_cxx(tmp_path: Path) -> None:
    source, binary = tmp_path / "program.cc", tmp_path / "program"
    source.write_text(
        "#include <memkind.h>\n"
        "int main() { void *p = memkind_malloc(MEMKIND_DEFAULT, 10);\n"
        "memkind_free(nullptr, p); return p == nullptr; }\n"
    )
    flags = f"-I{mheap.config.includedir()}/mheap {mheap.config.cflags()} {source} {mheap.config.libs()}"
    run("sh", "-c", f"c++ -Wall -Wextra -Wpedantic -Werror {flags} -o {binary}")
    run(binary)
