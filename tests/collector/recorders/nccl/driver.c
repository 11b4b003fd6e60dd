/* Plays NCCL to a profiler library.
 *   driver LIBRARY VERSION one            one of everything, then wait for a line
 *   driver LIBRARY VERSION threads COMMS OPERATIONS   an application and a proxy thread for each communicator, at once
 *   driver LIBRARY VERSION hang           operations that end, then some that never do; wait for a line
 *   driver LIBRARY VERSION hostile        all that NCCL or a broken one could call
 *   driver LIBRARY VERSION fewer OPERATIONS   operations with fewer kernel channels than said, the last one, too
 *   driver LIBRARY VERSION reload TIMES   load, use, unload, again and again
 *   driver LIBRARY VERSION fork           a child that goes on, and one that begins anew; wait for a line
 *   driver LIBRARY VERSION quiet OPERATIONS   operations while every system call but read and write is death
 *   driver LIBRARY VERSION rate EVENTS SECONDS   so many events a second, paced
 * Says what it did as "name value" lines. */
#include "fake_nccl.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#ifdef COUNT
/* Stand before the C library's, for the profiler library, too. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
static int (*real_lock)(pthread_mutex_t *);
static uint64_t allocations, locks;

void *malloc(size_t size) {
  allocations++;
  return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  allocations++;
  return __libc_calloc(count, size);
}

int pthread_mutex_lock(pthread_mutex_t *mutex) {
  locks++;
  if (!real_lock) {
    void *found = dlsym(RTLD_NEXT, "pthread_mutex_lock");
    memcpy(&real_lock, &found, sizeof found);
  }
  return real_lock(mutex);
}
#else
static uint64_t allocations, locks;
#endif

static const work reduce = {"AllReduce", "ncclBfloat16", "RING", "SIMPLE", 0, 1 << 20, 0, 0, 2};
static fake nccl;
static uint64_t events; /* atomic */
static pid_t pid;

static void tell(const char *name, long long value) {
  printf("%s %lld\n", name, value);
  fflush(stdout);
}

static void wait_for_line(void) {
  tell("ready", getpid());
  getchar();
}

/* One network step of a send: GPU, credit (told twice), wire. */
static void send_step(void *context, void *op, int step, uint64_t bytes) {
  void *handle = fake_proxy_step(&nccl, context, op, step);
  state(&nccl, handle, SEND_GPU_WAIT, 1);
  state(&nccl, handle, SEND_PEER_WAIT, 1);
  state(&nccl, handle, SEND_PEER_WAIT, 1);
  state(&nccl, handle, SEND_WAIT, bytes);
  end(&nccl, handle);
}

static void recv_step(void *context, void *op, int step, uint64_t bytes) {
  void *handle = fake_proxy_step(&nccl, context, op, step);
  state(&nccl, handle, RECV_WAIT, 1);
  state(&nccl, handle, RECV_FLUSH_WAIT, bytes);
  state(&nccl, handle, RECV_GPU_WAIT, 1);
  end(&nccl, handle);
}

static void kernels(void *context, void *coll, int channels, uint64_t begun, uint64_t length) {
  void *kernel[64];
  for (int c = 0; c < channels; c++) kernel[c] = fake_kernel(&nccl, context, coll, c, begun + (uint64_t)c);
  for (int c = 0; c < channels; c++) {
    state(&nccl, kernel[c], KERNEL_CH_STOP, begun + length);
    end(&nccl, kernel[c]);
  }
}

/* A whole operation over the network; returns how many calls it took. */
static int operate(void *context, int rank, int ranks, const work *w, int p2p) {
  void *group = fake_group(&nccl, context);
  void *coll = p2p ? fake_p2p(&nccl, context, group, w, rank) : fake_coll(&nccl, context, group, w, rank);
  void *send[64], *recv[64];
  end(&nccl, coll);
  end(&nccl, group);
  for (int c = 0; c < w->channels; c++) {
    send[c] = fake_proxy_op(&nccl, context, coll, pid, c, (rank + 1) % ranks, 2, 1);
    recv[c] = fake_proxy_op(&nccl, context, coll, pid, c, (rank + ranks - 1) % ranks, 2, 0);
    for (int s = 0; s < 2; s++) {
      send_step(context, send[c], s, 4096);
      recv_step(context, recv[c], s, 4096);
    }
  }
  kernels(context, coll, w->channels, 5000, 200);
  for (int c = 0; c < w->channels; c++) {
    end(&nccl, send[c]);
    end(&nccl, recv[c]);
  }
  return 4 + w->channels * (4 + 2 * 11 + 3);
}

