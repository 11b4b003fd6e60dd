/* A fake NCCL: loads a profiler library as NCCL does, and makes its calls in NCCL's order, in each version.
 *
 * Descriptors are written by byte offset, from the tables of NCCL's headers, and not with the library's own structs: the
 * two restate the interface apart from each other. What NCCL does not set is left as garbage. */
#ifndef FAKE_NCCL_H
#define FAKE_NCCL_H

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { GROUP = 1, COLL = 2, P2P = 4, PROXY_OP = 8, PROXY_STEP = 16, PROXY_CTRL = 32, KERNEL_CH = 64, NET_PLUGIN = 128,
       GROUP_API = 256, COLL_API = 512, P2P_API = 1024, KERNEL_LAUNCH = 2048, CE_COLL = 4096, KERNEL_PHASE = 32768 };
enum { SEND_GPU_WAIT = 8, SEND_WAIT = 9, RECV_WAIT = 10, RECV_FLUSH_WAIT = 11, RECV_GPU_WAIT = 12, SEND_PEER_WAIT = 20,
       KERNEL_CH_STOP = 22, GROUP_START_API_STOP = 23, CE_COLL_START = 25, CE_COLL_COMPLETE = 26 };

typedef int (*start_call)(void *context, void **handle, void *descriptor);
typedef struct {
  void *library, *symbol;
  int version, mask;
  start_call start;
  int (*stop)(void *handle);
  int (*record)(void *handle, int state, void *argument);
  int (*finalize)(void *context);
} fake;

static inline void die(const char *what) {
  fprintf(stderr, "driver: %s\n", what);
  exit(2);
}

static inline void log_line(int level, unsigned long flags, const char *file, int line, const char *format, ...) {
  (void)level, (void)flags, (void)file, (void)line, (void)format;
}

/* Load a library and take one version of it; the newest one it has, with version 0. */
static inline void fake_load(fake *nccl, const char *path, int version) {
  char name[32];
  nccl->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!nccl->library) die(dlerror());
  nccl->symbol = NULL;
  for (int v = version ? version : 7; !nccl->symbol && v >= (version ? version : 1); v--) {
    snprintf(name, sizeof name, "ncclProfiler_v%d", v);
    nccl->symbol = dlsym(nccl->library, name);
    nccl->version = v;
  }
  if (!nccl->symbol) die("no version that this NCCL knows");
  void **calls = nccl->symbol;
  memcpy(&nccl->start, &calls[2], 8);
  memcpy(&nccl->stop, &calls[3], 8);
  memcpy(&nccl->record, &calls[4], 8);
  memcpy(&nccl->finalize, &calls[5], 8);
  nccl->mask = 0;
}

static inline void fake_unload(fake *nccl) {
  dlclose(nccl->library);
}

static inline void *fake_init(fake *nccl, uint64_t hash, const char *name, int ranks, int rank) {
  void *context = (void *)1, **calls = nccl->symbol;
  int result;
  if (nccl->version == 4) {
    int (*init)(void **, int *, const char *, uint64_t, int, int, int, void *);
    memcpy(&init, &calls[1], 8);
    result = init(&context, &nccl->mask, name, hash, 2, ranks, rank, (void *)log_line);
  } else {
    int (*init)(void **, uint64_t, int *, const char *, int, int, int, void *);
    memcpy(&init, &calls[1], 8);
    result = init(&context, hash, &nccl->mask, name, 2, ranks, rank, (void *)log_line);
  }
  if (result) die("init reports an error");
  return context;
}

typedef struct { char at[160]; } descriptor;

static inline void put(descriptor *d, size_t offset, uint64_t value, size_t bytes) { memcpy(d->at + offset, &value, bytes); }
static inline void put_text(descriptor *d, size_t offset, const char *text) { memcpy(d->at + offset, &text, sizeof text); }

static inline descriptor describe(const fake *nccl, uint64_t type, void *parent, int rank) {
  descriptor d;
  memset(&d, 0xa5, sizeof d);
  put(&d, 0, type, nccl->version == 4 ? 1 : 8);
  put(&d, 8, (uint64_t)(uintptr_t)parent, 8);
  put(&d, 16, (uint64_t)rank, 4);
  return d;
}

