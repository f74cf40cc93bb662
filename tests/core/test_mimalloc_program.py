"""Programs written for mimalloc: compiled as a user compiles them, against mheap and the original."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from c_tools import CC, INCLUDE, run

import mheap.config

ORIGINAL = Path("/usr/include/mimalloc.h")
CXX = ["c++", "-std=c++17"]
WARNINGS = ["-O1", "-Wall", "-Wextra", "-Werror"]

needs_original = pytest.mark.skipif(not ORIGINAL.exists(), reason="libmimalloc-dev is not installed")

REQUESTS = r"""
/* A server that gives each request a heap and throws it away as a whole. */
#include <mimalloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct entry {
  struct entry *next;
  char *key, *value;
} entry;

static entry *parse(mi_heap_t *heap, const char *query) {
  entry *first = NULL;
  char *text = mi_heap_strdup(heap, query), *save = NULL;
  for (char *pair = strtok_r(text, "&", &save); pair != NULL; pair = strtok_r(NULL, "&", &save)) {
    entry *e = mi_heap_zalloc_tp(heap, entry);
    char *equals = strchr(pair, '=');
    e->key = mi_heap_strndup(heap, pair, (size_t)(equals - pair));
    e->value = mi_heap_strdup(heap, equals + 1);
    e->next = first;
    first = e;
  }
  return first;
}

typedef struct search {
  void *wanted;
  size_t found;
} search;

static bool look(const mi_heap_t *heap, const mi_heap_area_t *area, void *block, size_t size, void *arg) {
  search *s = arg;
  (void)heap;
  if (block != NULL && block == s->wanted) s->found += size == area->block_size && area->used > 0;
  return true;
}

static size_t serve(int number) {
  mi_heap_t *heap = mi_heap_new();
  char query[100];
  snprintf(query, sizeof query, "user=%d&page=%d&lang=en", number, number * 7);
  entry *entries = parse(heap, query);
  int *numbers = mi_heap_calloc_tp(heap, int, 100);
  for (int i = 0; i < 1000; i += 100) numbers = mi_heap_recalloc_tp(heap, numbers, int, 100 + i);
  if (numbers[999 - 100] != 0 || !mi_heap_contains_block(heap, entries)) return 0;
  search s = {.wanted = entries};
  mi_heap_visit_blocks(heap, true, look, &s);
  if (number % 2) {
    mi_heap_destroy(heap);
    return s.found;
  }
  mi_heap_delete(heap); /* one survives it */
  size_t kept = strlen(entries->value);
  mi_free(entries);
  return s.found + kept;
}

static void *worker(void *arg) {
  size_t *total = arg;
  for (int i = 0; i < 200; i++) *total += serve(i);
  mi_collect(true);
  return NULL;
}

int main(void) {
  pthread_t threads[4];
  size_t totals[4] = {0}, sum = 0;
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, worker, &totals[i]);
  for (int i = 0; i < 4; i++) {
    pthread_join(threads[i], NULL);
    sum += totals[i];
  }
  void *aligned = mi_malloc_aligned(100, 256), *beside = mi_malloc_aligned_at(100, 64, 8), *posix = NULL;
  int failed = mi_posix_memalign(&posix, 4096, 10);
  printf("%zu %d %d %d\n", sum, (int)((uintptr_t)aligned % 256), (int)(((uintptr_t)beside + 8) % 64),
         failed + (int)((uintptr_t)posix % 4096));
  mi_free(aligned);
  mi_free(beside);
  mi_free(posix);
  return 0;
}
"""

ARENA = r"""
/* A pool in memory that is reserved once: nobody else gets in, and it never grows. */
#include <mimalloc.h>
#include <stdio.h>

int main(void) {
  mi_arena_id_t id;
  size_t size = 0;
  if (mi_reserve_os_memory_ex((size_t)64 << 20, true, false, true, &id) != 0) return 1;
  char *start = mi_arena_area(id, &size);
  mi_heap_t *pool = mi_heap_new_in_arena(id);
  int inside = 1, blocks = 0;
  for (char *p; blocks < 10000 && (p = mi_heap_malloc(pool, 20000)) != NULL; blocks++)
    inside &= p >= start && p + 20000 <= start + size;
  char *other = mi_malloc(20000);
  printf("inside %d full %d outside %d\n", inside, blocks > 1000 && blocks < 10000,
         other < start || other >= start + size);
  mi_free(other);
  mi_heap_destroy(pool);
  return 0;
}
"""

CONTAINERS = r"""
/* Containers on mimalloc's allocators, and operator new's way. */
#include <mimalloc.h>
#include <cstdio>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

