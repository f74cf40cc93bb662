/* test_memkind.c: memkind's interface: each call's documented result and each documented error. The
   decorators are defined here, as a program defines them; they do nothing until they are told to. */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "image.h"
#include "mheap/kinds.h"
#include "mheap/memkind_arena.h"

#define MIB ((size_t)1 << 20)

/* ---- decorators ---- */

static unsigned pres, posts;
static memkind_t redirect;
static void *replacement;

void memkind_malloc_pre(memkind_t *kind, size_t *size) {
  pres++;
  if (*size == 12321) *size = 50000;
  if (redirect != NULL) *kind = redirect;
}
void memkind_malloc_post(memkind_t kind, size_t size, void **result) {
  (void)kind, (void)size;
  posts++;
  if (replacement != NULL) *result = replacement;
}
void memkind_calloc_pre(memkind_t *kind, size_t *nmemb, size_t *size) {
  (void)kind, (void)nmemb, (void)size, pres++;
}
void memkind_calloc_post(memkind_t kind, size_t nmemb, size_t size, void **result) {
  (void)kind, (void)nmemb, (void)size, (void)result, posts++;
}
void memkind_posix_memalign_pre(memkind_t *kind, void **memptr, size_t *alignment, size_t *size) {
  (void)kind, (void)memptr, (void)alignment, (void)size, pres++;
}
void memkind_posix_memalign_post(memkind_t kind, void **memptr, size_t alignment, size_t size, int *err) {
  (void)kind, (void)memptr, (void)size, posts++;
  if (alignment == 8192) *err = 77;
}
void memkind_realloc_pre(memkind_t *kind, void **ptr, size_t *size) {
  (void)kind, (void)ptr, (void)size, pres++;
}
void memkind_realloc_post(memkind_t kind, void *ptr, size_t size, void **result) {
  (void)kind, (void)ptr, (void)size, (void)result, posts++;
}
void memkind_free_pre(memkind_t *kind, void **ptr) { (void)kind, (void)ptr, pres++; }
void memkind_free_post(memkind_t kind, void *ptr) { (void)kind, (void)ptr, posts++; }

/* ---- kinds to test with ---- */

static struct memkind_ops ops_with(int (*get_arena)(struct memkind *, unsigned *, size_t)) {
  return (struct memkind_ops){
      .create = memkind_arena_create,
      .destroy = memkind_arena_destroy,
      .malloc = memkind_arena_malloc,
      .calloc = memkind_arena_calloc,
      .posix_memalign = memkind_arena_posix_memalign,
      .realloc = memkind_arena_realloc,
      .free = memkind_arena_free,
      .get_arena = get_arena,
      .malloc_usable_size = memkind_default_malloc_usable_size,
  };
}

static struct memkind_ops thread_ops, one_ops;
static struct memkind thread_kind, one_kind;

static bool make_kinds(void) {
  thread_ops = ops_with(memkind_thread_get_arena);
  one_ops = ops_with(memkind_bijective_get_arena);
  return CHECK_EQ(thread_ops.create(&thread_kind, &thread_ops, "thread"), MEMKIND_SUCCESS) &&
         CHECK_EQ(one_ops.create(&one_kind, &one_ops, "one"), MEMKIND_SUCCESS);
}

static void destroy_kinds(void) {
  CHECK_EQ(thread_ops.destroy(&thread_kind), MEMKIND_SUCCESS);
  CHECK_EQ(one_ops.destroy(&one_kind), MEMKIND_SUCCESS);
  CHECK(thread_kind.arena_map == NULL && thread_kind.arena_map_len == 0);
}

/* ---- arena operations ---- */

static void look_at_map(struct memkind *kind) {
  unsigned arena = 0;
  CHECK_EQ(kind->ops->get_arena(kind, &arena, 100), MEMKIND_SUCCESS);
  CHECK(arena >= kind->arena_zero && arena < kind->arena_zero + kind->arena_map_len);
  for (unsigned i = 0; i < kind->arena_map_len; i++) {
    CHECK_EQ(kind->arena_map[i], kind->arena_zero + i);
    CHECK(get_kind_by_arena(kind->arena_map[i]) == kind);
  }
  CHECK(kind->arena_map_mask < kind->arena_map_len &&
        (kind->arena_map_mask & (kind->arena_map_mask + 1)) == 0);
}

