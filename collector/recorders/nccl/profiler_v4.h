/* Version 4 of NCCL's profiler interface: NCCL 2.27. Source: see profiler.h. */
#ifndef OFFBEAT_PROFILER_V4_H
#define OFFBEAT_PROFILER_V4_H

#include "profiler.h"

typedef struct {
  uint64_t seq;
  const char *func;
  const void *send;
  void *recv;
  size_t count;
  int root;
  const char *datatype;
  uint8_t channels, warps;
  const char *algo, *proto;
} profiler_coll_v4;
typedef struct {
  const char *func;
  void *buffer;
  const char *datatype;
  size_t count;
  int peer;
  uint8_t channels;
} profiler_p2p_v4;
typedef struct {
  uint8_t type;
  void *parent;
  int rank;
  union {
    profiler_coll_v4 coll;
    profiler_p2p_v4 p2p;
    profiler_proxy_op proxy_op;
    profiler_proxy_step proxy_step;
    profiler_kernel_channel kernel_channel;
    profiler_net_plugin net_plugin;
  };
} profiler_descriptor_v4;
typedef struct {
  const char *name;
  int (*init)(void **context, int *mask, const char *name, uint64_t hash, int nodes, int ranks, int rank,
              profiler_logger log);
  int (*start)(void *context, void **handle, profiler_descriptor_v4 *descriptor);
  int (*stop)(void *handle);
  int (*record)(void *handle, int state, profiler_argument *argument);
  int (*finalize)(void *context);
} profiler_v4;

_Static_assert(sizeof(profiler_descriptor_v4) == 104 && sizeof(profiler_v4) == 48, "layout");
_Static_assert(offsetof(profiler_descriptor_v4, parent) == 8 && offsetof(profiler_descriptor_v4, rank) == 16, "layout");
_Static_assert(offsetof(profiler_descriptor_v4, coll.seq) == 24, "layout");
_Static_assert(offsetof(profiler_descriptor_v4, coll.count) == 56, "layout");
_Static_assert(offsetof(profiler_descriptor_v4, coll.datatype) == 72, "layout");
_Static_assert(offsetof(profiler_descriptor_v4, coll.channels) == 80, "layout");
_Static_assert(offsetof(profiler_descriptor_v4, coll.algo) == 88, "layout");
_Static_assert(offsetof(profiler_descriptor_v4, coll.proto) == 96, "layout");
_Static_assert(offsetof(profiler_descriptor_v4, p2p.func) == 24, "layout");
_Static_assert(offsetof(profiler_descriptor_v4, p2p.count) == 48, "layout");
_Static_assert(offsetof(profiler_descriptor_v4, p2p.channels) == 60, "layout");
_Static_assert(offsetof(profiler_descriptor_v4, kernel_channel.timer) == 32, "layout");
_Static_assert(offsetof(profiler_v4, start) == 16 && offsetof(profiler_v4, finalize) == 40, "layout");

#endif
