/*
 * mm/: the tree of mappings against a naive model (an array of pages) under random calls, and
 * Linux's errnos where they are easy to get wrong. The address space is a mock: host calls succeed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mm/mm.h"

#define WINDOW_PAGES 96
#define WINDOW       0x10000000UL
#define WINDOW_END   (WINDOW + WINDOW_PAGES * PAGE_SIZE)
#define PAGE(n)      (WINDOW + (uint64_t)(n)*PAGE_SIZE)
#define OBJECTS      3

static const struct memory_limits no_limits = {RLIM_INFINITY, RLIM_INFINITY, RLIM_INFINITY,
                                               RLIM_INFINITY};

struct test_object {
    struct memory_object object;
    int rows, shared_writable, released;
};

static int object_host_fd(struct memory_object *object, int prot, bool shared) {
    return 0;
}

static void object_release(struct memory_object *object) {
    container_of(object, struct test_object, object)->released++;
}

static void object_mapped(struct memory_object *object, int prot, bool shared, int change) {
    struct test_object *self = container_of(object, struct test_object, object);

    self->rows += change;
    if (shared && (prot & PROT_WRITE)) {
        self->shared_writable += change;
    }
}

static const struct memory_object_ops object_ops = {
    .host_fd = object_host_fd,
    .release = object_release,
    .mapped = object_mapped,
};

struct world {
    struct host_job *job;
    struct host_process *process;
    struct host_thread *thread;
    struct memory_manager *mm;
    struct test_object objects[OBJECTS];
};

static void world_start(struct world *world) {
    struct memory_layout layout;

    *world = (struct world){0};
    world->job = host_job_new_mock();
    world->process = host_process_new_mock(world->job);
    world->thread = host_thread_new_mock(world->process);
    world->mm = memory_manager_new(host_thread_aspace(world->thread));
    assert_false(IS_ERR(world->mm));
    for (int i = 0; i < OBJECTS; i++) {
        ref_init(&world->objects[i].object.ref);
        world->objects[i].object.ops = &object_ops;
    }
    memory_manager_layout(world->mm, &layout);
    layout.mmap_base = WINDOW_END;
    memory_manager_set_layout(world->mm, &layout);
}

static void world_end(struct world *world) {
    memory_manager_put(world->mm);
    for (int i = 0; i < OBJECTS; i++) {
        assert_int_equal(world->objects[i].rows, 0);
        assert_int_equal(world->objects[i].shared_writable, 0);
        assert_int_equal(world->objects[i].released, 0);
        memory_object_put(&world->objects[i].object);
        assert_int_equal(world->objects[i].released, 1);
    }
    host_thread_put(world->thread);
    host_process_put(world->process);
    host_job_put(world->job);
}

static int64_t map(struct world *world, uint64_t address, uint64_t size, int prot, int flags) {
    if (!(flags & (MAP_SHARED | MAP_PRIVATE))) {
        flags |= MAP_PRIVATE;
    }
    return memory_map(world->mm, world->thread, &no_limits, address, size, prot,
                      flags | MAP_ANONYMOUS, NULL, 0, MAPPING_NORMAL);
}

/* ---- the model ---- */

struct page {
    bool mapped;
    int prot, flags;
    struct memory_object *object;
    uint64_t offset;
};

struct model {
    struct world *world;
    struct page pages[WINDOW_PAGES];
    const struct mapping *previous;
    struct mapping last;
    size_t rows;
    uint64_t at;
};

static int check_row(const struct mapping *row, void *arg) {
    struct model *model = arg;

    if (row->start >= WINDOW_END || row->end <= WINDOW) {
        return 0;
    }
    assert_true(row->start < row->end);
    assert_true(row->start >= model->at);
    for (; model->at < row->start; model->at += PAGE_SIZE) {
        assert_false(model->pages[(model->at - WINDOW) / PAGE_SIZE].mapped);
    }
    for (; model->at < row->end; model->at += PAGE_SIZE) {
        const struct page *page = &model->pages[(model->at - WINDOW) / PAGE_SIZE];

        assert_true(page->mapped);
        assert_int_equal(page->prot, row->prot);
        assert_int_equal(page->flags, row->flags);
        assert_ptr_equal(page->object, row->object);
        if (page->object) {
            assert_int_equal(page->offset, row->offset + (model->at - row->start));
        }
    }
    if (model->rows++) {
        /* What could be one row is one row. */
        const struct mapping *low = &model->last;

        assert_false(low->end == row->start && low->prot == row->prot && low->flags == row->flags &&
                     low->object == row->object &&
                     (!low->object || low->offset + (low->end - low->start) == row->offset));
    }
    model->last = *row;
    return 0;
}

