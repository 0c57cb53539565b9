/* Lets a disk refuse: loaded before the C library, it fails chosen changes below one folder with a chosen error. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define LONGEST (2 * PATH_MAX)

static char below[PATH_MAX], told[LONGEST + 64];
static atomic_long changes, first, last;
static int refusal, removals, armed;

/* Refuse changes number `from` to `to` (from 1) below a folder; `all`: removals, too. */
void refuse_arm(const char *folder, long from, long to, int error, int all) {
    snprintf(below, sizeof below, "%s/", folder);
    first = from;
    last = to;
    refusal = error;
    removals = all;
    changes = told[0] = 0;
    armed = 1;
}

/* Changes so far. */
long refuse_count(void) { return changes; }

/* The first change that was refused, in words. */
const char *refuse_told(void) { return told; }

static int refused(const char *what, const char *path) {
    if (!armed || strncmp(path, below, strlen(below)) != 0) return 0;
    long number = ++changes;
    if (number < first || number > last) return 0;
    if (!told[0]) snprintf(told, sizeof told, "%s %s", what, path + strlen(below));
    errno = refusal;
    return 1;
}

static int refused_handle(const char *what, int handle) {
    char link[64], path[LONGEST];
    if (!armed) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    int saved = errno;
    ssize_t size = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (size < 0) return 0;
    path[size] = 0;
    return refused(what, path);
}

static int refused_name(const char *what, int folder, const char *name) {
    char path[LONGEST] = "", link[64];
    if (!armed || !name) return 0;
    if (name[0] == '/') return refused(what, name);
    if (folder == AT_FDCWD) {
        if (!getcwd(path, PATH_MAX)) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t size = readlink(link, path, PATH_MAX - 1);
        if (size < 0) return 0;
        path[size] = 0;
    }
    size_t used = strlen(path);
    snprintf(path + used, sizeof path - used, "/%s", name);
    return refused(what, path);
}

#define WRITES(flags) ((flags) & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR))
#define MODE(flags, mode)                    \
    int mode = 0;                            \
    if ((flags) & (O_CREAT | O_TMPFILE)) {   \
        va_list more;                        \
        va_start(more, flags);               \
        mode = va_arg(more, int);            \
        va_end(more);                        \
    }

int open(const char *path, int flags, ...) {
    MODE(flags, mode)
    return WRITES(flags) && refused_name("open", AT_FDCWD, path) ? -1 : REAL(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE(flags, mode)
    return WRITES(flags) && refused_name("open", AT_FDCWD, path) ? -1 : REAL(open64)(path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    MODE(flags, mode)
    return WRITES(flags) && refused_name("open", folder, path) ? -1 : REAL(openat)(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE(flags, mode)
    return WRITES(flags) && refused_name("open", folder, path) ? -1 : REAL(openat64)(folder, path, flags, mode);
}
FILE *fopen(const char *path, const char *mode) {
    return strpbrk(mode, "wa+") && refused_name("open", AT_FDCWD, path) ? NULL : REAL(fopen)(path, mode);
}
FILE *fopen64(const char *path, const char *mode) {
    return strpbrk(mode, "wa+") && refused_name("open", AT_FDCWD, path) ? NULL : REAL(fopen64)(path, mode);
}
ssize_t write(int handle, const void *data, size_t size) {
    return refused_handle("write", handle) ? -1 : REAL(write)(handle, data, size);
}
ssize_t pwrite(int handle, const void *data, size_t size, off_t at) {
    return refused_handle("write", handle) ? -1 : REAL(pwrite)(handle, data, size, at);
}
ssize_t pwrite64(int handle, const void *data, size_t size, off64_t at) {
    return refused_handle("write", handle) ? -1 : REAL(pwrite64)(handle, data, size, at);
}
ssize_t writev(int handle, const struct iovec *parts, int count) {
    return refused_handle("write", handle) ? -1 : REAL(writev)(handle, parts, count);
}
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned int flags) {
    return refused_handle("write", out) ? -1 : REAL(copy_file_range)(in, from, out, to, size, flags);
}
ssize_t sendfile(int out, int in, off_t *from, size_t size) {
    return refused_handle("write", out) ? -1 : REAL(sendfile)(out, in, from, size);
}
ssize_t sendfile64(int out, int in, off64_t *from, size_t size) {
    return refused_handle("write", out) ? -1 : REAL(sendfile64)(out, in, from, size);
}
int fsync(int handle) { return refused_handle("fsync", handle) ? -1 : REAL(fsync)(handle); }
int fdatasync(int handle) { return refused_handle("fsync", handle) ? -1 : REAL(fdatasync)(handle); }
int ftruncate(int handle, off_t size) { return refused_handle("truncate", handle) ? -1 : REAL(ftruncate)(handle, size); }
int ftruncate64(int handle, off64_t size) {
    return refused_handle("truncate", handle) ? -1 : REAL(ftruncate64)(handle, size);
}
int rename(const char *from, const char *to) {
    return refused_name("rename", AT_FDCWD, to) ? -1 : REAL(rename)(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    return refused_name("rename", b, to) ? -1 : REAL(renameat)(a, from, b, to);
}
int mkdir(const char *path, mode_t mode) { return refused_name("mkdir", AT_FDCWD, path) ? -1 : REAL(mkdir)(path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) {
    return refused_name("mkdir", folder, path) ? -1 : REAL(mkdirat)(folder, path, mode);
}
int unlink(const char *path) {
    return removals && refused_name("remove", AT_FDCWD, path) ? -1 : REAL(unlink)(path);
}
int unlinkat(int folder, const char *path, int flags) {
    return removals && refused_name("remove", folder, path) ? -1 : REAL(unlinkat)(folder, path, flags);
}
int rmdir(const char *path) { return removals && refused_name("remove", AT_FDCWD, path) ? -1 : REAL(rmdir)(path); }
