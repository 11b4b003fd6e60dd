/* Write a ring from C: the layout of collector/ring/layout.py, and the functions a recorder needs.
 *
 * C11 with GCC's atomics, Linux, little-endian. One translation unit may call offbeat_ring_open; others may include this
 * too. None allocates after offbeat_ring_open, and a ring that could not be opened takes every call in silence. The
 * functions of operations and transfers take no lock and make no system call; those of tables and messages take one.
 *
 * Order, on processors that reorder stores too: a record's head is stored, then a release fence, then its body, then its
 * tail and the cursor of its ring as release stores. A reader that finds the cursor beyond a record finds the record
 * whole, and one that finds a record being written over finds the cursor near enough to know.
 */
#ifndef OFFBEAT_RING_H
#define OFFBEAT_RING_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "rings are little-endian"
#endif

#define OFFBEAT_MAGIC "OFFBEATR"
#define OFFBEAT_VERSION 1
#define OFFBEAT_VERSION_TRANSFERS 2 /* lanes and the open table may hold transfers, too */
#define OFFBEAT_HEADER_BYTES 4096
#define OFFBEAT_STRING_BYTES (128 << 10)
#define OFFBEAT_COMMUNICATORS 512
#define OFFBEAT_MEMBERS (32 << 10)
#define OFFBEAT_OPEN_SLOTS 1024
#define OFFBEAT_MOST_OPEN_SLOTS 4096
#define OFFBEAT_SAMPLES 512
#define OFFBEAT_MESSAGES 256
#define OFFBEAT_LANES 8
#define OFFBEAT_LANE_RECORDS 2048
#define OFFBEAT_AREAS_AT 160
#define OFFBEAT_LANE_COUNT_AT 272
#define OFFBEAT_IDENTITY_AT 288
#define OFFBEAT_CLOCK_AT 672
#define OFFBEAT_EXIT_AT 736
#define OFFBEAT_COUNTERS_AT 768
#define OFFBEAT_CURSORS_AT 1024
#define OFFBEAT_CURSOR_STRIDE 64
#define OFFBEAT_NO_CODE INT64_MIN
#define OFFBEAT_TRANSFER 64 /* in the place of an operation's code: the record is a transfer */
#define OFFBEAT_LANE_ROUNDS 64 /* looks at all lanes before a record is given up, each of them being written to */

enum offbeat_op {
  OFFBEAT_ALL_REDUCE, OFFBEAT_REDUCE_SCATTER, OFFBEAT_ALL_GATHER, OFFBEAT_BROADCAST, OFFBEAT_REDUCE, OFFBEAT_ALL_TO_ALL,
  OFFBEAT_GATHER, OFFBEAT_SCATTER, OFFBEAT_BARRIER, OFFBEAT_SEND, OFFBEAT_RECV, OFFBEAT_SEND_RECV, OFFBEAT_PUT,
  OFFBEAT_SIGNAL, OFFBEAT_WAIT_SIGNAL, OFFBEAT_COALESCED, OFFBEAT_OTHER
};
enum offbeat_state { OFFBEAT_ENQUEUED, OFFBEAT_STARTED, OFFBEAT_COMPLETED, OFFBEAT_UNKNOWN };
enum offbeat_flag { OFFBEAT_FAILED = 1 };
enum offbeat_trait {
  OFFBEAT_ON_DEVICE = 1, /* runs on a device, and the recorder sees no more than its launch */
  OFFBEAT_COMM_RANKS = 2 /* peer and root are ranks in the communicator */
};
enum offbeat_side { OFFBEAT_SIDE_SEND, OFFBEAT_SIDE_RECV };
enum offbeat_clock { OFFBEAT_CPU, OFFBEAT_GPU };
enum offbeat_counter {
  OFFBEAT_COUNT_STRINGS, OFFBEAT_COUNT_COMMUNICATORS, OFFBEAT_COUNT_MEMBERS, OFFBEAT_COUNT_LANES,
  OFFBEAT_COUNT_OPEN_DROPPED, OFFBEAT_COUNT_TABLE_DROPPED, OFFBEAT_COUNT_LANE_DROPPED
};
enum offbeat_area {
  OFFBEAT_AREA_STRINGS, OFFBEAT_AREA_COMMUNICATORS, OFFBEAT_AREA_MEMBERS, OFFBEAT_AREA_OPEN, OFFBEAT_AREA_SAMPLES,
  OFFBEAT_AREA_MESSAGES, OFFBEAT_AREA_LANES, OFFBEAT_AREAS
};

