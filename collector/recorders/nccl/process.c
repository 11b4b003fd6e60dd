/* The process: its ring, who it is, what it records, and the clock. One ring serves all communicators, one after another
 * and at once; it stays when the last one is destroyed. The library is linked to stay loaded then, too. */
#include "plugin.h"

#include "identity.h"
#include "place.h"
#include "words.h"

#define TICK_NS 1000000000
#define LAUNCHES (PROFILER_GROUP | PROFILER_COLL | PROFILER_P2P | PROFILER_CE_COLL)
#define LEAST_RECORDS 256
#define MOST_RECORDS 32768 /* with more, the file is larger than readers take */
#define DEFAULT_RECORDS 4096

offbeat_ring ring;
uint64_t left_out_pxn, left_out_full;

static pid_t owner;
static int32_t rank_of_process = -1;
static uint32_t seed;
static int64_t next_tick; /* atomic */
static int *asked;        /* atomic: NCCL's mask, one for all communicators */

int process_id(void) { return owner; }
int32_t process_rank(void) { return rank_of_process; }
uint32_t process_seed(void) { return seed; }

int64_t now(void) {
  int64_t at = offbeat_now(CLOCK_MONOTONIC), due = __atomic_load_n(&next_tick, __ATOMIC_RELAXED);
  if (at >= due &&
      __atomic_compare_exchange_n(&next_tick, &due, at + TICK_NS, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
    offbeat_ring_tick(&ring);
  return at;
}

/* Records a lane holds: OFFBEAT_RING_RECORDS, rounded down to a power of two. */
static uint32_t lane_records(void) {
  const char *text = getenv("OFFBEAT_RING_RECORDS");
  unsigned long wanted = text ? strtoul(text, NULL, 10) : 0;
  uint32_t size = LEAST_RECORDS;
  if (!wanted) return DEFAULT_RECORDS;
  while (size < MOST_RECORDS && 2ul * size <= wanted) size *= 2;
  return size;
}

int process_mask(void) {
  static const struct { const char *word; int bits; } known[] = {
      {"operations", LAUNCHES},
      {"kernels", LAUNCHES | PROFILER_KERNEL_CHANNEL},
      {"transfers", LAUNCHES | PROFILER_KERNEL_CHANNEL | PROFILER_PROXY_OP | PROFILER_PROXY_STEP}};
  const char *text = getenv("OFFBEAT_NCCL_EVENTS");
  int mask = 0;
  if (!text || !*text) text = "transfers";
  while (*text) {
    size_t length = strcspn(text, ",");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
      if (strlen(known[i].word) == length && !strncmp(known[i].word, text, length)) mask |= known[i].bits;
    text += length + (text[length] == ',');
  }
  return mask;
}

void process_ask(int *mask) {
  /* An operator may change it later (NCCL's RAS does): what is there counts, and ours is put there once. */
  if (mask && mask != asked) __atomic_store_n(mask, process_mask(), __ATOMIC_RELAXED);
  __atomic_store_n(&asked, mask, __ATOMIC_RELAXED);
}

int process_sees(enum profiler_event event) {
  int *mask = __atomic_load_n(&asked, __ATOMIC_RELAXED);
  return !mask || (__atomic_load_n(mask, __ATOMIC_RELAXED) & (int)event);
}

static void reset(void) {
  communicators_reset();
  operations_reset();
  transfers_reset();
  left_out_pxn = left_out_full = 0;
}

int process_open(profiler_logger log) {
  if (ring.base && owner == getpid()) return 1;
  const char *directory = place_directory();
  int error = place_make(directory);
  if (!error) {
    place_sweep(directory);
    error = offbeat_ring_create(&ring, directory, "nccl", OFFBEAT_VERSION_TRANSFERS, OPEN_SLOTS, lane_records());
  }
  if (error) {
    if (log)
      log(PROFILER_LOG_WARN, PROFILER_LOG_INIT | PROFILER_LOG_PROFILE, __FILE__, __LINE__,
          "offbeat: nothing is recorded: no ring in %s: %s", directory, strerror(error));
    return 0;
  }
  owner = getpid();
  seed = (uint32_t)(offbeat_now(CLOCK_REALTIME) ^ (uint64_t)owner << 16) & ~1u;
  reset();
  words_tell(&ring);
  identity who = identity_of_process();
  rank_of_process = who.rank;
  offbeat_ring_identify(&ring, who.job, who.attempt, who.rank, who.world, who.local_rank);
  if (log)
    log(PROFILER_LOG_INFO, PROFILER_LOG_INIT | PROFILER_LOG_PROFILE, __FILE__, __LINE__, "offbeat: recording into %s",
        ring.path);
  return 1;
}
