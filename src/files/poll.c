/*
 * poll(2) over kernel copies: looks at each file once with a table that stands on its queues, then
 * sleeps and looks again without. Every file is held over the sleep, so its queues stay.
 */
#include "files/files_internal.h"

#define POLL_ALWAYS (POLLERR | POLLHUP)

/* How many have something. */
static int poll_look(struct file **held, struct pollfd *fds, size_t count,
                     struct poll_table *table) {
    int ready = 0;

    for (size_t i = 0; i < count; i++) {
        uint32_t interest = (uint16_t)fds[i].events | POLL_ALWAYS;

        if (fds[i].fd < 0) {
            fds[i].revents = 0;
            continue;
        }
        if (!held[i]) {
            fds[i].revents = POLLNVAL;
        } else {
            /* Once something is ready nobody will sleep: no need to stand on further queues. */
            if (table) {
                table->events = interest;
            }
            fds[i].revents = (short)(file_poll(held[i], ready ? NULL : table) & interest);
        }
        ready += fds[i].revents != 0;
    }
    return ready;
}

int poll_files(struct fd_table *files, struct pollfd *fds, size_t count, deadline_ns deadline) {
    struct file *few[32] = {NULL}, **held = few;
    struct poll_waits waits;
    int result;

    if (count > ARRAY_SIZE(few)) {
        held = calloc(count, sizeof(struct file *));
        if (!held) {
            return -ENOMEM;
        }
    }
    for (size_t i = 0; i < count; i++) {
        held[i] = fds[i].fd < 0 ? NULL : fd_table_get(files, fds[i].fd);
        if (held[i] && (held[i]->mode & FMODE_PATH)) {
            file_put(STEAL(held[i])); /* open(2) O_PATH: as if it were closed */
        }
    }
    poll_waits_init(&waits, 0);
    result = poll_look(held, fds, count, deadline == 0 ? NULL : &waits.table);
    while (!result && deadline != 0) {
        result = waits.table.error;
        if (result) {
            break;
        }
        result = wait_sleep(deadline);
        if (result == -ETIMEDOUT) {
            /* What came at the last moment still counts. */
            result = poll_look(held, fds, count, NULL);
            break;
        }
        if (!result) {
            result = poll_look(held, fds, count, NULL);
        }
    }
    poll_waits_finish(&waits);
    for (size_t i = 0; i < count; i++) {
        if (held[i]) {
            file_put(held[i]);
        }
    }
    if (held != few) {
        free(held);
    }
    return result == -ERESTARTSYS ? -ERESTARTNOHAND : result;
}