typedef struct { uint64_t offset; uint32_t record_bytes, capacity; } offbeat_area_entry;
typedef struct {
  char magic[8];
  uint32_t version, header_bytes;
  uint64_t file_bytes;
  int64_t created;
  uint32_t pid, uid;
  uint64_t start_ticks, pidns, netns;
  char source[16], hostname[64];
} offbeat_header;
typedef struct {
  uint64_t head;
  int32_t attempt, rank, world, local_rank;
  char job[128], spare[32];
  uint64_t tail;
} offbeat_identity;
typedef struct { uint64_t head; int64_t monotonic, real; uint64_t tail; } offbeat_clock_pair;
typedef struct { uint64_t head; int64_t code, at; uint64_t tail; } offbeat_exit_mark;
typedef struct { uint64_t written, thread, spare[6]; } offbeat_cursor;
typedef struct {
  uint32_t word, name;
  int32_t rank, size, first, step;
  uint32_t offset, listed;
  int64_t created;
  int32_t attempt;
  char spare[20];
} offbeat_communicator;
/* Numbers that are not known are -1 (seq, fn_seq, p2p_seq, peer, root) or 0 (the rest). */
typedef struct {
  uint64_t head;
  uint32_t comm;
  uint8_t op, clock;
  uint16_t channels, native, dtype, redop, algo, proto, graph;
  int32_t peer, root;
  uint32_t traits;
  uint8_t state, flags;
  uint16_t spare2;
  uint32_t group;
  uint64_t id;
  int64_t seq, fn_seq, p2p_seq, nbytes, enqueued, started, ended, stream;
  uint64_t tail;
} offbeat_operation;
/* What one rank moved to or from one peer through one channel for one operation. Waits are sums over its steps. */
typedef struct {
  uint64_t head;
  uint32_t comm;
  uint8_t kind, side; /* OFFBEAT_TRANSFER; offbeat_side */
  uint16_t channel;
  int32_t peer; /* rank in the communicator */
  uint32_t steps, ready, posted, done, spare;
  uint8_t state, flags;
  uint16_t spare2;
  uint32_t wire_max; /* ns, the longest step; UINT32_MAX for all that is longer */
  uint64_t id;
  int64_t seq; /* of the operation; of a send or recv its p2p_seq */
  int64_t nbytes, started, progress; /* progress: when a step last went on; the end, once it is completed */
  int64_t gpu_wait, credit_wait, wire, flush;
  uint64_t tail;
} offbeat_transfer;
typedef struct {
  uint64_t head;
  int64_t at, code;
  char kind[32], text[448];
  uint64_t tail;
} offbeat_message;

_Static_assert(sizeof(offbeat_area_entry) == 16, "layout");
_Static_assert(sizeof(offbeat_header) == 144 && offsetof(offbeat_header, created) == 24, "layout");
_Static_assert(offsetof(offbeat_header, pid) == 32 && offsetof(offbeat_header, start_ticks) == 40, "layout");
_Static_assert(offsetof(offbeat_header, source) == 64 && offsetof(offbeat_header, hostname) == 80, "layout");
_Static_assert(sizeof(offbeat_identity) == 192 && offsetof(offbeat_identity, job) == 24, "layout");
_Static_assert(offsetof(offbeat_identity, tail) == 184, "layout");
_Static_assert(sizeof(offbeat_clock_pair) == 32 && sizeof(offbeat_exit_mark) == 32, "layout");
_Static_assert(sizeof(offbeat_cursor) == OFFBEAT_CURSOR_STRIDE, "layout");
_Static_assert(sizeof(offbeat_communicator) == 64 && offsetof(offbeat_communicator, created) == 32, "layout");
_Static_assert(offsetof(offbeat_communicator, attempt) == 40, "layout");
_Static_assert(sizeof(offbeat_operation) == 128 && offsetof(offbeat_operation, comm) == 8, "layout");
_Static_assert(offsetof(offbeat_operation, peer) == 28 && offsetof(offbeat_operation, state) == 40, "layout");
_Static_assert(offsetof(offbeat_operation, id) == 48 && offsetof(offbeat_operation, enqueued) == 88, "layout");
_Static_assert(offsetof(offbeat_operation, tail) == 120, "layout");
_Static_assert(sizeof(offbeat_transfer) == sizeof(offbeat_operation) && offsetof(offbeat_transfer, comm) == 8, "layout");
_Static_assert(offsetof(offbeat_transfer, kind) == offsetof(offbeat_operation, op), "layout");
_Static_assert(offsetof(offbeat_transfer, state) == offsetof(offbeat_operation, state), "layout");
_Static_assert(offsetof(offbeat_transfer, id) == offsetof(offbeat_operation, id), "layout");
_Static_assert(offsetof(offbeat_transfer, seq) == 56 && offsetof(offbeat_transfer, tail) == 120, "layout");
_Static_assert(sizeof(offbeat_message) == 512 && offsetof(offbeat_message, text) == 56, "layout");
_Static_assert(OFFBEAT_CURSORS_AT + (2 + OFFBEAT_LANES) * OFFBEAT_CURSOR_STRIDE <= OFFBEAT_HEADER_BYTES, "layout");

