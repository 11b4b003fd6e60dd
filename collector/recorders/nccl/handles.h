/* Handles: what NCCL keeps for us of an event or a communicator. They are numbers, no addresses: one that is stale, made
 * up, or of another process is found out by its generation, and never followed. */
#ifndef OFFBEAT_HANDLES_H
#define OFFBEAT_HANDLES_H

#include <stdint.h>

enum handle_kind { HANDLE_NONE, HANDLE_COMMUNICATOR, HANDLE_GROUP, HANDLE_OPERATION, HANDLE_KERNEL, HANDLE_TRANSFER, HANDLE_STEP };

/* From the low end: 3 bits kind, 13 bits place, 16 bits of the kind's own (channel, step), 32 bits generation. */
typedef struct {
  enum handle_kind kind;
  uint32_t place, extra, generation;
} handle;

#define HANDLE_PLACES (1u << 13)

static inline void *handle_pack(enum handle_kind kind, uint32_t place, uint32_t extra, uint32_t generation) {
  return (void *)(uintptr_t)((uint64_t)kind | (uint64_t)place << 3 | (uint64_t)(extra & 0xffff) << 16 |
                             (uint64_t)generation << 32);
}

static inline handle handle_unpack(const void *packed) {
  uint64_t bits = (uint64_t)(uintptr_t)packed;
  return (handle){(enum handle_kind)(bits & 7), (uint32_t)(bits >> 3) & (HANDLE_PLACES - 1),
                  (uint32_t)(bits >> 16) & 0xffff, (uint32_t)(bits >> 32)};
}

#endif