static void one(void) {
  void *context = fake_init(&nccl, 0xfeedfacecafe, "tensor", 8, 3);
  tell("mask", nccl.mask);
  work w = reduce;
  operate(context, 3, 8, &w, 0);
  w.seq = 1;
  operate(context, 3, 8, &w, 0);
  operate(context, 3, 8, &(work){"Broadcast", "ncclInt8", "TREE", "LL", 0, 100, 5, 0, 1}, 0);
  operate(context, 3, 8, &(work){"ReduceScatter", "ncclFloat32", "RING", "LL128", 0, 100, 0, 0, 1}, 0);
  operate(context, 3, 8, &(work){"AllGatherOfTomorrow", "ncclFloat128", "SPIRAL", "LL9", 7, 10, 0, 0, 1}, 0);
  operate(context, 3, 8, &(work){"Send", "ncclFloat32", NULL, NULL, 0, 64, 0, 4, 1}, 1);
  operate(context, 3, 8, &(work){"Send", "ncclFloat32", NULL, NULL, 0, 64, 0, 4, 1}, 1);
  operate(context, 3, 8, &(work){"Recv", "ncclFloat32", NULL, NULL, 0, 64, 0, 2, 1}, 1);
  if (nccl.version >= 6) {
    void *ce = fake_ce_coll(&nccl, context, &(work){"AllGather", "ncclFloat32", NULL, NULL, 0, 64, 0, 0, 0}, 3);
    state(&nccl, ce, CE_COLL_START, 0);
    state(&nccl, ce, CE_COLL_COMPLETE, 0);
    end(&nccl, ce);
  }
  void *context2 = fake_init(&nccl, 0xfeedfacecaff, NULL, 4, 1);
  operate(context2, 1, 4, &(work){"AllReduce", "ncclFloat32", "RING", "LL", 0, 1, 0, 0, 1}, 0);
  wait_for_line();
}

/* Threads: what the application launches, the communicator's proxy thread carries out. */
typedef struct {
  void *context, *coll[4];
  int rank, operations;
  uint64_t launched, done; /* atomic */
} channel;

static void *application(void *argument) {
  channel *c = argument;
  work w = reduce;
  for (int i = 0; i < c->operations; i++) {
    /* 200 communicators at once stay within the ring's 1024 open operations, however the scheduler treats them. */
    while ((uint64_t)i - __atomic_load_n(&c->done, __ATOMIC_ACQUIRE) >= 4) sched_yield();
    w.seq = (uint64_t)i;
    void *group = fake_group(&nccl, c->context);
    c->coll[i % 4] = fake_coll(&nccl, c->context, group, &w, 0);
    __atomic_store_n(&c->launched, (uint64_t)i + 1, __ATOMIC_RELEASE);
    end(&nccl, c->coll[i % 4]); /* the proxy thread may be ahead of this */
    end(&nccl, group);
    __atomic_fetch_add(&events, 4, __ATOMIC_RELAXED);
  }
  while (__atomic_load_n(&c->done, __ATOMIC_ACQUIRE) < (uint64_t)c->operations) sched_yield();
  nccl.finalize(c->context); /* while others go on */
  return NULL;
}

static void *proxy(void *argument) {
  channel *c = argument;
  for (int i = 0; i < c->operations; i++) {
    while (__atomic_load_n(&c->launched, __ATOMIC_ACQUIRE) <= (uint64_t)i) sched_yield();
    void *coll = c->coll[i % 4];
    void *send = fake_proxy_op(&nccl, c->context, coll, getpid(), 0, 1, 1, 1);
    send_step(c->context, send, 0, 4096);
    kernels(c->context, coll, 2, 5000, 1000);
    end(&nccl, send);
    __atomic_store_n(&c->done, (uint64_t)i + 1, __ATOMIC_RELEASE);
    __atomic_fetch_add(&events, 14, __ATOMIC_RELAXED);
  }
  return NULL;
}

