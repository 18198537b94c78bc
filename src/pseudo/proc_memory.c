/*
 * What is read from a task's memory: /proc/PID/cmdline, environ, auxv and mem.
 *
 * cmdline and environ live in the guest's own memory, where it may change them while they are read:
 * they are copied once, at most so much, and never trusted to be strings.
 */
#include "pseudo/pseudo_internal.h"

#include <stdio.h>

#define STRINGS_MAX (1u << 20)

struct task_memory {
    struct task *task;          /* owned */
    struct memory_manager *mm;  /* owned */
    struct host_thread *thread; /* owned */
};

static void task_memory_cleanup(struct task_memory *memory) {
    if (memory->thread) {
        host_thread_put(memory->thread);
    }
    if (memory->mm) {
        memory_manager_put(memory->mm);
    }
    if (memory->task) {
        task_put(memory->task);
    }
}

/* The task, its memory and a thread to reach that by; both NULL for a zombie. -ESRCH. */
static int task_memory_get(const struct pseudo_node *node, struct task_memory *memory) {
    memory->task = pseudo_task(node);
    if (!memory->task) {
        return -ESRCH;
    }
    task_memory(memory->task, &memory->mm, &memory->thread);
    return 0;
}

/* Up to `size` bytes from there; fewer where memory is missing. */
static void put_memory(struct text *text, const struct task_memory *memory, uint64_t from,
                       uint64_t size) {
    char piece[PAGE_SIZE];

    while (size > 0 && !text->failed) {
        size_t want = MIN(size, PAGE_SIZE - from % PAGE_SIZE);
        ssize_t got = host_memory_read_force(memory->thread, piece, from, want);

        if (got <= 0) {
            break;
        }
        text_put(text, piece, (size_t)got);
        from += (uint64_t)got;
        size -= (uint64_t)got;
    }
}

static bool range_is_sane(uint64_t start, uint64_t end) {
    return start && start < end && end <= USER_TASK_SIZE;
}

/*
 * proc(5): the arguments as they stand. A program that overwrote the end of its arguments
 * (setproctitle) has no NUL at arg_end: then what it wrote may run on into the environment, up to
 * the first NUL.
 */
int proc_cmdline_show(const struct pseudo_node *node, struct text *text) {
    struct task_memory memory CLEANUP(task_memory) = {0};
    struct memory_layout layout;
    int error = task_memory_get(node, &memory);
    char last = '\0';

    if (error || !memory.mm) {
        return error;
    }
    memory_manager_layout(memory.mm, &layout);
    if (!range_is_sane(layout.arg_start, layout.arg_end)) {
        return 0;
    }
    if (host_memory_read_force(memory.thread, &last, layout.arg_end - 1, 1) != 1) {
        return 0;
    }
    if (last == '\0') {
        put_memory(text, &memory, layout.arg_start,
                   MIN(layout.arg_end - layout.arg_start, (uint64_t)STRINGS_MAX));
        return 0;
    }
    if (layout.env_start == layout.arg_end && range_is_sane(layout.env_start, layout.env_end)) {
        layout.arg_end = layout.env_end;
    }
    put_memory(text, &memory, layout.arg_start,
               MIN(layout.arg_end - layout.arg_start, (uint64_t)STRINGS_MAX));
    if (text->length > 0) {
        const char *end = memchr(text->data, '\0', text->length);

        text->length = end ? (size_t)(end - text->data) + 1 : text->length;
    }
    return 0;
}

int proc_environ_show(const struct pseudo_node *node, struct text *text) {
    struct task_memory memory CLEANUP(task_memory) = {0};
    struct memory_layout layout;
    int error = task_memory_get(node, &memory);

    if (error || !memory.mm) {
        return error;
    }
    error = pseudo_may_access(memory.task);
    if (error) {
        return error;
    }
    memory_manager_layout(memory.mm, &layout);
    if (range_is_sane(layout.env_start, layout.env_end)) {
        put_memory(text, &memory, layout.env_start,
                   MIN(layout.env_end - layout.env_start, (uint64_t)STRINGS_MAX));
    }
    return 0;
}