static void kinds_have_the_arenas_that_get_arena_wants(void) {
  REQUIRE(make_kinds());
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  CHECK_EQ(thread_kind.arena_map_len, 4 * (unsigned long)processors);
  CHECK_EQ(one_kind.arena_map_len, 1);
  CHECK_STR(thread_kind.name, "thread");
  look_at_map(&thread_kind);
  look_at_map(&one_kind);
  CHECK_EQ(memkind_arena_create_map(&one_kind, NULL), MEMKIND_ERROR_OPERATION_FAILED);
  unsigned zero = one_kind.arena_zero;
  destroy_kinds();
  CHECK(get_kind_by_arena(zero) == NULL && get_kind_by_arena(0) == NULL);
  CHECK_EQ(memkind_thread_get_arena(&one_kind, &zero, 1), MEMKIND_ERROR_RUNTIME);
  CHECK_EQ(memkind_bijective_get_arena(&one_kind, &zero, 1), MEMKIND_ERROR_RUNTIME);
  CHECK(memkind_arena_malloc(&one_kind, 10) == NULL);
  CHECK_EQ(memkind_arena_destroy(&one_kind), MEMKIND_SUCCESS);
}

static void use(struct memkind *kind) {
  char *a = memkind_arena_malloc(kind, 100), *b = memkind_arena_calloc(kind, 10, 20);
  char *c = memkind_arena_pmem_calloc(kind, 10, 20);
  REQUIRE(a != NULL && b != NULL && c != NULL);
  for (int i = 0; i < 200; i++) CHECK(b[i] == 0 && c[i] == 0);
  CHECK(memkind_arena_malloc_usable_size(a) >= 100 && memkind_arena_malloc_usable_size(NULL) == 0);
  CHECK(memkind_arena_detect_kind(a) == kind);
  strcpy(a, "kept");
  CHECK((a = memkind_arena_realloc(kind, a, 100000)) != NULL);
  CHECK((a = memkind_arena_realloc_with_kind_detect(a, 1000000)) != NULL);
  CHECK_STR(a, "kept");
  CHECK(memkind_arena_detect_kind(a) == kind);
  CHECK(memkind_arena_realloc(kind, a, 0) == NULL);
  CHECK(memkind_arena_detect_kind(a) == NULL);
  CHECK((a = memkind_arena_realloc(kind, NULL, 50)) != NULL);
  memkind_arena_free(kind, a);
  memkind_arena_free_with_kind_detect(b);
  memkind_arena_free(kind, c);
  memkind_arena_free(kind, c); /* not obeyed */
  memkind_arena_free(kind, NULL);
  memkind_arena_free_with_kind_detect(NULL);
  CHECK(memkind_arena_malloc(kind, 0) == NULL && memkind_arena_calloc(kind, 0, 5) == NULL);
}

static void fails(struct memkind *kind) {
  void *sentinel = &sentinel, *p = sentinel;
  errno = 0;
  CHECK(memkind_arena_malloc(kind, SIZE_MAX) == NULL && errno == ENOMEM);
  errno = 0;
  CHECK(memkind_arena_calloc(kind, SIZE_MAX / 2, 3) == NULL && errno == ENOMEM);
  errno = 0;
  CHECK(memkind_arena_realloc(kind, NULL, SIZE_MAX) == NULL && errno == ENOMEM);
  CHECK(memkind_arena_realloc_with_kind_detect(NULL, 10) == NULL && errno == EINVAL);
  CHECK(memkind_arena_realloc_with_kind_detect(&p, 10) == NULL && errno == EINVAL);
  errno = 4711;
  CHECK_EQ(memkind_arena_posix_memalign(kind, &p, 64, SIZE_MAX / 2), ENOMEM);
  CHECK_EQ(memkind_arena_posix_memalign(kind, &p, 24, 10), EINVAL);
  CHECK_EQ(memkind_arena_posix_memalign(kind, &p, 4, 10), EINVAL);
  CHECK_EQ(memkind_arena_posix_memalign(kind, &p, 0, 10), EINVAL);
  CHECK(p == sentinel && errno == 4711);
  CHECK_EQ(memkind_arena_posix_memalign(kind, &p, 4096, 10), 0);
  CHECK(p != NULL && (uint64_t)p % 4096 == 0 && errno == 4711);
  memkind_arena_free(kind, p);
  CHECK_EQ(memkind_arena_posix_memalign(kind, &p, 64, 0), 0);
  CHECK(p == NULL);
}

