/* Version 6 of NCCL's profiler interface: NCCL 2.29 and 2.30. Source: see profiler.h. */
#ifndef OFFBEAT_PROFILER_V6_H
#define OFFBEAT_PROFILER_V6_H

#include "profiler_v5.h"

/* A collective done by copy engines. seq counts those of the communicator, whatever the function. */
typedef struct {
  uint64_t seq;
  const char *func;
  const void *send;
  void *recv;
  size_t count;
  int root;
  const char *datatype, *sync_strategy;
  bool intra_batch_sync;
  uint32_t batch_size, batches, ce_seq;
  void *stream;
} profiler_ce_coll_v6;
typedef struct { bool complete; int ranks; } profiler_ce_sync;
typedef struct { int operations; size_t bytes; bool intra_sync; } profiler_ce_batch;
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
    profiler_ce_coll_v6 ce_coll;
    profiler_ce_sync ce_sync;
    profiler_ce_batch ce_batch;
  };
} profiler_descriptor_v6;
typedef struct { PROFILER_CALLS(profiler_descriptor_v6); } profiler_v6;

_Static_assert(sizeof(profiler_descriptor_v6) == 112 && sizeof(profiler_v6) == 48, "layout");
_Static_assert(offsetof(profiler_descriptor_v6, ce_coll.count) == 56, "layout");
_Static_assert(offsetof(profiler_descriptor_v6, ce_coll.sync_strategy) == 80, "layout");
_Static_assert(offsetof(profiler_descriptor_v6, ce_coll.batch_size) == 92, "layout");
_Static_assert(offsetof(profiler_descriptor_v6, ce_coll.ce_seq) == 100, "layout");
_Static_assert(offsetof(profiler_descriptor_v6, ce_coll.stream) == 104, "layout");
_Static_assert(offsetof(profiler_descriptor_v6, ce_batch.intra_sync) == 40, "layout");

#endif
