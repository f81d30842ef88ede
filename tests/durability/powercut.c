/* Loaded in front of libc (LD_PRELOAD): writes down, in order and with its bytes, everything a process does to the files of one directory,
 * so that the state of the disk after a power cut at any moment can be worked out later. Also gives the process a boot id of its own.
 *
 *   GRPS_POWERCUT_DIR    the directory to watch, canonical
 *   GRPS_POWERCUT_ACKS   a file; what is written to it is an acknowledgement
 *   GRPS_POWERCUT_TRACE  where the trace goes
 *   GRPS_POWERCUT_BOOT   a file to read in place of the kernel's boot id
 *
 * A record stands in the trace once the call is done, under the lock the call was made under, so the order of records is the order of
 * effects. Syncs alone run without the lock, between two records: what is written meanwhile is not covered by them. sync_file_range is
 * nothing: it does not reach the disk's own cache. What cannot be written down is refused (copy_file_range, sendfile, splice: callers fall
 * back to write) or ends the process (shared writable mappings). Raw system calls are not seen; replaying the whole trace and comparing
 * with the directory shows whether there were any writes among them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, WRITE, ZEROS, SIZE, GROW, RENAME, UNLINK, MKDIR, SYNC_BEGIN, SYNC_END, ACK, LINK };

struct record { uint32_t kind, path; uint64_t inode, a, b, data; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char dir[4096], acks[4096], boot[4096];
static size_t dir_length;
static int trace = -1;
static uint64_t syncs;

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void start(void) {
    const char *text;
    if ((text = getenv("GRPS_POWERCUT_BOOT"))) snprintf(boot, sizeof boot, "%s", text);
    if ((text = getenv("GRPS_POWERCUT_ACKS"))) snprintf(acks, sizeof acks, "%s", text);
    if ((text = getenv("GRPS_POWERCUT_TRACE")))
        trace = syscall(SYS_openat, AT_FDCWD, text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (trace >= 0 && (text = getenv("GRPS_POWERCUT_DIR"))) dir_length = snprintf(dir, sizeof dir, "%s", text);
}

static void die(const char *why) {
    fprintf(stderr, "powercut: %s\n", why);
    abort();
}

/* Appends one record; the caller holds the lock. */
static void record(uint32_t kind, uint64_t inode, uint64_t a, uint64_t b, const char *path, const void *data, size_t size) {
    struct record head = { kind, path ? strlen(path) : 0, inode, a, b, size };
    struct iovec parts[3] = { { &head, sizeof head }, { (void *)path, head.path }, { (void *)data, size } };
    size_t left = sizeof head + head.path + size;
    for (int part = 0; left > 0;) {
        ssize_t done = syscall(SYS_writev, trace, parts + part, 3 - part);
        if (done < 0) die("the trace cannot be written");
        left -= done;
        while (part < 3 && (size_t)done >= parts[part].iov_len) done -= parts[part++].iov_len;
        if (part < 3) { parts[part].iov_base = (char *)parts[part].iov_base + done; parts[part].iov_len -= done; }
    }
}

static int watched(const char *path) {
    return dir_length && !strncmp(path, dir, dir_length) && (path[dir_length] == '/' || !path[dir_length]);
}

/* The path behind a descriptor. */
static int path_of(int fd, char out[4096]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, out, 4095);
    out[length < 0 ? 0 : length] = 0;
    return length > 0;
}

static int watched_fd(int fd, struct stat *info) {
    char path[4096];
    return dir_length && path_of(fd, path) && watched(path) && !fstat(fd, info);
}

static int is_acks(int fd) {
    char path[4096];
    return dir_length && *acks && path_of(fd, path) && !strcmp(path, acks);
}

/* The absolute form of a path relative to a directory; ours hold no `..` and no links. */
static const char *absolute(int at, const char *path, char out[8192]) {
    char base[4096] = "";
    if (*path == '/') return path;
    if (at == AT_FDCWD ? !getcwd(base, sizeof base) : !path_of(at, base)) die("a path without a directory");
    snprintf(out, 8192, "%s/%s", base, path);
    return out;
}

static void put_data(const struct stat *info, uint64_t at, const char *data, size_t size) {
    int zeros = size > 0 && !data[0] && !memcmp(data, data + 1, size - 1);
    if (zeros) record(ZEROS, info->st_ino, at, size, NULL, NULL, 0);
    else record(WRITE, info->st_ino, at, size, NULL, data, size);
}

static void put_parts(const struct stat *info, uint64_t at, const struct iovec *parts, int count, size_t size) {
    for (int part = 0; part < count && size > 0; part++) {
        size_t length = parts[part].iov_len < size ? parts[part].iov_len : size;
        if (length) put_data(info, at, parts[part].iov_base, length);
        at += length;
        size -= length;
    }
}

