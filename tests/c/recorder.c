/*
 * Writes down what a process does to files below a directory, and moves its clock. Linked into the driver, these functions
 * stand before those of the C library:
 *
 *   call record DIRECTORY FILE   from now on each change below DIRECTORY is a line of FILE, when it is done:
 *                                W PATH OFFSET BYTES   written, in hexadecimal
 *                                T PATH SIZE           has that size now
 *                                S PATH                flushed (a file or a directory)
 *                                N PATH                made (a file); D PATH: a directory
 *                                R PATH PATH           renamed; L PATH PATH: linked; U PATH: removed
 *   call mark TEXT               M TEXT, a word
 *   call later SECONDS           the clock is so much ahead
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

typedef unsigned char uschar;

static FILE *trace;
static char below[PATH_MAX];
static time_t ahead;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int record(uschar **yield, int argc, uschar *argv[])
{
	if (argc != 2 || strlen((char *)argv[0]) >= sizeof below || !(trace = fopen((char *)argv[1], "we")))
		return 1;
	strcpy(below, (char *)argv[0]);
	*yield = (uschar *)"set";
	return 0;
}

int mark(uschar **yield, int argc, uschar *argv[])
{
	if (argc != 1 || !trace)
		return 1;
	fprintf(trace, "M %s\n", argv[0]);
	fflush(trace);
	*yield = (uschar *)"set";
	return 0;
}

int later(uschar **yield, int argc, uschar *argv[])
{
	if (argc != 1)
		return 1;
	ahead = atol((char *)argv[0]);
	*yield = (uschar *)"set";
	return 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int code = REAL(clock_gettime)(clock, now);

	if (code == 0 && clock == CLOCK_REALTIME)
		now->tv_sec += ahead;
	return code;
}

static int is_below(const char *path)
{
	return trace && strncmp(path, below, strlen(below)) == 0;
}

/* The name of a descriptor's file; NULL if it is of no interest. */
static const char *name(int fd)
{
	static char path[PATH_MAX];
	char link[64];
	ssize_t length;

	sprintf(link, "/proc/self/fd/%d", fd);
	if (!trace || (length = readlink(link, path, sizeof path - 1)) < 0)
		return NULL;
	path[length] = 0;
	return is_below(path) ? path : NULL;
}

/* Kept in a buffer until the next flush: whoever is to be killed calls `mark` before. */
static void note(const char *what, const char *path, const char *other)
{
	int saved = errno;

	if (path && is_below(path))
		fprintf(trace, "%s %s%s%s\n", what, path, other ? " " : "", other ? other : "");
	errno = saved;
}

static void note_write(int fd, const void *from, ssize_t length, off64_t at)
{
	const uschar *bytes = from;
	const char *path = length > 0 ? name(fd) : NULL;
	int saved = errno;
	ssize_t i;

	if (path) {
		fprintf(trace, "W %s %lld ", path, (long long)at);
		for (i = 0; i < length; i++)
			fprintf(trace, "%02x", bytes[i]);
		fputc('\n', trace);
	}
	errno = saved;
}

static void note_size(int fd)
{
	struct stat meta;
	const char *path = name(fd);

	if (path && fstat(fd, &meta) == 0)
		fprintf(trace, "T %s %lld\n", path, (long long)meta.st_size);
}

ssize_t write(int fd, const void *from, size_t length)
{
	off64_t at = trace ? lseek64(fd, 0, SEEK_CUR) : 0;
	ssize_t done = REAL(write)(fd, from, length);

	note_write(fd, from, done, at);
	return done;
}

#define WRITES_AT(function, offset) \
	ssize_t function(int fd, const void *from, size_t length, offset at) \
	{ \
		ssize_t done = REAL(function)(fd, from, length, at); \
\
		note_write(fd, from, done, at); \
		return done; \
	}

WRITES_AT(pwrite, off_t)
WRITES_AT(pwrite64, off64_t)

static void note_pieces(int fd, const struct iovec *pieces, int count, ssize_t done, off64_t at)
{
	for (; count > 0 && done > 0; pieces++, count--) {
		ssize_t some = done < (ssize_t)pieces->iov_len ? done : (ssize_t)pieces->iov_len;

		note_write(fd, pieces->iov_base, some, at);
		at += some;
		done -= some;
	}
}

ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t at)
{
	ssize_t done = REAL(pwritev)(fd, pieces, count, at);

	note_pieces(fd, pieces, count, done, at);
	return done;
}

ssize_t writev(int fd, const struct iovec *pieces, int count)
{
	off64_t at = trace ? lseek64(fd, 0, SEEK_CUR) : 0;
	ssize_t done = REAL(writev)(fd, pieces, count);

	note_pieces(fd, pieces, count, done, at);
	return done;
}

#define SIZES(function, parameters, arguments) \
	int function parameters \
	{ \
		int code = REAL(function) arguments; \
\
		note_size(fd); \
		return code; \
	}

SIZES(ftruncate, (int fd, off_t length), (fd, length))
SIZES(ftruncate64, (int fd, off64_t length), (fd, length))
SIZES(posix_fallocate, (int fd, off_t from, off_t length), (fd, from, length))
SIZES(posix_fallocate64, (int fd, off64_t from, off64_t length), (fd, from, length))
SIZES(fallocate, (int fd, int mode, off_t from, off_t length), (fd, mode, from, length))
SIZES(fallocate64, (int fd, int mode, off64_t from, off64_t length), (fd, mode, from, length))

#define FLUSHES(function) \
	int function(int fd) \
	{ \
		int code = REAL(function)(fd); \
\
		if (code == 0) \
			note("S", name(fd), NULL); \
		return code; \
	}

FLUSHES(fsync)
FLUSHES(fdatasync)

#define OPENS(function) \
	int function(const char *path, int flags, ...) \
	{ \
		va_list more; \
		mode_t mode = 0; \
		int fd, is_new = flags & O_CREAT && access(path, F_OK) != 0; \
\
		if (flags & (O_CREAT | __O_TMPFILE)) { \
			va_start(more, flags); \
			mode = va_arg(more, mode_t); \
			va_end(more); \
		} \
		fd = REAL(function)(path, flags, mode); \
		if (fd >= 0 && is_new) \
			note("N", path, NULL); \
		return fd; \
	}

OPENS(open)
OPENS(open64)

int mkdir(const char *path, mode_t mode)
{
	int code = REAL(mkdir)(path, mode);

	if (code == 0)
		note("D", path, NULL);
	return code;
}

int rename(const char *from, const char *to)
{
	int code = REAL(rename)(from, to);

	if (code == 0)
		note("R", from, to);
	return code;
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	int code = REAL(renameat2)(from_dir, from, to_dir, to, flags);

	if (code == 0)
		note("R", from, to);
	return code;
}

int link(const char *from, const char *to)
{
	int code = REAL(link)(from, to);

	if (code == 0)
		note("L", from, to);
	return code;
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	int code = REAL(linkat)(from_dir, from, to_dir, to, flags);

	if (code == 0)
		note("L", from, to);
	return code;
}

int unlink(const char *path)
{
	int code = REAL(unlink)(path);

	if (code == 0)
		note("U", path, NULL);
	return code;
}
