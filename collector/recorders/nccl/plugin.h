/* What the parts of the plugin ask of one another. Order of calls: init, events, finalize, as NCCL makes them. */
#ifndef OFFBEAT_PLUGIN_H
#define OFFBEAT_PLUGIN_H

#include "offbeat_ring.h" /* first: it says which extensions of the C library it needs */

#include "handles.h"
#include "pool.h"
#include "profiler.h"

#define COMMUNICATORS 512   /* alive at once */
#define OPERATIONS 4096     /* in flight at once */
#define TRANSFERS HANDLE_PLACES
#define OPEN_SLOTS 2048
#define FUNCTIONS (OFFBEAT_OTHER + 2) /* each offbeat_op, and copy engines, which count apart */
#define CE_FUNCTION (OFFBEAT_OTHER + 1)
#define FLIGHT 256

_Static_assert(OPERATIONS <= HANDLE_PLACES && COMMUNICATORS <= HANDLE_PLACES, "places fit into handles");

/* The process (process.c) */

extern offbeat_ring ring;
extern uint64_t left_out_pxn, left_out_full; /* atomic: events of other processes, and those without a place */

/* Make sure that this process has a ring and knows what to record; return 0 where it has none. */
int process_open(profiler_logger log);
int process_id(void);
/* Bits of the activation mask, by OFFBEAT_NCCL_EVENTS: each of its words asks for what the ones before it do, too, as
 * kernels cannot be told of without operations, nor when an operation ends without kernels. */
int process_mask(void);
/* Put them into NCCL's mask when it is first seen; NULL forgets it. */
void process_ask(int *mask);
/* Whether NCCL's mask has events of a type now. */
int process_sees(enum profiler_event event);
int32_t process_rank(void);
/* A number that other processes' generations hardly begin with. */
uint32_t process_seed(void);
/* The time, CLOCK_MONOTONIC ns. About once a second it also tells the ring what the time is. */
int64_t now(void);

/* Communicators (communicators.c) */

typedef struct {
  uint32_t generation; /* atomic; odd while it lives */
  uint32_t id;         /* in the ring */
  int32_t rank, ranks;
  uint64_t hash;
  uint8_t kernels;                /* atomic: whether kernel channels are told of */
  uint8_t fewer;                  /* atomic: operations in a row that had fewer kernel channels than NCCL said */
  uint64_t launches;              /* atomic: collectives so far */
  uint64_t counted[FUNCTIONS];    /* atomic: per function, NCCL's next number */
  uint32_t *pairwise, room;       /* atomic entries: sends to each rank, then receives from each */
  uint64_t number;                /* atomic: operations so far */
  uint64_t flight[FLIGHT];        /* atomic: handles of the newest operations */
  uint64_t passed;                /* atomic: operations before this one have ended */
  uint32_t begun_group;           /* atomic: the group that began last */
  uint64_t begun_number;          /* atomic: its first operation to begin */
} communicator;

void *communicator_open(uint64_t hash, const char *name, int ranks, int rank);
/* Return the communicator of a context, NULL for one that is not ours or no more. */
communicator *communicator_of(const void *context);
communicator *communicator_at(uint32_t place);
uint32_t communicator_place(const communicator *comm);
int communicator_close(const void *context);
/* Return the number of the next collective of a function, by NCCL's own number of it. */
int64_t communicator_count(communicator *comm, uint32_t function, uint64_t seq);
/* Return the number of the next send to (or receive from) a rank, -1 where they are not counted. */
int64_t communicator_count_pairwise(communicator *comm, int receives, int peer);
void communicators_reset(void);

/* Operations (operations.c) */

typedef struct {
  const char *func, *datatype, *algo, *proto;
  uint64_t seq, count;
  int root, peer;
  uint8_t channels;
  const void *group;
} operation_start;

void *group_start(void);
void *operation_coll(const void *context, const operation_start *event);
void *operation_ce(const void *context, const operation_start *event);
void *operation_p2p(const void *context, const operation_start *event);
void *operation_kernel(const void *parent, uint8_t channel, uint64_t timer);
void operation_stop(handle h);
void operation_state(handle h, int state);
void operation_kernel_end(handle h, uint64_t timer);
/* Whether a handle's operation is in flight. */
int operation_lives(handle h);
/* The communicator and number of an operation in flight; 0 if it is none. */
int operation_identity(handle h, uint32_t *comm, int64_t *seq);
void operation_moving(handle h);
void operation_moved(handle h, int64_t at);
void operations_close(uint32_t comm);
void operations_reset(void);

/* Transfers (transfers.c) */

void *transfer_start(const void *parent, const profiler_proxy_op *event);
void *transfer_step(const void *parent, int step);
void transfer_state(handle h, int state, uint64_t size);
void transfer_step_stop(handle h);
void transfer_stop(handle h);
void transfers_close(uint32_t comm);
void transfers_reset(void);

/* Calls that are the same in all versions (calls.c) */

void call_init(void **context, int *mask, uint64_t hash, const char *name, int ranks, int rank, profiler_logger log);
int call_stop(void *event);
int call_record(void *event, int state, profiler_argument *argument);
int call_finalize(void *context);

#endif