int proc_auxv_show(const struct pseudo_node *node, struct text *text) {
    struct task_memory memory CLEANUP(task_memory) = {0};
    struct memory_layout layout;
    int error = task_memory_get(node, &memory);

    if (error || !memory.mm) {
        return error;
    }
    error = pseudo_may_access(memory.task);
    if (error) {
        return error;
    }
    memory_manager_layout(memory.mm, &layout);
    text_put(text, layout.auxv, MIN(layout.auxv_bytes, sizeof(layout.auxv)));
    return 0;
}

/* ---- mem: file->private is the memory_manager as of open(2), owned ---- */

/* 0 when the task runs with that memory no more (exit, exec): the file is at its end then. */
static int mem_begin(struct file *file, struct task_memory *memory) {
    int error = task_memory_get(pseudo_inode_node(file->inode), memory);

    if (error == -ESRCH) {
        return 0;
    }
    return error ? error : memory->mm == file->private;
}

static ssize_t mem_read(struct file *file, void *buffer, size_t size, int64_t *pos) {
    struct task_memory memory CLEANUP(task_memory) = {0};
    int begun = mem_begin(file, &memory);
    uint64_t from = (uint64_t)*pos;
    ssize_t done;

    if (begun <= 0) {
        return begun;
    }
    if (size == 0) {
        return 0;
    }
    size = from < USER_TASK_SIZE ? memory_mapped_extent(memory.mm, from, size, 0) : 0;
    if (size == 0) {
        return -EIO;
    }
    done = memory_read_force(memory.mm, memory.thread, buffer, from, size);
    if (done < 0) {
        return -EIO;
    }
    *pos += done;
    return done;
}

static ssize_t mem_write(struct file *file, const void *buffer, size_t size, int64_t *pos) {
    struct task_memory memory CLEANUP(task_memory) = {0};
    int begun = mem_begin(file, &memory);
    struct task *current = current_task();
    uint64_t to = (uint64_t)*pos;
    ssize_t done;
    bool own;

    if (begun <= 0) {
        return begun;
    }
    if (size == 0) {
        return 0;
    }
    size = to < USER_TASK_SIZE ? memory_mapped_extent(memory.mm, to, size, 0) : 0;
    if (size == 0) {
        return -EIO;
    }
    own = current && current->mm == memory.mm;
    done =
        memory_write_force(memory.mm, own ? current->thread : memory.thread, own, to, buffer, size);
    if (done < 0) {
        return done == -ERESTARTNOINTR ? done : -EIO;
    }
    *pos += done;
    return done;
}

static int64_t mem_llseek(struct file *file, int64_t offset, int whence) {
    if (whence == SEEK_CUR) {
        offset = (int64_t)((uint64_t)file->pos + (uint64_t)offset);
    } else if (whence != SEEK_SET) {
        return -EINVAL;
    }
    if (offset < 0) {
        return -EINVAL;
    }
    return file->pos = offset;
}

static void mem_release(struct file *file) {
    memory_manager_put(file->private);
}

static const struct file_ops mem_file_ops = {
    .read = mem_read,
    .write = mem_write,
    .llseek = mem_llseek,
    .release = mem_release,
};

int proc_mem_open(const struct pseudo_node *node, struct file *file) {
    struct task_memory memory CLEANUP(task_memory) = {0};
    int error = task_memory_get(node, &memory);

    if (error) {
        return error;
    }
    if (!memory.mm) {
        return -EACCES;
    }
    /* Again, now that it is clear whose memory it is. */
    error = pseudo_may_access(memory.task);
    if (error) {
        return error;
    }
    file->private = STEAL(memory.mm);
    file->ops = &mem_file_ops;
    return 0;
}
