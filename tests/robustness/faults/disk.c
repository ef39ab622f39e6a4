/* A disk that can be watched and can misbehave, as a library that stands before the C library (LD_PRELOAD).
 *
 * Watched are the files under TOOLOO_DISK_FOLDER. What the process does to them is written to TOOLOO_DISK_TAPE, in order:
 * writes with their content, truncations, syncs, files made, removed and renamed. TOOLOO_DISK_CONTROL is a file of 64-bit numbers
 * that the test may change at any time (enum below): room that is left, how long a sync takes, which sync fails, and at how many
 * writes or syncs from now the process dies before it does it: SIGKILL from outside may come between a write and its place on the tape.
 * TOOLOO_DISK_SYNCHRONOUS (OFF, NORMAL) is what SQLite is told instead of the level it asks for: the control of the experiment.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FILES 4096
#define EXPORT __attribute__((visibility("default")))

enum { LIMITED, ROOM, SYNC_US, FAIL_SYNCS, FAILED_SYNCS, HOLD, HELD, DIE, CONTROLS };
enum { OPEN = 1, WRITE, TRUNCATE, SYNC, UNLINK, RENAME, SYNC_FOLDER };

/* one entry of the tape; `length` bytes follow: a name for OPEN, UNLINK and RENAME ("old\0new"), the content for WRITE */
struct entry {
    uint32_t kind;
    uint32_t length;
    uint64_t file; /* number of the file, 0 for the folder */
    uint64_t offset;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_length;
static int tape = -1;
static volatile int64_t *control;
static uint64_t files[FILES]; /* by descriptor: the inode of a watched file; 1 for a folder */

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void start(void) {
    const char *given = getenv("TOOLOO_DISK_FOLDER"), *path;
    if (!given || !realpath(given, folder))
        return;
    folder_length = strlen(folder);
    if ((path = getenv("TOOLOO_DISK_TAPE")))
        tape = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if ((path = getenv("TOOLOO_DISK_CONTROL"))) {
        int fd = REAL(open)(path, O_RDWR | O_CLOEXEC);
        void *found = mmap(NULL, CONTROLS * sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (found != MAP_FAILED)
            control = found;
    }
}

/* The name under the watched folder, or NULL. The -shm file of SQLite is not watched: it is memory, and built anew after a crash. */
static const char *watched(const char *path) {
    if (!folder_length || !path || strncmp(path, folder, folder_length) || (path[folder_length] && path[folder_length] != '/'))
        return NULL;
    size_t length = strlen(path);
    if (length > 4 && !strcmp(path + length - 4, "-shm"))
        return NULL;
    return path[folder_length] ? path + folder_length + 1 : "";
}

static uint64_t file_of(int fd) { return fd >= 0 && fd < FILES ? files[fd] : 0; }

/* From here to the unlock nothing else happens to the disk. */
static void enter(void) {
    pthread_mutex_lock(&lock);
    if (control && control[DIE] && !--control[DIE])
        kill(getpid(), SIGKILL);
}

static void record(uint32_t kind, uint64_t file, uint64_t offset, const void *content, size_t length) {
    if (tape < 0)
        return;
    struct entry entry = {kind, (uint32_t)length, file, offset};
    struct iovec parts[] = {{&entry, sizeof entry}, {(void *)content, length}};
    if (REAL(writev)(tape, parts, 2) != (ssize_t)(sizeof entry + length))
        abort(); /* a tape with a hole would prove nothing */
}

static int64_t size_of(int fd) {
    struct stat found;
    return fstat(fd, &found) ? 0 : found.st_size;
}

/* Takes the room that a file needs to grow to `end`; 0 when the disk is full. Called with the lock held. */
static int take_room(int fd, int64_t end) {
    if (!control || !control[LIMITED])
        return 1;
    int64_t growth = end - size_of(fd);
    if (growth > control[ROOM] && growth > 0)
        return 0;
    control[ROOM] -= growth > 0 ? growth : 0;
    return 1;
}

static void give_room(int64_t bytes) {
    if (control && control[LIMITED] && bytes > 0)
        control[ROOM] += bytes;
}

static void opened(int fd, const char *path, int flags, int existed) {
    if (fd < 0 || fd >= FILES)
        return;
    const char *name = watched(path);
    struct stat found;
    files[fd] = 0;
    if (!name || fstat(fd, &found))
        return;
    files[fd] = S_ISDIR(found.st_mode) ? 1 : found.st_ino;
    if (!S_ISDIR(found.st_mode) && !existed)
        record(OPEN, found.st_ino, 0, name, strlen(name));
    if (!S_ISDIR(found.st_mode) && (flags & O_TRUNC))
        record(TRUNCATE, found.st_ino, 0, NULL, 0);
}

static int open_as(const char *symbol, const char *path, int flags, mode_t mode) {
    if (!watched(path))
        return ((int (*)(const char *, int, ...))real(symbol))(path, flags, mode);
    enter();
    int existed = !access(path, F_OK);
    int fd = ((int (*)(const char *, int, ...))real(symbol))(path, flags, mode);
    opened(fd, path, flags, existed);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags, mode)                                                                                                          \
    mode_t mode = 0;                                                                                                               \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                                                       \
        va_list rest;                                                                                                              \
        va_start(rest, flags);                                                                                                     \
        mode = va_arg(rest, mode_t);                                                                                               \
        va_end(rest);                                                                                                              \
    }

EXPORT int open(const char *path, int flags, ...) {
    MODE(flags, mode)
    return open_as("open", path, flags, mode);
}

EXPORT int open64(const char *path, int flags, ...) {
    MODE(flags, mode)
    return open_as("open64", path, flags, mode);
}

EXPORT int openat(int at, const char *path, int flags, ...) {
    MODE(flags, mode)
    return watched(path) ? open_as("open", path, flags, mode) : REAL(openat)(at, path, flags, mode);
}

EXPORT int openat64(int at, const char *path, int flags, ...) {
    MODE(flags, mode)
    return watched(path) ? open_as("open64", path, flags, mode) : REAL(openat64)(at, path, flags, mode);
}

EXPORT int close(int fd) {
    if (fd >= 0 && fd < FILES)
        files[fd] = 0;
    return REAL(close)(fd);
}

static ssize_t write_at(int fd, const void *content, size_t length, off_t offset) {
    enter();
    ssize_t written = -1;
    if (!take_room(fd, offset + (off_t)length))
        errno = ENOSPC;
    else if ((written = REAL(pwrite)(fd, content, length, offset)) > 0)
        record(WRITE, file_of(fd), (uint64_t)offset, content, (size_t)written);
    pthread_mutex_unlock(&lock);
    return written;
}

EXPORT ssize_t pwrite(int fd, const void *content, size_t length, off_t offset) {
    return file_of(fd) ? write_at(fd, content, length, offset) : REAL(pwrite)(fd, content, length, offset);
}

EXPORT ssize_t pwrite64(int fd, const void *content, size_t length, off64_t offset) { return pwrite(fd, content, length, offset); }

EXPORT ssize_t write(int fd, const void *content, size_t length) {
    if (!file_of(fd))
        return REAL(write)(fd, content, length);
    int append = fcntl(fd, F_GETFL) & O_APPEND;
    off_t offset = append ? size_of(fd) : lseek(fd, 0, SEEK_CUR);
    ssize_t written = write_at(fd, content, length, offset);
    if (written > 0)
        lseek(fd, offset + written, SEEK_SET);
    return written;
}

EXPORT ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    if (!file_of(fd))
        return REAL(pwritev)(fd, parts, count, offset);
    ssize_t sum = 0;
    for (int i = 0; i < count; i++) {
        ssize_t written = write_at(fd, parts[i].iov_base, parts[i].iov_len, offset + sum);
        if (written < 0)
            return sum ? sum : -1;
        sum += written;
        if ((size_t)written < parts[i].iov_len)
            break;
    }
    return sum;
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) { return pwritev(fd, parts, count, offset); }

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!file_of(fd))
        return REAL(writev)(fd, parts, count);
    int append = fcntl(fd, F_GETFL) & O_APPEND;
    off_t offset = append ? size_of(fd) : lseek(fd, 0, SEEK_CUR);
    ssize_t written = pwritev(fd, parts, count, offset);
    if (written > 0)
        lseek(fd, offset + written, SEEK_SET);
    return written;
}