static void model_check(struct model *model) {
    model->at = WINDOW;
    model->rows = 0;
    assert_int_equal(memory_manager_walk(model->world->mm, check_row, model), 0);
    for (; model->at < WINDOW_END; model->at += PAGE_SIZE) {
        assert_false(model->pages[(model->at - WINDOW) / PAGE_SIZE].mapped);
    }
}

static uint64_t random_state;

static uint64_t random_next(uint64_t below) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % below;
}

static bool model_free(const struct model *model, size_t first, size_t count) {
    for (size_t i = first; i < first + count; i++) {
        if (model->pages[i].mapped) {
            return false;
        }
    }
    return true;
}

/* What the guest would get: a deferred call's host calls fail now and then, and then nothing of it
 * may be left. */
static int64_t settled(struct world *world, int64_t result, bool *failed) {
    *failed = false;
    if (host_thread_calls_deferred(world->thread)) {
        int outcome = random_next(3) ? 0 : -ENOMEM;
        int64_t other;

        assert_int_equal(host_thread_calls_flush(world->thread), 0);
        other = memory_settle(world->mm, world->thread, outcome);
        assert_int_equal(other, outcome);
        *failed = outcome != 0;
        return outcome ? other : result;
    }
    return result;
}

static void step_map(struct model *model, size_t first, size_t count) {
    struct world *world = model->world;
    struct memory_object *object = NULL;
    uint64_t offset = 0;
    int prot = (int)random_next(8), flags = random_next(2) ? MAP_PRIVATE : MAP_SHARED;
    int how = (int)random_next(3);

    if (random_next(2)) {
        object = &world->objects[random_next(OBJECTS)].object;
        /* Often such that neighbours continue one another. */
        offset = random_next(3) ? PAGE(first) - WINDOW : random_next(16) * PAGE_SIZE;
    } else {
        flags = MAP_PRIVATE | MAP_ANONYMOUS;
    }
    int64_t result =
        memory_map(world->mm, world->thread, &no_limits, PAGE(first), count * PAGE_SIZE, prot,
                   flags | (how == 0   ? MAP_FIXED
                            : how == 1 ? MAP_FIXED_NOREPLACE
                                       : 0),
                   object, offset, MAPPING_NORMAL);
    bool is_free = model_free(model, first, count), failed;

    result = settled(world, result, &failed);
    if (failed) {
        return;
    }
    if (how == 1 && !is_free) {
        assert_int_equal(result, -EEXIST);
        return;
    }
    assert_true(result > 0);
    if (how == 2 && !is_free) {
        /* Chosen by the kernel: the highest place that is free. */
        for (size_t at = WINDOW_PAGES - count + 1; at-- > 0;) {
            if (model_free(model, at, count)) {
                assert_int_equal(result, PAGE(at));
                break;
            }
        }
        assert_int_equal(result % (int64_t)PAGE_SIZE, 0);
        if ((uint64_t)result < WINDOW || (uint64_t)result + count * PAGE_SIZE > WINDOW_END) {
            while (
                settled(world,
                        memory_unmap(world->mm, world->thread, (uint64_t)result, count * PAGE_SIZE),
                        &failed) != 0) {
                assert_true(failed);
            }
            /* Which may have cut off what reached into the window. */
            for (uint64_t at = (uint64_t)result; at < (uint64_t)result + count * PAGE_SIZE;
                 at += PAGE_SIZE) {
                if (at >= WINDOW && at < WINDOW_END) {
                    assert_false(model->pages[(at - WINDOW) / PAGE_SIZE].mapped);
                }
            }
            return;
        }
        first = ((uint64_t)result - WINDOW) / PAGE_SIZE;
        assert_true(model_free(model, first, count));
    } else {
        assert_int_equal(result, PAGE(first));
    }
    for (size_t i = 0; i < count; i++) {
        model->pages[first + i] = (struct page){true, prot, flags, object, offset + i * PAGE_SIZE};
    }
}