/* What a recorder keeps of its ring. Zero it, or call offbeat_ring_open, before any other call. */
typedef struct {
  char *base; /* NULL: silent */
  size_t bytes;
  int file;
  uint64_t area[OFFBEAT_AREAS];
  uint64_t ids; /* atomic */
  uint32_t open_slots, lane_records;
  uint8_t taken[OFFBEAT_MOST_OPEN_SLOTS]; /* atomic; the slots of the open table */
  struct { uint8_t taken, spare[OFFBEAT_CURSOR_STRIDE - 1]; } lane[OFFBEAT_LANES]; /* atomic */
  uint32_t strings, string_bytes, communicators, members, identities, clocks;
  uint64_t string_hash[4096]; /* what was interned, by id; longer lists are searched no further and interned again */
  int32_t attempt;
  pthread_mutex_t lock;
  char path[512];
} offbeat_ring;

/* An operation in flight; slot -1 where the table was full. */
typedef struct { int32_t slot; offbeat_operation what; } offbeat_token;

static offbeat_ring *offbeat_ring_live; /* the ring a forked child must let go of */

static inline int64_t offbeat_now(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline uint64_t *offbeat_ring_counter(offbeat_ring *ring, enum offbeat_counter counter) {
  return (uint64_t *)(ring->base + OFFBEAT_COUNTERS_AT) + counter;
}

static inline offbeat_cursor *offbeat_ring_cursor(offbeat_ring *ring, uint32_t which) {
  return (offbeat_cursor *)(ring->base + OFFBEAT_CURSORS_AT) + which;
}

/* Copy a record whose first and last eight bytes are its head and tail, in the order readers rely on. */
static inline void offbeat_ring_put(void *to, const void *from, size_t bytes, uint64_t number) {
  __atomic_store_n((uint64_t *)to, number, __ATOMIC_RELAXED);
  __atomic_thread_fence(__ATOMIC_RELEASE);
  memcpy((char *)to + 8, (const char *)from + 8, bytes - 16);
  __atomic_store_n((uint64_t *)((char *)to + bytes - 8), number, __ATOMIC_RELEASE);
}

static inline uint64_t offbeat_namespace(const char *path) {
  struct stat status;
  return stat(path, &status) ? 0 : (uint64_t)status.st_ino;
}

static inline uint64_t offbeat_start_ticks(void) {
  char text[1024];
  int file = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  ssize_t n = file < 0 ? -1 : read(file, text, sizeof text - 1);
  if (file >= 0) close(file);
  if (n <= 0) return 0;
  text[n] = 0;
  char *at = strrchr(text, ')'); /* the name before may hold anything */
  for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
  return at ? strtoull(at + 1, NULL, 10) : 0;
}

static inline void offbeat_ring_forked(void) {
  if (offbeat_ring_live) __atomic_store_n(&offbeat_ring_live->base, NULL, __ATOMIC_RELAXED);
}

/* Write a fresh pair of (monotonic, real) time; to be called about once a second. Does nothing while another thread
 * writes to the tables. */
static inline void offbeat_ring_tick(offbeat_ring *ring) {
  if (!ring->base || pthread_mutex_trylock(&ring->lock)) return;
  uint64_t n = ++ring->clocks;
  offbeat_clock_pair pair = {.monotonic = offbeat_now(CLOCK_MONOTONIC), .real = offbeat_now(CLOCK_REALTIME)};
  offbeat_ring_put(ring->base + OFFBEAT_CLOCK_AT + sizeof pair * (n & 1), &pair, sizeof pair, n);
  pthread_mutex_unlock(&ring->lock);
}

/* Create the ring of this process in a directory that exists. Returns 0, or an errno with the ring silent.
 * open_slots, at most OFFBEAT_MOST_OPEN_SLOTS, and lane_records are powers of two. */
static inline int offbeat_ring_create(offbeat_ring *ring, const char *directory, const char *source, uint32_t version,
                                      uint32_t open_slots, uint32_t lane_records) {
  const uint32_t sizes[OFFBEAT_AREAS][2] = {
      {1, OFFBEAT_STRING_BYTES}, {sizeof(offbeat_communicator), OFFBEAT_COMMUNICATORS}, {4, OFFBEAT_MEMBERS},
      {sizeof(offbeat_operation), open_slots}, {256, OFFBEAT_SAMPLES},
      {sizeof(offbeat_message), OFFBEAT_MESSAGES}, {sizeof(offbeat_operation), lane_records}};
  static int registered;
  char start[OFFBEAT_HEADER_BYTES] = {0}, name[128], temporary[640];
  offbeat_area_entry *areas = (offbeat_area_entry *)(start + OFFBEAT_AREAS_AT);
  offbeat_header *header = (offbeat_header *)start;
  offbeat_identity *identity = (offbeat_identity *)(start + OFFBEAT_IDENTITY_AT);
  uint64_t end = OFFBEAT_HEADER_BYTES;

  memset(ring, 0, sizeof *ring);
  ring->file = -1;
  ring->open_slots = open_slots;
  ring->lane_records = lane_records;
  for (int i = 0; i < OFFBEAT_AREAS; i++) {
    areas[i] = (offbeat_area_entry){end, sizes[i][0], sizes[i][1]};
    ring->area[i] = end;
    end += (uint64_t)sizes[i][0] * sizes[i][1] * (i == OFFBEAT_AREA_LANES ? OFFBEAT_LANES : 1);
  }
  memcpy(header->magic, OFFBEAT_MAGIC, 8);
  header->version = version;
  header->header_bytes = OFFBEAT_HEADER_BYTES;
  header->file_bytes = end;
  header->created = offbeat_now(CLOCK_REALTIME);
  header->pid = (uint32_t)getpid();
  header->uid = (uint32_t)getuid();
  header->start_ticks = offbeat_start_ticks();
  header->pidns = offbeat_namespace("/proc/self/ns/pid");
  header->netns = offbeat_namespace("/proc/self/ns/net");
  snprintf(header->source, sizeof header->source, "%s", source);
  gethostname(header->hostname, sizeof header->hostname - 1);
  start[OFFBEAT_LANE_COUNT_AT] = OFFBEAT_LANES;
  identity->head = identity->tail = ring->identities = 2;
  identity->rank = identity->world = identity->local_rank = -1;

  snprintf(name, sizeof name, "%llu-%u-%llu-%s.ring", (unsigned long long)header->pidns, header->pid,
           (unsigned long long)header->start_ticks, source);
  if ((size_t)snprintf(ring->path, sizeof ring->path, "%s/%s", directory, name) >= sizeof ring->path) return ENAMETOOLONG;
  snprintf(temporary, sizeof temporary, "%s/.%s.new", directory, name);
  unlink(temporary);
  ring->file = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (ring->file < 0) return errno;
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  int error = posix_fallocate(ring->file, 0, (off_t)end); /* all pages now: none may be missing later */
  if (!error && pwrite(ring->file, start, sizeof start, 0) != (ssize_t)sizeof start) error = EIO;
  if (!error && fcntl(ring->file, F_SETLK, &lock)) error = errno;
  if (!error && rename(temporary, ring->path)) error = errno;
  if (!error) {
    void *base = mmap(NULL, end, PROT_READ | PROT_WRITE, MAP_SHARED, ring->file, 0);
    if (base == MAP_FAILED) error = errno;
    else ring->base = base;
  }
  if (error) {
    unlink(temporary);
    close(ring->file);
    ring->file = -1;
    return error;
  }
  ring->bytes = end;
  pthread_mutex_init(&ring->lock, NULL);
  *offbeat_ring_counter(ring, OFFBEAT_COUNT_LANES) = OFFBEAT_LANES;
  offbeat_ring_live = ring;
  if (!registered) registered = !pthread_atfork(NULL, NULL, offbeat_ring_forked);
  offbeat_ring_tick(ring);
  return 0;
}

/* The same with the sizes that the Python writer has. */
static inline int offbeat_ring_open(offbeat_ring *ring, const char *directory, const char *source) {
  return offbeat_ring_create(ring, directory, source, OFFBEAT_VERSION, OFFBEAT_OPEN_SLOTS, OFFBEAT_LANE_RECORDS);
}

/* Let go of the file, which stays for the agent to read out and reap. No other thread may use the ring any more. */
static inline void offbeat_ring_close(offbeat_ring *ring) {
  if (!ring->base) return;
  munmap(ring->base, ring->bytes);
  close(ring->file);
  ring->base = NULL;
  if (offbeat_ring_live == ring) offbeat_ring_live = NULL;
}

static inline void offbeat_ring_identify(offbeat_ring *ring, const char *job, int32_t attempt, int32_t rank, int32_t world,
                                         int32_t local_rank) {
  if (!ring->base) return;
  pthread_mutex_lock(&ring->lock);
  uint64_t n = ++ring->identities;
  offbeat_identity identity = {.attempt = attempt, .rank = rank, .world = world, .local_rank = local_rank};
  size_t length = strnlen(job, sizeof identity.job);
  memcpy(identity.job, job, length);
  ring->attempt = attempt;
  offbeat_ring_put(ring->base + OFFBEAT_IDENTITY_AT + sizeof identity * (n & 1), &identity, sizeof identity, n);
  pthread_mutex_unlock(&ring->lock);
}

/* Return the id of a string, 0 for the empty one and where there is no more room. */
static inline uint16_t offbeat_ring_intern(offbeat_ring *ring, const char *text) {
  size_t length = text ? strnlen(text, 1024) : 0;
  uint64_t hash = 14695981039346656037u;
  uint32_t number, known, size = (uint32_t)(4 + length + 3) & ~3u;
  if (!ring->base || !length) return 0;
  for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)text[i]) * 1099511628211u;
  pthread_mutex_lock(&ring->lock);
  known = ring->strings < 4096 ? ring->strings : 4096;
  for (number = 1; number <= known && ring->string_hash[number - 1] != hash; number++) {}
  if (number > known) {
    number = ring->strings + 1;
    if (ring->string_bytes + size > OFFBEAT_STRING_BYTES || number > UINT16_MAX) {
      __atomic_fetch_add(offbeat_ring_counter(ring, OFFBEAT_COUNT_TABLE_DROPPED), 1, __ATOMIC_RELAXED);
      number = 0;
    } else {
      char *at = ring->base + ring->area[OFFBEAT_AREA_STRINGS] + ring->string_bytes;
      memcpy(at, &(uint32_t){(uint32_t)length}, 4);
      memcpy(at + 4, text, length);
      if (number <= 4096) ring->string_hash[number - 1] = hash;
      ring->string_bytes += size;
      ring->strings = number;
      __atomic_store_n(offbeat_ring_counter(ring, OFFBEAT_COUNT_STRINGS), number, __ATOMIC_RELEASE);
    }
  }
  pthread_mutex_unlock(&ring->lock);
  return (uint16_t)number;
}

