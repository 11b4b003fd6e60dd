/* Version 7 of NCCL's profiler interface: NCCL 2.31 and 2.32, as NVIDIA ships it; forks have used the number for other
 * structs. Source: see profiler.h. */
#ifndef OFFBEAT_PROFILER_V7_H
#define OFFBEAT_PROFILER_V7_H

#include "profiler_v6.h"

typedef struct {
  const char *func;
  size_t count;
  const char *datatype;
  int root;
  void *stream;
  bool captured;
  uint64_t user_tag;
} profiler_coll_api_v7;
typedef struct {
  const char *func;
  size_t count;
  const char *datatype;
  void *stream;
  bool captured;
  uint64_t user_tag;
} profiler_p2p_api_v7;
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
  const char *kernel_variant;
  bool symmetric;
  uint64_t user_tag;
} profiler_coll_v7;
typedef struct {
  const char *func;
  void *buffer;
  const char *datatype;
  size_t count;
  int peer;
  uint8_t channels;
  void *group;
  uint64_t user_tag;
} profiler_p2p_v7;
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
  uint64_t user_tag;
} profiler_ce_coll_v7;
typedef struct {
  uint8_t channel, phase;
  const char *name;
  uint64_t timer;
} profiler_kernel_phase;
typedef struct {
  uint64_t type;
  void *parent;
  int rank;
  union {
    profiler_group_api group_api;
    profiler_coll_api_v7 coll_api;
    profiler_p2p_api_v7 p2p_api;
    profiler_kernel_launch kernel_launch;
    profiler_coll_v7 coll;
    profiler_p2p_v7 p2p;
    profiler_proxy_op proxy_op;
    profiler_proxy_step proxy_step;
    profiler_kernel_channel kernel_channel;
    profiler_net_plugin net_plugin;
    profiler_ce_coll_v7 ce_coll;
    profiler_ce_sync ce_sync;
    profiler_ce_batch ce_batch;
    profiler_kernel_phase kernel_phase;
  };
} profiler_descriptor_v7;
typedef struct { PROFILER_CALLS(profiler_descriptor_v7); } profiler_v7;

_Static_assert(sizeof(profiler_descriptor_v7) == 136 && sizeof(profiler_v7) == 48, "layout");
_Static_assert(offsetof(profiler_descriptor_v7, coll_api.user_tag) == 72, "layout");
_Static_assert(offsetof(profiler_descriptor_v7, p2p_api.user_tag) == 64, "layout");
_Static_assert(offsetof(profiler_descriptor_v7, coll.group) == 104, "layout");
_Static_assert(offsetof(profiler_descriptor_v7, coll.kernel_variant) == 112, "layout");
_Static_assert(offsetof(profiler_descriptor_v7, coll.symmetric) == 120, "layout");
_Static_assert(offsetof(profiler_descriptor_v7, coll.user_tag) == 128, "layout");
_Static_assert(offsetof(profiler_descriptor_v7, p2p.user_tag) == 72, "layout");
_Static_assert(offsetof(profiler_descriptor_v7, ce_coll.user_tag) == 112, "layout");
_Static_assert(offsetof(profiler_descriptor_v7, kernel_phase.phase) == 25, "layout");
_Static_assert(offsetof(profiler_descriptor_v7, kernel_phase.timer) == 40, "layout");

#endif
