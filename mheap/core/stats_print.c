/* stats_print.c: statistics as a table and as JSON.

   Owns nothing. Calls the public functions of stats.c, output.h, counts.h, lane.h. Prints no float
   and allocates nothing. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "classes.h"
#include "heap.h"
#include "lane.h"
#include "output.h"

/* Where it goes. */
typedef struct sink {
  mheap_output_fun *out;
  void *arg;
} sink;

#define PUT(to, ...) mh_output_to((to)->out, (to)->arg, __VA_ARGS__)

static bool was_used(const mheap_class_stats *class) { return class->runs != 0 || class->total != 0; }

/* ---- the table ---- */

static void put_head(const sink *to, const mheap_stats *stats, const char *name) {
  PUT(to,
      "%s: %" PRIu64 " bytes, %" PRIu64 " in %" PRIu64 " blocks, %" PRIu64 " free, %" PRIu64 " overhead\n",
      name, stats->bytes_total, stats->bytes_used, stats->chunks_used, stats->bytes_free,
      stats->bytes_overhead);
  PUT(to, "%9s %12s %12s %14s %8s %16s %16s %18s\n", "size", "current", "peak", "total", "runs",
      "current bytes", "peak bytes", "total bytes");
}

static void put_counts(const sink *to, const mheap_class_stats *class) {
  PUT(to,
      "%12" PRIu64 " %12" PRIu64 " %14" PRIu64 " %8" PRIu64 " %16" PRIu64 " %16" PRIu64 " %18" PRIu64 "\n",
      class->used, class->peak, class->total, class->runs, class->used_bytes, class->peak_bytes,
      class->total_bytes);
}

static void put_table(const sink *to, const mheap_stats *stats, const char *name) {
  put_head(to, stats, name);
  for (unsigned i = 0; i < MHEAP_CLASSES; i++) {
    if (!was_used(&stats->classes[i])) continue;
    PUT(to, "%9" PRIu64 " ", stats->classes[i].block_size);
    put_counts(to, &stats->classes[i]);
  }
  PUT(to, "%9s ", "spans");
  put_counts(to, &stats->spans);
  PUT(to, "%9s ", "huge");
  put_counts(to, &stats->huge);
}

/* ---- JSON ---- */

/* Bytes of a character, whose first byte this is, if the rest is there; 0: no UTF-8. */
static size_t character(const unsigned char *at) {
  size_t length = at[0] < 0x80 ? 1 : at[0] >= 0xc2 && at[0] < 0xe0 ? 2 : (at[0] & 0xf0) == 0xe0 ? 3 : 4;
  if (at[0] >= 0xf5 || (at[0] >= 0x80 && at[0] < 0xc2)) return 0;
  for (size_t i = 1; i < length; i++)
    if ((at[i] & 0xc0) != 0x80) return 0;
  bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90),
       surrogate = at[0] == 0xed && at[1] >= 0xa0, beyond = at[0] == 0xf4 && at[1] >= 0x90;
  return overlong || surrogate || beyond ? 0 : length;
}

/* Bytes that are no UTF-8, as names of files may have them, become U+FFFD. */
static void put_string(const sink *to, const char *text) {
  PUT(to, "\"");
  for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
    size_t length = character(at);
    if (length == 0) PUT(to, "\\ufffd");
    else if (*at == '"' || *at == '\\') PUT(to, "\\%c", *at);
    else if (*at < 0x20) PUT(to, "\\u%04x", *at);
    else PUT(to, "%.*s", (int)length, (const char *)at);
    at += length != 0 ? length : 1;
  }
  PUT(to, "\"");
}

static void put_member(const sink *to, const char *name, uint64_t value, const char *before) {
  PUT(to, "%s\"%s\": %" PRIu64, before, name, value);
}

static void put_class(const sink *to, const mheap_class_stats *class) {
  put_member(to, "block_size", class->block_size, "{");
  put_member(to, "runs", class->runs, ", ");
  put_member(to, "blocks", class->blocks, ", ");
  put_member(to, "used", class->used, ", ");
  put_member(to, "used_bytes", class->used_bytes, ", ");
  put_member(to, "run_bytes", class->run_bytes, ", ");
  put_member(to, "peak", class->peak, ", ");
  put_member(to, "peak_bytes", class->peak_bytes, ", ");
  put_member(to, "total", class->total, ", ");
  put_member(to, "total_bytes", class->total_bytes, ", ");
  PUT(to, "}");
}

static void put_classes(const sink *to, const mheap_stats *stats) {
  bool first = true;
  PUT(to, ", \"classes\": [");
  for (unsigned i = 0; i < MHEAP_CLASSES; i++) {
    if (!was_used(&stats->classes[i])) continue;
    if (!first) PUT(to, ", ");
    put_class(to, &stats->classes[i]);
    first = false;
  }
  PUT(to, "]");
}