/* Tell of a communicator, once; return its id, 0 where there is no more room. members: global ranks in its order, or
 * NULL where they are not known. */
static inline uint32_t offbeat_ring_communicator(offbeat_ring *ring, const char *word, const char *name, int32_t rank,
                                                 int32_t size, const int32_t *members) {
  if (!ring->base) return 0;
  offbeat_communicator what = {.word = offbeat_ring_intern(ring, word), .name = offbeat_ring_intern(ring, name),
                               .rank = rank, .size = size, .first = -1, .attempt = ring->attempt,
                               .created = offbeat_now(CLOCK_MONOTONIC)};
  uint32_t number = 0;
  pthread_mutex_lock(&ring->lock);
  if (ring->communicators < OFFBEAT_COMMUNICATORS) {
    if (members && size > 0) {
      int32_t step = size > 1 ? members[1] - members[0] : 1, i = 0;
      while (i < size && members[i] == members[0] + i * step) i++;
      if (i == size) {
        what.first = members[0];
        what.step = step;
      } else if (ring->members + (uint32_t)size <= OFFBEAT_MEMBERS) {
        what.first = 0;
        what.offset = ring->members;
        what.listed = (uint32_t)size;
        memcpy(ring->base + ring->area[OFFBEAT_AREA_MEMBERS] + 4u * ring->members, members, 4u * (size_t)size);
        ring->members += (uint32_t)size;
        __atomic_store_n(offbeat_ring_counter(ring, OFFBEAT_COUNT_MEMBERS), ring->members, __ATOMIC_RELEASE);
      }
    }
    memcpy(ring->base + ring->area[OFFBEAT_AREA_COMMUNICATORS] + sizeof what * ring->communicators, &what, sizeof what);
    number = ++ring->communicators;
    __atomic_store_n(offbeat_ring_counter(ring, OFFBEAT_COUNT_COMMUNICATORS), number, __ATOMIC_RELEASE);
  } else {
    __atomic_fetch_add(offbeat_ring_counter(ring, OFFBEAT_COUNT_TABLE_DROPPED), 1, __ATOMIC_RELAXED);
  }
  pthread_mutex_unlock(&ring->lock);
  return number;
}