using text = std::basic_string<char, std::char_traits<char>, mi_stl_allocator<char>>;

struct alignas(64) wide {
  char bytes[64];
};

int main() {
  std::map<text, int, std::less<text>, mi_stl_allocator<std::pair<const text, int>>> words;
  for (int i = 0; i < 1000; i++) words[text("word number ") + text(1 + i % 30, 'x')]++;
  std::vector<int, mi_stl_allocator<int>> numbers(1000, 7), copy(numbers);
  std::vector<wide, mi_stl_allocator<wide>> wides(10);
  numbers.swap(copy);
  mi_heap_destroy_stl_allocator<int> own;
  std::list<int, mi_heap_destroy_stl_allocator<int>> list(own);
  for (int i = 0; i < 1000; i++) list.push_back(i);
  using allocator = mi_heap_stl_allocator<std::pair<const int, int>>;
  std::unordered_map<int, int, std::hash<int>, std::equal_to<int>, allocator> squares;
  for (int i = 0; i < 100; i++) squares[i] = i * i;
  std::shared_ptr<int> shared = std::allocate_shared<int>(mi_stl_allocator<int>(), 5);
  void *one = mi_new(10), *wide_one = mi_new_aligned(100, 128);
  one = mi_new_realloc(one, 1000);
  std::printf("%zu %zu %d %d %d\n", words.size(), list.size(), squares[9], *shared,
              mi_stl_allocator<int>() == mi_stl_allocator<char>());
  mi_free(one);
  mi_free(wide_one);
}
"""


NO_MEMORY = r"""
/* What C++ does when there is no memory; the original does it only where it was built as C++. */
#include <mheap/mimalloc.h>
#include <cstdio>
#include <new>
#include <vector>

static int asked;
static void give_up() {
  if (++asked == 3) std::set_new_handler(nullptr);
}

template <class Call> static bool throws(Call call) {
  asked = 0;
  std::set_new_handler(give_up);
  try {
    call();
  } catch (const std::bad_alloc &) {
    return asked == 3;
  }
  return false;
}

int main() {
  volatile std::size_t most = SIZE_MAX / 2;
  mi_heap_t *heap = mi_heap_get_default();
  void *block = mi_malloc(10);
  int thrown = throws([=] { mi_new(most); }) + throws([=] { mi_new_n(most, 3); }) +
               throws([=] { mi_new_aligned(most, 64); }) + throws([=] { mi_new_realloc(block, most); }) +
               throws([=] { mi_new_reallocn(block, most, 3); }) +
               throws([=] { mi_heap_alloc_new(heap, most); }) +
               throws([=] { mi_heap_alloc_new_n(heap, most, 3); }) +
               throws([=] { mi_stl_allocator<int>().allocate(most); }) +
               throws([=] { mi_heap_stl_allocator<int>(heap).allocate(most); });
  int none = 0;
  none += !throws([&] { none += mi_new_nothrow(most) == nullptr; }) && asked == 3;
  none += !throws([&] { none += mi_new_aligned_nothrow(most, 64) == nullptr; }) && asked == 3;
  mi_free(block);
  std::printf("%d %d\n", thrown, none);
}
"""


def build_here(source: Path, compiler: list[str]) -> Path:
    """As the how-to page says: one directory more to search."""
    binary = source.with_suffix(".mheap")
    flags = f"-I{shlex.quote(mheap.config.includedir())}/mheap {mheap.config.cflags()}"
    run(
        "sh",
        "-c",
        f"{' '.join([*compiler, *WARNINGS])} {flags} {source} {mheap.config.libs()} -pthread -o {binary}",
    )
    return binary


def build_original(source: Path, compiler: list[str]) -> Path:
    binary = source.with_suffix(".original")

    run(*compiler, "-O1", source, "-lmimalloc", "-pthread", "-o", binary)
    return binary


OVERRIDE = r"""
/* A file whose own calls of malloc are redirected. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <mimalloc-override.h>

int main(void) {
  char *a = malloc(10), *b = calloc(3, 4), *c = strdup("text"), *d = realloc(NULL, 5), *e = NULL;
  int failed = posix_memalign((void **)&e, 64, 10), ours = 0;
  char *f = aligned_alloc(64, 64), *g = strndup("text", 2), *h = memalign(32, 5), *i = realpath("/", NULL);
  char *all[] = {a, b, c, d, e, f, g, h, i};
  for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) {
    ours += mi_is_in_heap_region(all[k]);
    free(all[k]);
  }
  printf("%d %d\n", ours, failed);
  return 0;
}
"""

NEW_DELETE = r"""
/* A program all of whose objects are mimalloc's. */
#include <mimalloc-new-delete.h>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

