/* A directory service that does not answer: whoever asks for user 54321, or for "late", waits. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

static void wait_for_ever(void)
{
	for (;;)
		pause();
}

int getpwuid_r(uid_t uid, struct passwd *entry, char *buffer, size_t size, struct passwd **found)
{
	int (*real)(uid_t, struct passwd *, char *, size_t, struct passwd **) =
		dlsym(RTLD_NEXT, "getpwuid_r");
	if (uid == 54321)
		wait_for_ever();
	return real(uid, entry, buffer, size, found);
}

int getpwnam_r(const char *name, struct passwd *entry, char *buffer, size_t size,
	       struct passwd **found)
{
	int (*real)(const char *, struct passwd *, char *, size_t, struct passwd **) =
		dlsym(RTLD_NEXT, "getpwnam_r");
	if (!strcmp(name, "late"))
		wait_for_ever();
	return real(name, entry, buffer, size, found);
}
