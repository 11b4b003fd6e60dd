/* Version 5 of NCCL's profiler interface: NCCL 2.28. Source: see profiler.h. */
#ifndef OFFBEAT_PROFILER_V5_H
#define OFFBEAT_PROFILER_V5_H

#include "profiler_v4.h"

typedef struct { bool captured; int depth; } profiler_group_api;
typedef struct {
  const char *func;
  size_t count;
  const char *datatype;
  int root;
  void *stream;
  bool captured;
} profiler_coll_api_v5;
typedef struct {
  const char *func;
  size_t count;
  const char *datatype;
  void *stream;
  bool captured;
} profiler_p2p_api_v5;
typedef struct { void *stream; } profiler_kernel_launch;
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
  void *group;
} profiler_coll_v5;
typedef struct {
  const char *func;
  void *buffer;
  const char *datatype;
  size_t count;
  int peer;
  uint8_t channels;
  void *group;
} profiler_p2p_v5;
typedef struct {
  uint64_t type;
  void *parent;
  int rank;
  union {
    profiler_group_api group_api;
    profiler_coll_api_v5 coll_api;
    profiler_p2p_api_v5 p2p_api;
    profiler_kernel_launch kernel_launch;
    profiler_coll_v5 coll;
    profiler_p2p_v5 p2p;
    profiler_proxy_op proxy_op;
    profiler_proxy_step proxy_step;
    profiler_kernel_channel kernel_channel;
    profiler_net_plugin net_plugin;
  };
} profiler_descriptor_v5;

/* What calls versions 5, 6 and 7 have, but for the descriptor. */
#define PROFILER_CALLS(descriptor_type)                                                                              \
  const char *name;                                                                                                  \
  int (*init)(void **context, uint64_t id, int *mask, const char *name, int nodes, int ranks, int rank,              \
              profiler_logger log);                                                                                  \
  int (*start)(void *context, void **handle, descriptor_type *descriptor);                                           \
  int (*stop)(void *handle);                                                                                         \
  int (*record)(void *handle, int state, profiler_argument *argument);                                               \
  int (*finalize)(void *context)

typedef struct { PROFILER_CALLS(profiler_descriptor_v5); } profiler_v5;

_Static_assert(sizeof(profiler_descriptor_v5) == 112 && sizeof(profiler_v5) == 48, "layout");
_Static_assert(offsetof(profiler_descriptor_v5, group_api.depth) == 28, "layout");
_Static_assert(offsetof(profiler_descriptor_v5, coll_api.root) == 48, "layout");
_Static_assert(offsetof(profiler_descriptor_v5, coll_api.captured) == 64, "layout");
_Static_assert(offsetof(profiler_descriptor_v5, p2p_api.captured) == 56, "layout");
_Static_assert(offsetof(profiler_descriptor_v5, coll.seq) == 24, "layout");
_Static_assert(offsetof(profiler_descriptor_v5, coll.proto) == 96, "layout");
_Static_assert(offsetof(profiler_descriptor_v5, coll.group) == 104, "layout");
_Static_assert(offsetof(profiler_descriptor_v5, p2p.channels) == 60, "layout");
_Static_assert(offsetof(profiler_descriptor_v5, p2p.group) == 64, "layout");

#endif
