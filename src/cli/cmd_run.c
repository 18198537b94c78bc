/* `starling run`: a program in a new sandbox. */
#include "cli/cli.h"

int cmd_run(int argc, char **argv) {
    struct run_options options;
    int status = run_options_parse(argc, argv, &options);

    if (status < 0) {
        status = launcher_run(&options);
    }
    run_options_free(&options);
    return status;
}
