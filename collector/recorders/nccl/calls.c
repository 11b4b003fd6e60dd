/* The calls that are the same in all versions. Whatever happens they report success: NCCL would go on without a profiler
 * for one communicator, and still tell of its events. */
#include "plugin.h"

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* init and finalize; never taken by an event */

static void forked(void) { pthread_mutex_init(&gate, NULL); } /* another thread may have held it */

void call_init(void **context, int *mask, uint64_t hash, const char *name, int ranks, int rank, profiler_logger log) {
  static int registered;
  if (!context) return;
  *context = NULL;
  pthread_mutex_lock(&gate);
  if (!registered) registered = !pthread_atfork(NULL, NULL, forked);
  if (process_mask() && process_open(log)) {
    process_ask(mask);
    *context = communicator_open(hash, name, ranks, rank);
  }
  pthread_mutex_unlock(&gate);
}

int call_stop(void *event) {
  handle h = handle_unpack(event); /* NULL among others: NCCL does not look, for events of net plugins */
  switch (h.kind) {
  case HANDLE_OPERATION: operation_stop(h); break;
  case HANDLE_KERNEL: operation_kernel_end(h, 0); break;
  case HANDLE_TRANSFER: transfer_stop(h); break;
  case HANDLE_STEP: transfer_step_stop(h); break;
  default: break;
  }
  return PROFILER_SUCCESS;
}

int call_record(void *event, int state, profiler_argument *argument) {
  handle h = handle_unpack(event);
  uint64_t value = argument ? argument->timer : 0;
  switch (h.kind) {
  case HANDLE_OPERATION: operation_state(h, state); break;
  case HANDLE_KERNEL:
    if (state == PROFILER_KERNEL_CHANNEL_STOP) operation_kernel_end(h, value);
    break;
  case HANDLE_STEP: transfer_state(h, state, value); break;
  default: break;
  }
  return PROFILER_SUCCESS;
}

static void tell_left_out(const char *what, uint64_t *count) {
  uint64_t n = __atomic_exchange_n(count, 0, __ATOMIC_RELAXED);
  char text[128];
  if (!n) return;
  snprintf(text, sizeof text, "%llu %s", (unsigned long long)n, what);
  offbeat_ring_message(&ring, "note", text, (int64_t)n);
}

int call_finalize(void *context) {
  pthread_mutex_lock(&gate);
  if (communicator_of(context) && !communicator_close(context)) {
    tell_left_out("transfers for other processes (PXN) were not recorded", &left_out_pxn);
    tell_left_out("communicators, operations or transfers more than there is room for were not recorded", &left_out_full);
    process_ask(NULL); /* NCCL unloads the library, or would; what comes next starts anew */
  }
  pthread_mutex_unlock(&gate);
  return PROFILER_SUCCESS;
}
