/* Loaded before libc (LD_PRELOAD): counts every call by which the armed process changes anything below a folder, whoever makes it
 * (Python, SQLite, torch's C++), and at the one that it was told ends the process, tears the write, or lets the call fail.
 *
 * Calls go on as raw system calls, so that nothing here is counted twice; what stdio does inside of libc is caught at fwrite, fflush
 * and fclose. 64-bit Linux. tests/bench/faulty_disk.py compiles, arms and reads it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, TEAR, FAIL, FULL };

static char below[4096], only[512];
static size_t below_length;
static atomic_int armed_pid;
static atomic_long calls;
static long chosen;
static int way, error_number, log_handle = -1;

/* `way` at the call number `at` (from 0) of those that are `like` this, as in the log ("rename /keys/"): KILL before it, TEAR a write
 * in the middle, FAIL it with `error`, FULL: it and all later ones that take space. */
void faulty_disk_arm(const char *folder, int how, long at, int error, int log, const char *like) {
    strncpy(below, folder, sizeof below - 1);
    strncpy(only, like, sizeof only - 1);
    below_length = strlen(below);
    way = how, chosen = at, error_number = error, log_handle = log;
    calls = 0;
    armed_pid = (int)syscall(SYS_getpid);
}

long faulty_disk_calls(void) { return calls; }

static int armed(void) { return armed_pid && armed_pid == (int)syscall(SYS_getpid); }

static int is_below(const char *path) {
    return !strncmp(path, below, below_length) && (path[below_length] == '/' || !path[below_length]);
}

static int name_of(int handle, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, size - 1);
    path[length < 0 ? 0 : length] = 0;
    return length >= 0;
}

static void die(void) {
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    for (;;) pause();
}

/* 0: do it; 1: tear it (only where `tearable`), then die; -1: fail, errno is set. */
static int happens(const char *call, const char *path, int tearable) {
    char line[4400];
    int length = snprintf(line, sizeof line, "%s %s\n", call, path + below_length);
    if (log_handle >= 0) syscall(SYS_write, log_handle, line, (size_t)length);
    if (!strstr(line, only) && !(way == FULL && calls > chosen)) return 0;
    long number = atomic_fetch_add(&calls, 1);
    if (way == FULL && number >= chosen && strcmp(call, "unlink") && strcmp(call, "rmdir") && strcmp(call, "rename")) {
        errno = error_number;
        return -1;
    }
    if (number != chosen || way == COUNT || way == FULL) return 0;
    if (way == FAIL) {
        errno = error_number;
        return -1;
    }
    if (way == TEAR && tearable) return 1;
    die();
    return 0;
}

static int on_handle(const char *call, int handle, int tearable) {
    if (!armed()) return 0;
    char path[4096];
    int before = errno;
    if (!name_of(handle, path, sizeof path) || !is_below(path)) {
        errno = before;
        return 0;
    }
    errno = before;
    return happens(call, path, tearable);
}

static int on_path(const char *call, int folder, const char *path) {
    if (!armed() || !path) return 0;
    char whole[8192];
    if (*path == '/') {
        snprintf(whole, sizeof whole, "%s", path);
    } else {
        char start[4096];
        int before = errno;
        if (folder == AT_FDCWD) {
            if (syscall(SYS_getcwd, start, sizeof start) < 0) start[0] = 0;
        } else {
            name_of(folder, start, sizeof start);
        }
        errno = before;
        snprintf(whole, sizeof whole, "%s/%s", start, path);
    }
    return is_below(whole) ? happens(call, whole, 0) : 0;
}

#define TORN(call) \
    do {           \
        call;      \
        die();     \
    } while (0)

ssize_t write(int handle, const void *data, size_t size) {
    int what = on_handle("write", handle, 1);
    if (what < 0) return -1;
    if (what) TORN(syscall(SYS_write, handle, data, size / 2));
    return syscall(SYS_write, handle, data, size);
}

