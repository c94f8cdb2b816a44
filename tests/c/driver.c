/*
 * Calls libeximgrey.so as Exim does (expand.c: dlopen with RTLD_LAZY, dlsym at each call), at the word of a test.
 *
 *   driver LIBRARY OUTPUT
 *
 * Commands come by line on standard input, one line of answer each goes to standard output. Both move to descriptors from
 * 100 on; 0 becomes /dev/null, and 1 and 2 the file OUTPUT, which stays empty if the library prints nothing.
 *
 * An ARG is `-` for the empty text, `N` for a null pointer, else hexadecimal. The arguments lie in memory of their exact
 * size, and are overwritten and freed before the reply is read.
 *
 *   call FUNCTION ARG...        CODE, then the reply in hexadecimal (`-` empty, `N` null, `=` the first argument itself)
 *   raw FUNCTION ARGC PLACE     the same with a made-up argv: `null`, `wild` (not mapped) or `nulls` (16 null pointers)
 *   noplace FUNCTION            CODE of a call without a place for the answer
 *   each COUNT FUNCTION ARG...  so many children, one after the other, each calls and ends by _exit: the last reply, and
 *                               how many children got that one
 *   fork ORDER DEPTH FUNCTION ARG...  a chain of DEPTH forks; every process calls, `first` before or `last` after its
 *                               child did, and once more at its end: all replies, and whether all were the same
 *   child                       forks; from now on the child answers, and this process waits for its end
 *   loop SEED COUNT TRIPLETS ARG  greylist for COUNT random (client, recipient); until it is killed with COUNT 0
 *   barrier FILE                waits for a shared lock on FILE
 *   close FD | chdir DIR | umask OCTAL | descriptors NUMBER | environ | pid
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef unsigned char uschar;
typedef int function_type(uschar **yield, int argc, uschar *argv[]);

#define MOST 16

static void *library;
static FILE *out;

static void die(const char *what)
{
	fprintf(out, "driver: %s: %s\n", what, errno ? strerror(errno) : "");
	fflush(out);
	_exit(3);
}

static function_type *find(const char *name)
{
	function_type *function = (function_type *)dlsym(library, name);

	/* What a test has linked into this program. */
	if (!function)
		function = (function_type *)dlsym(RTLD_DEFAULT, name);
	if (!function)
		die(name);
	return function;
}

static int digit(char c)
{
	return c >= 'a' ? c - 'a' + 10 : c - '0';
}

/* One argument in memory of its own. */
static uschar *argument(const char *word)
{
	size_t length = strcmp(word, "-") == 0 ? 0 : strlen(word) / 2;
	uschar *text;
	size_t i;

	if (strcmp(word, "N") == 0)
		return NULL;
	text = malloc(length + 1);
	for (i = 0; i < length; i++)
		text[i] = (uschar)(digit(word[2 * i]) << 4 | digit(word[2 * i + 1]));
	text[length] = 0;
	return text;
}

/* Calls, and answers with one line in memory of its own. */
static char *call(const char *name, int words, char **word)
{
	uschar *argv[MOST + 1] = {NULL}, *lent[MOST] = {NULL}, *yield = NULL;
	char *line;
	size_t used;
	int i, code;

	if (words > MOST)
		die("too many arguments");
	for (i = 0; i < words; i++)
		lent[i] = argv[i] = argument(word[i]);
	code = find(name)(&yield, words, argv);
	i = words > 0 && yield && yield == lent[0];
	for (words--; words >= 0; words--)
		if (lent[words]) {
			memset(lent[words], '!', strlen((char *)lent[words]));
			free(lent[words]);
		}
	line = malloc(1024);
	used = (size_t)sprintf(line, "%d %s", code, i ? "=" : !yield ? "N" : *yield ? "" : "-");
	if (yield && !i) {
		/* What the library says is short: a reply that is not ended by NUL is found by its length. */
		for (i = 0; yield[i] && i < 400; i++)
			used += (size_t)sprintf(line + used, "%02x", yield[i]);
	}
	return line;
}