static void step_unmap(struct model *model, size_t first, size_t count) {
    bool failed;
    int64_t result = memory_unmap(model->world->mm, model->world->thread, PAGE(first),
                                  count * PAGE_SIZE - random_next(PAGE_SIZE));

    result = settled(model->world, result, &failed);
    if (failed) {
        return;
    }
    assert_int_equal(result, 0);
    memset(&model->pages[first], 0, count * sizeof(model->pages[0]));
}

static void step_protect(struct model *model, size_t first, size_t count) {
    int prot = (int)random_next(8), expected = 0;
    int result = memory_protect(model->world->mm, model->world->thread, PAGE(first),
                                count * PAGE_SIZE, prot);
    bool failed;

    result = (int)settled(model->world, result, &failed);
    if (failed) {
        return;
    }
    for (size_t i = first; i < first + count; i++) {
        if (!model->pages[i].mapped) {
            expected = -ENOMEM;
            break;
        }
        model->pages[i].prot = prot;
    }
    assert_int_equal(result, expected);
}

static void step_lock(struct model *model, size_t first, size_t count) {
    bool lock = random_next(2);
    int expected = 0;
    int result = memory_lock(model->world->mm, model->world->thread, &no_limits, PAGE(first),
                             count * PAGE_SIZE, 0, lock);

    for (size_t i = first; i < first + count; i++) {
        if (!model->pages[i].mapped) {
            expected = -ENOMEM;
            break;
        }
        model->pages[i].flags &= ~MAP_LOCKED;
        model->pages[i].flags |= lock ? MAP_LOCKED : 0;
    }
    assert_int_equal(result, expected);
}

static void step_advise(struct model *model, size_t first, size_t count) {
    bool set = random_next(2);
    int expected = memory_advise(model->world->mm, model->world->thread, PAGE(first),
                                 count * PAGE_SIZE, set ? MADV_DONTFORK : MADV_DOFORK);

    assert_int_equal(expected, 0); /* holes are the host's to find: the mock has none */
    for (size_t i = first; i < first + count; i++) {
        if (model->pages[i].mapped) {
            model->pages[i].flags &= ~MAPPING_DONTFORK;
            model->pages[i].flags |= set ? MAPPING_DONTFORK : 0;
        }
    }
}

static bool same_row(const struct page *low, const struct page *high) {
    return high->mapped && low->prot == high->prot && low->flags == high->flags &&
           low->object == high->object && (!low->object || low->offset + PAGE_SIZE == high->offset);
}

/* mremap to a fixed place within the window. */
static void step_remap(struct model *model, size_t first, size_t count) {
    struct page moved[WINDOW_PAGES];
    size_t new_count = 1 + random_next(8), to = random_next(WINDOW_PAGES - new_count), run = 1;
    int64_t result = memory_remap(model->world->mm, model->world->thread, &no_limits, PAGE(first),
                                  count * PAGE_SIZE, new_count * PAGE_SIZE,
                                  MREMAP_MAYMOVE | MREMAP_FIXED, PAGE(to));

    if (first + count > to && to + new_count > first) {
        assert_int_equal(result, -EINVAL);
        return;
    }
    if (!model->pages[first].mapped) {
        assert_int_equal(result, -EFAULT);
        return;
    }
    if (count > new_count) { /* the tail goes, whatever comes then */
        memset(&model->pages[first + new_count], 0, (count - new_count) * sizeof(moved[0]));
        count = new_count;
    }
    while (run < count && same_row(&model->pages[first + run - 1], &model->pages[first + run])) {
        run++;
    }
    if (run < count) {
        assert_int_equal(result, -EFAULT);
        return;
    }
    assert_int_equal(result, PAGE(to));
    for (size_t i = 0; i < new_count; i++) {
        moved[i] = model->pages[first];
        moved[i].offset += i * PAGE_SIZE;
    }
    memset(&model->pages[first], 0, count * sizeof(moved[0]));
    memcpy(&model->pages[to], moved, new_count * sizeof(moved[0]));
}

