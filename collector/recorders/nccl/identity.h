/* Which job and rank this process is, by its launcher's variables: the counterpart of collector/identity.py. */
#ifndef OFFBEAT_IDENTITY_H
#define OFFBEAT_IDENTITY_H

#include <stdint.h>

typedef struct {
  char job[129];
  int32_t attempt, rank, world, local_rank; /* -1 for what is not said */
} identity;

identity identity_of_process(void);

#endif