static char *raw(const char *name, int argc, const char *place)
{
	uschar *nulls[MOST] = {NULL}, *yield = NULL;
	uschar **argv = strcmp(place, "null") == 0 ? NULL : strcmp(place, "wild") == 0 ? (uschar **)16 : nulls;
	int code = find(name)(&yield, argc, argv);
	char *line = malloc(1024);
	size_t used = (size_t)sprintf(line, "%d %s", code, !yield ? "N" : *yield ? "" : "-");
	int i;

	for (i = 0; yield && yield[i] && i < 400; i++)
		used += (size_t)sprintf(line + used, "%02x", yield[i]);
	return line;
}

/* Runs in a child: its reply comes through a pipe; the empty text if the child did not end well. */
static void each(int count, const char *name, int words, char **word)
{
	char last[1024] = "";
	int same = 0, i;

	for (i = 0; i < count; i++) {
		char reply[1024] = "";
		int ends[2], status;
		ssize_t got;
		pid_t child;

		if (pipe(ends) < 0 || (child = fork()) < 0)
			die("fork");
		if (child == 0) {
			char *line = call(name, words, word);

			_exit(write(ends[1], line, strlen(line)) < 0);
		}
		close(ends[1]);
		got = read(ends[0], reply, sizeof reply - 1);
		close(ends[0]);
		if (got < 0 || waitpid(child, &status, 0) < 0 || status != 0)
			reply[0] = 0;
		if (strcmp(reply, last) != 0)
			same = 0;
		strcpy(last, reply);
		same++;
	}
	fprintf(out, "%s %d\n", last, same);
}

/* Returns how many of this process and those below it got another reply than `expected`. */
static int chain(int first, int depth, const char *expected, const char *name, int words, char **word)
{
	int wrong = 0, status = 0;
	pid_t child = 0;

	if (first)
		wrong += strcmp(call(name, words, word), expected) != 0;
	if (depth > 0) {
		if ((child = fork()) < 0)
			die("fork");
		if (child == 0)
			_exit(chain(first, depth - 1, expected, name, words, word));
		/* At the same time as the child, and after its end. */
		wrong += strcmp(call(name, words, word), expected) != 0;
		if (waitpid(child, &status, 0) < 0 || !WIFEXITED(status))
			return 100;
		wrong += WEXITSTATUS(status);
	}
	wrong += strcmp(call(name, words, word), expected) != 0;
	return wrong > 100 ? 100 : wrong;
}