static void test_random_calls_match_the_model(void **state) {
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world world;
        struct model model = {.world = &world};

        random_state = seed * 0x9e3779b97f4a7c15ULL;
        world_start(&world);
        if (seed % 2) {
            host_thread_mock_defers(world.thread, true);
        }
        for (int step = 0; step < 600; step++) {
            size_t count = 1 + random_next(12), first = random_next(WINDOW_PAGES - count);

            switch (random_next(8)) {
            case 0:
            case 1:
            case 2:
                step_map(&model, first, count);
                break;
            case 3:
                step_unmap(&model, first, count);
                break;
            case 4:
                step_protect(&model, first, count);
                break;
            case 5:
                step_lock(&model, first, count);
                break;
            case 6:
                step_advise(&model, first, count);
                break;
            case 7:
                step_remap(&model, first, count);
                break;
            }
            model_check(&model);
        }
        world_end(&world);
    }
}

/* Another task waits for the token of a deferred change as long as its host calls are not made. */
static void test_deferred_change_keeps_the_token(void **state) {
    struct world world;
    struct memory_layout layout;

    world_start(&world);
    host_thread_mock_defers(world.thread, false);
    assert_int_equal(map(&world, PAGE(1), PAGE_SIZE, PROT_READ, MAP_FIXED), PAGE(1));
    waiter_interrupt(waiter_current()); /* so that a wait ends */
    assert_int_equal(memory_change_begin(world.mm), -ERESTARTNOINTR);
    waiter_clear_interrupt(waiter_current());
    assert_int_equal(host_thread_calls_flush(world.thread), 0);
    assert_int_equal(memory_settle(world.mm, world.thread, 0), 0);
    assert_int_equal(memory_change_begin(world.mm), 0);
    memory_change_end(world.mm);

    /* Found made, the token goes to who asks; the owner settles in vain. */
    host_thread_mock_defers(world.thread, true);
    assert_int_equal(memory_unmap(world.mm, world.thread, PAGE(1), PAGE_SIZE), 0);
    assert_int_equal(memory_change_begin(world.mm), 0);
    assert_int_equal(host_thread_calls_flush(world.thread), 0);
    assert_int_equal(memory_settle(world.mm, world.thread, 0), 0);
    waiter_interrupt(waiter_current());
    assert_int_equal(memory_change_begin(world.mm), -ERESTARTNOINTR);
    waiter_clear_interrupt(waiter_current());
    memory_change_end(world.mm);

    /* A heap that could not grow ends where it did, which is what brk(2) returns. */
    memory_manager_layout(world.mm, &layout);
    layout.start_brk = layout.brk = PAGE(8);
    memory_manager_set_layout(world.mm, &layout);
    assert_int_equal(memory_brk(world.mm, world.thread, &no_limits, PAGE(9)), PAGE(9));
    assert_int_equal(host_thread_calls_flush(world.thread), 0);
    assert_int_equal(memory_settle(world.mm, world.thread, -ENOMEM), PAGE(8));
    memory_manager_layout(world.mm, &layout);
    assert_int_equal(layout.brk, PAGE(8));

    memory_set_deferring(false);
    assert_int_equal(map(&world, PAGE(1), PAGE_SIZE, PROT_READ, MAP_FIXED), PAGE(1));
    assert_false(host_thread_calls_deferred(world.thread));
    memory_set_deferring(true);
    world_end(&world);
}

static void test_fork_copies_what_it_may(void **state) {
    struct world world;
    struct mapping rows[8];

    world_start(&world);
    assert_int_equal(map(&world, PAGE(0), PAGE_SIZE, PROT_READ, MAP_FIXED), PAGE(0));
    assert_int_equal(map(&world, PAGE(4), 2 * PAGE_SIZE, PROT_READ, MAP_FIXED), PAGE(4));
    assert_int_equal(memory_advise(world.mm, world.thread, PAGE(4), PAGE_SIZE, MADV_DONTFORK), 0);
    assert_int_equal(memory_lock(world.mm, world.thread, &no_limits, PAGE(0), PAGE_SIZE, 0, true),
                     0);

    struct host_thread *other = host_thread_new_mock(world.process);
    struct memory_manager *child = memory_manager_fork(world.mm, host_thread_aspace(other));

    assert_false(IS_ERR(child));
    assert_int_equal(memory_manager_snapshot(child, WINDOW, rows, 8), 2);
    assert_int_equal(rows[0].start, PAGE(0));
    assert_int_equal(rows[0].flags & MAP_LOCKED, 0);
    assert_int_equal(rows[1].start, PAGE(5));
    memory_manager_put(child);
    host_thread_put(other);
    world_end(&world);
}

