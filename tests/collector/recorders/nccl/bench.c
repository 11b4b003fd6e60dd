/* What the calls of a profiler library cost: nanoseconds a call, each measurement a block of many whole operations.
 *   bench LIBRARY VERSION BLOCKS
 * Prints one line a block: the kind of call, and nanoseconds a call. The references: a call that does nothing, through a
 * pointer as NCCL's are, and a plain store of 64 bytes. */
#include "fake_nccl.h"

#define CALLS 4096

static fake nccl;
static void *context;
static pid_t pid;
static char sink[64 * CALLS];

static int empty(void *c, void **handle, void *d) {
  (void)c, (void)d;
  *handle = NULL;
  return 0;
}

static start_call volatile nothing = empty;

static void report(const char *what, int64_t begun, long calls) {
  printf("%s %.2f\n", what, (double)(clock_ns() - begun) / (double)calls);
}

static void references(void) {
  descriptor d = describe(&nccl, COLL, NULL, 0);
  void *handle;
  int64_t begun = clock_ns();
  for (int i = 0; i < CALLS; i++) nothing(context, &handle, &d);
  report("empty", begun, CALLS);
  begun = clock_ns();
  for (int i = 0; i < CALLS; i++) {
    memset(sink + 64 * i, i, 64);
    __asm__ volatile("" ::: "memory");
  }
  report("store64", begun, CALLS);
  begun = clock_ns();
  for (int i = 0; i < CALLS; i++) clock_ns();
  report("clock", begun, CALLS);
}

/* A kind of call over as many operations as may be in flight, so that one reading of the clock is spread over many. */
static void operations(uint64_t seq) {
  enum { N = 256, STEPS = 8 };
  static void *coll[N], *kernel[N], *send[N], *step[N];
  const work w = {"AllReduce", "ncclBfloat16", "RING", "SIMPLE", seq, 1 << 20, 0, 0, 1};
  void *group = fake_group(&nccl, context);
  int64_t begun = clock_ns();
  for (int i = 0; i < N; i++) coll[i] = fake_coll(&nccl, context, group, &w, 0);
  report("coll_start", begun, N);
  begun = clock_ns();
  for (int i = 0; i < N; i++) end(&nccl, coll[i]);
  report("coll_stop", begun, N);
  begun = clock_ns();
  for (int i = 0; i < N; i++) send[i] = fake_proxy_op(&nccl, context, coll[i], pid, 0, 1, STEPS, 1);
  report("proxy_op_start", begun, N);
  for (int s = 0; s < STEPS; s++) {
    begun = clock_ns();
    for (int i = 0; i < N; i++) step[i] = fake_proxy_step(&nccl, context, send[i], s);
    report("proxy_step_start", begun, N);
    begun = clock_ns();
    for (int i = 0; i < N; i++) state(&nccl, step[i], SEND_GPU_WAIT, 0);
    for (int i = 0; i < N; i++) state(&nccl, step[i], SEND_PEER_WAIT, 0);
    for (int i = 0; i < N; i++) state(&nccl, step[i], SEND_WAIT, 1 << 19);
    report("proxy_step_state", begun, 3 * N);
    begun = clock_ns();
    for (int i = 0; i < N; i++) end(&nccl, step[i]);
    report("proxy_step_stop", begun, N);
  }
  begun = clock_ns();
  for (int i = 0; i < N; i++) kernel[i] = fake_kernel(&nccl, context, coll[i], 0, 1000);
  report("kernel_start", begun, N);
  begun = clock_ns();
  for (int i = 0; i < N; i++) end(&nccl, send[i]);
  report("proxy_op_stop", begun, N);
  begun = clock_ns();
  for (int i = 0; i < N; i++) state(&nccl, kernel[i], KERNEL_CH_STOP, 2000);
  report("kernel_state", begun, N); /* the last one: the operation is written down */
  begun = clock_ns();
  for (int i = 0; i < N; i++) end(&nccl, kernel[i]);
  report("kernel_stop", begun, N);
}

/* One operation after another, as a job makes them: what all calls together cost, in caches and out of them. */
static void job(uint64_t seq) {
  enum { N = 64, STEPS = 8 };
  int64_t begun = clock_ns();
  for (int i = 0; i < N; i++) {
    const work w = {"AllReduce", "ncclBfloat16", "RING", "SIMPLE", seq, 1 << 20, 0, 0, 1};
    void *group = fake_group(&nccl, context), *coll = fake_coll(&nccl, context, group, &w, 0);
    end(&nccl, coll);
    end(&nccl, group);
    void *send = fake_proxy_op(&nccl, context, coll, pid, 0, 1, STEPS, 1);
    void *kernel = fake_kernel(&nccl, context, coll, 0, 1000);
    for (int s = 0; s < STEPS; s++) {
      void *step = fake_proxy_step(&nccl, context, send, s);
      state(&nccl, step, SEND_GPU_WAIT, 0);
      state(&nccl, step, SEND_PEER_WAIT, 0);
      state(&nccl, step, SEND_WAIT, 1 << 19);
      end(&nccl, step);
    }
    state(&nccl, kernel, KERNEL_CH_STOP, 2000);
    end(&nccl, kernel);
    end(&nccl, send);
  }
  report("all", begun, N * (9 + 5 * STEPS));
}

int main(int argc, char **argv) {
  if (argc < 4) die("usage: bench LIBRARY VERSION BLOCKS");
  fake_load(&nccl, argv[1], atoi(argv[2]));
  pid = getpid();
  context = fake_init(&nccl, 0xbe9c, NULL, 8, 0);
  if (!context) die("nothing is recorded");
  long blocks = atol(argv[3]);
  for (long b = 0; b < blocks; b++) {
    references();
    operations((uint64_t)b);
    job((uint64_t)b);
  }
  nccl.finalize(context);
  return 0;
}