static void arena_operations_do_what_they_say(void) {
  REQUIRE(make_kinds());
  use(&thread_kind);
  use(&one_kind);
  fails(&thread_kind);
  fails(&one_kind);
  char *block = memkind_arena_malloc(&thread_kind, 10);
  memkind_arena_free(&one_kind, block); /* of another kind: not obeyed */
  CHECK(memkind_arena_detect_kind(block) == &thread_kind);
  CHECK(memkind_arena_realloc(&one_kind, block, 1000) == NULL);
  memkind_default_free(NULL, block); /* which frees those of every kind */
  CHECK(memkind_arena_detect_kind(block) == NULL);
  destroy_kinds();
}

static void structures_are_checked(void) {
  struct memkind kind = {0};
  struct memkind_ops ops = ops_with(memkind_thread_get_arena);
  char name[MEMKIND_NAME_LENGTH_PRIV + 1] = {0};
  memset(name, 'n', MEMKIND_NAME_LENGTH_PRIV);
  CHECK_EQ(memkind_arena_create(NULL, &ops, "x"), MEMKIND_ERROR_INVALID);
  CHECK_EQ(memkind_arena_create(&kind, NULL, "x"), MEMKIND_ERROR_BADOPS);
  CHECK_EQ(memkind_arena_create(&kind, &ops, NULL), MEMKIND_ERROR_INVALID);
  CHECK_EQ(memkind_arena_create(&kind, &ops, name), MEMKIND_ERROR_INVALID);
  CHECK_EQ(memkind_arena_create_map(NULL, NULL), MEMKIND_ERROR_INVALID);
  CHECK_EQ(memkind_arena_create_map(&kind, NULL), MEMKIND_ERROR_BADOPS);
  kind.ops = &ops;
  CHECK_EQ(memkind_arena_create_map(&kind, &(extent_hooks_t){0}), MEMKIND_ERROR_INVALID);
  CHECK_EQ(memkind_arena_destroy(NULL), MEMKIND_ERROR_INVALID);
  name[MEMKIND_NAME_LENGTH_PRIV - 1] = 0;
  CHECK_EQ(memkind_arena_create(&kind, &ops, name), MEMKIND_SUCCESS);
  CHECK_EQ(memkind_arena_update_memory_usage_policy(&kind, MEMKIND_MEM_USAGE_POLICY_CONSERVATIVE), 0);
  CHECK_EQ(memkind_arena_update_memory_usage_policy(&kind, MEMKIND_MEM_USAGE_POLICY_MAX_VALUE),
           MEMKIND_ERROR_INVALID);
  CHECK_EQ(memkind_arena_update_memory_usage_policy(NULL, 0), MEMKIND_ERROR_INVALID);
  use(&kind);
  CHECK_EQ(memkind_arena_finalize(&kind), MEMKIND_SUCCESS);
  CHECK_EQ(memkind_arena_update_memory_usage_policy(&kind, 0), MEMKIND_ERROR_RUNTIME);
  memkind_arena_init(&kind);
  memkind_arena_init(&kind);
  use(&kind);
  CHECK_EQ(memkind_arena_destroy(&kind), MEMKIND_SUCCESS);
}

static void there_are_512_kinds_at_most(void) {
  static struct memkind kinds[MEMKIND_MAX_KIND + 1];
  struct memkind_ops ops = ops_with(memkind_bijective_get_arena);
  for (int i = 0; i < MEMKIND_MAX_KIND; i++) CHECK_EQ(memkind_arena_create(&kinds[i], &ops, "many"), 0);
  CHECK_EQ(memkind_arena_create(&kinds[MEMKIND_MAX_KIND], &ops, "many"), MEMKIND_ERROR_TOOMANY);
  for (int i = 0; i < MEMKIND_MAX_KIND; i++) CHECK_EQ(memkind_arena_destroy(&kinds[i]), 0);
  CHECK_EQ(memkind_arena_create(&kinds[0], &ops, "many"), 0);
  CHECK_EQ(memkind_arena_destroy(&kinds[0]), 0);
}

/* A function of the program's that chooses arenas. */
static unsigned chosen;

