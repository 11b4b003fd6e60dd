/* Transfers: what one rank sends to, or receives from, one peer through one channel for one operation. NCCL tells of each
 * step; their waits are added up here, and one record is written at the end. What is under way stands in the open table.
 *
 * Of a send: from (8) it waits for the GPU, from (20) for the peer's credit, from (9) it is on the wire, until its stop.
 * Of a receive: from (10) it waits for data, from (11) for the flush, from (12) for the GPU to take it, until its stop.
 *
 * Transports without steps (shared memory, collective networks, copy engines) start proxy operations too, and never stop
 * them: these are not told, and their places are taken back once their operation is over.
 */
#include "plugin.h"

#define STEPS 16 /* under way at once; NCCL has 8 */
#define SEARCHED 64

enum phase { PHASE_NONE, PHASE_GPU, PHASE_CREDIT, PHASE_WIRE, PHASE_FLUSH, PHASE_CONSUME };

typedef struct {
  _Alignas(64) uint32_t generation; /* atomic; odd while it is under way */
  uint32_t comm;                    /* atomic */
  int32_t slot;
  void *operation;
  offbeat_transfer what;
  struct {
    uint32_t number;
    enum phase phase;
    int64_t since;
  } step[STEPS];
} transfer;

static transfer transfers[TRANSFERS];
static pool places;
static uint32_t next_place[TRANSFERS];
static uint32_t searched; /* atomic */

void transfers_reset(void) {
  for (uint32_t i = 0; i < TRANSFERS; i++) transfers[i].generation = process_seed();
  pool_fill(&places, next_place, TRANSFERS);
}

static transfer *find(handle h) {
  transfer *t = &transfers[h.place];
  if ((h.kind != HANDLE_TRANSFER && h.kind != HANDLE_STEP) || !(h.generation & 1)) return NULL;
  return __atomic_load_n(&t->generation, __ATOMIC_ACQUIRE) == h.generation ? t : NULL;
}

