/* NCCL's profiler interface: what all of its versions share.
 *
 * Names and numbers restate the interface of NVIDIA/nccl, src/include/plugin/nccl_profiler.h and
 * src/include/plugin/profiler/ (commit 5067397c2676, NCCL 2.30.7); that of version 7 the debug information of
 * libnccl.so.2 in the wheel nvidia-nccl-cu13 2.32.3. NCCL picks the newest version that it and the library know.
 */
#ifndef OFFBEAT_PROFILER_H
#define OFFBEAT_PROFILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROFILER_SUCCESS 0
#define PROFILER_EXPORT __attribute__((visibility("default")))

/* Types of events: also the bits of the activation mask. */
enum profiler_event {
  PROFILER_GROUP = 1 << 0,
  PROFILER_COLL = 1 << 1,
  PROFILER_P2P = 1 << 2,
  PROFILER_PROXY_OP = 1 << 3,
  PROFILER_PROXY_STEP = 1 << 4,
  PROFILER_PROXY_CTRL = 1 << 5,
  PROFILER_KERNEL_CHANNEL = 1 << 6, /* from version 3 */
  PROFILER_NET_PLUGIN = 1 << 7,
  PROFILER_GROUP_API = 1 << 8, /* from version 5 */
  PROFILER_COLL_API = 1 << 9,
  PROFILER_P2P_API = 1 << 10,
  PROFILER_KERNEL_LAUNCH = 1 << 11,
  PROFILER_CE_COLL = 1 << 12, /* from version 6: copy engine */
  PROFILER_CE_SYNC = 1 << 13,
  PROFILER_CE_BATCH = 1 << 14,
  PROFILER_KERNEL_PHASE = 1 << 15 /* from version 7 */
};

enum profiler_state {
  PROFILER_SEND_GPU_WAIT = 8,
  PROFILER_SEND_WAIT = 9, /* posted; its argument is the size */
  PROFILER_RECV_WAIT = 10,
  PROFILER_RECV_FLUSH_WAIT = 11, /* arrived; its argument is the size */
  PROFILER_RECV_GPU_WAIT = 12,
  PROFILER_SEND_PEER_WAIT = 20,
  PROFILER_KERNEL_CHANNEL_STOP = 22, /* its argument is the GPU's time */
  PROFILER_CE_COLL_START = 25,
  PROFILER_CE_COLL_COMPLETE = 26
};

enum profiler_log_level { PROFILER_LOG_WARN = 2, PROFILER_LOG_INFO = 3 };
enum profiler_log_flag { PROFILER_LOG_INIT = 1, PROFILER_LOG_PROFILE = 16384 };

typedef void (*profiler_logger)(int level, unsigned long flags, const char *file, int line, const char *format, ...);

/* The argument of a state, the same 8 bytes in versions 4 to 7. NCCL passes NULL where a state has none. */
typedef union {
  uint64_t trans_size; /* of a step; stale in states that are not marked above */
  int appended_proxy_ops;
  void *data;
  uint64_t timer; /* of a kernel channel: the GPU's clock, ns */
} profiler_argument;

/* Parts of descriptors that are the same in versions 4 to 7. */
typedef struct {
  pid_t pid; /* of the process that issued it, which with PXN is another one */
  uint8_t channel;
  int peer, steps, chunk, is_send;
} profiler_proxy_op;
typedef struct { int step; } profiler_proxy_step;
typedef struct { uint8_t channel; uint64_t timer; } profiler_kernel_channel;
typedef struct { int64_t id; void *data; } profiler_net_plugin;

_Static_assert(sizeof(void *) == 8 && sizeof(size_t) == 8, "64-bit machines only");
_Static_assert(sizeof(profiler_argument) == 8, "layout");
_Static_assert(offsetof(profiler_proxy_op, channel) == 4 && offsetof(profiler_proxy_op, peer) == 8, "layout");
_Static_assert(offsetof(profiler_proxy_op, is_send) == 20, "layout");
_Static_assert(offsetof(profiler_kernel_channel, timer) == 8, "layout");

#endif
