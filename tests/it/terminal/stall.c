/* Loaded into the program by LD_PRELOAD: while $STALL_GATE exists, whoever writes or syncs a file below $STALL_BELOW
   stays in that call, as on a disk that takes nothing; $STALL_GATE.NAME says that the thread NAME does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void hold(int file)
{
	const char *below = getenv("STALL_BELOW"), *gate = getenv("STALL_GATE");
	char link[64], path[4096], thread[17] = "", held[4096];
	ssize_t length;
	FILE *mark;

	snprintf(link, sizeof link, "/proc/self/fd/%d", file);
	length = readlink(link, path, sizeof path - 1);
	if (!below || !gate || length < 0)
		return;
	path[length] = 0;
	if (strncmp(path, below, strlen(below)) != 0 || access(gate, F_OK) != 0)
		return;
	prctl(PR_GET_NAME, thread);
	snprintf(held, sizeof held, "%s.%s", gate, thread);
	mark = fopen(held, "w");
	while (access(gate, F_OK) == 0)
		usleep(1000);
	unlink(held);
	if (mark)
		fclose(mark);
}

ssize_t write(int file, const void *bytes, size_t length)
{
	hold(file);
	return ((ssize_t (*)(int, const void *, size_t)) dlsym(RTLD_NEXT, "write"))(file, bytes, length);
}

int fdatasync(int file)
{
	hold(file);
	return ((int (*)(int)) dlsym(RTLD_NEXT, "fdatasync"))(file);
}

int fsync(int file)
{
	hold(file);
	return ((int (*)(int)) dlsym(RTLD_NEXT, "fsync"))(file);
}