static void put_json(const sink *to, const mheap_stats *stats, const char *name) {
  PUT(to, "{\"name\": ");
  put_string(to, name);
  put_member(to, "bytes_total", stats->bytes_total, ", ");
  put_member(to, "chunks_used", stats->chunks_used, ", ");
  put_member(to, "bytes_used", stats->bytes_used, ", ");
  put_member(to, "chunks_free", stats->chunks_free, ", ");
  put_member(to, "bytes_free", stats->bytes_free, ", ");
  put_member(to, "bytes_overhead", stats->bytes_overhead, ", ");
  put_member(to, "segments", stats->segments, ", ");
  put_member(to, "segments_free", stats->segments_free, ", ");
  put_classes(to, stats);
  PUT(to, ", \"spans\": ");
  put_class(to, &stats->spans);
  PUT(to, ", \"huge\": ");
  put_class(to, &stats->huge);
  PUT(to, "}\n");
}

void mheap_stats_write(const mheap_stats *stats, const char *name, bool json, mheap_output_fun *out,
                       void *arg) {
  const sink to = {out, arg};
  if (json) put_json(&to, stats, name);
  else put_table(&to, stats, name);
}

/* ---- of a heap ---- */

static mheap_err print(mheap *heap, bool json, mheap_output_fun *out, void *arg) {
  mheap_stats stats;
  mheap_err code = mheap_get_stats(heap, &stats);
  if (code) return code;
  heap = mh_heap_of(heap);
  mheap_stats_write(&stats, heap->region->path, json, out, arg);
  return MHEAP_OK;
}

mheap_err mheap_stats_print_out(mheap *heap, mheap_output_fun *out, void *arg) {
  return print(heap, false, out, arg);
}

mheap_err mheap_stats_print(mheap *heap) { return print(heap, false, NULL, NULL); }

mheap_err mheap_stats_json_out(mheap *heap, mheap_output_fun *out, void *arg) {
  return print(heap, true, out, arg);
}

typedef struct place {
  char *buffer;
  size_t room, length;
} place;

static void append(const char *text, void *arg) {
  place *to = arg;
  size_t more = strlen(text), left = to->length < to->room ? to->room - to->length : 0;
  if (left > 0) memcpy(to->buffer + to->length, text, more < left ? more : left);
  to->length += more;
}

size_t mheap_stats_json(mheap *heap, char *buffer, size_t size) {
  place to = {.buffer = buffer, .room = size > 0 ? size - 1 : 0};
  mheap_err code = print(heap, true, append, &to);
  if (size > 0) buffer[to.length < to.room ? to.length : to.room] = '\0';
  return code ? 0 : to.length;
}

/* ---- of a thread ---- */

/* What a lane has counted, copied while its heap cannot go. */
typedef struct lane_copy {
  char name[256];
  bool objects;
  uint64_t blocks[MHEAP_CLASSES];
} lane_copy;

/* The thread's lane of this number among those whose heap is there; false: it has not so many. */
static bool copy_lane(unsigned number, lane_copy *copy) {
  mh_lanes_lock();
  mh_lane *lane = mh_this_thread.lanes;
  for (; lane != NULL; lane = lane->thread_next)
    if (!atomic_load_explicit(&lane->gone, memory_order_acquire) && number-- == 0) break;
  if (lane != NULL) {
    const mheap *heap = lane->heap;
    snprintf(copy->name, sizeof copy->name, "%s", heap->region->path);
    copy->objects = heap->objects;
    for (uint32_t c = 0; c < MHEAP_CLASSES; c++)
      copy->blocks[c] = mh_counts_of_lane(lane, c) - lane->counts.merged[c];
  }
  mh_lanes_unlock();
  return lane != NULL;
}

static void put_lane(const sink *to, const lane_copy *lane) {
  PUT(to, "this thread, in %s%s\n", lane->name, lane->objects ? ", objects" : "");
  PUT(to, "%9s %14s %18s\n", "size", "total", "total bytes");
  for (uint32_t c = 0; c < MHEAP_CLASSES; c++)
    if (lane->blocks[c] != 0)
      PUT(to, "%9" PRIu32 " %14" PRIu64 " %18" PRIu64 "\n", mh_classes[c].size, lane->blocks[c],
          lane->blocks[c] * mh_classes[c].size);
}

mheap_err mheap_thread_stats_print_out(mheap_output_fun *out, void *arg) {
  const sink to = {out, arg};
  lane_copy copy;
  for (unsigned number = 0; copy_lane(number, &copy); number++) put_lane(&to, &copy);
  return MHEAP_OK;
}

void mheap_stats_merge(void) {
  mh_lanes_lock();
  for (mh_lane *lane = mh_this_thread.lanes; lane != NULL; lane = lane->thread_next) mh_counts_begin(lane);
  mh_lanes_unlock();
}