static int choose(struct memkind *kind, unsigned *arena, size_t size) {
  (void)size;
  *arena = kind->arena_map[chosen % (kind->arena_map_len + 1)];
  return chosen == 1000 ? MEMKIND_ERROR_RUNTIME : MEMKIND_SUCCESS;
}

static void a_program_may_choose_arenas(void) {
  struct memkind kind = {0};
  struct memkind_ops ops = ops_with(choose);
  REQUIRE(memkind_arena_create(&kind, &ops, "choice") == MEMKIND_SUCCESS);
  mheap *heaps[2];
  char *blocks[2];
  for (chosen = 0; chosen < 2; chosen++) {
    REQUIRE((blocks[chosen] = memkind_arena_malloc(&kind, 100)) != NULL);
    heaps[chosen] = mheap_heap_of(blocks[chosen]);
  }
  CHECK(heaps[0] != NULL && heaps[1] != NULL && heaps[0] != heaps[1]);
  chosen = 1;
  strcpy(blocks[0], "moves");
  blocks[0] = memkind_arena_realloc(&kind, blocks[0], 10000);
  CHECK_STR(blocks[0], "moves");
  CHECK(mheap_heap_of(blocks[0]) == heaps[1]);
  chosen = 1000;
  CHECK(memkind_arena_malloc(&kind, 100) == NULL);
  CHECK_EQ(memkind_arena_destroy(&kind), 0);
}

/* ---- hooks and mappings ---- */

static unsigned allocs, deallocs, destroys, purges, refused_deallocs;

static void *hook_alloc(extent_hooks_t *hooks, void *new_addr, size_t size, size_t alignment, bool *zero,
                        bool *commit, unsigned arena) {
  (void)hooks, (void)alignment, (void)commit;
  CHECK(new_addr == NULL && get_kind_by_arena(arena) != NULL);
  allocs++;
  *zero = true;
  void *got = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return got != MAP_FAILED ? got : NULL;
}
static bool hook_dalloc(extent_hooks_t *hooks, void *addr, size_t size, bool committed, unsigned arena) {
  (void)hooks, (void)arena;
  CHECK(committed);
  deallocs++;
  if (deallocs % 2 == 0) return refused_deallocs++, true;
  return munmap(addr, size) != 0;
}
static void hook_destroy(extent_hooks_t *hooks, void *addr, size_t size, bool committed, unsigned arena) {
  (void)hooks, (void)committed, (void)arena;
  destroys++;
  munmap(addr, size);
}
static bool hook_purge(extent_hooks_t *hooks, void *addr, size_t size, size_t offset, size_t length,
                       unsigned arena) {
  (void)hooks, (void)arena;
  CHECK(offset + length <= size);
  purges++;
  return madvise((char *)addr + offset, length, MADV_DONTNEED) != 0;
}

static void extent_hooks_are_called(void) {
  static extent_hooks_t hooks = {
      .alloc = hook_alloc, .dalloc = hook_dalloc, .destroy = hook_destroy, .purge_forced = hook_purge};
  struct memkind kind;
  struct memkind_ops ops = ops_with(memkind_bijective_get_arena);
  REQUIRE(memkind_default_create(&kind, &ops, "hooks") == MEMKIND_SUCCESS);
  REQUIRE(memkind_arena_create_map(&kind, &hooks) == MEMKIND_SUCCESS);
  use(&kind);
  CHECK_EQ(memkind_arena_update_memory_usage_policy(&kind, MEMKIND_MEM_USAGE_POLICY_CONSERVATIVE), 0);
  for (int i = 0; i < 20; i++) CHECK(memkind_arena_malloc(&kind, 3 * MIB) != NULL);
  memkind_arena_free(&kind, memkind_arena_malloc(&kind, MIB));
  CHECK(allocs > 1 && purges > 0);
  CHECK_EQ(memkind_arena_destroy(&kind), 0);
  CHECK_EQ(deallocs, allocs);
  CHECK_EQ(destroys, refused_deallocs);
}

static unsigned maps, binds, advices, flag_calls;
static int bind_result;

static int some_flags(struct memkind *kind, int *flags) {
  flag_calls++;
  memkind_default_get_mmap_flags(kind, flags);
  *flags |= MAP_NORESERVE;
  return 0;
}
static void *own_mmap(struct memkind *kind, void *addr, size_t size) {
  maps++;
  return memkind_default_mmap(kind, addr, size);
}
static int own_mbind(struct memkind *kind, void *ptr, size_t size) {
  (void)kind, (void)ptr, (void)size;
  binds++;
  return bind_result;
}
static int own_madvise(struct memkind *kind, void *addr, size_t size) {
  advices++;
  return memkind_nohugepage_madvise(kind, addr, size);
}

