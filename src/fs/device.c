/*
 * The device table: what opening a device node or a FIFO means. The VFS knows only the numbers;
 * the drivers register themselves at start (src/pseudo/devfs.c, src/files/) and stay.
 */
#include <sys/sysmacros.h>

#include "fs/vfs_internal.h"

#define DEVICES_MAX 64
static struct rwlock devices_lock = {PTHREAD_RWLOCK_INITIALIZER, LOCK_DEVICE};
static struct device devices[DEVICES_MAX]; /* guarded by devices_lock */
static size_t device_count;                /* likewise */

static bool device_matches(const struct device *device, mode_t type, dev_t rdev) {
    if (device->type != type) {
        return false;
    }
    if (type == S_IFIFO) {
        return true;
    }
    return device->major == major(rdev) && minor(rdev) >= device->minor &&
           minor(rdev) - device->minor < device->count;
}

int device_register(const struct device *device) {
    WRITE_GUARD(&devices_lock);

    /* Registered again (each unit test starts its own kernel): the newest wins. */
    for (size_t i = 0; i < device_count; i++) {
        if (devices[i].type == device->type &&
            (device->type == S_IFIFO ||
             (devices[i].major == device->major && devices[i].minor == device->minor))) {
            devices[i] = *device;
            return 0;
        }
    }
    if (device_count == DEVICES_MAX) {
        return -ENOSPC;
    }
    devices[device_count++] = *device;
    return 0;
}

bool device_find(mode_t type, dev_t rdev, struct device *device) {
    READ_GUARD(&devices_lock);

    for (size_t i = 0; i < device_count; i++) {
        if (device_matches(&devices[i], type, rdev)) {
            *device = devices[i];
            return true;
        }
    }
    return false;
}
