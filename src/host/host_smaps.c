/*
 * What of a guest process's memory is resident: the host's smaps and statm (proc(5)) of its host
 * process. The ranges are the host's own, the stub's among them; callers keep to what they know of.
 */
#include "host/host_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* As enum host_smaps_figure. */
static const char *const figures[HOST_SMAPS_FIGURES] = {
    "Rss",           "Pss",        "Pss_Dirty", "Shared_Clean", "Shared_Dirty",  "Private_Clean",
    "Private_Dirty", "Referenced", "Anonymous", "LazyFree",     "AnonHugePages", "ShmemPmdMapped",
    "FilePmdMapped", "Swap",       "SwapPss",   "Locked",
};

const char *host_smaps_name(size_t figure) {
    return figures[figure];
}

/* The text of a file of its /proc directory, malloc'ed; NULL: it has gone. */
static char *process_text(struct host_process *process, const char *name) {
    char path[64];
    char *text;
    int fd;

    if (process->mock || process->pid == 0) {
        return NULL;
    }
    snprintf(path, sizeof(path), "%d/%s", process->pid, name);
    fd = host_proc_open(path, O_RDONLY);
    if (fd < 0) {
        return NULL;
    }
    text = host_read_all(fd);
    close(fd);
    return text;
}

static void parse_figure(struct host_smaps *range, const char *line) {
    for (size_t i = 0; i < HOST_SMAPS_FIGURES; i++) {
        size_t length = strlen(figures[i]);

        if (strncmp(line, figures[i], length) == 0 && line[length] == ':') {
            range->bytes[i] = strtoull(line + length + 1, NULL, 10) << 10;
            return;
        }
    }
}

int host_process_smaps(struct host_process *process, struct host_smaps **ranges, size_t *count) {
    char *text CLEANUP(free) = process_text(process, "smaps");
    size_t capacity = 0;

    *ranges = NULL;
    *count = 0;
    for (char *save = NULL, *line = text ? strtok_r(text, "\n", &save) : NULL; line;
         line = strtok_r(NULL, "\n", &save)) {
        unsigned long long start, end;

        if (sscanf(line, "%llx-%llx ", &start, &end) != 2) {
            if (*count) {
                parse_figure(&(*ranges)[*count - 1], line);
            }
            continue;
        }
        if (*count == capacity) {
            struct host_smaps *grown;

            capacity = capacity ? capacity * 2 : 64;
            grown = realloc(*ranges, capacity * sizeof(*grown));
            if (!grown) {
                free(STEAL(*ranges));
                *count = 0;
                return -ENOMEM;
            }
            *ranges = grown;
        }
        (*ranges)[*count] = (struct host_smaps){.start = start, .end = end};
        *count += 1;
    }
    return 0;
}

uint64_t host_process_shared(struct host_process *process) {
    char *text CLEANUP(free) = process_text(process, "statm");
    unsigned long long pages = 0;

    if (text) {
        (void)sscanf(text, "%*u %*u %llu", &pages);
    }
    return pages * PAGE_SIZE;
}
