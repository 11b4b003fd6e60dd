/* Writes a ring through offbeat_ring.h, for the reader's tests.
 *   writer layout                  print sizes, offsets and constants as "name value" lines
 *   writer write DIRECTORY         write one of everything, wait for a line on standard input, end without an exit mark
 *   writer race DIRECTORY THREADS OPERATIONS   let threads write at once
 */
#include "offbeat_ring.h"

#define SHOW(name) printf("%s %lld\n", #name, (long long)(name))
#define OFFSET(field) printf("operation.%s %zu\n", #field, offsetof(offbeat_operation, field))
#define PLACE(field) printf("transfer.%s %zu\n", #field, offsetof(offbeat_transfer, field))

static offbeat_ring ring;
static uint32_t comm;
static long each;

static void *race(void *argument) {
  long thread = (long)argument;
  for (long seq = 0; seq < each; seq++) {
    offbeat_operation what = offbeat_operation_of(comm, OFFBEAT_ALL_REDUCE);
    what.seq = seq;
    what.nbytes = thread;
    what.stream = seq * 7 + thread;
    offbeat_token token = offbeat_ring_start(&ring, &what);
    offbeat_ring_end(&ring, &token, OFFBEAT_COMPLETED, 0);
    if (seq % 512 == 511) usleep(2000);
  }
  return NULL;
}

static void layout(void) {
  SHOW(OFFBEAT_VERSION); SHOW(OFFBEAT_HEADER_BYTES); SHOW(OFFBEAT_STRING_BYTES); SHOW(OFFBEAT_COMMUNICATORS);
  SHOW(OFFBEAT_MEMBERS); SHOW(OFFBEAT_OPEN_SLOTS); SHOW(OFFBEAT_SAMPLES); SHOW(OFFBEAT_MESSAGES); SHOW(OFFBEAT_LANES);
  SHOW(OFFBEAT_LANE_RECORDS); SHOW(OFFBEAT_AREAS_AT); SHOW(OFFBEAT_LANE_COUNT_AT); SHOW(OFFBEAT_IDENTITY_AT);
  SHOW(OFFBEAT_CLOCK_AT); SHOW(OFFBEAT_EXIT_AT); SHOW(OFFBEAT_COUNTERS_AT); SHOW(OFFBEAT_CURSORS_AT);
  SHOW(OFFBEAT_CURSOR_STRIDE); SHOW(OFFBEAT_NO_CODE); SHOW(OFFBEAT_ENQUEUED); SHOW(OFFBEAT_STARTED);
  SHOW(OFFBEAT_COMPLETED); SHOW(OFFBEAT_UNKNOWN); SHOW(OFFBEAT_FAILED);
  SHOW(OFFBEAT_VERSION_TRANSFERS); SHOW(OFFBEAT_TRANSFER); SHOW(OFFBEAT_ON_DEVICE); SHOW(OFFBEAT_COMM_RANKS);
  SHOW(OFFBEAT_ALL_REDUCE); SHOW(OFFBEAT_REDUCE_SCATTER); SHOW(OFFBEAT_ALL_GATHER); SHOW(OFFBEAT_BROADCAST);
  SHOW(OFFBEAT_REDUCE); SHOW(OFFBEAT_ALL_TO_ALL); SHOW(OFFBEAT_GATHER); SHOW(OFFBEAT_SCATTER); SHOW(OFFBEAT_BARRIER);
  SHOW(OFFBEAT_SEND); SHOW(OFFBEAT_RECV); SHOW(OFFBEAT_SEND_RECV); SHOW(OFFBEAT_PUT); SHOW(OFFBEAT_SIGNAL);
  SHOW(OFFBEAT_WAIT_SIGNAL); SHOW(OFFBEAT_COALESCED); SHOW(OFFBEAT_OTHER);
  SHOW(OFFBEAT_COUNT_STRINGS); SHOW(OFFBEAT_COUNT_COMMUNICATORS); SHOW(OFFBEAT_COUNT_MEMBERS); SHOW(OFFBEAT_COUNT_LANES);
  SHOW(OFFBEAT_COUNT_OPEN_DROPPED); SHOW(OFFBEAT_COUNT_TABLE_DROPPED); SHOW(OFFBEAT_COUNT_LANE_DROPPED);
  SHOW(OFFBEAT_AREA_STRINGS); SHOW(OFFBEAT_AREA_COMMUNICATORS); SHOW(OFFBEAT_AREA_MEMBERS); SHOW(OFFBEAT_AREA_OPEN);
  SHOW(OFFBEAT_AREA_SAMPLES); SHOW(OFFBEAT_AREA_MESSAGES); SHOW(OFFBEAT_AREA_LANES);
  OFFSET(head); OFFSET(comm); OFFSET(op); OFFSET(clock); OFFSET(channels); OFFSET(native); OFFSET(dtype); OFFSET(redop);
  OFFSET(algo); OFFSET(proto); OFFSET(graph); OFFSET(peer); OFFSET(root); OFFSET(traits); OFFSET(state); OFFSET(flags);
  OFFSET(spare2); OFFSET(group); OFFSET(id); OFFSET(seq); OFFSET(fn_seq); OFFSET(p2p_seq); OFFSET(nbytes);
  OFFSET(enqueued); OFFSET(started); OFFSET(ended); OFFSET(stream); OFFSET(tail);
  PLACE(head); PLACE(comm); PLACE(kind); PLACE(side); PLACE(channel); PLACE(peer); PLACE(steps); PLACE(ready);
  PLACE(posted); PLACE(done); PLACE(spare); PLACE(state); PLACE(flags); PLACE(spare2); PLACE(wire_max); PLACE(id);
  PLACE(seq); PLACE(nbytes); PLACE(started); PLACE(progress); PLACE(gpu_wait); PLACE(credit_wait); PLACE(wire);
  PLACE(flush); PLACE(tail);
}

