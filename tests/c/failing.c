/*
 * A machine on which one system call fails. Linked into the driver, these functions stand before those of the C library:
 *
 *   call fail NUMBER ERROR    the NUMBERth of them from now on fails with the error of that number, once; `short`: it
 *                             reads or writes only the half; NUMBER 0: none fails
 *   call calls                how many there were since then, and which one failed; they are counted no longer
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

typedef unsigned char uschar;

static int counting, error, halve;
static long seen, chosen;
static const char *failed;

int fail(uschar **yield, int argc, uschar *argv[])
{
	if (argc != 2)
		return 1;
	chosen = atol((char *)argv[0]);
	halve = strcmp((char *)argv[1], "short") == 0;
	error = atoi((char *)argv[1]);
	seen = 0;
	failed = "none";
	counting = 1;
	*yield = (uschar *)"set";
	return 0;
}

int calls(uschar **yield, int argc, uschar *argv[])
{
	static char text[100];

	(void) argc;
	(void) argv;
	counting = 0;
	snprintf(text, sizeof text, "%ld %s", seen, failed);
	*yield = (uschar *)text;
	return 0;
}

static int is_chosen(const char *name)
{
	if (!counting || ++seen != chosen)
		return 0;
	failed = name;
	return 1;
}

static int fails(const char *name)
{
	if (!is_chosen(name) || halve)
		return 0;
	errno = error;
	return 1;
}

/* What a call that reads or writes `length` bytes is to do; below 0: fail. */
static ssize_t part(const char *name, size_t length)
{
	if (!is_chosen(name))
		return (ssize_t)length;
	if (halve)
		return (ssize_t)(length / 2);
	errno = error;
	return -1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define CALL(type, bad, name, parameters, arguments) \
	type name parameters \
	{ \
		return fails(#name) ? bad : REAL(name) arguments; \
	}

#define TRANSFER(name, parameters, length, before, after) \
	ssize_t name parameters \
	{ \
		ssize_t some = part(#name, length); \
		return some < 0 ? -1 : REAL(name)(before, (size_t)some after); \
	}

#define AND ,

TRANSFER(read, (int fd, void *to, size_t length), length, fd AND to, )
TRANSFER(write, (int fd, const void *from, size_t length), length, fd AND from, )
TRANSFER(pread, (int fd, void *to, size_t length, off_t at), length, fd AND to, AND at)
TRANSFER(pread64, (int fd, void *to, size_t length, off64_t at), length, fd AND to, AND at)
TRANSFER(pwrite, (int fd, const void *from, size_t length, off_t at), length, fd AND from, AND at)
TRANSFER(pwrite64, (int fd, const void *from, size_t length, off64_t at), length, fd AND from, AND at)
TRANSFER(getrandom, (void *to, size_t length, unsigned flags), length, to, AND flags)

/* A half of these is all but the last piece. */
ssize_t writev(int fd, const struct iovec *pieces, int count)
{
	ssize_t some = part("writev", (size_t)count * 2);

	if (some < 0)
		return -1;
	return some == count && count == 1 ? REAL(write)(fd, pieces->iov_base, pieces->iov_len / 2)
	                                   : REAL(writev)(fd, pieces, some == count ? count - 1 : count);
}

ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t at)
{
	ssize_t some = part("pwritev", (size_t)count * 2);

	if (some < 0)
		return -1;
	return some == count && count == 1 ? REAL(pwrite)(fd, pieces->iov_base, pieces->iov_len / 2, at)
	                                   : REAL(pwritev)(fd, pieces, some == count ? count - 1 : count, at);
}

static mode_t mode_of(int flags, va_list more)
{
	return flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
}

#define OPENS(name, parameters, arguments) \
	int name parameters \
	{ \
		va_list more; \
		mode_t mode; \
\
		va_start(more, flags); \
		mode = mode_of(flags, more); \
		va_end(more); \
		return fails(#name) ? -1 : REAL(name)(arguments, mode); \
	}

OPENS(open, (const char *path, int flags, ...), path AND flags)
OPENS(open64, (const char *path, int flags, ...), path AND flags)
OPENS(openat, (int dir, const char *path, int flags, ...), dir AND path AND flags)
OPENS(openat64, (int dir, const char *path, int flags, ...), dir AND path AND flags)

#define CONTROLS(name) \
	int name(int fd, int command, ...) \
	{ \
		va_list more; \
		void *argument; \
\
		va_start(more, command); \
		argument = va_arg(more, void *); \
		va_end(more); \
		return fails(#name) ? -1 : REAL(name)(fd, command, argument); \
	}

CONTROLS(fcntl)
CONTROLS(fcntl64)

CALL(void *, MAP_FAILED, mmap, (void *at, size_t length, int access, int flags, int fd, off_t offset),
     (at, length, access, flags, fd, offset))
CALL(void *, MAP_FAILED, mmap64, (void *at, size_t length, int access, int flags, int fd, off64_t offset),
     (at, length, access, flags, fd, offset))
CALL(int, -1, madvise, (void *at, size_t length, int advice), (at, length, advice))
CALL(int, -1, msync, (void *at, size_t length, int flags), (at, length, flags))
CALL(int, -1, fsync, (int fd), (fd))
CALL(int, -1, fdatasync, (int fd), (fd))
CALL(int, -1, flock, (int fd, int operation), (fd, operation))
CALL(int, -1, ftruncate, (int fd, off_t length), (fd, length))
CALL(int, -1, ftruncate64, (int fd, off64_t length), (fd, length))
CALL(int, error, posix_fallocate, (int fd, off_t from, off_t length), (fd, from, length))
CALL(int, error, posix_fallocate64, (int fd, off64_t from, off64_t length), (fd, from, length))
CALL(int, -1, fallocate, (int fd, int mode, off_t from, off_t length), (fd, mode, from, length))
CALL(int, -1, fallocate64, (int fd, int mode, off64_t from, off64_t length), (fd, mode, from, length))
CALL(int, -1, mkdir, (const char *path, mode_t mode), (path, mode))
CALL(int, -1, mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode))
CALL(int, -1, rename, (const char *from, const char *to), (from, to))
CALL(int, -1, renameat, (int from_dir, const char *from, int to_dir, const char *to), (from_dir, from, to_dir, to))
CALL(int, -1, renameat2, (int from_dir, const char *from, int to_dir, const char *to, unsigned flags),
     (from_dir, from, to_dir, to, flags))
CALL(int, -1, unlink, (const char *path), (path))
CALL(int, -1, unlinkat, (int dir, const char *path, int flags), (dir, path, flags))
CALL(int, -1, rmdir, (const char *path), (path))
CALL(int, -1, statx, (int dir, const char *path, int flags, unsigned mask, struct statx *out),
     (dir, path, flags, mask, out))
CALL(int, -1, fstat, (int fd, struct stat *out), (fd, out))
CALL(int, -1, fstat64, (int fd, struct stat64 *out), (fd, out))
CALL(int, -1, stat64, (const char *path, struct stat64 *out), (path, out))
CALL(int, -1, lstat64, (const char *path, struct stat64 *out), (path, out))
CALL(int, -1, fstatfs, (int fd, struct statfs *out), (fd, out))
CALL(int, -1, fstatfs64, (int fd, struct statfs64 *out), (fd, out))
CALL(int, -1, statvfs, (const char *path, struct statvfs *out), (path, out))
CALL(int, -1, statvfs64, (const char *path, struct statvfs64 *out), (path, out))
CALL(int, -1, memfd_create, (const char *name, unsigned flags), (name, flags))
CALL(DIR *, NULL, opendir, (const char *path), (path))
CALL(struct dirent64 *, NULL, readdir64, (DIR *dir), (dir))

/* The descriptor is closed all the same (close(2)). */
int close(int fd)
{
	int code = REAL(close)(fd);

	return fails("close") ? -1 : code;
}
