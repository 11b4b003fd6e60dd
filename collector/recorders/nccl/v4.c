#include "plugin.h"
#include "profiler_v4.h"

static int init(void **context, int *mask, const char *name, uint64_t hash, int nodes, int ranks, int rank,
                profiler_logger log) {
  (void)nodes;
  call_init(context, mask, hash, name, ranks, rank, log);
  return PROFILER_SUCCESS;
}

static int start(void *context, void **handle, profiler_descriptor_v4 *event) {
  if (!handle) return PROFILER_SUCCESS;
  *handle = NULL;
  if (!event) return PROFILER_SUCCESS;
  switch (event->type) {
  case PROFILER_GROUP: *handle = group_start(); break;
  case PROFILER_COLL: {
    const profiler_coll_v4 *coll = &event->coll;
    *handle = operation_coll(context, &(operation_start){coll->func, coll->datatype, coll->algo, coll->proto, coll->seq,
                                                         coll->count, coll->root, -1, coll->channels, event->parent});
    break;
  }
  case PROFILER_P2P: {
    const profiler_p2p_v4 *p2p = &event->p2p;
    /* The number of channels is not set where a newer NCCL speaks this version. */
    *handle = operation_p2p(context, &(operation_start){p2p->func, p2p->datatype, NULL, NULL, 0, p2p->count, -1, p2p->peer,
                                                        0, event->parent});
    break;
  }
  case PROFILER_PROXY_OP: *handle = transfer_start(event->parent, &event->proxy_op); break;
  case PROFILER_PROXY_STEP: *handle = transfer_step(event->parent, event->proxy_step.step); break;
  case PROFILER_KERNEL_CHANNEL:
    *handle = operation_kernel(event->parent, event->kernel_channel.channel, event->kernel_channel.timer);
    break;
  default: break;
  }
  return PROFILER_SUCCESS;
}

PROFILER_EXPORT const profiler_v4 ncclProfiler_v4 = {"offbeat", init, start, call_stop, call_record, call_finalize};