/* End a transfer's generation; return whether it was us who did. */
static int take(transfer *t, uint32_t generation) {
  return __atomic_compare_exchange_n(&t->generation, &generation, generation + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Take back the place of a transfer that never had a step and whose operation is over. */
static uint32_t reclaim(void) {
  uint32_t from = __atomic_fetch_add(&searched, SEARCHED, __ATOMIC_RELAXED);
  for (uint32_t i = 0; i < SEARCHED; i++) {
    transfer *t = &transfers[(from + i) % TRANSFERS];
    uint32_t generation = __atomic_load_n(&t->generation, __ATOMIC_ACQUIRE);
    if ((generation & 1) && !__atomic_load_n(&t->what.started, __ATOMIC_RELAXED) &&
        !operation_lives(handle_unpack(__atomic_load_n(&t->operation, __ATOMIC_RELAXED))) && take(t, generation))
      return (uint32_t)(t - transfers);
  }
  return POOL_EMPTY;
}

void *transfer_start(const void *parent, const profiler_proxy_op *event) {
  /* Of another process: its parent is an address there, or worse, looks like one of ours. */
  if (event->pid != process_id()) {
    __atomic_fetch_add(&left_out_pxn, 1, __ATOMIC_RELAXED);
    return NULL;
  }
  handle h = handle_unpack(parent);
  uint32_t comm;
  int64_t seq;
  if (h.kind != HANDLE_OPERATION || !operation_identity(h, &comm, &seq)) return NULL;
  if (event->peer < 0 || event->peer >= communicator_at(comm)->ranks) return NULL;
  uint32_t place = pool_take(&places);
  if (place == POOL_EMPTY) place = reclaim();
  if (place == POOL_EMPTY) {
    __atomic_fetch_add(&left_out_full, 1, __ATOMIC_RELAXED);
    return NULL;
  }
  transfer *t = &transfers[place];
  __atomic_store_n(&t->comm, comm, __ATOMIC_RELAXED);
  t->slot = -1;
  __atomic_store_n(&t->operation, (void *)(uintptr_t)parent, __ATOMIC_RELAXED);
  __atomic_store_n(&t->what.started, 0, __ATOMIC_RELAXED);
  t->what = (offbeat_transfer){.comm = communicator_at(comm)->id, .kind = OFFBEAT_TRANSFER,
                               .side = event->is_send ? OFFBEAT_SIDE_SEND : OFFBEAT_SIDE_RECV, .channel = event->channel,
                               .peer = event->peer, .steps = event->steps > 0 ? (uint32_t)event->steps : 0,
                               .state = OFFBEAT_STARTED, .seq = seq};
  for (int i = 0; i < STEPS; i++) t->step[i].phase = PHASE_NONE;
  uint32_t generation = __atomic_add_fetch(&t->generation, 1, __ATOMIC_RELEASE);
  return handle_pack(HANDLE_TRANSFER, place, 0, generation);
}

void *transfer_step(const void *parent, int step) {
  handle h = handle_unpack(parent);
  transfer *t = h.kind == HANDLE_TRANSFER ? find(h) : NULL;
  if (!t || step < 0) return NULL;
  uint32_t number = (uint32_t)step & 0xffff;
  t->step[number % STEPS].number = number;
  t->step[number % STEPS].phase = PHASE_NONE;
  if (!t->what.started) {
    __atomic_store_n(&t->what.started, now(), __ATOMIC_RELAXED);
    t->what.progress = t->what.started;
    t->what.id = __atomic_add_fetch(&ring.ids, 1, __ATOMIC_RELAXED);
    if (ring.base) t->slot = offbeat_ring_show(&ring, &t->what, t->what.id);
    operation_moving(handle_unpack(t->operation));
  }
  return handle_pack(HANDLE_STEP, h.place, number, h.generation);
}

static void show(transfer *t, int64_t at) {
  t->what.progress = at;
  if (!ring.base || t->slot < 0) return;
  offbeat_transfer *shown = offbeat_ring_shown(&ring, t->slot);
  __atomic_store_n(&shown->ready, t->what.ready, __ATOMIC_RELAXED);
  __atomic_store_n(&shown->posted, t->what.posted, __ATOMIC_RELAXED);
  __atomic_store_n(&shown->done, t->what.done, __ATOMIC_RELAXED);
  __atomic_store_n(&shown->nbytes, t->what.nbytes, __ATOMIC_RELAXED);
  __atomic_store_n(&shown->progress, at, __ATOMIC_RELAXED);
}

static void add_size(transfer *t, uint64_t size) {
  if (size > INT64_MAX || __builtin_add_overflow(t->what.nbytes, (int64_t)size, &t->what.nbytes))
    t->what.nbytes = INT64_MAX;
}

static void add_wire(transfer *t, int64_t length) {
  uint32_t capped = length < UINT32_MAX ? (uint32_t)length : UINT32_MAX;
  t->what.wire += length;
  if (capped > t->what.wire_max) t->what.wire_max = capped;
}

void transfer_state(handle h, int state, uint64_t size) {
  transfer *t = h.kind == HANDLE_STEP ? find(h) : NULL;
  if (!t || t->step[h.extra % STEPS].number != h.extra) return;
  enum phase *phase = &t->step[h.extra % STEPS].phase;
  int64_t at = now(), passed = at - t->step[h.extra % STEPS].since;
  if (state == PROFILER_SEND_GPU_WAIT && *phase == PHASE_NONE) {
    *phase = PHASE_GPU;
  } else if (state == PROFILER_SEND_PEER_WAIT && *phase == PHASE_GPU) { /* told again and again: the first counts */
    t->what.gpu_wait += passed;
    t->what.ready++;
    *phase = PHASE_CREDIT;
  } else if (state == PROFILER_SEND_WAIT && *phase < PHASE_WIRE) {
    if (*phase == PHASE_CREDIT) t->what.credit_wait += passed;
    if (*phase == PHASE_GPU) t->what.gpu_wait += passed;
    if (*phase != PHASE_CREDIT) t->what.ready++;
    t->what.posted++;
    add_size(t, size);
    *phase = PHASE_WIRE;
  } else if (state == PROFILER_RECV_WAIT && *phase == PHASE_NONE) {
    t->what.posted++;
    *phase = PHASE_WIRE;
  } else if (state == PROFILER_RECV_FLUSH_WAIT && *phase == PHASE_WIRE) {
    add_wire(t, passed);
    add_size(t, size);
    *phase = PHASE_FLUSH;
  } else if (state == PROFILER_RECV_GPU_WAIT && *phase == PHASE_FLUSH) {
    t->what.flush += passed;
    *phase = PHASE_CONSUME;
  } else {
    return;
  }
  t->step[h.extra % STEPS].since = at;
  show(t, at);
}

void transfer_step_stop(handle h) {
  transfer *t = h.kind == HANDLE_STEP ? find(h) : NULL;
  if (!t || t->step[h.extra % STEPS].number != h.extra) return;
  enum phase phase = t->step[h.extra % STEPS].phase;
  int64_t at = now(), passed = at - t->step[h.extra % STEPS].since;
  if (phase == PHASE_NONE) return;
  if (phase == PHASE_WIRE) add_wire(t, passed);
  if (phase == PHASE_FLUSH) t->what.flush += passed;
  if (phase == PHASE_CONSUME) t->what.gpu_wait += passed;
  t->step[h.extra % STEPS].phase = PHASE_NONE;
  t->step[h.extra % STEPS].number = UINT32_MAX;
  t->what.done++;
  show(t, at);
}

/* Write a transfer down and free its place. Only for who has taken it. */
static void write_down(transfer *t, enum offbeat_state state, int64_t at) {
  void *parent = t->operation;
  int moved = t->what.started != 0;
  if (moved && ring.base) {
    t->what.state = (uint8_t)state;
    t->what.progress = at;
    offbeat_ring_append(&ring, &t->what, t->what.id);
    offbeat_ring_hide(&ring, t->slot);
  }
  pool_give(&places, (uint32_t)(t - transfers));
  if (moved) operation_moved(handle_unpack(parent), at);
}

void transfer_stop(handle h) {
  transfer *t = find(h);
  if (t && take(t, h.generation)) write_down(t, OFFBEAT_COMPLETED, now());
}

void transfers_close(uint32_t comm) {
  for (uint32_t i = 0; i < TRANSFERS; i++) {
    uint32_t generation = __atomic_load_n(&transfers[i].generation, __ATOMIC_ACQUIRE);
    if ((generation & 1) && __atomic_load_n(&transfers[i].comm, __ATOMIC_RELAXED) == comm &&
        take(&transfers[i], generation))
      write_down(&transfers[i], OFFBEAT_UNKNOWN, transfers[i].what.progress);
  }
}
