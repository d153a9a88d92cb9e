/* Preloaded below Python and every library: fails, shortens or ends at the N-th call on the files of one folder.
 *
 * Counted are calls on relative paths and on paths below `root`: of class WRITE (open for writing, write, fsync, rename,
 * link, unlink, mkdir, close after writing) and of class READ (open for reading, read). Built by tests/faults/shim.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, READ = 2 };
enum { FAIL = 1, SHORT = 2, EXIT = 3, LASTING = 4 };
enum { MOST_FILES = 65536 };

static char root[4096];
static int armed_class, armed_call, armed_action, armed_errno;
static unsigned char class_of[MOST_FILES];

/* Shared with the processes that are forked, so that the parent can see what happened in them. */
static struct { atomic_int counted; char happened[512]; } *seen;

__attribute__((constructor)) static void share(void) {
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

void fault_arm(const char *folder, int class, int call, int action, int error) {
    snprintf(root, sizeof root, "%s", folder);
    seen->happened[0] = 0;
    seen->counted = 0;
    armed_call = call;
    armed_action = action;
    armed_errno = error;
    armed_class = class;
}

int fault_counted(void) { return seen->counted; }
const char *fault_happened(void) { return seen->happened; }

static int ours(const char *path) {
    return armed_class && path && (path[0] != '/' || strncmp(path, root, strlen(root)) == 0);
}

/* 0: go on; -1: fail with errno set; 1: do half of it. */
static int fault(int class, const char *what, const char *path) {
    if (armed_class != class) return 0;
    int number = atomic_fetch_add(&seen->counted, 1) + 1;
    int lasting = armed_action == LASTING;
    if (number != armed_call && !(lasting && armed_call && number > armed_call)) return 0;
    if (!seen->happened[0]) snprintf(seen->happened, sizeof seen->happened, "%s %s", what, path ? path : "");
    if (armed_action == EXIT) _exit(137);
    if (armed_action == SHORT) return 1;
    errno = armed_errno;
    return -1;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define KNOWN(fd) ((fd) >= 0 && (fd) < MOST_FILES ? class_of[fd] : 0)

static int kind_of_open(int flags) { return flags & (O_WRONLY | O_RDWR | O_CREAT) ? WRITE : READ; }

static int opened(int fd, const char *path, int flags) {
    if (fd >= 0 && fd < MOST_FILES) class_of[fd] = ours(path) ? kind_of_open(flags) : 0;
    return fd;
}

#define OPEN(name)                                                                                   \
    int name(const char *path, int flags, ...) {                                                     \
        REAL(name);                                                                                  \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, int); va_end(rest);          \
        if (ours(path) && fault(kind_of_open(flags), "open", path) < 0) return -1;                   \
        return opened(real(path, flags, mode), path, flags);                                         \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                 \
    int name(int folder, const char *path, int flags, ...) {                                         \
        REAL(name);                                                                                  \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, int); va_end(rest);          \
        if (ours(path) && fault(kind_of_open(flags), "open", path) < 0) return -1;                   \
        return opened(real(folder, path, flags, mode), path, flags);                                 \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    int what = KNOWN(fd) == WRITE ? fault(WRITE, "write", "") : 0;
    return what < 0 ? -1 : real(fd, data, what && size > 1 ? size / 2 : size);
}
#define PWRITE(name, offset_t)                                                                       \
    ssize_t name(int fd, const void *data, size_t size, offset_t at) {                               \
        REAL(name);                                                                                  \
        int what = KNOWN(fd) == WRITE ? fault(WRITE, "pwrite", "") : 0;                              \
        return what < 0 ? -1 : real(fd, data, what && size > 1 ? size / 2 : size, at);               \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    return KNOWN(fd) == WRITE && fault(WRITE, "writev", "") < 0 ? -1 : real(fd, parts, count);
}

ssize_t read(int fd, void *data, size_t size) {
    REAL(read);
    int what = KNOWN(fd) ? fault(READ, "read", "") : 0;
    return what < 0 ? -1 : real(fd, data, what && size > 1 ? size / 2 : size);
}
#define PREAD(name, offset_t)                                                                        \
    ssize_t name(int fd, void *data, size_t size, offset_t at) {                                     \
        REAL(name);                                                                                  \
        int what = KNOWN(fd) ? fault(READ, "pread", "") : 0;                                         \
        return what < 0 ? -1 : real(fd, data, what && size > 1 ? size / 2 : size, at);               \
    }
PREAD(pread, off_t)
PREAD(pread64, off64_t)

#define ON_FILE(name)                                                                                \
    int name(int fd) {                                                                               \
        REAL(name);                                                                                  \
        return KNOWN(fd) && fault(WRITE, #name, "") < 0 ? -1 : real(fd);                             \
    }
ON_FILE(fsync)
ON_FILE(fdatasync)

int close(int fd) {
    REAL(close);
    int known = KNOWN(fd);
    if (fd >= 0 && fd < MOST_FILES) class_of[fd] = 0;
    int failed = known == WRITE && fault(WRITE, "close", "") < 0;
    int error = errno, done = real(fd);
    if (failed) errno = error;
    return failed ? -1 : done;
}

#define ON_PATH(name, parameters, arguments, path)                                                   \
    int name parameters {                                                                            \
        REAL(name);                                                                                  \
        return ours(path) && fault(WRITE, #name, path) < 0 ? -1 : real arguments;                    \
    }
ON_PATH(rename, (const char *from, const char *to), (from, to), to)
ON_PATH(renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), to)
ON_PATH(link, (const char *from, const char *to), (from, to), to)
ON_PATH(linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags), to)
ON_PATH(symlink, (const char *from, const char *to), (from, to), to)
ON_PATH(unlink, (const char *path), (path), path)
ON_PATH(unlinkat, (int a, const char *path, int flags), (a, path, flags), path)
ON_PATH(mkdir, (const char *path, mode_t mode), (path, mode), path)
ON_PATH(mkdirat, (int a, const char *path, mode_t mode), (a, path, mode), path)
ON_PATH(rmdir, (const char *path), (path), path)
