#include "plugin.h"
#include "profiler_v7.h"

static int init(void **context, uint64_t id, int *mask, const char *name, int nodes, int ranks, int rank,
                profiler_logger log) {
  (void)nodes;
  call_init(context, mask, id, name, ranks, rank, log);
  return PROFILER_SUCCESS;
}

static int start(void *context, void **handle, profiler_descriptor_v7 *event) {
  if (!handle) return PROFILER_SUCCESS;
  *handle = NULL;
  if (!event) return PROFILER_SUCCESS;
  switch (event->type) {
  case PROFILER_GROUP: *handle = group_start(); break;
  case PROFILER_COLL: {
    const profiler_coll_v7 *coll = &event->coll;
    *handle = operation_coll(context, &(operation_start){coll->func, coll->datatype, coll->algo, coll->proto, coll->seq,
                                                         coll->count, coll->root, -1, coll->channels, coll->group});
    break;
  }
  case PROFILER_P2P: {
    const profiler_p2p_v7 *p2p = &event->p2p;
    *handle = operation_p2p(context, &(operation_start){p2p->func, p2p->datatype, NULL, NULL, 0, p2p->count, -1, p2p->peer,
                                                        p2p->channels, p2p->group});
    break;
  }
  case PROFILER_CE_COLL: {
    const profiler_ce_coll_v7 *coll = &event->ce_coll;
    *handle = operation_ce(context, &(operation_start){coll->func, coll->datatype, NULL, NULL, coll->seq, coll->count,
                                                       coll->root, -1, 0, NULL});
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

PROFILER_EXPORT const profiler_v7 ncclProfiler_v7 = {"offbeat", init, start, call_stop, call_record, call_finalize};