/* Opening and names. */

static int open_any(int at, const char *path, int flags, mode_t mode) {
    char space[8192];
    if (*boot && !strcmp(path, "/proc/sys/kernel/random/boot_id")) return syscall(SYS_openat, at, boot, flags, mode);
    if (!dir_length || !(flags & (O_CREAT | O_TRUNC)) || !watched(absolute(at, path, space)))
        return syscall(SYS_openat, at, path, flags, mode);
    struct stat info;
    pthread_mutex_lock(&lock);
    int fd = syscall(SYS_openat, at, path, flags, mode);
    int error = errno;
    if (fd >= 0 && !fstat(fd, &info)) record(OPEN, info.st_ino, flags & O_TRUNC ? 1 : 0, 0, absolute(at, path, space), NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define MODE(last) mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, last); mode = va_arg(more, mode_t); va_end(more); }

int open(const char *path, int flags, ...) { MODE(flags) return open_any(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return open_any(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return open_any(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return open_any(at, path, flags | O_LARGEFILE, mode); }

/* A call on one or two names, and its record if it went well. */
#define NAMED(kind, at, path, at2, path2, call) do { \
    char one[8192], two[8192], both[16400]; \
    const char *first = absolute(at, path, one), *second = absolute(at2, path2, two); \
    if (!watched(first) && !watched(second)) return call; \
    struct stat info = { 0 }; \
    pthread_mutex_lock(&lock); \
    int done = call, error = errno; \
    if (!done) { \
        if (kind == MKDIR && stat(first, &info)) die("a folder that is not there"); \
        if (kind == RENAME || kind == LINK) snprintf(both, sizeof both, "%s\n%s", first, second); \
        else snprintf(both, sizeof both, "%s", first); \
        record(kind, info.st_ino, 0, 0, both, NULL, 0); \
    } \
    pthread_mutex_unlock(&lock); \
    errno = error; \
    return done; \
} while (0)

int rename(const char *from, const char *to) { REAL(rename); NAMED(RENAME, AT_FDCWD, from, AT_FDCWD, to, real(from, to)); }
int renameat(int at, const char *from, int at2, const char *to) { REAL(renameat); NAMED(RENAME, at, from, at2, to, real(at, from, at2, to)); }
int renameat2(int at, const char *from, int at2, const char *to, unsigned flags) {
    REAL(renameat2);
    if (flags & RENAME_EXCHANGE) { errno = EINVAL; return -1; }
    NAMED(RENAME, at, from, at2, to, real(at, from, at2, to, flags));
}
int link(const char *from, const char *to) { REAL(link); NAMED(LINK, AT_FDCWD, from, AT_FDCWD, to, real(from, to)); }
int linkat(int at, const char *from, int at2, const char *to, int flags) { REAL(linkat); NAMED(LINK, at, from, at2, to, real(at, from, at2, to, flags)); }
int unlink(const char *path) { REAL(unlink); NAMED(UNLINK, AT_FDCWD, path, AT_FDCWD, path, real(path)); }
int unlinkat(int at, const char *path, int flags) { REAL(unlinkat); NAMED(UNLINK, at, path, at, path, real(at, path, flags)); }
int rmdir(const char *path) { REAL(rmdir); NAMED(UNLINK, AT_FDCWD, path, AT_FDCWD, path, real(path)); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); NAMED(MKDIR, AT_FDCWD, path, AT_FDCWD, path, real(path, mode)); }
int mkdirat(int at, const char *path, mode_t mode) { REAL(mkdirat); NAMED(MKDIR, at, path, at, path, real(at, path, mode)); }

/* Data. */

#define DATA(call, put) do { \
    struct stat info; \
    if (!watched_fd(fd, &info)) return call; \
    pthread_mutex_lock(&lock); \
    ssize_t done = call; \
    int error = errno; \
    if (done > 0) put; \
    pthread_mutex_unlock(&lock); \
    errno = error; \
    return done; \
} while (0)