struct alignas(128) wide {
  char bytes[128];
};

int main() {
  std::vector<std::string> names(100, std::string(50, 'x'));
  std::unique_ptr<wide> one(new wide);
  std::unique_ptr<wide[]> many(new wide[3]);
  std::unique_ptr<int> small(new (std::nothrow) int(3));
  int ours = mi_is_in_heap_region(names.data()) + mi_is_in_heap_region(names[7].data()) +
             mi_is_in_heap_region(one.get()) + mi_is_in_heap_region(many.get()) +
             mi_is_in_heap_region(small.get());
  std::printf("%d %d\n", ours, static_cast<int>(reinterpret_cast<uintptr_t>(one.get()) % 128));
}
"""

PROGRAMS = {
    "override.c": (OVERRIDE, "9 0"),
    "new_delete.cc": (NEW_DELETE, "5 0"),
    "requests.c": (REQUESTS, "1600 0 0 0"),
    "arena.c": (ARENA, "inside 1 full 1 outside 1"),
    "containers.cc": (CONTAINERS, "30 1000 81 5 1"),
}


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[str], str]:
    text, expected = PROGRAMS[request.param]
    source = tmp_path / request.param
    source.write_text(text)
    return source, CXX if source.suffix == ".cc" else CC, expected


def test_it_runs_here(program: tuple[Path, list[str], str]) -> None:
    source, compiler, expected = program
    assert run(build_here(source, compiler)).strip() == expected


@needs_original
def test_it_is_a_program_for_the_original(program: tuple[Path, list[str], str]) -> None:
    """The control: the same source, the same answers."""
    source, compiler, expected = program
    assert run(build_original(source, compiler)).strip() == expected


@pytest.mark.parametrize("standard", ["c++11", "c++14", "c++17", "c++20"])
def test_operator_new_throws_in_every_standard(standard: str, tmp_path: Path) -> None:
    source = tmp_path / "no_memory.cc"
    source.write_text(NO_MEMORY)
    assert run(build_here(source, ["c++", f"-std={standard}"])).strip() == "9 4"


@pytest.mark.parametrize("name", ["show.c", "show.cc"])
def test_where_the_documents_differ_both_calls_work(name: str, tmp_path: Path) -> None:
    source = tmp_path / name
    source.write_text(
        "#include <mimalloc.h>\nint main(void) {\n"
        "  mi_debug_show_arenas();\n  mi_debug_show_arenas(true, false, 1 > 0);\n  return 0;\n}\n"
    )
    run(build_here(source, CXX if source.suffix == ".cc" else CC))


def test_a_program_needs_no_exceptions(tmp_path: Path) -> None:
    source = tmp_path / "plain.cc"
    source.write_text(
        "#include <mimalloc.h>\nint main() { mi_free(mi_new_nothrow(mi_new(1) != nullptr)); }\n"
    )
    run(build_here(source, [*CXX, "-fno-exceptions"]))


# ---- what the documents declare ----

DOCUMENTED = """
void *mi_malloc_small(size_t size);
void *mi_zalloc_small(size_t size);
size_t mi_good_size(size_t size);
void mi_collect(bool force);
void mi_stats_print(void *out);
void mi_stats_print_out(mi_output_fun *out, void *arg);
void mi_stats_reset(void);
void mi_stats_merge(void);
void mi_thread_init(void);
void mi_thread_done(void);
void mi_thread_stats_print_out(mi_output_fun *out, void *arg);
void mi_register_deferred_free(mi_deferred_free_fun *deferred_free, void *arg);
void mi_register_output(mi_output_fun *out, void *arg);
void mi_register_error(mi_error_fun *errfun, void *arg);
bool mi_is_in_heap_region(const void *p);
bool mi_is_redirected();
void mi_process_info(size_t *, size_t *, size_t *, size_t *, size_t *, size_t *, size_t *, size_t *);
void (mi_debug_show_arenas)(bool show_inuse, bool show_abandoned, bool show_purge);
int mi_reserve_os_memory(size_t size, bool commit, bool allow_large);
int mi_reserve_os_memory_ex(size_t size, bool commit, bool allow_large, bool exclusive,
                            mi_arena_id_t *arena_id);
