/*
 * Facts about the host's machine: see host_facts.h.
 *
 * Owns two directory descriptors for the life of the process. Before host_facts_setup() (unit
 * tests) the files are opened by their full names.
 */
#include "host/host_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* More than any of these files has on the largest machines; what is behind is cut. */
#define FACT_MAX (8u << 20)

static int proc_dir = -1, cpu_dir = -1;
static unsigned cpu_count;

char *host_read_all(int fd) {
    size_t capacity = 4096, length = 0;
    char *text = malloc(capacity);

    while (text) {
        ssize_t got = host_read(fd, text + length, capacity - length - 1);

        if (got <= 0) {
            break;
        }
        length += (size_t)got;
        if (length + 1 == capacity) {
            char *grown = capacity < FACT_MAX ? realloc(text, capacity * 2) : NULL;

            if (!grown) {
                break;
            }
            text = grown;
            capacity *= 2;
        }
    }
    if (text) {
        text[length] = '\0';
    }
    return text;
}

static char *read_fact(int dir, const char *base, const char *name) {
    char path[128];
    int fd, length;
    char *text;

    length = dir >= 0 ? snprintf(path, sizeof(path), "%s", name)
                      : snprintf(path, sizeof(path), "%s/%s", base, name);
    if (length >= (int)sizeof(path)) {
        return NULL;
    }
    fd = host_open_path(dir >= 0 ? dir : AT_FDCWD, path, O_RDONLY | O_NOCTTY);
    if (fd < 0) {
        return NULL;
    }
    text = host_read_all(fd);
    close(fd);
    return text;
}

void host_facts_setup(void) {
    if (proc_dir < 0) {
        proc_dir = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    if (cpu_dir < 0) {
        cpu_dir = open("/sys/devices/system/cpu", O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    /* While this thread may still run on all of them. */
    (void)host_cpu_mask((uint64_t[HOST_CPU_WORDS]){0});
    host_clock_setup();
    if (cpu_count == 0) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);

        cpu_count = online > 0 ? (unsigned)online : 1;
    }
}

char *host_facts_proc(const char *name) {
    return read_fact(proc_dir, "/proc", name);
}

char *host_facts_cpu(const char *path) {
    return read_fact(cpu_dir, "/sys/devices/system/cpu", path);
}

static uint64_t meminfo_bytes(const char *text, const char *name) {
    const char *line = text ? strstr(text, name) : NULL;

    return line ? strtoull(line + strlen(name), NULL, 10) << 10 : 0;
}

uint64_t host_facts_memory(uint64_t *available) {
    char *text CLEANUP(free) = host_facts_proc("meminfo");

    if (available) {
        *available = meminfo_bytes(text, "MemAvailable:");
    }
    return meminfo_bytes(text, "MemTotal:");
}

unsigned host_facts_cpu_count(void) {
    if (cpu_count == 0) {
        host_facts_setup();
    }
    return cpu_count;
}
