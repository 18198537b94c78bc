/*
 * host_aspace: the address space of one guest process (or of several that share memory): where its
 * stub is, the memfd with its slots, and the control socket that carries descriptors to it. It owns
 * the kernel's mapping of the slots; it ends when the last process and thread of it is gone.
 */
#include "host/host_internal.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct host_aspace *host_aspace_new_mock(void) {
    struct host_aspace *aspace = calloc(1, sizeof(*aspace));

    if (!aspace) {
        return ERR_PTR(-ENOMEM);
    }
    ref_init(&aspace->ref);
    aspace->mock = true;
    aspace->stub_base = 0x7e9000000000;
    aspace->context_fd = aspace->public_fd = aspace->control_fd = -1;
    lock_init(&aspace->lock, LOCK_HOST_ASPACE);
    return aspace;
}

static void aspace_free(struct host_aspace *aspace) {
    if (aspace->slots) {
        munmap(aspace->slots, STUB_SLOTS_SIZE + STUB_PUBLIC_SIZE);
    }
    if (aspace->context_fd >= 0) {
        close(aspace->context_fd);
    }
    if (aspace->public_fd >= 0) {
        close(aspace->public_fd);
    }
    if (aspace->control_fd >= 0) {
        close(aspace->control_fd);
    }
    lock_destroy(&aspace->lock);
    free(aspace);
}

/* A memfd of the kernel's, mapped at `place` for writing; NULL with errno. */
static void *map_memfd(const char *name, void *place, size_t size, unsigned seals, int *fd) {
    void *mapped;

    *fd = memfd_create(name, MFD_CLOEXEC | (seals ? MFD_ALLOW_SEALING : 0));
    if (*fd < 0 || ftruncate(*fd, (off_t)size) < 0) {
        return NULL;
    }
    mapped = mmap(place, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, *fd, 0);
    if (mapped == MAP_FAILED) {
        return NULL;
    }
    if (seals && fcntl(*fd, F_ADD_SEALS, seals) < 0) {
        return NULL;
    }
    return mapped;
}

/*
 * The guest's end of the socket comes back in *guest_control_fd, owned by the caller; the memfd
 * stays the aspace's. The socket carries credentials: the kernel learns a new process's host pid
 * from its first byte.
 */
struct host_aspace *host_aspace_new(uint64_t stub_base, const struct host_aspace *vdso_of,
                                    int *guest_control_fd) {
    struct host_aspace *aspace = host_aspace_new_mock();
    int sockets[2];
    char *place;
    int on = 1;

    if (IS_ERR(aspace)) {
        return aspace;
    }
    aspace->mock = false;
    aspace->stub_base = stub_base;
    if (vdso_of) {
        aspace->vdso = vdso_of->vdso;
        aspace->vdso_start = vdso_of->vdso_start;
        aspace->vdso_end = vdso_of->vdso_end;
    }
    /* Side by side, so that one call unmaps both: other cores must hear of each. */
    place = mmap(NULL, STUB_SLOTS_SIZE + STUB_PUBLIC_SIZE, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) {
        goto fail;
    }
    aspace->slots = place;
    if (!map_memfd("starling-slots", place, STUB_SLOTS_SIZE, 0, &aspace->context_fd)) {
        goto fail;
    }
    aspace->public = map_memfd("starling-public", place + STUB_SLOTS_SIZE, STUB_PUBLIC_SIZE,
                               F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
                               &aspace->public_fd);
    if (!aspace->public) {
        goto fail;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) {
        goto fail;
    }
    aspace->control_fd = sockets[0];
    if (setsockopt(sockets[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0) {
        close(sockets[1]);
        goto fail;
    }
    *guest_control_fd = sockets[1];
    return aspace;
fail:;
    int error = -errno;
    aspace_free(aspace);
    return ERR_PTR(error);
}

void host_aspace_touch(struct host_aspace *aspace) {
    __atomic_store_n(&host_aspace_slot(aspace, 0)->turn, SLOT_DEAD, __ATOMIC_RELAXED);
    __atomic_store_n(&host_aspace_public(aspace, 0)->flags, 0, __ATOMIC_RELAXED);
}

struct host_aspace *host_aspace_get(struct host_aspace *aspace) {
    ref_get(&aspace->ref);
    return aspace;
}

void host_aspace_put(struct host_aspace *aspace) {
    if (ref_put(&aspace->ref)) {
        aspace_free(aspace);
    }
}

void host_aspace_reserved(const struct host_aspace *aspace, uint64_t *start, uint64_t *end) {
    *start = aspace->stub_base;
    *end = aspace->stub_base + STUB_TOTAL_SIZE;
}

uint64_t host_aspace_fast_entry(const struct host_aspace *aspace) {
    return aspace->stub_base + ((const struct stub_header *)stub_blob_start)->fast;
}

void host_aspace_publish_brk(struct host_aspace *aspace, uint64_t brk) {
    if (!aspace->mock) {
        __atomic_store_n(&host_aspace_public(aspace, 0)->brk, brk, __ATOMIC_RELEASE);
    }
}

void host_aspace_vdso(const struct host_aspace *aspace, uint64_t *vdso, uint64_t *start,
                      uint64_t *end) {
    *vdso = aspace->vdso;
    *start = aspace->vdso_start;
    *end = aspace->vdso_end;
}

struct slot *host_aspace_slot(const struct host_aspace *aspace, uint32_t index) {
    return (struct slot *)(aspace->slots + index * STUB_SLOT_STRIDE);
}

struct slot_public *host_aspace_public(const struct host_aspace *aspace, uint32_t index) {
    return (struct slot_public *)(aspace->public + index * STUB_PUBLIC_STRIDE);
}

/*
 * The lowest free slot. A slot that was freed is free only once its host thread has really gone
 * (the host clears `turn` then): until that moment the thread still runs on the slot's stack.
 */
int host_aspace_slot_allocate(struct host_aspace *aspace, uint32_t *index) {
    LOCK_GUARD(&aspace->lock);

    for (uint32_t i = 0; i < STUB_MAX_SLOTS; i++) {
        if (aspace->used[i / 64] & (1ull << (i % 64))) {
            continue;
        }
        if (__atomic_load_n(&host_aspace_slot(aspace, i)->turn, __ATOMIC_ACQUIRE) != SLOT_DEAD) {
            continue;
        }
        aspace->used[i / 64] |= 1ull << (i % 64);
        *index = i;
        return 0;
    }
    return -EAGAIN;
}

int host_aspace_slot_claim(struct host_aspace *aspace, uint32_t index) {
    LOCK_GUARD(&aspace->lock);

    if (aspace->used[index / 64] & (1ull << (index % 64))) {
        return -EEXIST;
    }
    aspace->used[index / 64] |= 1ull << (index % 64);
    return 0;
}

void host_aspace_slot_free(struct host_aspace *aspace, uint32_t index) {
    LOCK_GUARD(&aspace->lock);

    aspace->used[index / 64] &= ~(1ull << (index % 64));
}
