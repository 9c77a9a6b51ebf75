// A disk that fails, or a process that dies, at one chosen system call: preloaded by `forks.py`.
//
// All calls that change files below one folder are counted and noted down, whether Python, libc or
// Rust makes them. The one with the number `target` is struck: the process is killed before it, or
// half-way through it where it writes, or the call fails, or writes a part. Everything is told and
// asked through a page of memory that the test shares, which outlives the process.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum action { NONE, KILL, KILL_HALF, FAIL, FAIL_HALF, SHORT };

#define LOG_BYTES (1 << 20)
static struct board {
    _Atomic int target;      // number of the call to strike
    int action;
    int error;               // errno of FAIL and FAIL_HALF
    int lasting;             // 1: what creates or grows fails from then on, too; 2: all changes
    _Atomic int count;       // calls so far
    _Atomic int struck;      // whether it came to that
    _Atomic unsigned log_end;
    int unused;
    char folder[992];
    char log[LOG_BYTES];     // a line each: kind, path, second path, number of the file
} *board;

// Called in the process that is to be watched, after the fork.
int disk_watch(const char *page) {
    int fd = open(page, O_RDWR);
    if (fd < 0) return -1;
    void *memory = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (memory == MAP_FAILED) return -1;
    board = memory;
    return 0;
}

static void full_path(int folder, const char *path, char *out) {
    if (path != NULL && (path[0] == '/' || folder == AT_FDCWD)) {
        char here[PATH_MAX] = "";
        if (path[0] != '/' && getcwd(here, sizeof here - 1) != NULL) strcat(here, "/");
        snprintf(out, PATH_MAX, "%s%s", here, path);
        return;
    }
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t length = readlink(link, out, PATH_MAX - 1);
    out[length < 0 ? 0 : length] = 0;
    if (path != NULL && length >= 0) snprintf(out + length, PATH_MAX - length, "/%s", path);
}

// What is to happen to a call, which is noted down. `grows`: it takes room, or changes bytes.
static enum action struck(const char *kind, int folder, const char *path, int folder2,
                          const char *path2, int grows) {
    if (board == NULL) return NONE;
    int error = errno;
    char first[PATH_MAX] = "", second[PATH_MAX] = "", line[2 * PATH_MAX + 64];
    full_path(folder, path, first);
    if (path2 != NULL) full_path(folder2, path2, second);
    struct stat facts = {0};
    if (path == NULL) fstat(folder, &facts);
    errno = error;
    size_t length = strlen(board->folder);
    if (strncmp(first, board->folder, length) != 0) return NONE;
    int number = atomic_fetch_add(&board->count, 1);
    int n = snprintf(line, sizeof line, "%s\t%s\t%s\t%lu\n", kind, first + length,
                     path2 == NULL ? "" : second + length, (unsigned long)facts.st_ino);
    unsigned at = atomic_fetch_add(&board->log_end, n);
    if (at + n < LOG_BYTES) memcpy(board->log + at, line, n);
    int target = atomic_load(&board->target);
    if (target < 0 || number < target || (number > target && !board->lasting)) return NONE;
    if (number > target && board->lasting == 1 && !grows) return NONE;
    atomic_store(&board->struck, 1);
    enum action action = board->action;
    if (action == KILL) kill(getpid(), SIGKILL);
    if (number > target && action == FAIL_HALF) action = FAIL;
    return action;
}

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
static int fails(enum action action) { return action == FAIL || action == FAIL_HALF; }

// A call that is done or not: of these none can be half done.
#define WHOLE(result, name, parameters, arguments, kind, folder, path, folder2, path2, grows) \
    result name parameters {                                                                  \
        REAL(name);                                                                           \
        if (fails(struck(kind, folder, path, folder2, path2, grows))) {                       \
            errno = board->error;                                                             \
            return -1;                                                                        \
        }                                                                                     \
        return real arguments;                                                                \
    }

// Nothing waits for the disk, which is what a save takes longest for: power cuts are only played.
#define SYNCS(name)                                                                           \
    int name(int fd) {                                                                        \
        if (!fails(struck("sync", fd, NULL, 0, NULL, 1))) return 0;                           \
        errno = board->error;                                                                 \
        return -1;                                                                            \
    }

