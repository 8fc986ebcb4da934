// Loaded before a program (LD_PRELOAD), makes one of its system calls fail: the FAULT_AT-th FAULT_CALL on a path that
// contains FAULT_PATH, with the number FAULT_ERRNO; with FAULT_FROM all from that one on. Leaves a file FAULT_HIT.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_int calls;

static int number(const char* name) {
  const char* value = getenv(name);
  return value ? atoi(value) : 0;
}

// Whether this call is to fail; sets errno.
static int fails(const char* call, const char* path) {
  const char *wanted = getenv("FAULT_CALL"), *part = getenv("FAULT_PATH");
  if (!wanted || strcmp(wanted, call) != 0) return 0;
  char whole[8192] = "";
  if (path[0] != '/' && getcwd(whole, 4096)) strcat(whole, "/");
  strncat(whole, path, 4095);
  if (part && !strstr(whole, part)) return 0;
  const int at = number("FAULT_AT"), now = ++calls;
  if (now < at || (now > at && !getenv("FAULT_FROM"))) return 0;
  const char* hit = getenv("FAULT_HIT");
  if (hit) {
    const long file = syscall(SYS_openat, AT_FDCWD, hit, O_CREAT | O_WRONLY, 0600);
    if (file >= 0) syscall(SYS_close, file);
  }
  errno = number("FAULT_ERRNO");
  return 1;
}

static int fails_on(const char* call, int file) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0 || path[0] != '/') return 0;  // none, or a pipe
  path[length] = 0;
  return fails(call, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                                   \
  int name(const char* path, int flags, ...) {                       \
    va_list more;                                                    \
    va_start(more, flags);                                           \
    const mode_t mode = va_arg(more, mode_t);                        \
    va_end(more);                                                    \
    return fails("open", path) ? -1 : REAL(name)(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                         \
  int name(int folder, const char* path, int flags, ...) {                   \
    va_list more;                                                            \
    va_start(more, flags);                                                   \
    const mode_t mode = va_arg(more, mode_t);                                \
    va_end(more);                                                            \
    return fails("open", path) ? -1 : REAL(name)(folder, path, flags, mode); \
  }
OPENAT(openat)
OPENAT(openat64)

ssize_t read(int file, void* to, size_t size) { return fails_on("read", file) ? -1 : REAL(read)(file, to, size); }
ssize_t write(int file, const void* from, size_t size) {
  return fails_on("write", file) ? -1 : REAL(write)(file, from, size);
}
int fsync(int file) { return fails_on("fsync", file) ? -1 : REAL(fsync)(file); }
int close(int file) {
  const int bad = fails_on("close", file), result = REAL(close)(file), error = number("FAULT_ERRNO");
  if (!bad) return result;
  errno = error;
  return -1;
}
int rename(const char* from, const char* to) { return fails("rename", to) ? -1 : REAL(rename)(from, to); }
int unlink(const char* path) { return fails("unlink", path) ? -1 : REAL(unlink)(path); }
int mkdir(const char* path, mode_t mode) { return fails("mkdir", path) ? -1 : REAL(mkdir)(path, mode); }

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*), void* argument) {
  return fails("pthread_create", "a thread") ? number("FAULT_ERRNO")
                                             : REAL(pthread_create)(thread, attributes, run, argument);
}
