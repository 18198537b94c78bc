/* Memory that the host keeps for guests behind descriptors of the kernel process: host_buffer.c. */
#ifndef STARLING_HOST_BUFFER_H
#define STARLING_HOST_BUFFER_H

#include "base/base.h"
#include "base/list.h"

struct host_buffer {
    int fd;            /* owned; of a pipe the end to read from */
    int write_fd;      /* owned; -1: a memfd */
    _Atomic bool lent; /* a pipe that guests may have descriptors of: host_pipe_lend() */
    struct list_head link;
};

/* memfd_create(2), close-on-exec; its seals are free. 0 or -errno. */
int MUST_CHECK host_memfd_open(struct host_buffer *buffer, const char *name);
void host_memfd_close(struct host_buffer *buffer);
unsigned host_memfd_count(void);
/* pipe2(2), close-on-exec, non-blocking. 0 or -errno. */
int MUST_CHECK host_pipe_open(struct host_buffer *buffer);
void host_pipe_close(struct host_buffer *buffer);

/* Before a guest is given a descriptor of it. */
static inline void host_pipe_lend(struct host_buffer *buffer) {
    atomic_store_explicit(&buffer->lent, true, memory_order_relaxed);
}

/* What all of them hold now, in bytes. 0 or -errno: the host does not tell. */
int MUST_CHECK host_buffers_held(uint64_t *bytes);

#endif
