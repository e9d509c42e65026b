/*
 * Preloaded into a process under test. Writes down, in order, what the process does to the files
 * of one folder and what it acknowledges, so that a power cut can be played back at any point.
 * On demand it also makes the folder's disk fail.
 *
 * RECORD_FOLDER  the folder that is watched
 * RECORD_ACKS    a file outside of it; what is written there counts as acknowledged
 * RECORD_TRACE   where the record goes
 * RECORD_FAULTS  a folder; while it has a file `flush`, flushes fail with EIO, while it has a file
 *                `full`, writes fail with ENOSPC
 *
 * A record is: kind (1 byte), file number (4), offset or length (8), size (4), bytes (size).
 * Kinds: N name of a file, C opened for creation, W write, L length set, S flushed, D folder
 * flushed, U unlinked, R renamed (offset is the number of the new name), A acknowledged, F failed
 * to be flushed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { DESCRIPTORS = 4096, FILES = 256, PATH_BYTES = 512, FOLDER = -1, ACKS = -2 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *folder, *acks, *faults;
static int trace = -1;
static int watched[DESCRIPTORS]; /* 0: not watched */
static char names[FILES][PATH_BYTES];
static int files = 1;

#define REAL(name) \
	static __typeof__(name) *real; \
	if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("RECORD_TRACE");
	folder = getenv("RECORD_FOLDER");
	acks = getenv("RECORD_ACKS");
	faults = getenv("RECORD_FAULTS");
	if (path) trace = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void put(char kind, int32_t file, uint64_t offset, const void *bytes, uint32_t size)
{
	char head[17];
	if (trace < 0) return;
	head[0] = kind;
	memcpy(head + 1, &file, 4);
	memcpy(head + 5, &offset, 8);
	memcpy(head + 13, &size, 4);
	struct iovec parts[2] = {{head, sizeof head}, {(void *)bytes, size}};
	syscall(SYS_writev, trace, parts, size ? 2 : 1);
}

static int inside(const char *path)
{
	size_t length = folder ? strlen(folder) : 0;
	return length && !strncmp(path, folder, length) && path[length] == '/';
}

static int number(const char *path)
{
	for (int file = 1; file < files; file++)
		if (!strcmp(names[file], path)) return file;
	if (files == FILES) abort();
	snprintf(names[files], PATH_BYTES, "%s", path);
	put('N', files, 0, path, (uint32_t)strlen(path));
	return files++;
}

static int of(int descriptor)
{
	return descriptor >= 0 && descriptor < DESCRIPTORS ? watched[descriptor] : 0;
}

static int fault(const char *name)
{
	char path[PATH_BYTES];
	if (!faults) return 0;
	snprintf(path, sizeof path, "%s/%s", faults, name);
	return !access(path, F_OK);
}

static void opened(int descriptor, const char *path, int flags)
{
	struct stat about;
	if (descriptor < 0 || descriptor >= DESCRIPTORS) return;
	watched[descriptor] = 0;
	if (acks && !strcmp(path, acks)) {
		watched[descriptor] = ACKS;
	} else if (folder && !strcmp(path, folder)) {
		watched[descriptor] = FOLDER;
	} else if (inside(path) && !fstat(descriptor, &about) && S_ISREG(about.st_mode)) {
		watched[descriptor] = number(path);
		if (flags & O_CREAT) put('C', watched[descriptor], 0, 0, 0);
		if (flags & O_TRUNC) put('L', watched[descriptor], 0, 0, 0);
	}
}

#define OPEN(name) \
	int name(const char *path, int flags, ...) \
	{ \
		va_list rest; \
		REAL(name); \
		va_start(rest, flags); \
		mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
		va_end(rest); \
		pthread_mutex_lock(&lock); \
		int descriptor = real(path, flags, mode); \
		int error = errno; \
		opened(descriptor, path, flags); \
		pthread_mutex_unlock(&lock); \
		errno = error; \
		return descriptor; \
	}
OPEN(open)
OPEN(open64)

int close(int descriptor)
{
	REAL(close);
	pthread_mutex_lock(&lock);
	if (descriptor >= 0 && descriptor < DESCRIPTORS) watched[descriptor] = 0;
	pthread_mutex_unlock(&lock);
	return real(descriptor);
}

ssize_t write(int descriptor, const void *bytes, size_t size)
{
	REAL(write);
	int file = of(descriptor);
	if (!file) return real(descriptor, bytes, size);
	if (file > 0 && fault("full")) {
		errno = ENOSPC;
		return -1;
	}
	pthread_mutex_lock(&lock);
	uint64_t offset = (uint64_t)lseek(descriptor, 0, SEEK_CUR);
	ssize_t written = real(descriptor, bytes, size);
	if (written > 0) put(file == ACKS ? 'A' : 'W', file, offset, bytes, (uint32_t)written);
	pthread_mutex_unlock(&lock);
	return written;
}

#define PWRITE(name, offset_type) \
	ssize_t name(int descriptor, const void *bytes, size_t size, offset_type offset) \
	{ \
		REAL(name); \
		int file = of(descriptor); \
		if (file <= 0) return real(descriptor, bytes, size, offset); \
		if (fault("full")) { \
			errno = ENOSPC; \
			return -1; \
		} \
		pthread_mutex_lock(&lock); \
		ssize_t written = real(descriptor, bytes, size, offset); \
		if (written > 0) put('W', file, (uint64_t)offset, bytes, (uint32_t)written); \
		pthread_mutex_unlock(&lock); \
		return written; \
	}
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define LENGTH(name, offset_type) \
	int name(int descriptor, offset_type length) \
	{ \
		REAL(name); \
		int file = of(descriptor); \
		pthread_mutex_lock(&lock); \
		int outcome = real(descriptor, length); \
		if (!outcome && file > 0) put('L', file, (uint64_t)length, 0, 0); \
		pthread_mutex_unlock(&lock); \
		return outcome; \
	}
LENGTH(ftruncate, off_t)
LENGTH(ftruncate64, off64_t)

/* The lock is held through the flush, so what it covers is exactly what is in the record before. */
#define FLUSH(name) \
	int name(int descriptor) \
	{ \
		REAL(name); \
		int file = of(descriptor); \
		if (file && fault("flush")) { \
			pthread_mutex_lock(&lock); \
			if (file > 0) put('F', file, 0, 0, 0); \
			pthread_mutex_unlock(&lock); \
			errno = EIO; \
			return -1; \
		} \
		pthread_mutex_lock(&lock); \
		int outcome = real(descriptor); \
		if (!outcome && file == FOLDER) put('D', 0, 0, 0, 0); \
		if (!outcome && file > 0) put('S', file, 0, 0, 0); \
		pthread_mutex_unlock(&lock); \
		return outcome; \
	}
FLUSH(fsync)
FLUSH(fdatasync)

int unlink(const char *path)
{
	REAL(unlink);
	pthread_mutex_lock(&lock);
	int outcome = real(path);
	if (!outcome && inside(path)) put('U', number(path), 0, 0, 0);
	pthread_mutex_unlock(&lock);
	return outcome;
}

int rename(const char *from, const char *to)
{
	REAL(rename);
	pthread_mutex_lock(&lock);
	int outcome = real(from, to);
	if (!outcome && inside(from) && inside(to)) put('R', number(from), (uint64_t)number(to), 0, 0);
	pthread_mutex_unlock(&lock);
	return outcome;
}