static void threads(int comms, int operations) {
  channel *c = calloc((size_t)comms, sizeof *c);
  pthread_t *t = calloc(2 * (size_t)comms, sizeof *t);
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 256 << 10);
  for (int i = 0; i < comms; i++) {
    c[i].context = fake_init(&nccl, 0x1000 + (uint64_t)i, NULL, 4, 0);
    c[i].operations = operations;
    if (pthread_create(&t[2 * i], &small, application, &c[i]) || pthread_create(&t[2 * i + 1], &small, proxy, &c[i]))
      die("no thread");
  }
  for (int i = 0; i < 2 * comms; i++) pthread_join(t[i], NULL);
  tell("events", (long long)events);
  free(c);
  free(t);
  wait_for_line();
}

static void hang(void) {
  void *context = fake_init(&nccl, 0xbad, NULL, 4, 2);
  work w = reduce;
  for (w.seq = 0; w.seq < 3; w.seq++) operate(context, 2, 4, &w, 0);
  void *group = fake_group(&nccl, context);
  void *coll = fake_coll(&nccl, context, group, &w, 2);
  end(&nccl, coll);
  end(&nccl, group);
  fake_kernel(&nccl, context, coll, 0, 777);
  void *send = fake_proxy_op(&nccl, context, coll, getpid(), 1, 3, 9, 1);
  send_step(context, send, 0, 100);
  void *step = fake_proxy_step(&nccl, context, send, 1);
  state(&nccl, step, SEND_GPU_WAIT, 0);
  state(&nccl, step, SEND_PEER_WAIT, 0);
  state(&nccl, step, SEND_WAIT, 200);
  w.seq++;
  group = fake_group(&nccl, context);
  end(&nccl, fake_coll(&nccl, context, group, &w, 2)); /* launched, not begun */
  wait_for_line();
}

/* From here on every system call but read, write and exit ends the process. (The strict mode of seccomp would also forbid
 * to read the processor's clock.) */
static int only_read_and_write(void) {
  struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                               BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 3, 0),
                               BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 2, 0),
                               BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 1, 0),
                               BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                               BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* Says "clock 1" where the clock can be read without a system call, then what the operations have cost. */
static void quiet(int operations) {
  char text[128];
  void *context = fake_init(&nccl, 0x9, NULL, 4, 0);
  work w = reduce;
  operate(context, 0, 4, &w, 0);
  uint64_t allocated = allocations, locked = locks;
  if (only_read_and_write()) die("no seccomp");
  clock_ns();
  if (write(1, "clock 1\n", 8) != 8) die("no output");
  for (w.seq = 1; w.seq <= (uint64_t)operations; w.seq++) {
    const work send = {"Send", "ncclFloat32", NULL, NULL, 0, 64, 0, 1, 1};
    operate(context, 0, 4, w.seq % 4 ? &w : &send, w.seq % 4 == 0);
  }
  int n = snprintf(text, sizeof text, "allocations %d\nlocks %d\nready 1\n", (int)(allocations - allocated),
                   (int)(locks - locked));
  if (write(1, text, (size_t)n) != n) die("no output");
  while (read(0, text, 1) == 1) {}
  syscall(SYS_exit, 0);
}

static void refuse(void *context, descriptor d) {
  void *handle = begin(&nccl, context, &d);
  if (handle) die("an event that is none was accepted");
}

static void late(void *context) {
  work w = reduce;
  void *coll = fake_coll(&nccl, context, fake_group(&nccl, context), &w, 0);
  void *send = fake_proxy_op(&nccl, context, coll, getpid(), 0, 1, 1, 1);
  void *step = fake_proxy_step(&nccl, context, send, 0);
  void *kernel = fake_kernel(&nccl, context, coll, 0, 10);
  void *other = fake_kernel(&nccl, context, coll, 1, 10);
  end(&nccl, coll);
  end(&nccl, send);
  for (int i = 0; i < 3; i++) { /* after their end, in any order, again and again */
    end(&nccl, step);
    state(&nccl, step, SEND_WAIT, 1);
    end(&nccl, kernel);
    state(&nccl, kernel, KERNEL_CH_STOP, 20);
    end(&nccl, other);
    end(&nccl, send);
    end(&nccl, coll);
    if (fake_proxy_step(&nccl, context, send, 1)) die("a step of a transfer that is over");
    if (fake_kernel(&nccl, context, coll, 1, 1)) die("a kernel of an operation that is over");
  }
}

