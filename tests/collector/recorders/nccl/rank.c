/* One rank of a data-parallel job, as its NCCL tells it to a profiler library, in a time of its own.
 *   rank LIBRARY VERSION RANK WORLD FAULT SECONDS
 * Reads numbers (seconds of the job's life) from standard input and lives up to each, then says "done". The clock is
 * ours: this program's clock_gettime stands before the C library's, so a minute takes as long as its calls take.
 *
 * A step computes, then reduces three buckets over a ring. All ranks draw the same chances and so know when each comes.
 * FAULT, from SECONDS on: none; link: what rank 2 sends to rank 3 is five times as long on the wire; hang: that edge
 * stops with a step posted; late: rank 5's GPU begins nothing more, though its host launches. */
#include "fake_nccl.h"

#define MS 1000000
#define MOST 64
#define BUCKETS 3
#define EDGE 2
#define LATE 5

static int64_t now_ns = 1000000000000;
static const int64_t born = 1000000000000, epoch = 1800000000ll * 1000000000;
static double horizon;
static fake nccl;
static void *context;
static int self, world;
static pid_t pid;

int clock_gettime(clockid_t clock, struct timespec *t) {
  int64_t at = clock == CLOCK_REALTIME ? epoch + now_ns - born : now_ns;
  *t = (struct timespec){at / 1000000000, at % 1000000000};
  return 0;
}

/* Between 0 and 1, the same for the same three numbers. */
static double chance(uint64_t rank, uint64_t step, uint64_t what) {
  uint64_t x = rank * 0x9e3779b97f4a7c15 ^ step * 0xbf58476d1ce4e5b9 ^ what * 0x94d049bb133111eb;
  x ^= x >> 31, x *= 0x7fb5d329728ea185, x ^= x >> 27, x *= 0x81dadef4bc2dd44d, x ^= x >> 33;
  return (double)(x >> 11) / (double)(1ull << 53);
}

/* Let it be so late; wait for permission where that is beyond what was asked for. */
static void at(int64_t when) {
  while ((double)(when - born) > horizon * 1e9) {
    now_ns = born + (int64_t)(horizon * 1e9);
    printf("done\n");
    fflush(stdout);
    if (scanf("%lf", &horizon) != 1) exit(0);
  }
  if (when > now_ns) now_ns = when;
}

/* A bucket: everybody is in it from `all`, moves two pieces of `wire` each way, and leaves at `leave`. */
static void bucket(uint64_t seq, const char *fault, int64_t enter, int64_t all, int64_t wire, int64_t leave) {
  const work w = {"AllReduce", "ncclBfloat16", "RING", "SIMPLE", seq, seq % BUCKETS == 2 ? 100000 : 200000, 0, 0, 1};
  int hang = !strcmp(fault, "hang"), late = !strcmp(fault, "late");
  at(enter - 5 * MS); /* the host is ahead of its device */
  void *group = fake_group(&nccl, context), *coll = fake_coll(&nccl, context, group, &w, self), *step[2];
  end(&nccl, coll);
  end(&nccl, group);
  if (late && self == LATE) at(INT64_MAX);
  at(enter);
  void *kernel = fake_kernel(&nccl, context, coll, 0, (uint64_t)enter);
  void *send = fake_proxy_op(&nccl, context, coll, pid, 0, (self + 1) % world, 2, 1);
  void *recv = fake_proxy_op(&nccl, context, coll, pid, 0, (self + world - 1) % world, 2, 0);
  for (int s = 0; s < 2; s++) {
    step[0] = fake_proxy_step(&nccl, context, send, s);
    step[1] = fake_proxy_step(&nccl, context, recv, s);
    state(&nccl, step[0], SEND_GPU_WAIT, 0);
    state(&nccl, step[1], RECV_WAIT, 0);
    if (late) at(INT64_MAX);
    if (s == 0) at(all);
    if (hang && s == 1 && self != EDGE) at(INT64_MAX);
    state(&nccl, step[0], SEND_PEER_WAIT, 0);
    state(&nccl, step[0], SEND_WAIT, w.count);
    if (hang && s == 1) at(INT64_MAX);
    at(all + (s + 1) * wire);
    end(&nccl, step[0]);
    state(&nccl, step[1], RECV_FLUSH_WAIT, w.count);
    state(&nccl, step[1], RECV_GPU_WAIT, 0);
    end(&nccl, step[1]);
  }
  at(leave);
  end(&nccl, send);
  end(&nccl, recv);
  state(&nccl, kernel, KERNEL_CH_STOP, (uint64_t)now_ns);
  end(&nccl, kernel);
}

int main(int argc, char **argv) {
  if (argc != 7) die("usage: rank LIBRARY VERSION RANK WORLD FAULT SECONDS");
  fake_load(&nccl, argv[1], atoi(argv[2]));
  self = atoi(argv[3]);
  world = atoi(argv[4]);
  pid = getpid();
  int64_t since = born + (int64_t)(atof(argv[6]) * 1e9), ready[MOST], enter[MOST];
  if (world > MOST) die("too large a world");
  at(born);
  context = fake_init(&nccl, 0x5eed, "dp", world, self);
  for (int r = 0; r < world; r++) ready[r] = born + 100 * MS;
  for (uint64_t step = 0;; step++) {
    for (uint64_t b = 0; b < BUCKETS; b++) {
      int64_t all = 0, latest = 0;
      for (int r = 0; r < world; r++) {
        enter[r] = ready[r] + (int64_t)((b ? 2 : 30) * MS * (0.98 + 0.04 * chance((uint64_t)r, step, b)));
        if (enter[r] > all) all = enter[r];
      }
      const char *fault = all >= since ? argv[5] : "none";
      int64_t wire = (int64_t)(2 * MS * (0.95 + 0.1 * chance(99, step, b))), own = wire;
      if (!strcmp(fault, "link")) latest = 8 * wire, own = self == EDGE ? 5 * wire : wire;
      for (int r = 0; r < world; r++)
        ready[r] = all + 3 * wire + latest + (int64_t)(MS / 5 * chance((uint64_t)r, step, 10 + b));
      bucket(step * BUCKETS + b, fault, enter[self], all, own, ready[self]);
    }
  }
}
