/*
 * The symbols of Exim that the library looks up, as an Exim of GENERATION exports them (local_scan.h): 99 for 4.92 to
 * 4.99, 100 for 4.100, anything else for one that has the names of both and types that nobody knows. Linked to
 * driver.c. What is called is written to standard error.
 *
 * The environment sets the values: HOST_CHECKING, SMTP_INPUT, DEBUG. All around them in memory is not zero.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if GENERATION == 99
typedef unsigned BOOL;
#else
typedef unsigned char BOOL;
#endif

/* Each of the variables lies between bytes of another value. */
unsigned char memory[48];
#define VARIABLE(name, offset) \
	__asm__(".globl " #name "\n.type " #name ", @object\n.size " #name ", 4\n.set " #name ", memory + " #offset)
VARIABLE(host_checking, 8);
VARIABLE(smtp_input, 24);
#if GENERATION != 100
VARIABLE(debug_selector, 40);
#endif

static int is_set(const char *name)
{
	const char *value = getenv(name);

	return value && strcmp(value, "1") == 0;
}

__attribute__((constructor)) static void set(void)
{
	BOOL checking = (BOOL)is_set("HOST_CHECKING"), input = (BOOL)is_set("SMTP_INPUT");
	unsigned selector = is_set("DEBUG") ? 2 : 1;

	memset(memory, 0x55, sizeof memory);
	memcpy(memory + 8, &checking, sizeof checking);
	memcpy(memory + 24, &input, sizeof input);
	memcpy(memory + 40, &selector, sizeof selector);
}

static void print(const char *what, const char *format, va_list list)
{
	fprintf(stderr, "%s: ", what);
	vfprintf(stderr, format, list);
	fprintf(stderr, "\n");
}

void debug_printf(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	print("debug_printf", format, list);
	va_end(list);
}

#if GENERATION == 99
void log_write(unsigned selector, int flags, const char *format, ...)
#else
void log_write(int flags, const char *format, ...)
#endif
{
	char what[64];
	va_list list;

#if GENERATION == 99
	if (selector != 0)
		abort();
#endif
	sprintf(what, "log_write %d", flags);
	va_start(list, format);
	print(what, format, list);
	va_end(list);
}

#if GENERATION != 99
BOOL is_debug(const unsigned char *channel)
{
	if (strcmp((const char *)channel, "local_scan") != 0)
		abort();
#if GENERATION != 100
	fprintf(stderr, "is_debug\n");
#endif
	return (BOOL)is_set("DEBUG");
}
#endif