ssize_t pwrite64(int handle, const void *data, size_t size, off64_t at) {
    int what = on_handle("write", handle, 1);
    if (what < 0) return -1;
    if (what) TORN(syscall(SYS_pwrite64, handle, data, size / 2, at));
    return syscall(SYS_pwrite64, handle, data, size, at);
}

ssize_t pwrite(int handle, const void *data, size_t size, off_t at) { return pwrite64(handle, data, size, at); }

ssize_t writev(int handle, const struct iovec *parts, int count) {
    int what = on_handle("write", handle, 1);
    if (what < 0) return -1;
    if (what) TORN(if (count) syscall(SYS_write, handle, parts[0].iov_base, parts[0].iov_len / 2));
    return syscall(SYS_writev, handle, parts, count);
}

ssize_t pwritev64(int handle, const struct iovec *parts, int count, off64_t at) {
    int what = on_handle("write", handle, 1);
    if (what < 0) return -1;
    if (what) TORN(if (count) syscall(SYS_pwrite64, handle, parts[0].iov_base, parts[0].iov_len / 2, at));
    return syscall(SYS_pwritev, handle, parts, count, (long)at, 0L);
}

ssize_t pwritev(int handle, const struct iovec *parts, int count, off_t at) {
    return pwritev64(handle, parts, count, at);
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t size) {
    int what = on_handle("write", to, 1);
    if (what < 0) return -1;
    struct stat status;
    size_t half = !syscall(SYS_fstat, from, &status) ? (size_t)status.st_size / 2 : 1;
    if (what) TORN(syscall(SYS_sendfile, to, from, at, half));
    return syscall(SYS_sendfile, to, from, at, size);
}

ssize_t sendfile(int to, int from, off_t *at, size_t size) { return sendfile64(to, from, at, size); }

ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *there, size_t size, unsigned flags) {
    return on_handle("write", to, 0) < 0 ? -1 : syscall(SYS_copy_file_range, from, at, to, there, size, flags);
}

size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    static size_t (*next)(const void *, size_t, size_t, FILE *);
    if (!next) next = dlsym(RTLD_NEXT, "fwrite");
    return armed() && on_handle("write", fileno(file), 0) < 0 ? 0 : next(data, size, count, file);
}

int fflush(FILE *file) {
    static int (*next)(FILE *);
    if (!next) next = dlsym(RTLD_NEXT, "fflush");
    return armed() && file && on_handle("write", fileno(file), 0) < 0 ? EOF : next(file);
}

int fclose(FILE *file) {
    static int (*next)(FILE *);
    if (!next) next = dlsym(RTLD_NEXT, "fclose");
    int writes = armed() && file && fileno(file) >= 0 && (syscall(SYS_fcntl, fileno(file), F_GETFL) & O_ACCMODE) != O_RDONLY;
    if (writes && on_handle("write", fileno(file), 0) < 0) {
        int error = errno;
        next(file);
        errno = error;
        return EOF;
    }
    return next(file);
}

FILE *fopen64(const char *path, const char *mode) {
    static FILE *(*next)(const char *, const char *);
    if (!next) next = dlsym(RTLD_NEXT, "fopen64");
    return *mode != 'r' && on_path("create", AT_FDCWD, path) < 0 ? NULL : next(path, mode);
}

FILE *fopen(const char *path, const char *mode) { return fopen64(path, mode); }

int fsync(int handle) { return on_handle("fsync", handle, 0) < 0 ? -1 : (int)syscall(SYS_fsync, handle); }

int fdatasync(int handle) { return on_handle("fsync", handle, 0) < 0 ? -1 : (int)syscall(SYS_fdatasync, handle); }

int msync(void *at, size_t size, int flags) { return (int)syscall(SYS_msync, at, size, flags); }

int ftruncate64(int handle, off64_t size) {
    return on_handle("truncate", handle, 0) < 0 ? -1 : (int)syscall(SYS_ftruncate, handle, size);
}

