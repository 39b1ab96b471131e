/* A disk that fails on command, for a process that is started with this library preloaded.
 *
 * Files below BAD_DISK_DIR are on it. What it does is the first word in the file BAD_DISK_CONTROL: "hang" (every call waits until
 * the word is another one), "syncs-hang" (only those that wait for the disk), "eio" (every call fails), "writes-eio", "erofs"
 * (whatever changes something is refused); anything else is a sound disk.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum kind { READS, WRITES, SYNCS };

static void word(char *into, size_t size) {
    const char *control = getenv("BAD_DISK_CONTROL");
    ssize_t got = -1;
    if (control != NULL) {
        int fd = syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC, 0);
        if (fd >= 0) {
            got = syscall(SYS_read, fd, into, size - 1);
            syscall(SYS_close, fd);
        }
    }
    into[got > 0 ? got : 0] = '\0';
}

static int below(const char *path) {
    const char *dir = getenv("BAD_DISK_DIR");
    return dir != NULL && *dir != '\0' && strncmp(path, dir, strlen(dir)) == 0;
}

static int on_disk(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size <= 0) return 0;
    path[size] = '\0';
    return below(path);
}

/* 0, or the error the call ends with. */
static int trouble(enum kind kind) {
    char now[32];
    for (;;) {
        word(now, sizeof now);
        if (strncmp(now, "hang", 4) == 0 || (strncmp(now, "syncs-hang", 10) == 0 && kind == SYNCS)) {
            usleep(20000);
            continue;
        }
        if (strncmp(now, "eio", 3) == 0 || (strncmp(now, "writes-eio", 10) == 0 && kind != READS)) return EIO;
        if (strncmp(now, "erofs", 5) == 0 && kind != READS) return EROFS;
        return 0;
    }
}

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))
#define BY_FD(fd, kind)                                                                                                  \
    if (on_disk(fd)) {                                                                                                   \
        int error = trouble(kind);                                                                                       \
        if (error) { errno = error; return -1; }                                                                         \
    }
#define BY_PATH(path, kind)                                                                                              \
    if (below(path)) {                                                                                                   \
        int error = trouble(kind);                                                                                       \
        if (error) { errno = error; return -1; }                                                                         \
    }

int fsync(int fd) { BY_FD(fd, SYNCS) return REAL(fsync)(fd); }
int fdatasync(int fd) { BY_FD(fd, SYNCS) return REAL(fdatasync)(fd); }
ssize_t write(int fd, const void *data, size_t size) { BY_FD(fd, WRITES) return REAL(write)(fd, data, size); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { BY_FD(fd, WRITES) return REAL(pwrite)(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { BY_FD(fd, WRITES) return REAL(pwrite64)(fd, data, size, at); }
ssize_t read(int fd, void *data, size_t size) { BY_FD(fd, READS) return REAL(read)(fd, data, size); }
ssize_t pread(int fd, void *data, size_t size, off_t at) { BY_FD(fd, READS) return REAL(pread)(fd, data, size, at); }
ssize_t pread64(int fd, void *data, size_t size, off64_t at) { BY_FD(fd, READS) return REAL(pread64)(fd, data, size, at); }
int ftruncate(int fd, off_t size) { BY_FD(fd, WRITES) return REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { BY_FD(fd, WRITES) return REAL(ftruncate64)(fd, size); }
int rename(const char *from, const char *to) { BY_PATH(from, WRITES) return REAL(rename)(from, to); }
int unlink(const char *path) { BY_PATH(path, WRITES) return REAL(unlink)(path); }
int mkdir(const char *path, mode_t mode) { BY_PATH(path, WRITES) return REAL(mkdir)(path, mode); }

static int opened(const char *path, int flags, mode_t mode) {
    BY_PATH(path, (flags & (O_WRONLY | O_RDWR | O_CREAT)) ? WRITES : READS)
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opened(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opened(path, flags | O_LARGEFILE, mode);
}
