/* Collectives, sends and receives. NCCL ends the event of an operation when it has enqueued it; the operation has ended
 * when its last child has: kernel channels, and proxy operations that move something.
 *
 * One word holds an operation's generation and counts its children, and is changed as one: a child that ends late finds
 * another generation, and whoever makes the counts complete takes the operation, alone.
 */
#include "plugin.h"
#include "words.h"

#define MOST_CHANNELS 64 /* NCCL's MAXCHANNELS; a larger number was never set */
#define LONGEST_KERNEL_NS 3600000000000
#define FEWER 3 /* operations in a row with fewer kernel channels than said, from which that number is not waited for */

typedef struct {
  _Alignas(64) uint64_t counts; /* atomic, see below */
  uint32_t comm, group; /* atomic */
  uint32_t expected;
  uint8_t begun, moved;  /* atomic */
  uint64_t channels[4];  /* atomic: kernel channels that have ended */
  uint64_t gpu_begin, gpu_end; /* atomic */
  int64_t kernel_end, last_end; /* atomic */
  uint64_t number;
  offbeat_token token;
} operation;

/* From the low end: 11 bits transfers under way, 10 kernel channels ended, 10 begun, 1 launched, 32 generation (odd while
 * the operation is in flight). */
#define MOVING_ONE 1ull
#define ENDED_ONE (1ull << 11)
#define BEGUN_ONE (1ull << 21)
#define LAUNCHED (1ull << 31)
#define MOVING(counts) ((uint32_t)(counts) & 0x7ff)
#define ENDED(counts) ((uint32_t)((counts) >> 11) & 0x3ff)
#define BEGUN(counts) ((uint32_t)((counts) >> 21) & 0x3ff)
#define GENERATION(counts) ((uint32_t)((counts) >> 32))
#define AFTER(counts) ((((counts) >> 32) + 1) << 32) /* the next generation, without children */

static operation operations[OPERATIONS];
static pool places;
static uint32_t next_place[OPERATIONS];
static uint32_t groups; /* atomic */

void operations_reset(void) {
  for (uint32_t i = 0; i < OPERATIONS; i++) operations[i].counts = (uint64_t)process_seed() << 32;
  pool_fill(&places, next_place, OPERATIONS);
}

/* Return the operation of a handle, and its counts; NULL if it is no more. */
static operation *find(handle h, uint64_t *counts) {
  if ((h.kind != HANDLE_OPERATION && h.kind != HANDLE_KERNEL) || h.place >= OPERATIONS || !(h.generation & 1)) return NULL;
  operation *op = &operations[h.place];
  *counts = __atomic_load_n(&op->counts, __ATOMIC_ACQUIRE);
  return GENERATION(*counts) == h.generation ? op : NULL;
}