bool mi_manage_os_memory(void *start, size_t size, bool is_committed, bool is_large, bool is_zero,
                         int numa_node);
bool mi_manage_os_memory_ex(void *start, size_t size, bool is_committed, bool is_large, bool is_zero,
                            int numa_node, bool exclusive, mi_arena_id_t *arena_id);
int mi_reserve_huge_os_pages_interleave(size_t pages, size_t numa_nodes, size_t timeout_msecs);
int mi_reserve_huge_os_pages_at(size_t pages, int numa_node, size_t timeout_msecs);
int mi_reserve_huge_os_pages_at_ex(size_t pages, int numa_node, size_t timeout_msecs, bool exclusive,
                                   mi_arena_id_t *arena_id);
void *mi_arena_area(mi_arena_id_t arena_id, size_t *size);
size_t mi_arena_min_alignment(void);
mi_heap_t *mi_heap_new_in_arena(mi_arena_id_t arena_id);
mi_heap_t *mi_heap_new_ex(int heap_tag, bool allow_destroy, mi_arena_id_t arena_id);
mi_subproc_id_t mi_subproc_main(void);
mi_subproc_id_t mi_subproc_current(void);
mi_subproc_id_t mi_subproc_new(void);
void mi_subproc_destroy(mi_subproc_id_t subproc);
void mi_subproc_delete(mi_subproc_id_t subproc);
void mi_subproc_add_current_thread(mi_subproc_id_t subproc);
bool mi_subproc_visit_heaps(mi_subproc_id_t subproc, mi_heap_visit_fun *visitor, void *arg);

typedef int mi_arena_id_t;
typedef void *mi_subproc_id_t;
typedef void mi_deferred_free_fun(bool force, unsigned long long heartbeat, void *arg);
typedef void mi_output_fun(const char *msg, void *arg);
typedef void mi_error_fun(int err, void *arg);
typedef bool mi_heap_visit_fun(mi_heap_t *heap, void *arg);
int small[MI_SMALL_SIZE_MAX == 128 * sizeof(void *) ? 1 : -1];
size_t (*usable)(const void *) = mi_usable_size; /* "void *" in the documents: both may be passed */
"""


def test_signatures_are_those_of_the_documents(tmp_path: Path) -> None:
    """A declaration that differed would be an error."""
    source = tmp_path / "documented.c"
    source.write_text("#include <mheap/mimalloc.h>\n" + DOCUMENTED)
    run(*CC, "-std=c17", "-Wall", "-Werror", f"-I{INCLUDE}", "-fsyntax-only", source)


# ---- the original's own declarations ----

WINDOWS = {"mi_wcsdup", "mi_mbsdup", "mi_dupenv_s", "mi_wdupenv_s"}


def prototypes() -> dict[str, str]:
    """The functions that the installed original declares, by name."""
    text = run(*CC, "-E", "-P", "-x", "c", ORIGINAL)
    text = re.sub(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)", "", text)
    found = re.findall(r"(?<=[;}])\s*((?!typedef)[\w\s*]+?\b(mi_\w+)\s*\([^;{}]*\)\s*;)", text)
    return {name: prototype for prototype, name in found}


@needs_original
def test_every_function_of_the_original_is_declared_alike(tmp_path: Path) -> None:
    theirs = prototypes()
    assert len(theirs) > 120
    source = tmp_path / "again.c"
    again = [text for name, text in theirs.items() if name not in WINDOWS | {"mi_debug_show_arenas"}]
    used = [f"(void *){name}," for name in theirs if name not in WINDOWS]
    source.write_text(
        "#include <mheap/mimalloc.h>\n" + "\n".join(again) + "\nvoid *all[] = {" + " ".join(used) + "};\n"
    )
    run(*CC, "-std=c17", "-Wall", "-Werror", f"-I{INCLUDE}", "-fsyntax-only", source)


@needs_original
def test_every_name_of_the_original_is_here() -> None:
    ours = "".join(path.read_text(encoding="utf-8") for path in INCLUDE.glob("mheap/mimalloc*.h"))
    theirs = set(re.findall(r"\b(?:mi|MI)_\w+\b", ORIGINAL.read_text(encoding="utf-8")))
    of_windows = {*WINDOWS, "MI_SHARED_LIB", "MI_SHARED_LIB_EXPORT"}
    assert theirs - set(re.findall(r"\w+", ours)) - of_windows == set()
