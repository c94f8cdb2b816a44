/* Writes down in the file FLUSHES what is flushed and renamed, in its order. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void note(const char *what, const char *path, const char *to)
{
	FILE *log = fopen(getenv("FLUSHES"), "a");

	fprintf(log, "%s %s %s\n", what, path, to);
	fclose(log);
}

static int flush(const char *name, int fd)
{
	int (*real)(int) = dlsym(RTLD_NEXT, name);
	char link[64], path[4096];
	ssize_t length;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof path - 1);
	path[length < 0 ? 0 : length] = 0;
	note("flush", path, "");
	return real(fd);
}

int fsync(int fd)
{
	return flush("fsync", fd);
}

int fdatasync(int fd)
{
	return flush("fdatasync", fd);
}

int rename(const char *from, const char *to)
{
	int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");

	note("rename", from, to);
	return real(from, to);
}
