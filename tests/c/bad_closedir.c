/* A disk whose errors show when a directory is closed. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>

int closedir(DIR *dir)
{
	int (*real)(DIR *) = (int (*)(DIR *)) dlsym(RTLD_NEXT, "closedir");

	real(dir);
	errno = EIO;
	return -1;
}