static void operations_say_what_memory_is_like(void) {
  struct memkind kind;
  struct memkind_ops ops = ops_with(memkind_bijective_get_arena);
  ops.mbind = own_mbind;
  ops.madvise = own_madvise;
  ops.get_mmap_flags = some_flags;
  for (int own = 0; own < 2; own++) {
    ops.mmap = own ? own_mmap : NULL;
    REQUIRE(memkind_arena_create(&kind, &ops, "mapped") == MEMKIND_SUCCESS);
    use(&kind);
    CHECK_EQ(memkind_arena_destroy(&kind), 0);
  }
  CHECK(maps == 1 && binds == 2 && advices == 2 && flag_calls == 2);
  bind_result = MEMKIND_ERROR_MBIND;
  REQUIRE(memkind_arena_create(&kind, &ops, "refused") == MEMKIND_SUCCESS);
  CHECK(memkind_arena_malloc(&kind, 10) == NULL && errno == ENOMEM);
  CHECK_EQ(memkind_arena_destroy(&kind), 0);
}

static void default_operations_reach_the_system(void) {
  struct memkind_ops ops = {0};
  struct memkind kind = {.ops = &ops};
  unsigned long mask[16];
  int flags = 0, mode = 0;
  CHECK_EQ(memkind_default_get_mmap_flags(&kind, &flags), 0);
  CHECK_EQ(flags, MAP_PRIVATE | MAP_ANONYMOUS);
  CHECK_EQ(memkind_default_get_mbind_mode(&kind, &mode), 0);
  CHECK_EQ(mode, 2);
  CHECK_EQ(memkind_preferred_get_mbind_mode(&kind, &mode), 0);
  CHECK_EQ(mode, 1);
  CHECK_EQ(memkind_interleave_get_mbind_mode(&kind, &mode), 0);
  CHECK_EQ(mode, 3);
  CHECK_EQ(memkind_default_get_mbind_nodemask(&kind, mask, 1024), 0);
  CHECK(mask[0] & 1);
  char *memory = memkind_default_mmap(&kind, NULL, MIB);
  REQUIRE(memory != MAP_FAILED);
  memory[0] = memory[MIB - 1] = 1;
  CHECK_EQ(memkind_nohugepage_madvise(&kind, memory, MIB), 0);
  int bound = memkind_default_mbind(&kind, memory, MIB);
  CHECK(bound == MEMKIND_SUCCESS || bound == MEMKIND_ERROR_MBIND); /* containers may not bind */
  munmap(memory, MIB);
  CHECK(memkind_default_mmap(&kind, NULL, 0) == MAP_FAILED);
  CHECK_EQ(memkind_nohugepage_madvise(&kind, (void *)1, 1), MEMKIND_ERROR_INVALID);
  CHECK_EQ(memkind_posix_check_alignment(&kind, 8), 0);
  CHECK_EQ(memkind_posix_check_alignment(&kind, 12), EINVAL);
  CHECK(size_out_of_bounds(0) && size_out_of_bounds(SIZE_MAX) && !size_out_of_bounds(1));
}

/* ---- through the operations ---- */

static unsigned inits;
static void init_once(void) { inits++; }