static void test_map_errors(void **state) {
    struct world world;

    world_start(&world);
    assert_int_equal(map(&world, 0, 0, PROT_READ, 0), -EINVAL);
    assert_int_equal(map(&world, PAGE(0) + 1, PAGE_SIZE, PROT_READ, MAP_FIXED), -EINVAL);
    assert_int_equal(map(&world, 0, UINT64_MAX, PROT_READ, 0), -ENOMEM);
    assert_int_equal(map(&world, 0, USER_TASK_SIZE, PROT_READ, 0), -ENOMEM);
    assert_int_equal(map(&world, 0, PAGE_SIZE, PROT_READ, MAP_FIXED), -EPERM);
    assert_int_equal(map(&world, USER_TASK_SIZE, PAGE_SIZE, PROT_READ, MAP_FIXED), -ENOMEM);
    assert_int_equal(map(&world, USER_TASK_SIZE - PAGE_SIZE, 2 * PAGE_SIZE, PROT_READ, MAP_FIXED),
                     -ENOMEM);
    assert_int_equal(memory_map(world.mm, world.thread, &no_limits, 0, PAGE_SIZE, PROT_READ,
                                MAP_PRIVATE, &world.objects[0].object,
                                ALIGN_DOWN(UINT64_MAX, PAGE_SIZE), MAPPING_NORMAL),
                     -EOVERFLOW);
    assert_int_equal(memory_unmap(world.mm, world.thread, PAGE(0) + 1, PAGE_SIZE), -EINVAL);
    assert_int_equal(memory_unmap(world.mm, world.thread, PAGE(0), 0), -EINVAL);
    assert_int_equal(memory_unmap(world.mm, world.thread, PAGE(0), UINT64_MAX), -EINVAL);
    assert_int_equal(memory_unmap(world.mm, world.thread, PAGE(0), PAGE_SIZE), 0);
    assert_int_equal(memory_protect(world.mm, world.thread, PAGE(0), PAGE_SIZE, PROT_READ),
                     -ENOMEM);
    assert_int_equal(memory_protect(world.mm, world.thread, PAGE(0), 0, PROT_READ), 0);
    assert_int_equal(memory_protect(world.mm, world.thread, PAGE(0), PAGE_SIZE, 0x40), -EINVAL);
    assert_int_equal(memory_remap(world.mm, world.thread, &no_limits, PAGE(0), PAGE_SIZE,
                                  2 * PAGE_SIZE, MREMAP_MAYMOVE, 0),
                     -EFAULT);
    world_end(&world);
}

static void test_places(void **state) {
    struct world world;
    int64_t a, b, low;

    world_start(&world);
    a = map(&world, 0, 2 * PAGE_SIZE, PROT_READ, 0);
    assert_int_equal(a, PAGE(WINDOW_PAGES - 2)); /* the highest place below mmap_base */
    b = map(&world, 0, PAGE_SIZE, PROT_WRITE, 0);
    assert_int_equal(b, a - (int64_t)PAGE_SIZE);
    assert_int_equal(map(&world, PAGE(7) + 123, PAGE_SIZE, PROT_READ, 0), PAGE(7)); /* a hint */
    assert_int_not_equal(map(&world, PAGE(7), PAGE_SIZE, PROT_READ, 0), PAGE(7));
    assert_int_equal(map(&world, PAGE_SIZE, PAGE_SIZE, PROT_READ, 0), USER_MMAP_MIN);
    low = map(&world, 1UL << 40, PAGE_SIZE, PROT_READ, MAP_32BIT);
    assert_true(low > 0 && low < 1L << 31);
    /* Whole huge pages lie on their border. */
    assert_int_equal(map(&world, 0, 4UL << 20, PROT_READ, 0) % (2L << 20), 0);
    world_end(&world);
}