/* Where the bytes went that have just been written; right for O_APPEND too. */
#define BEHIND (lseek(fd, 0, SEEK_CUR) - done)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (is_acks(fd)) {
        pthread_mutex_lock(&lock);
        ssize_t done = real(fd, data, size);
        if (done > 0) record(ACK, 0, 0, 0, NULL, data, done);
        pthread_mutex_unlock(&lock);
        return done;
    }
    DATA(real(fd, data, size), put_data(&info, BEHIND, data, done));
}
ssize_t writev(int fd, const struct iovec *parts, int count) { REAL(writev); DATA(real(fd, parts, count), put_parts(&info, BEHIND, parts, count, done)); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { REAL(pwrite); DATA(real(fd, data, size, at), put_data(&info, at, data, done)); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { REAL(pwrite64); DATA(real(fd, data, size, at), put_data(&info, at, data, done)); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { REAL(pwritev); DATA(real(fd, parts, count, at), put_parts(&info, at, parts, count, done)); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) { REAL(pwritev64); DATA(real(fd, parts, count, at), put_parts(&info, at, parts, count, done)); }

#define SIZED(call, put) do { \
    struct stat info; \
    if (!watched_fd(fd, &info)) return call; \
    pthread_mutex_lock(&lock); \
    int done = call, error = errno; \
    if (!done) put; \
    pthread_mutex_unlock(&lock); \
    errno = error; \
    return done; \
} while (0)

static void put_fallocate(const struct stat *info, int mode, off64_t at, off64_t size) {
    if (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) die("a file was shifted");
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
        off64_t end = at + size > info->st_size && (mode & FALLOC_FL_KEEP_SIZE) ? info->st_size : at + size;
        if (end > at) record(ZEROS, info->st_ino, at, end - at, NULL, NULL, 0);
    } else if (!(mode & FALLOC_FL_KEEP_SIZE)) record(GROW, info->st_ino, at + size, 0, NULL, NULL, 0);
}

int ftruncate(int fd, off_t size) { REAL(ftruncate); SIZED(real(fd, size), record(SIZE, info.st_ino, size, 0, NULL, NULL, 0)); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); SIZED(real(fd, size), record(SIZE, info.st_ino, size, 0, NULL, NULL, 0)); }
int fallocate(int fd, int mode, off_t at, off_t size) { REAL(fallocate); SIZED(real(fd, mode, at, size), put_fallocate(&info, mode, at, size)); }
int fallocate64(int fd, int mode, off64_t at, off64_t size) { REAL(fallocate64); SIZED(real(fd, mode, at, size), put_fallocate(&info, mode, at, size)); }
int posix_fallocate(int fd, off_t at, off_t size) { REAL(posix_fallocate); SIZED(real(fd, at, size), put_fallocate(&info, 0, at, size)); }
int posix_fallocate64(int fd, off64_t at, off64_t size) { REAL(posix_fallocate64); SIZED(real(fd, at, size), put_fallocate(&info, 0, at, size)); }

/* Syncs. */

#define SYNC(call) do { \
    struct stat info; \
    if (!watched_fd(fd, &info)) return call; \
    pthread_mutex_lock(&lock); \
    uint64_t id = ++syncs; \
    record(SYNC_BEGIN, info.st_ino, id, 0, NULL, NULL, 0); \
    pthread_mutex_unlock(&lock); \
    int done = call, error = errno; \
    pthread_mutex_lock(&lock); \
    if (!done) record(SYNC_END, info.st_ino, id, 0, NULL, NULL, 0); \
    pthread_mutex_unlock(&lock); \
    errno = error; \
    return done; \
} while (0)

int fsync(int fd) { REAL(fsync); SYNC(real(fd)); }
int fdatasync(int fd) { REAL(fdatasync); SYNC(real(fd)); }

/* What cannot be written down. */

ssize_t copy_file_range(int in, off64_t *at, int out, off64_t *at2, size_t size, unsigned flags) {
    REAL(copy_file_range);
    struct stat info;
    if (watched_fd(out, &info)) { errno = ENOSYS; return -1; }
    return real(in, at, out, at2, size, flags);
}
ssize_t sendfile64(int out, int in, off64_t *at, size_t size) {
    REAL(sendfile64);
    struct stat info;
    if (watched_fd(out, &info)) { errno = EINVAL; return -1; }
    return real(out, in, at, size);
}
ssize_t splice(int in, off64_t *at, int out, off64_t *at2, size_t size, unsigned flags) {
    REAL(splice);
    struct stat info;
    if (watched_fd(out, &info)) { errno = EINVAL; return -1; }
    return real(in, at, out, at2, size, flags);
}
static void *map(void *at, size_t size, int access, int flags, int fd, off64_t from) {
    struct stat info;
    if (fd >= 0 && (access & PROT_WRITE) && (flags & MAP_SHARED) && watched_fd(fd, &info)) die("a shared writable mapping");
    return (void *)syscall(SYS_mmap, at, size, access, flags, fd, from);
}
void *mmap(void *at, size_t size, int access, int flags, int fd, off_t from) { return map(at, size, access, flags, fd, from); }
void *mmap64(void *at, size_t size, int access, int flags, int fd, off64_t from) { return map(at, size, access, flags, fd, from); }