static void calls_go_through_operations_and_decorators(void) {
  REQUIRE(make_kinds());
  thread_ops.init_once = init_once;
  pres = posts = 0;
  char *a = memkind_malloc(&thread_kind, 12321);
  CHECK(memkind_malloc_usable_size(&thread_kind, a) >= 50000);
  a = memkind_realloc(&thread_kind, a, 10);
  memkind_free(&thread_kind, a);
  a = memkind_calloc(&thread_kind, 3, 3);
  memkind_free(NULL, a);
  CHECK(memkind_detect_kind(a) == NULL);
  void *p = NULL;
  errno = 4711;
  CHECK_EQ(memkind_posix_memalign(&thread_kind, &p, 8192, 10), 77);
  CHECK_EQ(memkind_posix_memalign(&thread_kind, &p, 3, 10), EINVAL);
  CHECK_EQ(errno, 4711);
  CHECK(p != NULL && memkind_detect_kind(p) == &thread_kind);
  memkind_free(MEMKIND_DEFAULT, p);
  CHECK(pres == 8 && posts == 8);
  CHECK_EQ(inits, 1);
  redirect = &one_kind;
  a = memkind_malloc(&thread_kind, 10);
  CHECK(memkind_detect_kind(a) == &one_kind);
  redirect = NULL;
  replacement = "another";
  CHECK(memkind_malloc(&thread_kind, 10) == replacement);
  replacement = NULL;
  memkind_free(NULL, a);
  CHECK(memkind_defrag_reallocate(&thread_kind, a) == NULL);
  errno = 0;
  CHECK(memkind_malloc(NULL, 10) == NULL && errno == EINVAL);
  CHECK(memkind_calloc(NULL, 1, 1) == NULL && memkind_realloc(NULL, NULL, 1) == NULL);
  CHECK_EQ(memkind_posix_memalign(NULL, &p, 8, 8), EINVAL);
  destroy_kinds();
}

static void some_kinds_are_always_there(void) {
  memkind_t there[] = {MEMKIND_DEFAULT, MEMKIND_REGULAR};
  for (int i = 0; i < 2; i++) {
    CHECK_EQ(memkind_check_available(there[i]), MEMKIND_SUCCESS);
    char *a = memkind_malloc(there[i], 100);
    REQUIRE(a != NULL);
    CHECK(memkind_detect_kind(a) == MEMKIND_DEFAULT);
    a = memkind_realloc(there[i], a, 1000);
    CHECK(memkind_malloc_usable_size(there[i], a) >= 1000);
    CHECK(memkind_realloc(there[i], a, 0) == NULL);
    a = memkind_calloc(there[i], 7, 7);
    CHECK(a != NULL && a[48] == 0);
    a = memkind_arena_realloc_with_kind_detect(a, 5000);
    memkind_free(there[i], a);
    CHECK(memkind_malloc(there[i], 0) == NULL && memkind_calloc(there[i], 1, 0) == NULL);
    CHECK(memkind_malloc(there[i], SIZE_MAX) == NULL && errno == ENOMEM);
    CHECK(memkind_calloc(there[i], SIZE_MAX, 2) == NULL);
    void *p = NULL;
    CHECK_EQ(memkind_posix_memalign(there[i], &p, 256, 100), 0);
    CHECK((uint64_t)p % 256 == 0);
    memkind_free(there[i], p);
    CHECK_EQ(memkind_posix_memalign(there[i], &p, 3, 100), EINVAL);
  }
  memkind_t absent[] = {MEMKIND_HBW, MEMKIND_HUGETLB, MEMKIND_HBW_PREFERRED, MEMKIND_DAX_KMEM,
                        MEMKIND_INTERLEAVE};
  for (int i = 0; i < 5; i++) {
    void *p;
    CHECK_EQ(memkind_check_available(absent[i]), MEMKIND_ERROR_UNAVAILABLE);
    errno = 0;
    CHECK(memkind_malloc(absent[i], 10) == NULL && errno == ENOMEM);
    CHECK(memkind_calloc(absent[i], 1, 10) == NULL && memkind_realloc(absent[i], NULL, 10) == NULL);
    CHECK_EQ(memkind_posix_memalign(absent[i], &p, 8, 8), ENOMEM);
    CHECK_EQ(memkind_posix_memalign(absent[i], &p, 7, 8), EINVAL);
  }
  CHECK_EQ(memkind_check_available(NULL), MEMKIND_ERROR_INVALID);
  CHECK_EQ(memkind_destroy_kind(MEMKIND_DEFAULT), MEMKIND_ERROR_OPERATION_FAILED);
  CHECK_EQ(memkind_destroy_kind(NULL), MEMKIND_ERROR_OPERATION_FAILED);
}

