/* The words NCCL uses for functions, types, algorithms and protocols, and what they are in a ring. */
#ifndef OFFBEAT_WORDS_H
#define OFFBEAT_WORDS_H

#include "offbeat_ring.h"

typedef struct {
  char text[24];
  uint16_t id;   /* in the ring's strings; 0 unknown */
  uint8_t op;    /* offbeat_op, OFFBEAT_OTHER for what is no function that we know */
  uint8_t bytes; /* of a datatype's element, 0 for what is none */
} word;

/* Put the known words into a fresh ring. */
void words_tell(offbeat_ring *ring);

/* Look a word up: by its address first, since NCCL's are constants. One never seen before is learned, which takes the
 * ring's lock, once. */
const word *word_of(offbeat_ring *ring, const char *text);

#endif