static void test_growing_stack(void **state) {
    struct world world;
    struct memory_limits limits = no_limits;
    struct mapping row;
    uint64_t top = WINDOW + (64UL << 20);
    int64_t stack;

    world_start(&world);
    stack =
        map(&world, top - PAGE_SIZE, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_GROWSDOWN);
    assert_int_equal(stack, top - PAGE_SIZE);
    assert_true(memory_fault(world.mm, world.thread, &limits, top - 3 * PAGE_SIZE + 8));
    assert_int_equal(memory_manager_snapshot(world.mm, WINDOW, &row, 1), 1);
    assert_int_equal(row.start, top - 3 * PAGE_SIZE);
    assert_int_equal(row.end, top);
    limits.stack = 4 * PAGE_SIZE;
    assert_false(memory_fault(world.mm, world.thread, &limits, top - 5 * PAGE_SIZE));
    assert_true(memory_fault(world.mm, world.thread, &limits, top - 4 * PAGE_SIZE));
    /* Nothing is placed within the gap of 256 pages below it. */
    assert_int_not_equal(map(&world, top - 100 * PAGE_SIZE, PAGE_SIZE, PROT_READ, 0),
                         top - 100 * PAGE_SIZE);
    /* What was put there all the same stops its growth. */
    limits.stack = RLIM_INFINITY;
    assert_int_equal(map(&world, top - 100 * PAGE_SIZE, PAGE_SIZE, PROT_READ, MAP_FIXED),
                     top - 100 * PAGE_SIZE);
    assert_false(memory_fault(world.mm, world.thread, &limits, top - 50 * PAGE_SIZE));
    /* Plain mappings do not grow. */
    assert_false(memory_fault(world.mm, world.thread, &limits, top - 101 * PAGE_SIZE));
    world_end(&world);
}

static void test_brk(void **state) {
    struct world world;
    struct memory_layout layout;
    struct memory_limits limits = no_limits;
    struct mapping row;

    world_start(&world);
    memory_manager_layout(world.mm, &layout);
    layout.start_brk = layout.brk = PAGE(8);
    memory_manager_set_layout(world.mm, &layout);
    assert_int_equal(memory_brk(world.mm, world.thread, &limits, 0), PAGE(8));
    assert_int_equal(memory_brk(world.mm, world.thread, &limits, PAGE(8) + 5), PAGE(8) + 5);
    assert_int_equal(memory_manager_snapshot(world.mm, WINDOW, &row, 1), 1);
    assert_int_equal(row.kind, MAPPING_HEAP);
    assert_int_equal(row.end, PAGE(9));
    assert_int_equal(memory_brk(world.mm, world.thread, &limits, PAGE(12)), PAGE(12));
    assert_int_equal(memory_manager_snapshot(world.mm, WINDOW, &row, 1), 1);
    assert_int_equal(row.end, PAGE(12)); /* one row still */
    assert_int_equal(memory_brk(world.mm, world.thread, &limits, PAGE(8) - 1), PAGE(12));
    assert_int_equal(memory_brk(world.mm, world.thread, &limits, PAGE(10)), PAGE(10));
    assert_int_equal(map(&world, PAGE(14), PAGE_SIZE, PROT_READ, MAP_FIXED), PAGE(14));
    assert_int_equal(memory_brk(world.mm, world.thread, &limits, PAGE(14)), PAGE(14));
    assert_int_equal(memory_brk(world.mm, world.thread, &limits, PAGE(14) + 1), PAGE(14));
    limits.data = 3 * PAGE_SIZE;
    assert_int_equal(memory_brk(world.mm, world.thread, &limits, PAGE(14) - 1), PAGE(14));
    world_end(&world);
}