static void kinds_are_created(void) {
  memkind_t kind = NULL;
  CHECK_EQ(memkind_create_kind(MEMKIND_MEMTYPE_DEFAULT, MEMKIND_POLICY_PREFERRED_LOCAL, 0, &kind), 0);
  REQUIRE(kind != NULL);
  use(kind);
  size_t before = 0, after = 0;
  CHECK_EQ(memkind_get_stat(kind, MEMKIND_STAT_TYPE_ALLOCATED, &before), 0);
  char *a = memkind_malloc(kind, MIB);
  CHECK_EQ(memkind_update_cached_stats(), 0);
  CHECK_EQ(memkind_get_stat(kind, MEMKIND_STAT_TYPE_ALLOCATED, &after), 0);
  CHECK(after >= before + MIB);
  CHECK_EQ(memkind_get_stat(kind, MEMKIND_STAT_TYPE_ACTIVE, &before), 0);
  CHECK(before >= after);
  CHECK_EQ(memkind_get_stat(kind, MEMKIND_STAT_TYPE_RESIDENT, &after), 0);
  CHECK(after >= before);
  CHECK_EQ(memkind_get_stat(NULL, MEMKIND_STAT_TYPE_ACTIVE, &after), 0);
  CHECK_EQ(memkind_get_stat(kind, MEMKIND_STAT_TYPE_MAX_VALUE, &after), MEMKIND_ERROR_INVALID);
  CHECK_EQ(memkind_destroy_kind(kind), 0);
  CHECK(memkind_detect_kind(a) == NULL);
  CHECK_EQ(memkind_create_kind(0, 0, 0, &kind), MEMKIND_ERROR_INVALID);
  CHECK_EQ(memkind_create_kind(8, 0, 0, &kind), MEMKIND_ERROR_INVALID);
  CHECK_EQ(memkind_create_kind(MEMKIND_MEMTYPE_DEFAULT, MEMKIND_POLICY_MAX_VALUE, 0, &kind),
           MEMKIND_ERROR_INVALID);
  CHECK_EQ(memkind_create_kind(MEMKIND_MEMTYPE_DEFAULT, MEMKIND_POLICY_BIND_ALL, 0, &kind),
           MEMKIND_ERROR_MEMTYPE_NOT_AVAILABLE);
  CHECK_EQ(memkind_create_kind(MEMKIND_MEMTYPE_HIGH_BANDWIDTH, MEMKIND_POLICY_BIND_LOCAL, 0, &kind),
           MEMKIND_ERROR_MEMTYPE_NOT_AVAILABLE);
}

/* ---- files ---- */

static void kinds_lie_in_files(void) {
  memkind_t kind = NULL, other = NULL;
  CHECK_EQ(memkind_create_pmem(test_directory(), MEMKIND_PMEM_MIN_SIZE - 1, &kind), MEMKIND_ERROR_INVALID);
  CHECK_EQ(memkind_create_pmem(NULL, 0, &kind), MEMKIND_ERROR_INVALID);
  errno = 0;
  CHECK_EQ(memkind_create_pmem("/nonexistent", 0, &kind), MEMKIND_ERROR_INVALID);
  CHECK_EQ(errno, ENOENT);
  REQUIRE(memkind_create_pmem(test_directory(), MEMKIND_PMEM_MIN_SIZE, &kind) == MEMKIND_SUCCESS);
  use(kind);
  CHECK_EQ(memkind_destroy_kind(kind), MEMKIND_SUCCESS);
  REQUIRE(memkind_create_pmem(test_directory(), 64 * MIB, &kind) == MEMKIND_SUCCESS);
  REQUIRE(memkind_create_pmem(test_directory(), 0, &other) == MEMKIND_SUCCESS);
  look_at_map(kind);
  use(kind);
  fails(kind);
  use(other);
  char *a = memkind_malloc(kind, 40 * MIB);
  CHECK(a != NULL && memkind_malloc(kind, 40 * MIB) == NULL && errno == ENOMEM);
  CHECK(memkind_detect_kind(a) == kind);
  size_t allocated = 0;
  CHECK_EQ(memkind_get_stat(kind, MEMKIND_STAT_TYPE_ALLOCATED, &allocated), 0);
  CHECK(allocated >= 40 * MIB);
  CHECK_EQ(memkind_destroy_kind(kind), MEMKIND_SUCCESS);
  CHECK(!mheap_is_in_region(a));
  CHECK_EQ(memkind_destroy_kind(other), MEMKIND_SUCCESS);
}

