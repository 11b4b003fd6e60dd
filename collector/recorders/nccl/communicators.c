/* Communicators: who they are comes with init alone; events bring it back as their context. */
#include "plugin.h"

#define MOST_RANKS (1 << 18) /* more than any communicator has; what claims more is not counted by rank */
#define MOST_AHEAD (1ull << 32) /* by how much NCCL's number may run ahead of what was seen of it */

static communicator communicators[COMMUNICATORS];
static int alive;

void communicators_reset(void) {
  for (uint32_t i = 0; i < COMMUNICATORS; i++) communicators[i].generation = process_seed();
  alive = 0;
}

communicator *communicator_at(uint32_t place) { return &communicators[place]; }

uint32_t communicator_place(const communicator *comm) { return (uint32_t)(comm - communicators); }

communicator *communicator_of(const void *context) {
  handle h = handle_unpack(context);
  if (h.kind != HANDLE_COMMUNICATOR || h.place >= COMMUNICATORS || !(h.generation & 1)) return NULL;
  communicator *comm = &communicators[h.place];
  return __atomic_load_n(&comm->generation, __ATOMIC_ACQUIRE) == h.generation ? comm : NULL;
}

void *communicator_open(uint64_t hash, const char *name, int ranks, int rank) {
  communicator *comm = NULL;
  char word[32];
  if (ranks < 2 || rank < 0 || rank >= ranks) return NULL; /* one alone waits for nobody */
  for (uint32_t i = 0; i < COMMUNICATORS; i++) {
    if (!(communicators[i].generation & 1)) {
      if (!comm) comm = &communicators[i];
    } else if (communicators[i].hash == hash) {
      offbeat_ring_message(&ring, "note", "several ranks in one process: only the first of each communicator is recorded",
                           OFFBEAT_NO_CODE);
      return NULL;
    }
  }
  if (!comm) {
    __atomic_fetch_add(&left_out_full, 1, __ATOMIC_RELAXED);
    return NULL;
  }
  if (comm->room < (uint32_t)ranks && ranks <= MOST_RANKS) {
    free(comm->pairwise);
    comm->pairwise = calloc(2 * (size_t)ranks, sizeof *comm->pairwise);
    comm->room = comm->pairwise ? (uint32_t)ranks : 0;
  } else if (comm->pairwise) {
    memset(comm->pairwise, 0, 2 * (size_t)comm->room * sizeof *comm->pairwise);
  }
  snprintf(word, sizeof word, "0x%llx", (unsigned long long)hash);
  comm->id = offbeat_ring_communicator(&ring, word, name ? name : "", rank, ranks, NULL);
  comm->rank = rank;
  comm->ranks = ranks;
  comm->hash = hash;
  comm->kernels = comm->fewer = 0;
  comm->launches = comm->number = comm->passed = comm->begun_number = 0;
  comm->begun_group = 0;
  memset(comm->counted, 0, sizeof comm->counted);
  memset(comm->flight, 0, sizeof comm->flight);
  alive++;
  uint32_t generation = __atomic_add_fetch(&comm->generation, 1, __ATOMIC_RELEASE);
  return handle_pack(HANDLE_COMMUNICATOR, communicator_place(comm), 0, generation);
}

/* Returns how many are left. */
int communicator_close(const void *context) {
  communicator *comm = communicator_of(context);
  if (comm) {
    __atomic_add_fetch(&comm->generation, 1, __ATOMIC_RELEASE);
    operations_close(communicator_place(comm));
    transfers_close(communicator_place(comm));
    alive--;
  }
  return alive;
}

/* NCCL counts each function apart. The sum of all these counts is the number of launches, and stays the same on all ranks
 * when events were switched off for a while on some: the next event of a function brings it up to date. What NCCL does
 * not count, as in captured graphs, counts one each. */
int64_t communicator_count(communicator *comm, uint32_t function, uint64_t seq) {
  uint64_t *counted = &comm->counted[function], ahead = 1;
  uint64_t had = __atomic_load_n(counted, __ATOMIC_RELAXED);
  if (seq >= had && seq - had < MOST_AHEAD) {
    __atomic_store_n(counted, seq + 1, __ATOMIC_RELAXED);
    ahead = seq + 1 - had;
  }
  return (int64_t)__atomic_add_fetch(&comm->launches, ahead, __ATOMIC_RELAXED) - 1;
}

int64_t communicator_count_pairwise(communicator *comm, int receives, int peer) {
  if (!comm->pairwise || comm->ranks > (int32_t)comm->room) return -1;
  size_t place = (size_t)peer + (receives ? (size_t)comm->room : 0);
  return __atomic_fetch_add(&comm->pairwise[place], 1, __ATOMIC_RELAXED);
}