static void test_limits(void **state) {
    struct world world;
    struct memory_limits limits = no_limits;

    world_start(&world);
    limits.address_space = 4 * PAGE_SIZE;
    assert_true(memory_map(world.mm, world.thread, &limits, PAGE(0), 3 * PAGE_SIZE, PROT_READ,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, NULL, 0, MAPPING_NORMAL) > 0);
    assert_int_equal(memory_map(world.mm, world.thread, &limits, 0, 2 * PAGE_SIZE, PROT_READ,
                                MAP_PRIVATE | MAP_ANONYMOUS, NULL, 0, MAPPING_NORMAL),
                     -ENOMEM);
    /* What is replaced does not count. */
    assert_true(memory_map(world.mm, world.thread, &limits, PAGE(0), 4 * PAGE_SIZE, PROT_READ,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, NULL, 0, MAPPING_NORMAL) > 0);
    assert_int_equal(memory_remap(world.mm, world.thread, &limits, PAGE(0), 4 * PAGE_SIZE,
                                  5 * PAGE_SIZE, MREMAP_MAYMOVE, 0),
                     -ENOMEM);
    limits = no_limits;
    limits.data = PAGE_SIZE;
    assert_int_equal(memory_map(world.mm, world.thread, &limits, 0, 2 * PAGE_SIZE,
                                PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, NULL, 0,
                                MAPPING_NORMAL),
                     -ENOMEM);
    limits = no_limits;
    limits.locked = 2 * PAGE_SIZE;
    assert_int_equal(memory_lock(world.mm, world.thread, &limits, PAGE(0), 2 * PAGE_SIZE, 0, true),
                     0);
    assert_int_equal(memory_lock(world.mm, world.thread, &limits, PAGE(0), 2 * PAGE_SIZE, 0, true),
                     0);
    assert_int_equal(memory_lock(world.mm, world.thread, &limits, PAGE(2), PAGE_SIZE, 0, true),
                     -ENOMEM);
    limits.locked = 0;
    assert_int_equal(memory_lock(world.mm, world.thread, &limits, PAGE(2), PAGE_SIZE, 0, true),
                     -EPERM);
    world_end(&world);
}

static void test_protect_rights(void **state) {
    struct world world;

    world_start(&world);
    assert_int_equal(memory_map(world.mm, world.thread, &no_limits, PAGE(2), PAGE_SIZE, PROT_READ,
                                MAP_SHARED | MAP_FIXED | MAPPING_NO_WRITE, &world.objects[0].object,
                                0, MAPPING_NORMAL),
                     PAGE(2));
    assert_int_equal(map(&world, PAGE(1), PAGE_SIZE, PROT_READ, MAP_FIXED), PAGE(1));
    assert_int_equal(
        memory_protect(world.mm, world.thread, PAGE(1), 2 * PAGE_SIZE, PROT_READ | PROT_WRITE),
        -EACCES);

    struct mapping rows[2];

    assert_int_equal(memory_manager_snapshot(world.mm, WINDOW, rows, 2), 2);
    assert_int_equal(rows[0].prot, PROT_READ | PROT_WRITE); /* the part before was changed */
    assert_int_equal(rows[1].prot, PROT_READ);
    memory_object_put(rows[1].object);
    world_end(&world);
}

static void test_shared_anonymous_is_an_object(void **state) {
    struct world world;
    struct mapping row;
    char name[64];
    dev_t dev;
    ino_t ino;

    world_start(&world);
    assert_int_equal(
        map(&world, PAGE(0), 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_SHARED),
        PAGE(0));
    assert_int_equal(memory_manager_snapshot(world.mm, WINDOW, &row, 1), 1);
    assert_non_null(row.object);
    assert_int_equal(row.object->ops->describe(row.object, name, sizeof(name), &dev, &ino), 0);
    assert_string_equal(name, "/dev/zero (deleted)");
    assert_true(row.object->ops->host_fd(row.object, PROT_READ, true) >= 0);
    memory_object_put(row.object);
    /* mremap with old size 0: a second view of the same memory. */
    assert_int_equal(memory_remap(world.mm, world.thread, &no_limits, PAGE(0), 0, PAGE_SIZE,
                                  MREMAP_MAYMOVE | MREMAP_FIXED, PAGE(9)),
                     PAGE(9));
    assert_int_equal(memory_manager_snapshot(world.mm, PAGE(9), &row, 1), 1);
    assert_int_equal(row.offset, 0);
    memory_object_put(row.object);
    world_end(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_calls_match_the_model),
        cmocka_unit_test(test_deferred_change_keeps_the_token),
        cmocka_unit_test(test_fork_copies_what_it_may),
        cmocka_unit_test(test_map_errors),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_growing_stack),
        cmocka_unit_test(test_brk),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_protect_rights),
        cmocka_unit_test(test_shared_anonymous_is_an_object),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