static inline void *begin(const fake *nccl, void *context, descriptor *d) {
  void *handle = (void *)0xdead; /* must be written */
  nccl->start(context, &handle, d);
  if (handle == (void *)0xdead) die("a handle was not written");
  return handle;
}

/* As NCCL does: nothing is told of events whose handle is NULL. */
static inline void end(const fake *nccl, void *handle) {
  if (handle) nccl->stop(handle);
}

static inline void state(const fake *nccl, void *handle, int which, uint64_t value) {
  uint64_t argument = value;
  if (handle) nccl->record(handle, which, &argument);
}

static inline void *fake_group(const fake *nccl, void *context) {
  descriptor d = describe(nccl, GROUP, NULL, 0);
  return begin(nccl, context, &d);
}

typedef struct {
  const char *func, *datatype, *algo, *proto;
  uint64_t seq, count;
  int root, peer, channels;
} work;

static inline void *fake_coll(const fake *nccl, void *context, void *group, const work *w, int rank) {
  descriptor d = describe(nccl, COLL, nccl->version == 4 ? group : NULL, rank);
  put(&d, 24, w->seq, 8);
  put_text(&d, 32, w->func);
  put(&d, 56, w->count, 8);
  put(&d, 64, (uint64_t)w->root, 4);
  put_text(&d, 72, w->datatype);
  put(&d, 80, (uint64_t)w->channels, 1);
  put_text(&d, 88, w->algo);
  put_text(&d, 96, w->proto);
  if (nccl->version >= 5) put(&d, 104, (uint64_t)(uintptr_t)group, 8);
  return begin(nccl, context, &d);
}

static inline void *fake_p2p(const fake *nccl, void *context, void *group, const work *w, int rank) {
  descriptor d = describe(nccl, P2P, nccl->version == 4 ? group : NULL, rank);
  put_text(&d, 24, w->func);
  put_text(&d, 40, w->datatype);
  put(&d, 48, w->count, 8);
  put(&d, 56, (uint64_t)w->peer, 4);
  if (nccl->version >= 5) {
    put(&d, 60, (uint64_t)w->channels, 1);
    put(&d, 64, (uint64_t)(uintptr_t)group, 8);
  }
  return begin(nccl, context, &d);
}

static inline void *fake_ce_coll(const fake *nccl, void *context, const work *w, int rank) {
  descriptor d = describe(nccl, CE_COLL, NULL, rank);
  put(&d, 24, w->seq, 8);
  put_text(&d, 32, w->func);
  put(&d, 56, w->count, 8);
  put(&d, 64, (uint64_t)w->root, 4);
  put_text(&d, 72, w->datatype);
  put_text(&d, 80, "AUTO");
  put(&d, 100, w->seq, 4);
  return begin(nccl, context, &d);
}

static inline void *fake_kernel(const fake *nccl, void *context, void *parent, int channel, uint64_t timer) {
  descriptor d = describe(nccl, KERNEL_CH, parent, 0);
  put(&d, 24, (uint64_t)channel, 1);
  put(&d, 32, timer, 8);
  return begin(nccl, context, &d);
}

static inline void *fake_proxy_op(const fake *nccl, void *context, void *parent, pid_t pid, int channel, int peer, int steps,
                           int is_send) {
  descriptor d = describe(nccl, PROXY_OP, parent, 0);
  put(&d, 24, (uint64_t)pid, 4);
  put(&d, 28, (uint64_t)channel, 1);
  put(&d, 32, (uint64_t)peer, 4);
  put(&d, 36, (uint64_t)steps, 4);
  put(&d, 40, 1 << 19, 4);
  put(&d, 44, (uint64_t)is_send, 4);
  return begin(nccl, context, &d);
}

static inline void *fake_proxy_step(const fake *nccl, void *context, void *parent, int step) {
  descriptor d = describe(nccl, PROXY_STEP, parent, 0);
  put(&d, 24, (uint64_t)step, 4);
  return begin(nccl, context, &d);
}

static inline int64_t clock_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void sleep_until(int64_t at) {
  struct timespec t = {at / 1000000000, at % 1000000000};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

#endif