static void hostile(void) {
  uint64_t argument = UINT64_MAX;
  void *context = fake_init(&nccl, 1, NULL, 4, 0), *handle = NULL;
  late(context);
  nccl.start(context, NULL, NULL);
  nccl.start(context, &handle, NULL);
  if (handle) die("an event without a descriptor");
  for (int s = -1; s < 64; s++) { /* also of net plugins, for which NCCL does not look */
    nccl.record(NULL, s, NULL);
    nccl.record((void *)0x1234567, s, &argument);
    nccl.record((void *)UINTPTR_MAX, s, &argument);
  }
  nccl.stop(NULL);
  for (uint64_t bits = 1; bits; bits <<= 1) {
    nccl.stop((void *)(uintptr_t)bits);
    nccl.stop((void *)(uintptr_t)~bits);
    if (bits != GROUP) refuse((void *)(uintptr_t)bits, describe(&nccl, bits, (void *)(uintptr_t)~bits, 0));
  }
  work w = reduce;
  if (fake_coll(&nccl, NULL, NULL, &w, 0)) die("an operation of no communicator");
  void *group = fake_group(&nccl, NULL), *coll = fake_coll(&nccl, context, group, &w, 0);
  if (!coll) die("an operation was refused");
  if (fake_proxy_op(&nccl, context, coll, getpid() + 1, 0, 1, 1, 1)) die("a transfer of another process");
  if (fake_proxy_op(&nccl, (void *)0x7f0000001000, (void *)0x7f0000002000, getpid() + 1, 0, 1, 1, 1)) die("the same");
  if (fake_proxy_op(&nccl, context, (void *)0x7f0000002000, getpid(), 0, 1, 1, 1)) die("a transfer of nothing");
  if (fake_proxy_op(&nccl, context, coll, getpid(), 0, -1, 1, 1)) die("a transfer to nobody");
  if (fake_proxy_op(&nccl, context, coll, getpid(), 0, 4, 1, 1)) die("a transfer to a rank that is not there");
  void *send = fake_proxy_op(&nccl, context, coll, getpid(), 255, 1, -5, 77);
  for (int i = 0; i < 3; i++) { /* sizes that overflow, one step number for all */
    void *step = fake_proxy_step(&nccl, context, send, 1 << 30);
    state(&nccl, step, SEND_GPU_WAIT, 0);
    state(&nccl, step, SEND_WAIT, UINT64_MAX);
    end(&nccl, step);
  }
  if (fake_proxy_step(&nccl, context, send, -1)) die("a step before the first");
  end(&nccl, send);
  char garbage[64];
  memset(garbage, 'x', sizeof garbage);
  garbage[63] = 0;
  work odd[] = {{NULL, NULL, NULL, NULL, UINT64_MAX, UINT64_MAX, -7, -1, 255},
                {garbage, garbage, "", garbage, INT64_MAX, SIZE_MAX, 1 << 30, 1 << 30, 0},
                {"AllReduce", "ncclFloat64", NULL, NULL, 0, SIZE_MAX / 4, 0, 0, 0}};
  for (int i = 0; i < 3; i++) {
    coll = fake_coll(&nccl, context, (void *)0x123, &odd[i], -1);
    kernels(context, coll, 64, UINT64_MAX - 2000, 1000);
    end(&nccl, coll);
    if (fake_p2p(&nccl, context, NULL, &odd[i], 0)) die("a send to nobody");
  }
  if (fake_p2p(&nccl, context, NULL, &(work){"Send", "ncclInt8", 0, 0, 0, 1, 0, 0, 1}, 0)) die("a send to itself");
  /* Collective networks and shared memory: never stopped, more than there are places. */
  for (int i = 0; i < 30000; i++) {
    w.seq++;
    void *end_of = fake_coll(&nccl, context, fake_group(&nccl, context), &w, 0);
    fake_proxy_op(&nccl, context, end_of, getpid(), 0, 1, 1, 0);
    kernels(context, end_of, 2, 100, 50);
    end(&nccl, end_of);
  }
  /* Kernels of which no end is told (dropped on the way): given up once two later groups have ended. */
  for (int i = 0; i < 10000; i++) {
    w.seq++;
    void *lost = fake_coll(&nccl, context, fake_group(&nccl, context), &w, 0);
    end(&nccl, lost);
    if (i % 2) kernels(context, lost, 2, 100, 50);
  }
  void *unfinished[5000];
  for (int i = 0; i < 5000; i++) { /* more than there is room for */
    w.seq++;
    unfinished[i] = fake_coll(&nccl, context, fake_group(&nccl, context), &w, 0);
  }
  for (int i = 0; i < 600; i++) fake_init(&nccl, 100 + (uint64_t)i, NULL, 2, 0);
  if (fake_init(&nccl, 5, NULL, -1, -1) || fake_init(&nccl, 5, NULL, 1, 0)) die("a communicator of nobody");
  nccl.finalize(NULL);
  nccl.finalize((void *)0x99);
  nccl.finalize(context);
  nccl.finalize(context);
  for (int i = 0; i < 5000; i++) end(&nccl, unfinished[i]);
  if (fake_coll(&nccl, context, NULL, &w, 0)) die("an operation of a communicator that is no more");
  wait_for_line();
}

