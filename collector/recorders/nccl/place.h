/* Where rings are: the counterpart of collector/ring/place.py. */
#ifndef OFFBEAT_PLACE_H
#define OFFBEAT_PLACE_H

#include <stddef.h>

/* Return the directory of rings: OFFBEAT_RING_DIR, else shared memory. */
const char *place_directory(void);

/* Create it: sticky and open to all where its parent is, else private. Return 0, or an errno. */
int place_make(const char *directory);

/* Remove our own dead rings that no agent has come for in an hour: without it, runs without an agent fill memory. */
void place_sweep(const char *directory);

#endif
