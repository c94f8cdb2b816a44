/* A sector of the file BAD_FILE that cannot be read, at the byte BAD_AT: SIGBUS where the file is mapped, EIO where it is
 * read, as on a broken disk. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 4096

static off_t bad_at(int fd)
{
	const char *file = getenv("BAD_FILE"), *at = getenv("BAD_AT");
	struct stat bad, of;

	if (!file || !at || stat(file, &bad) != 0 || fstat(fd, &of) != 0)
		return -1;
	return bad.st_ino == of.st_ino && bad.st_dev == of.st_dev ? atoll(at) : -1;
}

static void *map(const char *name, void *where, size_t length, int access, int flags, int fd, off_t offset)
{
	void *(*real)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, name);
	char *start = real(where, length, access, flags, fd, offset);
	off_t at = fd < 0 ? -1 : bad_at(fd);

	if (start != MAP_FAILED && at >= offset && (size_t)(at - offset) < length) {
		/* A file without a byte: whoever looks at its first page gets SIGBUS. */
		int empty = memfd_create("bad", MFD_CLOEXEC);

		real(start + (at - offset), SECTOR, access, MAP_SHARED | MAP_FIXED, empty, 0);
		close(empty);
	}
	return start;
}

void *mmap(void *where, size_t length, int access, int flags, int fd, off_t offset)
{
	return map("mmap", where, length, access, flags, fd, offset);
}

void *mmap64(void *where, size_t length, int access, int flags, int fd, off_t offset)
{
	return map("mmap64", where, length, access, flags, fd, offset);
}

static ssize_t bad_read(const char *name, int fd, void *bytes, size_t length, off_t offset)
{
	ssize_t (*real)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, name);
	off_t at = bad_at(fd);

	if (at >= 0 && offset < at + SECTOR && offset + (off_t)length > at) {
		errno = EIO;
		return -1;
	}
	return real(fd, bytes, length, offset);
}

ssize_t pread(int fd, void *bytes, size_t length, off_t offset)
{
	return bad_read("pread", fd, bytes, length, offset);
}

ssize_t pread64(int fd, void *bytes, size_t length, off_t offset)
{
	return bad_read("pread64", fd, bytes, length, offset);
}