static void fewer(int operations) {
  void *context = fake_init(&nccl, 0xfe3e4, NULL, 4, 0);
  work w = reduce;
  for (; w.seq < (uint64_t)operations; w.seq++) {
    void *group = fake_group(&nccl, context), *coll = fake_coll(&nccl, context, group, &w, 0);
    end(&nccl, coll);
    kernels(context, coll, w.channels - 1, 100, 50);
  }
  wait_for_line();
}

static void reload(const char *path, int times) {
  work w = reduce;
  for (int i = 0; i < times; i++) {
    void *one_of = fake_init(&nccl, 10 + (uint64_t)i, NULL, 4, 0), *other = fake_init(&nccl, 9000 + (uint64_t)i, NULL, 2, 1);
    if (!nccl.mask) die("no events are wanted after a reload");
    operate(one_of, 0, 4, &w, 0);
    nccl.finalize(one_of);
    operate(other, 1, 2, &w, 0);
    nccl.finalize(other);
    fake_unload(&nccl);
    fake_load(&nccl, path, nccl.version);
  }
  wait_for_line();
}

static void forks(void) {
  work w = reduce;
  void *context = fake_init(&nccl, 0xf0, NULL, 4, 0);
  operate(context, 0, 4, &w, 0);
  for (int again = 0; again < 2; again++) {
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
      pid = getpid();
      w.seq = 1;
      operate(context, 0, 4, &w, 0); /* writes nothing: the ring is its parent's */
      if (again) {
        context = fake_init(&nccl, 0xf1, NULL, 2, 1);
        w.seq = 0;
        operate(context, 1, 2, &w, 0);
      }
      wait_for_line();
      _exit(0);
    }
    tell("child", child);
  }
  w.seq = 1;
  operate(context, 0, 4, &w, 0);
  pause();
}

static void rate(long per_second, double seconds) {
  void *context = fake_init(&nccl, 0x9a7e, NULL, 8, 0);
  work w = reduce;
  long long told = 0, operations = 0;
  int64_t begun = clock_ns();
  while (clock_ns() - begun < (int64_t)(seconds * 1e9)) {
    for (int i = 0; i < 20; i++, operations++, w.seq++) told += operate(context, 0, 8, &w, 0);
    sleep_until(begun + (int64_t)((double)told / (double)per_second * 1e9));
  }
  tell("nanoseconds", clock_ns() - begun);
  tell("events", told);
  tell("operations", operations);
  wait_for_line();
}

int main(int argc, char **argv) {
  if (argc < 4) die("usage: driver LIBRARY VERSION WHAT …");
  fake_load(&nccl, argv[1], atoi(argv[2]));
  tell("version", nccl.version);
  pid = getpid();
  const char *what = argv[3];
  if (!strcmp(what, "one")) one();
  else if (!strcmp(what, "threads") && argc == 6) threads(atoi(argv[4]), atoi(argv[5]));
  else if (!strcmp(what, "hang")) hang();
  else if (!strcmp(what, "hostile")) hostile();
  else if (!strcmp(what, "fewer") && argc == 5) fewer(atoi(argv[4]));
  else if (!strcmp(what, "reload") && argc == 5) reload(argv[1], atoi(argv[4]));
  else if (!strcmp(what, "fork")) forks();
  else if (!strcmp(what, "quiet") && argc == 5) quiet(atoi(argv[4]));
  else if (!strcmp(what, "rate") && argc == 6) rate(atol(argv[4]), atof(argv[5]));
  else die("nothing of that name");
  return 0;
}
