/* places.c: see places.h. */
#include "places.h"

#include <elf.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PLACES = 64, FRAMES = 16 };

typedef struct place {
  void *frame; /* its return address */
  char name[64];
} place;

static struct {
  place all[PLACES];
  unsigned count;
  const ElfW(Sym) * symbols;
  uint64_t symbol_count;
  const char *strings;
  uintptr_t base;
} places;

static int first_object(struct dl_phdr_info *info, size_t size, void *arg) {
  (void)size;
  *(uintptr_t *)arg = info->dlpi_addr;
  return 1; /* the program itself */
}

static void read_symbols(void) {
  struct stat st;
  int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &st) != 0) abort();
  const char *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (file == MAP_FAILED) abort();
  close(fd);
  dl_iterate_phdr(first_object, &places.base);
  const ElfW(Ehdr) *header = (const void *)file;
  const ElfW(Shdr) *sections = (const void *)(file + header->e_shoff);
  for (int i = 0; i < header->e_shnum; i++) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    places.symbols = (const void *)(file + sections[i].sh_offset);
    places.symbol_count = sections[i].sh_size / sizeof *places.symbols;
    places.strings = file + sections[sections[i].sh_link].sh_offset;
  }
  if (places.symbols == NULL) abort();
}

/* The function with this return address, without what the compiler put behind its name. */
static void name_of(void *frame, char *name, size_t room) {
  uintptr_t at = (uintptr_t)frame - 1 - places.base;
  snprintf(name, room, "?");
  for (uint64_t i = 0; i < places.symbol_count; i++) {
    const ElfW(Sym) *it = &places.symbols[i];
    if (ELF64_ST_TYPE(it->st_info) != STT_FUNC || at < it->st_value || at >= it->st_value + it->st_size)
      continue;
    snprintf(name, room, "%s", places.strings + it->st_name);
    name[strcspn(name, ".")] = 0;
  }
}

static bool passes_on(const char *name) {
  static const char *const names[] = {"place_of_call", "__wrap_mh_os_sync", "sync_journal",
                                      "mh_journal_sync", "mh_region_sync"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(name, names[i]) == 0) return true;
  return false;
}

static place look(void) {
  void *frames[FRAMES];
  place found = {0};
  int count = backtrace(frames, FRAMES), i = 0;
  do name_of(frames[i], found.name, sizeof found.name - 4);
  while (passes_on(found.name) && ++i < count);
  if (i == count) abort();
  found.frame = frames[i];
  return found;
}

unsigned place_of_call(void) {
  if (places.symbols == NULL) read_symbols();
  place found = look();
  unsigned same = 1;
  size_t length = strlen(found.name);
  for (unsigned i = 0; i < places.count; i++) {
    if (found.frame == places.all[i].frame) return i;
    const char *other = places.all[i].name;
    same += strncmp(other, found.name, length) == 0 && (other[length] == 0 || other[length] == '#');
  }
  if (places.count == PLACES) abort();
  if (same > 1) snprintf(found.name + length, sizeof found.name - length, "#%u", same);
  places.all[places.count] = found;
  return places.count++;
}

unsigned places_count(void) { return places.count; }
const char *place_name(unsigned it) { return places.all[it].name; }
