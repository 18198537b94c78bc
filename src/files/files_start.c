/* What files/ registers with the folders below it, before the first guest runs. */
#include "files/pty_internal.h"

int files_start(void) {
    int error = fifo_register();

    file_set_forget_hook(epoll_forget_file);
    if (!error) {
        error = tty_register();
    }
    if (!error) {
        error = tty_host_register();
    }
    if (!error) {
        error = pty_register();
    }
    return error ? error : file_system_register(&devpts_type);
}
