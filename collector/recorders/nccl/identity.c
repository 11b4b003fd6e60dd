#define _GNU_SOURCE
#include "identity.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first of some variables that is a number of less than ten digits, -1 without any. */
static int32_t first(const char *const names[]) {
  for (; *names; names++) {
    const char *text = getenv(*names);
    size_t digits = text ? strspn(text, "0123456789") : 0;
    if (digits && digits < 10 && !text[digits]) return atoi(text);
  }
  return -1;
}

/* Fit a name to what a job may be called: runs of anything else become one dash. */
static void sanitise(char *to, size_t room, const char *name) {
  size_t n = 0;
  int dashed = 0;
  for (; *name && n + 1 < room; name++) {
    unsigned char c = (unsigned char)*name;
    int fits = c < 128 && (isalnum(c) || strchr("._-", c));
    if (fits || !dashed) to[n++] = fits ? (char)c : '-';
    dashed = !fits;
  }
  to[n] = 0;
  if (!n) snprintf(to, room, "job");
}

identity identity_of_process(void) {
  static const char *const job[] = {"OFFBEAT_JOB", "TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", NULL};
  identity who = {
      .attempt = first((const char *const[]){"OFFBEAT_ATTEMPT", "SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT", NULL}),
      .rank = first((const char *const[]){"RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", NULL}),
      .world = first((const char *const[]){"WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", NULL}),
      .local_rank = first((const char *const[]){"LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK", NULL})};
  if (who.attempt < 0) who.attempt = 0;
  for (const char *const *name = job; *name; name++) {
    const char *text = getenv(*name);
    /* torchrun calls a run without a name "none" */
    if (text && *text && (name == job || strcmp(text, "none"))) {
      sanitise(who.job, sizeof who.job, text);
      return who;
    }
  }
  const char *address = getenv("MASTER_ADDR"), *port = getenv("MASTER_PORT");
  char meeting[160] = "torch-job";
  if (address && *address && port && *port) snprintf(meeting, sizeof meeting, "torch-%.100s-%.20s", address, port);
  sanitise(who.job, sizeof who.job, meeting);
  return who;
}
