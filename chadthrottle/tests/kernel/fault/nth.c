/* For the tests: preloaded, lets the nth call of one command of bpf(2) fail, which no seccomp
 * filter can, since a filter does not count. FAIL_BPF=COMMAND:NTH:ERRNO */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>

static int calls;

long syscall(long number, ...)
{
	static long (*next)(long, ...);
	long a[6];
	int command, nth, error, i;
	const char *wish = getenv("FAIL_BPF");
	va_list list;

	va_start(list, number);
	for (i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_bpf && wish && sscanf(wish, "%d:%d:%d", &command, &nth, &error) == 3 &&
	    (int)a[0] == command && __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST) == nth) {
		errno = error;
		return -1;
	}
	if (!next)
		next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
