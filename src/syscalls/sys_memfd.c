/* memfd_create(2): a tmpfs file on no mount. */
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>

#include "syscalls/sys_install.h"

#ifndef MFD_NOEXEC_SEAL /* Linux 6.3 */
#define MFD_NOEXEC_SEAL 8u
#define MFD_EXEC        16u
#endif
#ifndef F_SEAL_EXEC /* Linux 6.3 */
#define F_SEAL_EXEC 0x20u
#endif
#define NAME_PREFIX "memfd:"
#define MEMFD_NAME_MAX                                                                             \
    (NAME_MAX - (sizeof(NAME_PREFIX) - 1)) /* MFD_NAME_MAX_LEN, without the NUL */

int64_t sys_memfd_create(struct task *current, struct user_address name, unsigned flags) {
    char shown[NAME_MAX + 1] = NAME_PREFIX, *own = shown + sizeof(NAME_PREFIX) - 1;
    struct file *file;
    ssize_t length;
    int result = unsupported_flags("memfd_create", flags, FLAGS_MEMFD_KNOWN, EINVAL);

    if (result) {
        return result;
    }
    if ((flags & (MFD_EXEC | MFD_NOEXEC_SEAL)) == (MFD_EXEC | MFD_NOEXEC_SEAL)) {
        return -EINVAL;
    }
    length = copy_string_from_user(current->thread, own, name, MEMFD_NAME_MAX + 1);
    if (length < 0) {
        return length == -ENAMETOOLONG ? -EINVAL : length;
    }
    if (flags & MFD_NOEXEC_SEAL) {
        result = tmpfs_file_new(shown, 0666, F_SEAL_EXEC, &file);
    } else {
        result = tmpfs_file_new(shown, 0777, flags & MFD_ALLOW_SEALING ? 0 : F_SEAL_SEAL, &file);
    }
    if (result) {
        return result;
    }
    return install_file(current, file, flags & MFD_CLOEXEC ? O_CLOEXEC : 0);
}