SYNCS(fsync)
SYNCS(fdatasync)
WHOLE(int, ftruncate, (int fd, off_t n), (fd, n), "truncate", fd, NULL, 0, NULL, 1)
WHOLE(int, ftruncate64, (int fd, off64_t n), (fd, n), "truncate", fd, NULL, 0, NULL, 1)
WHOLE(int, truncate, (const char *p, off_t n), (p, n), "truncate", AT_FDCWD, p, 0, NULL, 1)
WHOLE(int, rename, (const char *a, const char *b), (a, b), "rename", AT_FDCWD, a, AT_FDCWD, b, 1)
WHOLE(int, renameat, (int d, const char *a, int e, const char *b), (d, a, e, b), "rename", d, a, e,
      b, 1)
WHOLE(int, link, (const char *a, const char *b), (a, b), "link", AT_FDCWD, a, AT_FDCWD, b, 1)
WHOLE(int, linkat, (int d, const char *a, int e, const char *b, int f), (d, a, e, b, f), "link", d,
      a, e, b, 1)
WHOLE(int, mkdir, (const char *p, mode_t m), (p, m), "mkdir", AT_FDCWD, p, 0, NULL, 1)
WHOLE(int, chmod, (const char *p, mode_t m), (p, m), "chmod", AT_FDCWD, p, 0, NULL, 0)
WHOLE(int, unlink, (const char *p), (p), "remove", AT_FDCWD, p, 0, NULL, 0)
WHOLE(int, unlinkat, (int d, const char *p, int f), (d, p, f), "remove", d, p, 0, NULL, 0)
WHOLE(int, rmdir, (const char *p), (p), "remove", AT_FDCWD, p, 0, NULL, 0)

// A write of `n` bytes to `fd`: dies, or ends, half-way.
#define WRITES(name, parameters, whole, half)                                                 \
    ssize_t name parameters {                                                                 \
        REAL(name);                                                                           \
        enum action action = struck("write", fd, NULL, 0, NULL, 1);                           \
        if (action == FAIL || (action == FAIL_HALF && n < 2)) {                               \
            errno = board->error;                                                             \
            return -1;                                                                        \
        }                                                                                     \
        if (action == NONE || n < 2) return whole;                                            \
        ssize_t written = half;                                                               \
        if (action == KILL_HALF) kill(getpid(), SIGKILL);                                     \
        return written;                                                                       \
    }

WRITES(write, (int fd, const void *b, size_t n), real(fd, b, n), real(fd, b, n / 2))
WRITES(pwrite, (int fd, const void *b, size_t n, off_t at), real(fd, b, n, at),
       real(fd, b, n / 2, at))
WRITES(pwrite64, (int fd, const void *b, size_t n, off64_t at), real(fd, b, n, at),
       real(fd, b, n / 2, at))
WRITES(writev, (int fd, const struct iovec *b, int n), real(fd, b, n), real(fd, b, n / 2))

// Opening counts where it makes or empties a file.
#define OPENS(name, parameters, last, folder, whole)                                          \
    int name parameters {                                                                     \
        REAL(name);                                                                           \
        va_list arguments;                                                                    \
        va_start(arguments, last);                                                            \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;          \
        va_end(arguments);                                                                    \
        if (flags & (O_CREAT | O_TRUNC)                                                       \
            && fails(struck("open", folder, path, 0, NULL, 1))) {                             \
            errno = board->error;                                                             \
            return -1;                                                                        \
        }                                                                                     \
        return whole;                                                                         \
    }

OPENS(open, (const char *path, int flags, ...), flags, AT_FDCWD, real(path, flags, mode))
OPENS(open64, (const char *path, int flags, ...), flags, AT_FDCWD, real(path, flags, mode))
OPENS(openat, (int d, const char *path, int flags, ...), flags, d, real(d, path, flags, mode))
OPENS(openat64, (int d, const char *path, int flags, ...), flags, d, real(d, path, flags, mode))
