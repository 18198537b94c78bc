/* What files/ registers with the folders below it, before the first guest runs. */
#include "files/files_internal.h"

int files_start(void) {
    int error = fifo_register();

    file_set_forget_hook(epoll_forget_file);
    return error ? error : tty_register();
}