static void raise(int64_t *to, int64_t value) {
  int64_t had = __atomic_load_n(to, __ATOMIC_RELAXED);
  while (had < value && !__atomic_compare_exchange_n(to, &had, value, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
}

static int complete(const operation *op, uint64_t counts) {
  const communicator *comm = communicator_at(op->comm);
  if (!(counts & LAUNCHED) || MOVING(counts)) return 0;
  if (!BEGUN(counts) && !__atomic_load_n(&comm->kernels, __ATOMIC_RELAXED))
    return __atomic_load_n(&op->moved, __ATOMIC_RELAXED); /* without kernel channels, transfers are all there is */
  int counted = op->expected && __atomic_load_n(&comm->fewer, __ATOMIC_RELAXED) < FEWER;
  return BEGUN(counts) && ENDED(counts) >= (counted ? op->expected : BEGUN(counts));
}

/* Write the operation down and free its place. Only for who has taken it. */
static void write_down(operation *op, enum offbeat_state state, int64_t at) {
  int64_t kernel_end = op->kernel_end, length = (int64_t)(op->gpu_end - op->gpu_begin);
  offbeat_operation *what = &op->token.what;
  what->ended = at;
  /* The GPU's clock is its own: it tells how long the operation ran, our clock when that ended. */
  if (what->clock == OFFBEAT_GPU && op->gpu_begin && op->gpu_end > op->gpu_begin && length < LONGEST_KERNEL_NS) {
    what->started = kernel_end - length;
    if (what->started < what->enqueued) what->started = what->enqueued;
  }
  offbeat_ring_end(&ring, &op->token, state, 0);
  pool_give(&places, (uint32_t)(op - operations));
}

/* Close an operation of which no end was told. */
static void give_up(communicator *comm, operation *op, uint64_t counts) {
  if (!__atomic_compare_exchange_n(&op->counts, &counts, AFTER(counts), 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) return;
  int64_t at = op->last_end;
  if (BEGUN(counts) && BEGUN(counts) == ENDED(counts) && __atomic_load_n(&comm->fewer, __ATOMIC_RELAXED) < FEWER)
    __atomic_add_fetch(&comm->fewer, 1, __ATOMIC_RELAXED);
  if (!at) { /* when it ran is not known at all */
    at = now();
    op->token.what.started = 0;
  }
  write_down(op, OFFBEAT_UNKNOWN, at);
}

/* Groups of a communicator run one after another: where one begins, those before it have ended. Give up what is two begun
 * groups behind and still has no end: NCCL drops events where there are too many. */
static void pass(communicator *comm, uint32_t group, uint64_t number) {
  uint32_t before = __atomic_load_n(&comm->begun_group, __ATOMIC_RELAXED);
  if (!group || group == before) return;
  uint64_t until = __atomic_exchange_n(&comm->begun_number, number, __ATOMIC_RELAXED);
  __atomic_store_n(&comm->begun_group, group, __ATOMIC_RELAXED);
  uint64_t n = __atomic_load_n(&comm->passed, __ATOMIC_RELAXED);
  if (until > FLIGHT && n < until - FLIGHT) n = until - FLIGHT;
  for (; n < until; n++) {
    uint64_t counts, packed = __atomic_load_n(&comm->flight[n % FLIGHT], __ATOMIC_RELAXED);
    operation *op = find(handle_unpack((const void *)(uintptr_t)packed), &counts);
    uint32_t its = op ? __atomic_load_n(&op->group, __ATOMIC_RELAXED) : 0;
    if (!its) continue;
    if (its == before || its == group) break; /* begun, but not first: the next time */
    give_up(comm, op, counts);
  }
  if (n > __atomic_load_n(&comm->passed, __ATOMIC_RELAXED)) __atomic_store_n(&comm->passed, n, __ATOMIC_RELAXED);
}

/* Change the counts of the operation of a handle, and write it down if that makes them complete. */
static void change(handle h, uint64_t plus, uint64_t minus, int64_t at) {
  uint64_t counts;
  operation *op = find(h, &counts);
  if (!op) return;
  if (at) raise(&op->last_end, at);
  for (;;) {
    if (GENERATION(counts) != h.generation) return;
    uint64_t changed = (plus == LAUNCHED ? counts | LAUNCHED : counts + plus) - minus;
    int done = complete(op, changed);
    if (done) changed = AFTER(counts);
    if (!__atomic_compare_exchange_n(&op->counts, &counts, changed, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) continue;
    if (done) {
      uint8_t *fewer = &communicator_at(op->comm)->fewer, had = __atomic_load_n(fewer, __ATOMIC_RELAXED);
      if (had && had < FEWER) __atomic_store_n(fewer, 0, __ATOMIC_RELAXED); /* not in a row */
      write_down(op, OFFBEAT_COMPLETED, op->last_end);
    }
    return;
  }
}

void *group_start(void) {
  uint32_t group = __atomic_add_fetch(&groups, 1, __ATOMIC_RELAXED);
  if (!group) group = __atomic_add_fetch(&groups, 1, __ATOMIC_RELAXED);
  return handle_pack(HANDLE_GROUP, 0, 0, group);
}

static void *start(communicator *comm, const operation_start *event, offbeat_operation *what, uint32_t expected,
                   int sees_end) {
  uint32_t place = pool_take(&places);
  if (place == POOL_EMPTY) {
    __atomic_fetch_add(&left_out_full, 1, __ATOMIC_RELAXED);
    return NULL;
  }
  operation *op = &operations[place];
  handle group = handle_unpack(event->group);
  __atomic_store_n(&op->comm, communicator_place(comm), __ATOMIC_RELAXED);
  __atomic_store_n(&op->group, group.kind == HANDLE_GROUP ? group.generation : 0, __ATOMIC_RELAXED);
  op->expected = expected <= MOST_CHANNELS ? expected : 0;
  op->begun = op->moved = 0;
  memset(op->channels, 0, sizeof op->channels);
  op->gpu_begin = op->gpu_end = 0;
  op->kernel_end = op->last_end = 0;
  what->clock = sees_end && __atomic_load_n(&comm->kernels, __ATOMIC_RELAXED) ? OFFBEAT_GPU : OFFBEAT_CPU;
  what->traits = OFFBEAT_COMM_RANKS | (sees_end ? 0 : OFFBEAT_ON_DEVICE);
  what->group = op->group;
  what->dtype = word_of(&ring, event->datatype)->id;
  what->enqueued = now();
  op->token = offbeat_ring_start(&ring, what);
  op->number = __atomic_fetch_add(&comm->number, 1, __ATOMIC_RELAXED);
  uint32_t generation = GENERATION(__atomic_load_n(&op->counts, __ATOMIC_RELAXED)) + 1;
  __atomic_store_n(&op->counts, (uint64_t)generation << 32, __ATOMIC_RELEASE);
  void *packed = handle_pack(HANDLE_OPERATION, place, 0, generation);
  __atomic_store_n(&comm->flight[op->number % FLIGHT], (uint64_t)(uintptr_t)packed, __ATOMIC_RELAXED);
  return packed;
}

static int64_t size_of(const operation_start *event, uint64_t times) {
  uint64_t bytes = word_of(&ring, event->datatype)->bytes;
  if (__builtin_mul_overflow(event->count, bytes ? bytes : 1, &bytes) || __builtin_mul_overflow(bytes, times, &bytes) ||
      bytes > INT64_MAX)
    return INT64_MAX;
  return (int64_t)bytes;
}

static void *collective(const void *context, const operation_start *event, int ce) {
  communicator *comm = communicator_of(context);
  if (!comm) return NULL;
  const word *func = word_of(&ring, event->func);
  offbeat_operation what = offbeat_operation_of(comm->id, (enum offbeat_op)func->op);
  int rooted = func->op == OFFBEAT_BROADCAST || func->op == OFFBEAT_REDUCE || func->op == OFFBEAT_GATHER ||
               func->op == OFFBEAT_SCATTER;
  int parts = func->op == OFFBEAT_REDUCE_SCATTER || func->op == OFFBEAT_ALL_TO_ALL;
  what.native = func->id;
  what.root = rooted && event->root >= 0 && event->root < comm->ranks ? event->root : -1;
  what.algo = word_of(&ring, event->algo)->id;
  what.proto = word_of(&ring, event->proto)->id;
  what.channels = event->channels;
  what.seq = communicator_count(comm, ce ? CE_FUNCTION : func->op, event->seq);
  what.fn_seq = ce || event->seq > INT64_MAX ? -1 : (int64_t)event->seq;
  what.nbytes = size_of(event, parts ? (uint64_t)comm->ranks : 1); /* what this member contributes */
  return start(comm, event, &what, event->channels, ce || process_sees(PROFILER_KERNEL_CHANNEL));
}

void *operation_coll(const void *context, const operation_start *event) { return collective(context, event, 0); }

void *operation_ce(const void *context, const operation_start *event) {
  handle h = handle_unpack(collective(context, event, 1));
  /* Its own states tell when it runs: it is its own kernel channel. */
  if (h.kind) operations[h.place].expected = 1;
  return h.kind ? handle_pack(h.kind, h.place, 1, h.generation) : NULL;
}

void *operation_p2p(const void *context, const operation_start *event) {
  communicator *comm = communicator_of(context);
  if (!comm || event->peer < 0 || event->peer >= comm->ranks || event->peer == comm->rank) return NULL;
  const word *func = word_of(&ring, event->func);
  if (func->op != OFFBEAT_SEND && func->op != OFFBEAT_RECV) return NULL;
  offbeat_operation what = offbeat_operation_of(comm->id, (enum offbeat_op)func->op);
  what.native = func->id;
  what.peer = event->peer;
  what.channels = event->channels <= MOST_CHANNELS ? event->channels : 0;
  what.p2p_seq = communicator_count_pairwise(comm, func->op == OFFBEAT_RECV, event->peer);
  what.nbytes = size_of(event, 1);
  return start(comm, event, &what, event->channels, process_sees(PROFILER_KERNEL_CHANNEL));
}

static void begin(operation *op) {
  if (__atomic_exchange_n(&op->begun, 1, __ATOMIC_RELAXED)) return;
  communicator *comm = communicator_at(op->comm);
  if (!__atomic_load_n(&comm->kernels, __ATOMIC_RELAXED)) __atomic_store_n(&comm->kernels, 1, __ATOMIC_RELAXED);
  op->token.what.clock = OFFBEAT_GPU;
  if (ring.base && op->token.slot >= 0) {
    offbeat_operation *shown = offbeat_ring_shown(&ring, op->token.slot);
    __atomic_store_n(&shown->clock, OFFBEAT_GPU, __ATOMIC_RELAXED);
  }
  offbeat_ring_started(&ring, &op->token, now());
  pass(comm, op->group, op->number);
}

void *operation_kernel(const void *parent, uint8_t channel, uint64_t timer) {
  handle h = handle_unpack(parent);
  uint64_t counts;
  operation *op = h.kind == HANDLE_OPERATION ? find(h, &counts) : NULL;
  if (!op || BEGUN(counts) >= 0x3ff) return NULL;
  uint64_t had = __atomic_load_n(&op->gpu_begin, __ATOMIC_RELAXED);
  while (timer && (!had || timer < had) &&
         !__atomic_compare_exchange_n(&op->gpu_begin, &had, timer, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
  begin(op);
  change(h, BEGUN_ONE, 0, 0);
  return handle_pack(HANDLE_KERNEL, h.place, channel, h.generation);
}

/* A kernel channel has ended: told by its last state, which knows the GPU's time, and by its stop, in either order. */
void operation_kernel_end(handle h, uint64_t timer) {
  uint64_t counts;
  operation *op = find(h, &counts);
  if (!op) return;
  uint64_t bit = 1ull << (h.extra & 63);
  if (__atomic_fetch_or(&op->channels[h.extra >> 6 & 3], bit, __ATOMIC_RELAXED) & bit) return;
  uint64_t had = __atomic_load_n(&op->gpu_end, __ATOMIC_RELAXED);
  while (timer > had &&
         !__atomic_compare_exchange_n(&op->gpu_end, &had, timer, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
  int64_t at = now();
  raise(&op->kernel_end, at);
  change(h, ENDED_ONE, 0, at);
}

/* The states of a collective of copy engines. */
void operation_state(handle h, int state) {
  uint64_t counts;
  operation *op = h.extra ? find(h, &counts) : NULL;
  if (!op) return;
  if (state == PROFILER_CE_COLL_START && !BEGUN(counts)) {
    begin(op);
    change(h, BEGUN_ONE, 0, 0);
  } else if (state == PROFILER_CE_COLL_COMPLETE && BEGUN(counts) && !ENDED(counts)) {
    change(h, ENDED_ONE, 0, now());
  }
}

void operation_stop(handle h) {
  uint64_t counts;
  operation *op = find(h, &counts);
  if (!op) return;
  if (op->token.what.traits & OFFBEAT_ON_DEVICE) { /* nothing will tell when it ends */
    if (__atomic_compare_exchange_n(&op->counts, &counts, AFTER(counts), 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
      write_down(op, OFFBEAT_UNKNOWN, now());
  } else {
    change(h, LAUNCHED, 0, 0);
  }
}

int operation_lives(handle h) {
  uint64_t counts;
  return find(h, &counts) != NULL;
}

int operation_identity(handle h, uint32_t *comm, int64_t *seq) {
  uint64_t counts;
  operation *op = find(h, &counts);
  if (!op) return 0;
  *comm = op->comm;
  *seq = op->token.what.seq >= 0 ? op->token.what.seq : op->token.what.p2p_seq;
  return GENERATION(__atomic_load_n(&op->counts, __ATOMIC_ACQUIRE)) == h.generation;
}

void operation_moving(handle h) {
  uint64_t counts;
  operation *op = find(h, &counts);
  if (!op || MOVING(counts) >= 0x7ff) return;
  __atomic_store_n(&op->moved, 1, __ATOMIC_RELAXED);
  change(h, MOVING_ONE, 0, 0);
}

void operation_moved(handle h, int64_t at) {
  uint64_t counts;
  operation *op = find(h, &counts);
  if (op && MOVING(counts)) change(h, 0, MOVING_ONE, at);
}

void operations_close(uint32_t comm) {
  for (uint32_t i = 0; i < OPERATIONS; i++) {
    operation *op = &operations[i];
    uint64_t counts = __atomic_load_n(&op->counts, __ATOMIC_ACQUIRE);
    if ((GENERATION(counts) & 1) && __atomic_load_n(&op->comm, __ATOMIC_RELAXED) == comm &&
        __atomic_compare_exchange_n(&op->counts, &counts, AFTER(counts), 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
      write_down(op, OFFBEAT_UNKNOWN, now());
  }
}
