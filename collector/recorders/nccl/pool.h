/* Places of a fixed array that are free, the last one given back on top: it is still in the caches. Lock-free; the upper
 * half of the head counts changes, so that a head that comes back is not taken for one that never left. */
#ifndef OFFBEAT_POOL_H
#define OFFBEAT_POOL_H

#include <stdint.h>

#define POOL_EMPTY UINT32_MAX

typedef struct {
  _Alignas(64) uint64_t head;
  uint32_t *next;
} pool;

static inline void pool_fill(pool *places, uint32_t *next, uint32_t size) {
  for (uint32_t i = 0; i < size; i++) next[i] = i + 1 < size ? i + 1 : POOL_EMPTY;
  places->next = next;
  places->head = 0;
}

static inline uint32_t pool_take(pool *places) {
  uint64_t head = __atomic_load_n(&places->head, __ATOMIC_ACQUIRE);
  for (;;) {
    uint32_t place = (uint32_t)head;
    if (place == POOL_EMPTY) return POOL_EMPTY;
    uint32_t next = __atomic_load_n(&places->next[place], __ATOMIC_RELAXED);
    uint64_t changed = ((head >> 32) + 1) << 32 | next;
    if (__atomic_compare_exchange_n(&places->head, &head, changed, 1, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) return place;
  }
}

static inline void pool_give(pool *places, uint32_t place) {
  uint64_t head = __atomic_load_n(&places->head, __ATOMIC_RELAXED);
  for (;;) {
    __atomic_store_n(&places->next[place], (uint32_t)head, __ATOMIC_RELAXED);
    uint64_t changed = ((head >> 32) + 1) << 32 | place;
    if (__atomic_compare_exchange_n(&places->head, &head, changed, 1, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) return;
  }
}

#endif
