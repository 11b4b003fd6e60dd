#define _GNU_SOURCE
#include "place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_DIRECTORY "/dev/shm/offbeat"
#define SWEEP_SECONDS 3600

const char *place_directory(void) {
  const char *given = getenv("OFFBEAT_RING_DIR");
  return given && *given ? given : DEFAULT_DIRECTORY;
}

int place_make(const char *directory) {
  struct stat status;
  char path[512];
  if (!stat(directory, &status)) return S_ISDIR(status.st_mode) ? 0 : ENOTDIR;
  if ((size_t)snprintf(path, sizeof path, "%s", directory) >= sizeof path) return ENAMETOOLONG;
  char *slash = strrchr(path, '/');
  if (slash && slash != path) {
    *slash = 0;
    int error = place_make(path);
    if (error) return error;
  }
  const char *parent = slash ? (slash == path ? "/" : path) : ".";
  int shared = !stat(parent, &status) && (status.st_mode & S_ISVTX) && (status.st_mode & S_IWOTH);
  if (mkdir(directory, 0700) && errno != EEXIST) return errno;
  return shared && chmod(directory, 01777) ? errno : 0;
}

/* When a process started, in clock ticks since boot; 0 where it is gone, or a zombie. */
static unsigned long long start_ticks(unsigned pid) {
  char path[64], text[1024], state = 0;
  snprintf(path, sizeof path, "/proc/%u/stat", pid);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = file < 0 ? -1 : read(file, text, sizeof text - 1);
  if (file >= 0) close(file);
  if (n <= 0) return 0;
  text[n] = 0;
  char *at = strrchr(text, ')'); /* the name before may hold anything */
  if (at && at[1] == ' ') state = at[2];
  for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
  return at && state != 'Z' && state != 'X' ? strtoull(at + 1, NULL, 10) : 0;
}

void place_sweep(const char *directory) {
  struct stat status, own;
  struct dirent *entry;
  DIR *listing = opendir(directory);
  if (!listing) return;
  time_t now = time(NULL);
  while (!stat("/proc/self/ns/pid", &own) && (entry = readdir(listing))) {
    unsigned long long pidns, ticks;
    unsigned pid;
    size_t length = strlen(entry->d_name);
    if (length < 5 || strcmp(entry->d_name + length - 5, ".ring")) continue;
    if (sscanf(entry->d_name, "%llu-%u-%llu", &pidns, &pid, &ticks) != 3) continue;
    if (pidns != (unsigned long long)own.st_ino || start_ticks(pid) == ticks) continue;
    if (fstatat(dirfd(listing), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) || !S_ISREG(status.st_mode)) continue;
    if (status.st_uid == getuid() && now - status.st_mtime > SWEEP_SECONDS) unlinkat(dirfd(listing), entry->d_name, 0);
  }
  closedir(listing);
}