int ftruncate(int handle, off_t size) { return ftruncate64(handle, size); }

int truncate64(const char *path, off64_t size) {
    return on_path("truncate", AT_FDCWD, path) < 0 ? -1 : (int)syscall(SYS_truncate, path, size);
}

int truncate(const char *path, off_t size) { return truncate64(path, size); }

int fallocate64(int handle, int mode, off64_t at, off64_t size) {
    return on_handle("truncate", handle, 0) < 0 ? -1 : (int)syscall(SYS_fallocate, handle, mode, at, size);
}

int fallocate(int handle, int mode, off_t at, off_t size) { return fallocate64(handle, mode, at, size); }

int posix_fallocate64(int handle, off64_t at, off64_t size) {
    if (on_handle("truncate", handle, 0) < 0) return errno;
    return syscall(SYS_fallocate, handle, 0, at, size) ? errno : 0;
}

int posix_fallocate(int handle, off_t at, off_t size) { return posix_fallocate64(handle, at, size); }

int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    return on_path("rename", to, new) < 0 ? -1 : (int)syscall(SYS_renameat2, from, old, to, new, flags);
}

int renameat(int from, const char *old, int to, const char *new) { return renameat2(from, old, to, new, 0); }

int rename(const char *old, const char *new) { return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }

int linkat(int from, const char *old, int to, const char *new, int flags) {
    return on_path("link", to, new) < 0 ? -1 : (int)syscall(SYS_linkat, from, old, to, new, flags);
}

int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }

int symlinkat(const char *target, int folder, const char *path) {
    return on_path("link", folder, path) < 0 ? -1 : (int)syscall(SYS_symlinkat, target, folder, path);
}

int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }

/* What is there already, or not there, is not changed: such calls are not counted. */
static int is_there(int folder, const char *path, int flags) {
    struct stat status;
    int before = errno, there = !syscall(SYS_newfstatat, folder, path, &status, flags);
    errno = before;
    return there;
}

int unlinkat(int folder, const char *path, int flags) {
    if (!armed() || !is_there(folder, path, AT_SYMLINK_NOFOLLOW)) return (int)syscall(SYS_unlinkat, folder, path, flags);
    return on_path(flags & AT_REMOVEDIR ? "rmdir" : "unlink", folder, path) < 0
               ? -1
               : (int)syscall(SYS_unlinkat, folder, path, flags);
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int folder, const char *path, mode_t mode) {
    if (!armed() || is_there(folder, path, 0)) return (int)syscall(SYS_mkdirat, folder, path, mode);
    return on_path("mkdir", folder, path) < 0 ? -1 : (int)syscall(SYS_mkdirat, folder, path, mode);
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

static int opens(int folder, const char *path, int flags, mode_t mode) {
    int writes = flags & (O_CREAT | O_TRUNC);
    if (writes && armed() && !(flags & O_TRUNC) && is_there(folder, path, 0)) writes = 0; /* a lock's file, a log */
    if (writes && on_path("create", folder, path) < 0) return -1;
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}

#define MODE_OF(flags, mode)                     \
    mode_t mode = 0;                             \
    if (flags & (O_CREAT | __O_TMPFILE)) {       \
        va_list rest;                            \
        va_start(rest, flags);                   \
        mode = va_arg(rest, mode_t);             \
        va_end(rest);                            \
    }

int open(const char *path, int flags, ...) {
    MODE_OF(flags, mode);
    return opens(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE_OF(flags, mode);
    return opens(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int openat(int folder, const char *path, int flags, ...) {
    MODE_OF(flags, mode);
    return opens(folder, path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...) {
    MODE_OF(flags, mode);
    return opens(folder, path, flags | O_LARGEFILE, mode);
}

int creat(const char *path, mode_t mode) { return opens(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int creat64(const char *path, mode_t mode) { return creat(path, mode); }