static void write_one_of_everything(void) {
  const int32_t even[] = {0, 2, 4}, odd[] = {7, 3, 9};
  offbeat_ring_identify(&ring, "c-job", 5, 2, 8, 1);
  comm = offbeat_ring_communicator(&ring, "even@1", "even", 1, 3, even);
  uint32_t other = offbeat_ring_communicator(&ring, "odd@2", "odd", 0, 3, odd);
  offbeat_ring_communicator(&ring, "unknown@3", "unknown", 0, 16, NULL);

  offbeat_operation what = offbeat_operation_of(comm, OFFBEAT_BROADCAST);
  what.native = offbeat_ring_intern(&ring, "Broadcast");
  what.dtype = offbeat_ring_intern(&ring, "ncclFloat32");
  const uint16_t algo = what.algo = offbeat_ring_intern(&ring, "RING");
  what.proto = offbeat_ring_intern(&ring, "LL128");
  what.clock = OFFBEAT_GPU;
  what.channels = 12;
  what.graph = 1;
  what.root = 4;
  what.group = 77;
  what.seq = 41;
  what.fn_seq = 13;
  what.nbytes = 1 << 20;
  what.stream = 99;
  offbeat_token token = offbeat_ring_start(&ring, &what);
  offbeat_ring_started(&ring, &token, token.what.enqueued + 10);
  offbeat_ring_end(&ring, &token, OFFBEAT_COMPLETED, OFFBEAT_FAILED);

  what = offbeat_operation_of(other, OFFBEAT_SEND);
  what.peer = 9;
  what.p2p_seq = 3;
  token = offbeat_ring_start(&ring, &what);
  offbeat_ring_started(&ring, &token, token.what.enqueued + 20);
  offbeat_ring_message(&ring, "recorder_note", "from C", 8);
  if (offbeat_ring_intern(&ring, "RING") != algo) abort(); /* a string is interned once */
}

int main(int argc, char **argv) {
  if (argc == 2 && !strcmp(argv[1], "layout")) return layout(), 0;
  if (argc < 3 || offbeat_ring_open(&ring, argv[2], "nccl")) return 1;
  if (!strcmp(argv[1], "write")) {
    write_one_of_everything();
    pid_t child = fork();
    if (!child) { /* must not write into our ring */
      offbeat_operation what = offbeat_operation_of(0, OFFBEAT_PUT);
      offbeat_token token = offbeat_ring_start(&ring, &what);
      offbeat_ring_end(&ring, &token, OFFBEAT_COMPLETED, 0);
      offbeat_ring_exit(&ring, 3);
      _exit(0);
    }
    printf("%s\n", ring.path);
    fflush(stdout);
    getchar();
    return 0;
  }
  pthread_t threads[64];
  long n = atol(argv[3]);
  each = atol(argv[4]);
  comm = offbeat_ring_communicator(&ring, "race@0", "race", 0, 1, NULL);
  printf("%s\n", ring.path);
  fflush(stdout);
  for (long i = 0; i < n; i++) pthread_create(&threads[i], NULL, race, (void *)i);
  for (long i = 0; i < n; i++) pthread_join(threads[i], NULL);
  offbeat_ring_exit(&ring, 0);
  getchar();
  offbeat_ring_close(&ring);
  return 0;
}