/* Returns in the child. */
static void become_child(void)
{
	int status;
	pid_t child = fork();

	if (child < 0)
		die("fork");
	if (child > 0)
		_exit(waitpid(child, &status, 0) < 0 || status != 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fprintf(out, "%d\n", (int)getpid());
}

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Decisions about random triplets, each with a client network of its own. */
static void loop(unsigned long seed, int count, int triplets, const char *config)
{
	uint64_t state = 88172645463325252ULL ^ (seed * 2654435761UL);
	uschar *option = argument(config);
	int i;

	for (i = 0; count == 0 || i < count; i++) {
		unsigned n = (unsigned)(next(&state) % (unsigned)triplets);
		char client[32], recipient[64];
		uschar *argv[5] = {(uschar *)client, (uschar *)"storm@sender.example", (uschar *)recipient, option, NULL};
		uschar *yield = NULL;

		sprintf(client, "10.%u.%u.1", n >> 8 & 255, n & 255);
		sprintf(recipient, "user%u@rcpt.example", n);
		if (find("greylist")(&yield, 4, argv) != 0 || !yield || !strstr((char *)yield, "reason="))
			die("loop");
		if (strstr((char *)yield, "error=")) {
			fprintf(out, "%s\n", yield);
			return;
		}
	}
	free(option);
	fprintf(out, "done\n");
}

static void descriptors(unsigned long number)
{
	struct rlimit limit = {number, number};

	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		die("setrlimit");
}

static void print_environ(void)
{
	extern char **environ;
	uint64_t hash = 14695981039346656037ULL;
	char **entry, *byte;
	int count = 0;

	for (entry = environ; *entry; entry++, count++)
		for (byte = *entry; *byte; byte++)
			hash = (hash ^ (uschar)*byte) * 1099511628211ULL;
	fprintf(out, "%d %016llx\n", count, (unsigned long long)hash);
}

static void command(int words, char **word)
{
	const char *what = word[0];

	if (words >= 2 && strcmp(what, "call") == 0)
		fprintf(out, "%s\n", call(word[1], words - 2, word + 2));
	else if (words == 4 && strcmp(what, "raw") == 0)
		fprintf(out, "%s\n", raw(word[1], atoi(word[2]), word[3]));
	else if (words == 2 && strcmp(what, "noplace") == 0)
		fprintf(out, "%d\n", find(word[1])(NULL, 0, NULL));
	else if (words >= 3 && strcmp(what, "each") == 0)
		each(atoi(word[1]), word[2], words - 3, word + 3);
	else if (words >= 4 && strcmp(what, "fork") == 0) {
		char *expected = call(word[3], words - 4, word + 4);

		fprintf(out, "%s ", expected);
		fflush(out);
		fprintf(out, "%d\n", chain(strcmp(word[1], "first") == 0, atoi(word[2]), expected, word[3], words - 4, word + 4));
	} else if (words == 1 && strcmp(what, "child") == 0)
		become_child();
	else if (words == 5 && strcmp(what, "loop") == 0)
		loop(strtoul(word[1], NULL, 10), atoi(word[2]), atoi(word[3]), word[4]);
	else if (words == 2 && strcmp(what, "barrier") == 0) {
		int fd = open(word[1], O_RDONLY | O_CLOEXEC);

		fprintf(out, "waiting\n");
		fflush(out);
		if (fd < 0 || flock(fd, LOCK_SH) < 0)
			die("barrier");
		close(fd);
	} else if (words == 2 && strcmp(what, "close") == 0)
		fprintf(out, "%d\n", close(atoi(word[1])));
	else if (words == 2 && strcmp(what, "chdir") == 0)
		fprintf(out, "%d\n", chdir(word[1]));
	else if (words == 2 && strcmp(what, "umask") == 0)
		fprintf(out, "%o\n", umask((mode_t)strtoul(word[1], NULL, 8)));
	else if (words == 2 && strcmp(what, "descriptors") == 0) {
		descriptors(strtoul(word[1], NULL, 10));
		fprintf(out, "0\n");
	} else if (words == 1 && strcmp(what, "environ") == 0)
		print_environ();
	else if (words == 1 && strcmp(what, "pid") == 0)
		fprintf(out, "%d\n", (int)getpid());
	else
		die("no such command");
	fflush(out);
}

int main(int argc, char **argv)
{
	char *line = NULL;
	size_t size = 0;
	FILE *in;
	int fd;

	in = fdopen(fcntl(0, F_DUPFD_CLOEXEC, 100), "r");
	out = fdopen(fcntl(1, F_DUPFD_CLOEXEC, 100), "w");
	if (argc != 3 || !in || !out)
		return 2;
	if ((fd = open(argv[2], O_WRONLY | O_CREAT | O_APPEND, 0600)) < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
		die(argv[2]);
	close(fd);
	if ((fd = open("/dev/null", O_RDONLY)) < 0 || dup2(fd, 0) < 0)
		die("/dev/null");
	close(fd);
	library = dlopen(argv[1], RTLD_LAZY);
	if (!library) {
		fprintf(out, "%s\n", dlerror());
		fflush(out);
		return 2;
	}
	fprintf(out, "ready\n");
	fflush(out);
	while (getline(&line, &size, in) > 0) {
		char *word[MOST + 8];
		int words = 0;
		char *rest = NULL, *next_word = strtok_r(line, " \n", &rest);

		for (; next_word && words < MOST + 8; next_word = strtok_r(NULL, " \n", &rest))
			word[words++] = next_word;
		if (words > 0)
			command(words, word);
	}
	/* As Exim's session processes end: no destructor runs. */
	_exit(0);
}