static void files_are_configured(void) {
  memkind_t kind = NULL;
  struct memkind_config *config = memkind_config_new();
  REQUIRE(config != NULL);
  memkind_config_set_path(config, test_directory());
  memkind_config_set_size(config, 64 * MIB);
  memkind_config_set_memory_usage_policy(config, MEMKIND_MEM_USAGE_POLICY_CONSERVATIVE);
  REQUIRE(memkind_create_pmem_with_config(config, &kind) == MEMKIND_SUCCESS);
  use(kind);
  mheap_kind_info info;
  char *a = memkind_malloc(kind, 100);
  CHECK_EQ(mheap_kind_get_info(mheap_kind_detect(a), &info), MHEAP_OK);
  CHECK(info.usage == MHEAP_KIND_USAGE_CONSERVATIVE && info.heap != NULL);
  CHECK_EQ(memkind_destroy_kind(kind), MEMKIND_SUCCESS);
  memkind_config_set_memory_usage_policy(config, 7);
  CHECK_EQ(memkind_create_pmem_with_config(config, &kind), MEMKIND_ERROR_INVALID);
  CHECK_EQ(memkind_create_pmem_with_config(NULL, &kind), MEMKIND_ERROR_INVALID);
  memkind_config_delete(config);
  memkind_config_delete(NULL);
}

/* ---- threads, exit, messages ---- */

static void *work(void *arg) {
  struct memkind *kind = arg;
  for (size_t i = 1; i < 3000; i++) {
    char *block = memkind_arena_malloc(kind, i % 3000);
    if (!CHECK(block != NULL)) break;
    if (i % 3 == 0) block = memkind_arena_realloc(kind, block, i % 700 + 1);
    memkind_arena_free_with_kind_detect(block);
  }
  return NULL;
}

static void threads_share_kinds(void) {
  REQUIRE(make_kinds());
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, work, i % 2 ? &thread_kind : &one_kind);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  destroy_kinds();
}

static unsigned *finalized;
static int own_finalize(struct memkind *kind) {
  ++*finalized;
  return memkind_arena_destroy(kind);
}

static int exit_with_kinds(void *arg) {
  (void)arg;
  static struct memkind_ops ops[2];
  static struct memkind first, second;
  unsigned before = test_failures;
  struct memkind gone; /* with this function, before finalize is due */
  ops[0] = ops_with(memkind_thread_get_arena);
  ops[0].finalize = own_finalize;
  ops[1] = ops_with(memkind_thread_get_arena);
  ops[1].finalize = memkind_arena_finalize;
  CHECK_EQ(memkind_arena_create(&first, &ops[0], "first"), 0);
  CHECK_EQ(memkind_arena_create(&second, &ops[1], "second"), 0);
  CHECK_EQ(memkind_arena_create(&gone, &ops[1], "gone"), 0);
  memkind_arena_malloc(&gone, 10);
  fflush(NULL);
  exit(test_failures != before);
}

static void kinds_are_finalized_at_exit(void) {
  finalized = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(finalized != MAP_FAILED);
  CHECK_EQ(in_child_process(exit_with_kinds, NULL), 0);
  CHECK_EQ(*finalized, 1);
}

static void messages_and_version(void) {
  char text[MEMKIND_ERROR_MESSAGE_SIZE], other[MEMKIND_ERROR_MESSAGE_SIZE];
  memkind_error_message(MEMKIND_ERROR_INVALID, text, sizeof text);
  memkind_error_message(MEMKIND_ERROR_MALLOC, other, sizeof other);
  CHECK(strlen(text) > 5 && strcmp(text, other) != 0);
  memkind_error_message(ENOMEM, text, sizeof text);
  CHECK_CONTAINS(text, "memory");
  memkind_error_message(12345, text, 5);
  CHECK_EQ(strlen(text), 4);
  memkind_error_message(0, NULL, 5);
  CHECK(memkind_get_version() >= 1000000);
}

TEST_MAIN(TEST(kinds_have_the_arenas_that_get_arena_wants), TEST(arena_operations_do_what_they_say),
          TEST(structures_are_checked), TEST(there_are_512_kinds_at_most), TEST(a_program_may_choose_arenas),
          TEST(extent_hooks_are_called), TEST(operations_say_what_memory_is_like),
          TEST(default_operations_reach_the_system), TEST(calls_go_through_operations_and_decorators),
          TEST(some_kinds_are_always_there), TEST(kinds_are_created), TEST(kinds_lie_in_files),
          TEST(files_are_configured), TEST(threads_share_kinds), TEST(kinds_are_finalized_at_exit),
          TEST(messages_and_version))
