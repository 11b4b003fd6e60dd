#include "words.h"

#define KNOWN 39
#define MOST 128
#define PLACES 512
#define OTHER OFFBEAT_OTHER

/* NCCL src/collectives.cc, as of 2.30; the first is for what has no word. */
static word words[MOST] = {
    {"", 0, OTHER, 0},
    {"AllGather", 0, OFFBEAT_ALL_GATHER, 0}, {"AllReduce", 0, OFFBEAT_ALL_REDUCE, 0},
    {"AlltoAll", 0, OFFBEAT_ALL_TO_ALL, 0}, {"Broadcast", 0, OFFBEAT_BROADCAST, 0}, {"Gather", 0, OFFBEAT_GATHER, 0},
    {"Recv", 0, OFFBEAT_RECV, 0}, {"Reduce", 0, OFFBEAT_REDUCE, 0}, {"ReduceScatter", 0, OFFBEAT_REDUCE_SCATTER, 0},
    {"Scatter", 0, OFFBEAT_SCATTER, 0}, {"SendRecv", 0, OFFBEAT_SEND_RECV, 0}, {"Send", 0, OFFBEAT_SEND, 0},
    {"PutSignal", 0, OFFBEAT_PUT, 0}, {"Signal", 0, OFFBEAT_SIGNAL, 0}, {"WaitSignal", 0, OFFBEAT_WAIT_SIGNAL, 0},
    {"ncclInt8", 0, OTHER, 1}, {"ncclUint8", 0, OTHER, 1}, {"ncclInt32", 0, OTHER, 4}, {"ncclUint32", 0, OTHER, 4},
    {"ncclInt64", 0, OTHER, 8}, {"ncclUint64", 0, OTHER, 8}, {"ncclFloat16", 0, OTHER, 2}, {"ncclFloat32", 0, OTHER, 4},
    {"ncclFloat64", 0, OTHER, 8}, {"ncclBfloat16", 0, OTHER, 2}, {"ncclFloat8e4m3", 0, OTHER, 1},
    {"ncclFloat8e5m2", 0, OTHER, 1}, {"TREE", 0, OTHER, 0}, {"RING", 0, OTHER, 0}, {"COLLNET_DIRECT", 0, OTHER, 0},
    {"COLLNET_CHAIN", 0, OTHER, 0}, {"NVLS", 0, OTHER, 0}, {"NVLS_TREE", 0, OTHER, 0}, {"PAT", 0, OTHER, 0},
    {"LL", 0, OTHER, 0}, {"LL128", 0, OTHER, 0}, {"SIMPLE", 0, OTHER, 0}, {"Invalid", 0, OTHER, 0},
    {"Unknown", 0, OTHER, 0}};
static uint32_t count = KNOWN;  /* atomic */
static uint64_t by_address[PLACES]; /* atomic: address << 16 | place; addresses of programs have 47 bits */
static uint8_t learning;        /* atomic */

_Static_assert(sizeof(word) == 28 && KNOWN < MOST, "layout");

void words_tell(offbeat_ring *ring) {
  for (uint32_t i = 1; i < count; i++) words[i].id = offbeat_ring_intern(ring, words[i].text);
}

static uint32_t find(const char *text, uint32_t from) {
  uint32_t known = __atomic_load_n(&count, __ATOMIC_ACQUIRE);
  for (uint32_t i = from; i < known; i++)
    if (!strncmp(words[i].text, text, sizeof words[i].text)) return i;
  return 0;
}

static uint32_t learn(offbeat_ring *ring, const char *text) {
  uint32_t place = 0;
  if (strnlen(text, sizeof words[0].text) == sizeof words[0].text) return 0;
  if (__atomic_exchange_n(&learning, 1, __ATOMIC_ACQUIRE)) return 0; /* the next time, then */
  uint32_t known = __atomic_load_n(&count, __ATOMIC_RELAXED);
  place = find(text, 1);
  if (!place && known < MOST) {
    place = known;
    strcpy(words[place].text, text);
    words[place].op = OTHER;
    words[place].id = offbeat_ring_intern(ring, text);
    __atomic_store_n(&count, known + 1, __ATOMIC_RELEASE);
  }
  __atomic_store_n(&learning, 0, __ATOMIC_RELEASE);
  return place;
}

const word *word_of(offbeat_ring *ring, const char *text) {
  if (!text || !*text) return &words[0];
  uint64_t address = (uint64_t)(uintptr_t)text;
  uint64_t *cached = &by_address[(address >> 2 ^ address >> 11) % PLACES];
  uint64_t entry = __atomic_load_n(cached, __ATOMIC_ACQUIRE);
  uint32_t place = entry >> 16 == address ? (uint32_t)(entry & 0xffff) : 0;
  /* Another library may have been loaded to the same address since. */
  if (place && !strncmp(words[place].text, text, sizeof words[place].text)) return &words[place];
  place = find(text, 1);
  if (!place) place = learn(ring, text);
  if (place && address >> 48 == 0) __atomic_store_n(cached, address << 16 | place, __ATOMIC_RELEASE);
  return &words[place];
}