EXPORT int ftruncate(int fd, off_t length) {
    uint64_t file = file_of(fd);
    if (!file)
        return REAL(ftruncate)(fd, length);
    enter();
    int64_t before = size_of(fd);
    int failed = take_room(fd, length) ? REAL(ftruncate)(fd, length) : (errno = ENOSPC, -1);
    if (!failed) {
        give_room(before - length);
        record(TRUNCATE, file, (uint64_t)length, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return failed;
}

EXPORT int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

EXPORT int posix_fallocate(int fd, off_t offset, off_t length) {
    if (!file_of(fd))
        return REAL(posix_fallocate)(fd, offset, length);
    int64_t size = size_of(fd);
    return offset + length > size && ftruncate(fd, offset + length) ? errno : 0;
}

EXPORT int posix_fallocate64(int fd, off64_t offset, off64_t length) { return posix_fallocate(fd, offset, length); }

EXPORT int fallocate(int fd, int mode, off_t offset, off_t length) {
    if (!file_of(fd) || mode)
        return REAL(fallocate)(fd, mode, offset, length);
    int failure = posix_fallocate(fd, offset, length);
    return failure ? (errno = failure, -1) : 0;
}

EXPORT int fallocate64(int fd, int mode, off64_t offset, off64_t length) { return fallocate(fd, mode, offset, length); }

static int is_wal(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    return length > 4 && !strncmp(path + length - 4, "-wal", 4);
}

static int sync_as(const char *symbol, int fd) {
    uint64_t file = file_of(fd);
    int (*sync)(int) = (int (*)(int))real(symbol);
    if (!file)
        return sync(fd);
    if (control && control[SYNC_US]) {
        struct timespec wait = {control[SYNC_US] / 1000000, control[SYNC_US] % 1000000 * 1000};
        nanosleep(&wait, NULL);
    }
    while (control && control[HOLD] && file != 1) {
        const struct timespec moment = {0, 2000000};
        control[HELD] = 1;
        nanosleep(&moment, NULL);
    }
    enter();
    int failed;
    /* FAIL_SYNCS: bit 0 for the write-ahead log, bit 1 for any other file; the bit falls when it has failed once */
    int64_t bit = file == 1 ? 0 : is_wal(fd) ? 1 : 2;
    if (control && (control[FAIL_SYNCS] & bit)) {
        control[FAIL_SYNCS] &= ~bit;
        control[FAILED_SYNCS]++;
        errno = EIO;
        failed = -1;
    } else if (!(failed = sync(fd))) {
        record(file == 1 ? SYNC_FOLDER : SYNC, file, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return failed;
}

EXPORT int fsync(int fd) { return sync_as("fsync", fd); }
EXPORT int fdatasync(int fd) { return sync_as("fdatasync", fd); }

static int unlink_as(int at, const char *path, int flags, int plain) {
    const char *name = watched(path);
    if (!name)
        return plain ? REAL(unlink)(path) : REAL(unlinkat)(at, path, flags);
    enter();
    struct stat found;
    int known = !stat(path, &found);
    int failed = plain ? REAL(unlink)(path) : REAL(unlinkat)(at, path, flags);
    if (!failed && known) {
        give_room(found.st_size);
        record(UNLINK, found.st_ino, 0, name, strlen(name));
    }
    pthread_mutex_unlock(&lock);
    return failed;
}

EXPORT int unlink(const char *path) { return unlink_as(AT_FDCWD, path, 0, 1); }
EXPORT int unlinkat(int at, const char *path, int flags) { return unlink_as(at, path, flags, 0); }

EXPORT int rename(const char *old, const char *new) {
    const char *from = watched(old), *to = watched(new);
    if (!from || !to)
        return REAL(rename)(old, new);
    enter();
    struct stat found;
    int failed = stat(old, &found) || REAL(rename)(old, new);
    if (!failed) {
        char both[2 * PATH_MAX];
        int length = snprintf(both, sizeof both, "%s%c%s", from, 0, to);
        record(RENAME, found.st_ino, 0, both, (size_t)length);
    }
    pthread_mutex_unlock(&lock);
    return failed ? -1 : 0;
}

/* SQLite is loaded by a module of Python, out of sight of RTLD_NEXT: it is asked for by name. */
EXPORT int sqlite3_prepare_v2(void *db, const char *sql, int length, void **statement, const char **tail) {
    static const char pragma[] = "PRAGMA synchronous";
    static int (*prepare)(void *, const char *, int, void **, const char **);
    const char *instead = getenv("TOOLOO_DISK_SYNCHRONOUS");
    if (!prepare) {
        void *library = dlopen("libsqlite3.so.0", RTLD_LAZY | RTLD_NOLOAD);
        if (!library || !(*(void **)&prepare = dlsym(library, "sqlite3_prepare_v2")))
            abort();
    }
    if (instead && !strncasecmp(sql, pragma, sizeof pragma - 1))
        return prepare(db, strcmp(instead, "OFF") ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = OFF", -1, statement, tail);
    return prepare(db, sql, length, statement, tail);
}