/* An operation with nothing known. */
static inline offbeat_operation offbeat_operation_of(uint32_t communicator, enum offbeat_op op) {
  return (offbeat_operation){.comm = communicator, .op = (uint8_t)op, .peer = -1, .root = -1, .seq = -1, .fn_seq = -1,
                             .p2p_seq = -1};
}

/* Show a record of what is in flight, an operation or a transfer; return its slot, -1 where the table is full. */
static inline int32_t offbeat_ring_show(offbeat_ring *ring, const void *record, uint64_t id) {
  for (uint32_t i = 0; i < ring->open_slots; i++) {
    uint32_t slot = (uint32_t)(id + i) & (ring->open_slots - 1);
    if (__atomic_load_n(&ring->taken[slot], __ATOMIC_RELAXED) ||
        __atomic_exchange_n(&ring->taken[slot], 1, __ATOMIC_ACQUIRE))
      continue;
    offbeat_ring_put(ring->base + ring->area[OFFBEAT_AREA_OPEN] + sizeof(offbeat_operation) * slot, record,
                     sizeof(offbeat_operation), id);
    return (int32_t)slot;
  }
  __atomic_fetch_add(offbeat_ring_counter(ring, OFFBEAT_COUNT_OPEN_DROPPED), 1, __ATOMIC_RELAXED);
  return -1;
}

