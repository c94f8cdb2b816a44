/*
 * For LD_PRELOAD: a disk on which every flush takes longer, by EXIMGREY_FLUSH_MS milliseconds. Each one is a byte more in the
 * file named by EXIMGREY_FLUSHES, so that whoever measures can see that it works.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static char counted[PATH_MAX];
static struct timespec longer;

/* Exim empties its environment later on. */
__attribute__((constructor)) static void remember(void)
{
    const char *name = getenv("EXIMGREY_FLUSHES"), *ms = getenv("EXIMGREY_FLUSH_MS");
    if (name && strlen(name) < sizeof counted)
        strcpy(counted, name);
    if (ms)
        longer.tv_nsec = atol(ms) % 1000 * 1000 * 1000;
}

static void slow(void)
{
    int saved = errno;
    int fd = open(counted, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd >= 0) {
        if (write(fd, "f", 1) != 1)
            abort();
        close(fd);
    }
    if (longer.tv_nsec)
        nanosleep(&longer, NULL);
    errno = saved;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd)
{
    slow();
    return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    slow();
    return REAL(fdatasync)(fd);
}

int msync(void *address, size_t length, int flags)
{
    if (flags & MS_SYNC)
        slow();
    return REAL(msync)(address, length, flags);
}

int sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags)
{
    slow();
    return REAL(sync_file_range)(fd, offset, length, flags);
}