/* Return the record in a slot of the open table. */
static inline void *offbeat_ring_shown(offbeat_ring *ring, int32_t slot) {
  return ring->base + ring->area[OFFBEAT_AREA_OPEN] + sizeof(offbeat_operation) * (size_t)slot;
}

/* Take back what offbeat_ring_show showed. */
static inline void offbeat_ring_hide(offbeat_ring *ring, int32_t slot) {
  if (slot < 0) return;
  __atomic_store_n((uint64_t *)offbeat_ring_shown(ring, slot), 0, __ATOMIC_RELEASE);
  __atomic_store_n(&ring->taken[slot], 0, __ATOMIC_RELEASE);
}

/* Write a finished record into a lane that nobody else writes to this moment; return 0 where there is none.
 * Sixteen ids in a row begin at one lane, the next sixteen at the next: a burst of one thread fills them all. */
static inline int offbeat_ring_append(offbeat_ring *ring, const void *record, uint64_t id) {
  for (uint32_t i = 0; i < OFFBEAT_LANE_ROUNDS * OFFBEAT_LANES; i++) {
    uint32_t lane = (uint32_t)((id >> 4) + i) % OFFBEAT_LANES;
    if (__atomic_load_n(&ring->lane[lane].taken, __ATOMIC_RELAXED) ||
        __atomic_exchange_n(&ring->lane[lane].taken, 1, __ATOMIC_ACQUIRE))
      continue;
    offbeat_cursor *cursor = offbeat_ring_cursor(ring, 2 + lane);
    uint64_t n = cursor->written;
    offbeat_operation *records = (offbeat_operation *)(ring->base + ring->area[OFFBEAT_AREA_LANES]);
    offbeat_ring_put(records + (size_t)lane * ring->lane_records + (n & (ring->lane_records - 1)), record,
                     sizeof(offbeat_operation), n + 1);
    __atomic_store_n(&cursor->written, n + 1, __ATOMIC_RELEASE);
    __atomic_store_n(&ring->lane[lane].taken, 0, __ATOMIC_RELEASE);
    return 1;
  }
  __atomic_fetch_add(offbeat_ring_counter(ring, OFFBEAT_COUNT_LANE_DROPPED), 1, __ATOMIC_RELAXED);
  return 0;
}

/* Note that an operation was launched, now unless it says when. */
static inline offbeat_token offbeat_ring_start(offbeat_ring *ring, const offbeat_operation *what) {
  offbeat_token token = {-1, *what};
  if (!ring->base) return token;
  token.what.id = __atomic_add_fetch(&ring->ids, 1, __ATOMIC_RELAXED);
  if (!token.what.enqueued) token.what.enqueued = offbeat_now(CLOCK_MONOTONIC);
  token.slot = offbeat_ring_show(ring, &token.what, token.what.id);
  return token;
}

/* Note that an operation began to run (monotonic ns). */
static inline void offbeat_ring_started(offbeat_ring *ring, offbeat_token *token, int64_t at) {
  token->what.started = at;
  token->what.state = OFFBEAT_STARTED;
  if (!ring->base || token->slot < 0) return;
  offbeat_operation *shown = offbeat_ring_shown(ring, token->slot);
  __atomic_store_n(&shown->started, at, __ATOMIC_RELAXED);
  __atomic_store_n(&shown->state, OFFBEAT_STARTED, __ATOMIC_RELAXED);
}

/* Note that an operation ended, now unless token->what says when. */
static inline void offbeat_ring_end(offbeat_ring *ring, offbeat_token *token, enum offbeat_state state, uint8_t flags) {
  if (!ring->base) return;
  token->what.state = (uint8_t)state;
  token->what.flags = flags;
  if (!token->what.ended) token->what.ended = offbeat_now(CLOCK_MONOTONIC);
  offbeat_ring_append(ring, &token->what, token->what.id);
  offbeat_ring_hide(ring, token->slot);
  token->slot = -1;
}

/* Leave a one-line message. */
static inline void offbeat_ring_message(offbeat_ring *ring, const char *kind, const char *text, int64_t code) {
  offbeat_message what = {.at = offbeat_now(CLOCK_MONOTONIC), .code = code};
  if (!ring->base) return;
  memcpy(what.kind, kind, strnlen(kind, sizeof what.kind));
  memcpy(what.text, text, strnlen(text, sizeof what.text));
  pthread_mutex_lock(&ring->lock);
  offbeat_cursor *cursor = offbeat_ring_cursor(ring, 1);
  uint64_t n = cursor->written;
  offbeat_ring_put(ring->base + ring->area[OFFBEAT_AREA_MESSAGES] + sizeof what * (n & (OFFBEAT_MESSAGES - 1)), &what,
                   sizeof what, n + 1);
  __atomic_store_n(&cursor->written, n + 1, __ATOMIC_RELEASE);
  pthread_mutex_unlock(&ring->lock);
}

/* Leave the exit code, the first one said counting. */
static inline void offbeat_ring_exit(offbeat_ring *ring, int64_t code) {
  offbeat_exit_mark mark = {.code = code, .at = offbeat_now(CLOCK_MONOTONIC)};
  if (!ring->base) return;
  pthread_mutex_lock(&ring->lock);
  if (!((offbeat_exit_mark *)(ring->base + OFFBEAT_EXIT_AT))->head)
    offbeat_ring_put(ring->base + OFFBEAT_EXIT_AT, &mark, sizeof mark, 1);
  pthread_mutex_unlock(&ring->lock);
}

#endif
