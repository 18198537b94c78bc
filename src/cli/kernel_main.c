/*
 * The kernel process from its first instruction to the end of the sandbox: descriptors, host trees,
 * zygote, jail, file systems, the first program; then it waits until the last task is gone.
 *
 * Order matters. host_job_new() forks the zygote and needs a process of one thread; the jail comes
 * after everything that names a host path and when the zygote is ready, and before any thread,
 * since capabilities are a thread's; the first thread stays to the end, since guests are its
 * children.
 */
#include <fcntl.h>
#include <malloc.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "cli/kernel_internal.h"
#include "pseudo/pseudo.h"

/* Out of the way of the guest's descriptors and of close_range(). */
#define LOG_FD     100
#define CONTROL_FD 101
#define STD_FD     102 /* and the two behind it */

void kernel_end(const struct launch *launch, int status) {
    (void)control_send(launch->control_fd, CONTROL_EXIT, status);
    _exit(status);
}

/* Descriptors get their places; what else was inherited is closed: a guest sees 0, 1 and 2. */
static void arrange_fds(struct launch *launch) {
    int std_fds[3];

    for (int i = 0; i < 3; i++) {
        std_fds[i] = launch->std_fds[i] < 0 ? -1 : dup3(launch->std_fds[i], STD_FD + i, O_CLOEXEC);
    }
    dup3(STDERR_FILENO, LOG_FD, O_CLOEXEC);
    dup3(launch->control_fd, CONTROL_FD, O_CLOEXEC);
    launch->control_fd = CONTROL_FD;
    close_range(3, LOG_FD - 1, 0);
    close_range(STD_FD + 3, ~0u, 0);
    /* 0, 1 and 2 of the kernel process itself: nothing that a stray write could reach. */
    for (int i = 0; i < 3; i++) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        if (null >= 0) {
            dup3(null, i, O_CLOEXEC);
            close(null);
        }
        launch->std_fds[i] = std_fds[i];
    }
}

static enum log_level log_level_now(void) {
    return log_enabled(LOG_DEBUG)  ? LOG_DEBUG
           : log_enabled(LOG_INFO) ? LOG_INFO
           : log_enabled(LOG_WARN) ? LOG_WARN
                                   : LOG_ERROR;
}

/* --strace=FILE is the caller's file: opened before the jail. */
static int open_trace(const struct run_options *options) {
    int fd;

    if (!options->strace_file) {
        return LOG_FD;
    }
    fd = open(options->strace_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        cli_error("run: --strace=%s: cannot write it: %s", options->strace_file, strerror(errno));
    }
    return fd;
}

/* ---- arguments and environment of the first program ---- */

static bool same_name(const char *a, const char *b) {
    size_t length = strcspn(a, "=");

    return strncmp(a, b, length + 1) == 0;
}

/* The caller's variables, then --env over them. */
static char **make_environment(const struct run_options *options) {
    size_t count = 0;
    char **env;

    for (char **e = environ; !options->clear_env && e && *e; e++) {
        count++;
    }
    env = calloc(count + options->env_count + 1, sizeof(*env));
    count = 0;
    for (char **e = environ; env && !options->clear_env && e && *e; e++) {
        env[count++] = *e;
    }
    for (size_t i = 0; env && i < options->env_count; i++) {
        size_t at = 0;

        while (at < count && !same_name(options->env[i], env[at])) {
            at++;
        }
        env[at] = (char *)(uintptr_t)options->env[i];
        count = MAX(count, at + 1);
    }
    return env;
}

static const char *environment_get(char **env, const char *name) {
    size_t length = strlen(name);

    for (; *env; env++) {
        if (strncmp(*env, name, length) == 0 && (*env)[length] == '=') {
            return *env + length + 1;
        }
    }
    return NULL;
}

/* ---- finding and starting the program ---- */

/*
 * As execvp(3) looks: a name with a slash is a path, else the directories of PATH. What was found
 * but cannot be executed is remembered, since that error tells more than ENOENT.
 */
static int find_program(const struct walk *walk, const char *name, const char *search,
                        char found[PATH_MAX], struct file **file) {
    int error = -ENOENT;

    if (!*name || strlen(name) >= PATH_MAX) {
        return *name ? -ENAMETOOLONG : -ENOENT;
    }
    if (strchr(name, '/')) {
        snprintf(found, PATH_MAX, "%s", name);
        return vfs_open_exec(walk, found, LOOKUP_FOLLOW, file);
    }
    for (const char *p = search;; p++) {
        size_t length = strcspn(p, ":");

        if (snprintf(found, PATH_MAX, "%.*s%s%s", (int)length, p, length ? "/" : "", name) <
            PATH_MAX) {
            int result = vfs_open_exec(walk, found, LOOKUP_FOLLOW, file);

            if (!result) {
                return 0;
            }
            if (result != -ENOENT && result != -ENOTDIR) {
                error = result;
            }
        }
        p += length;
        if (!*p) {
            return error;
        }
    }
}

static int program_error(const struct walk *walk, const char *name, const char *found, int error) {
    struct path path CLEANUP(path_put) = {0};
    struct kstat stat;

    if (error == -ENOENT || error == -ENOTDIR) {
        cli_error(strchr(name, '/') ? "run: cannot run %s: %s (in the guest's root)"
                                    : "run: cannot run %s: %s (looked for in the guest's PATH)",
                  name, error == -ENOENT ? "there is no such program" : strerror(-error));
        return EXIT_NOT_FOUND;
    }
    if (path_lookup(walk, found, LOOKUP_FOLLOW, &path) == 0 && path_getattr(&path, &stat) == 0 &&
        S_ISDIR(stat.mode)) {
        cli_error("run: cannot run %s: it is a directory", name);
    } else if (error == -EACCES) {
        cli_error("run: cannot run %s: permission denied; is it executable for this user?", name);
    } else {
        cli_error("run: cannot run %s: %s", name, strerror(-error));
    }
    return EXIT_NOT_EXECUTABLE;
}

/* Why execve(2) refused a file that it could open. */
static int exec_error(struct file *file, const char *name, int error) {
    unsigned char head[20] = {0};
    ssize_t size = file_pread(file, head, sizeof(head), 0);

    if (error == -ENOENT) {
        cli_error("run: cannot run %s: the interpreter that it names does not exist in the guest",
                  name);
        return EXIT_NOT_FOUND;
    }
    if (error == -ENOEXEC && size >= 20 && memcmp(head, "\177ELF", 4) == 0 && head[4] == 1) {
        cli_error("run: cannot run %s: it is a 32-bit program; Starling runs x86-64 programs only",
                  name);
    } else if (error == -ENOEXEC && size >= 20 && memcmp(head, "\177ELF", 4) == 0 &&
               (head[18] | head[19] << 8) != 62) {
        cli_error("run: cannot run %s: it is a program for another processor (ELF machine %d); "
                  "Starling runs x86-64 programs only",
                  name, head[18] | head[19] << 8);
    } else if (error == -ENOEXEC) {
        cli_error("run: cannot run %s: it is neither an x86-64 program nor a script that begins "
                  "with #!",
                  name);
    } else {
        cli_error("run: cannot run %s: %s", name, strerror(-error));
    }
    return EXIT_NOT_EXECUTABLE;
}

/* The guest's 0, 1 and 2. */
static int install_std_fds(struct task *task, const struct launch *launch, bool *has_terminal) {
    for (int i = 0; i < 3; i++) {
        struct file *file CLEANUP(file_put) = NULL;
        int fd = launch->std_fds[i], flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);
        struct winsize window;
        int error;

        if (fd < 0 || flags < 0) {
            continue;
        }
        if (ioctl(fd, TIOCGWINSZ, &window) == 0) {
            error = tty_host_file_new(fd, flags, &file);
            if (!error && !*has_terminal) {
                *has_terminal = true;
                error = tty_attach(file, task);
            }
        } else {
            error = host_descriptor_file_new(fd, flags, &file);
        }
        if (!error) {
            error = fd_table_replace(task->files, i, file, 3, false);
        }
        /* The first program leads the session that the outer terminal controls. */
        if (error >= 0 && file) {
            (void)!tty_attach(file, task);
        }
        if (error < 0) {
            cli_error("run: cannot give descriptor %d to the guest: %s", i, strerror(-error));
            return error;
        }
    }
    return 0;
}

/* 0, or the exit status to end with. */
static int start_program(const struct run_options *options, const struct launch *launch,
                         struct kernel *kernel, struct fs_context *fs, struct credentials *creds,
                         struct thread_group **init) {
    struct task_owner owner = {0};
    struct file *file CLEANUP(file_put) = NULL;
    char **env = make_environment(options), *found = malloc(PATH_MAX);
    const char *name = options->program[0], *search;
    bool has_terminal = false;
    struct task *task;
    struct walk walk;
    int error;

    error = env && found ? task_new(kernel, name, fs, creds, &owner) : -ENOMEM;
    if (error) {
        cli_error("run: cannot make the first task: %s", strerror(-error));
        return EXIT_STARLING;
    }
    task = owner.task;
    current_task_set(task);
    walk = task_walk(task, NULL);
    search = environment_get(env, "PATH");
    error =
        find_program(&walk, name, search ? search : "/usr/local/bin:/usr/bin:/bin", found, &file);
    if (error) {
        return program_error(&walk, name, found, error);
    }
    if (install_std_fds(task, launch, &has_terminal) < 0) {
        return EXIT_STARLING;
    }

    struct exec_params params = {
        .file = file, .filename = found, .argv = options->program, .envp = env};

    error = task_exec(task, &params);
    if (error) {
        return exec_error(file, name, error);
    }
    *init = thread_group_get(task->thread_group);
    error = kernel_control_start(options, launch, kernel, *init, has_terminal);
    current_task_set(NULL);
    if (!error) {
        error = task_start(&owner);
    }
    if (error) {
        cli_error("run: cannot start '%s': %s", name, strerror(-error));
        return EXIT_STARLING;
    }
    free(found);
    free(env);
    return 0;
}

static int status_of(int wait_status) {
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

/* Everything before the jail. */
struct preparation {
    struct kernel_trees trees;
    struct kernel_user user;
    char hostname[65];
    char *cwd;
    int trace_fd;
    struct host_job *job;
    struct host_jail jail;
};

static void job_error(int error) {
    cli_error("run: cannot make guest processes on this host: %s; 'starling doctor' tells what is "
              "missing",
              strerror(-error));
}

static bool prepare(const struct run_options *options, const struct launch *launch,
                    struct preparation *made) {
    int error;

    /* First, so that the zygote prepares itself beside the rest. */
    made->job = host_job_new();
    if (IS_ERR(made->job)) {
        job_error((int)PTR_ERR(made->job));
        return false;
    }
    host_crash_report_start();
    if (options->hostname) {
        snprintf(made->hostname, sizeof(made->hostname), "%s", options->hostname);
    } else if (gethostname(made->hostname, sizeof(made->hostname)) < 0) {
        snprintf(made->hostname, sizeof(made->hostname), "starling");
    }
    made->cwd = getcwd(NULL, 0);
    made->trace_fd = options->strace ? open_trace(options) : -1;
    if ((options->strace && made->trace_fd < 0) ||
        !kernel_user_find(options, launch, &made->user) ||
        !kernel_trees_open(options, &made->trees)) {
        return false;
    }
    error = host_proc_setup();
    if (error) {
        cli_error("run: cannot use the host's /proc: %s; is it mounted?", strerror(-error));
        return false;
    }
    error = launch->terminal ? kernel_keys_open() : 0;
    if (error) {
        cli_error("run: --tty: cannot listen to its keys: %s", strerror(-error));
        return false;
    }
    error = host_files_setup();
    if (error) {
        cli_error("run: cannot use /proc/self/fd: %s", strerror(-error));
        return false;
    }
    made->jail.writable = made->trees.writable;
    error = host_jail_prepare(&made->jail);
    if (error) {
        cli_error("run: cannot make the kernel process's list of calls: %s", strerror(-error));
        return false;
    }
    error = host_job_ready(made->job);
    if (error) {
        job_error(error);
    }
    return error == 0;
}

/* A trace shows every call, so the stub answers none by itself then. */
static uint32_t stub_may(const struct run_options *options) {
    if (options->strace) {
        return 0;
    }
    return (options->no_local ? 0 : SLOT_PUBLIC_LOCAL) |
           (options->no_patch ? 0 : SLOT_PUBLIC_PATCH) |
           (options->no_direct ? 0 : SLOT_PUBLIC_FUTEX) | (options->stats ? SLOT_PUBLIC_COUNT : 0);
}

static bool register_parts(struct kernel *kernel) {
    task_set_dispatch(syscall_dispatch);
    return file_system_register(&tmpfs_type) == 0 && files_start() == 0 &&
           pseudo_register(kernel) == 0;
}

void kernel_main(const struct run_options *options, const struct launch *given) {
    static struct launch launch;
    struct preparation made = {0};
    struct thread_group *init = NULL;
    struct fs_context *fs;
    struct credentials *creds;
    struct kernel *kernel;
    int status, error;

    launch = *given;
    mallopt(M_ARENA_MAX, 2);
    arrange_fds(&launch);
    log_start(LOG_FD, log_level_now());
    if (!prepare(options, &launch, &made)) {
        kernel_end(&launch, EXIT_STARLING);
    }

    error = host_jail_enter(&made.jail);
    if (!error) {
        error = poller_start();
    }
    kernel = error ? ERR_PTR(error) : kernel_new(made.job, made.hostname);
    creds = kernel_user_credentials(&made.user);
    if (IS_ERR(kernel) || !creds || !register_parts(kernel)) {
        cli_error("run: cannot start the kernel: %s",
                  strerror(IS_ERR(kernel) ? (int)-PTR_ERR(kernel) : ENOMEM));
        kernel_end(&launch, EXIT_STARLING);
    }
    kernel->pid_limit = options->pids;
    fs = kernel_root_build(options, &made.trees, made.cwd);
    if (!fs) {
        kernel_end(&launch, EXIT_STARLING);
    }
    if (options->strace) {
        trace_start(made.trace_fd);
        memory_set_deferring(false); /* a line shows the call's result */
        signal_set_trace(trace_signal, trace_signal_untaken);
        task_set_exit_trace(trace_exited);
    }
    if (options->stats) {
        error = host_job_count_calls(made.job);
        if (error) {
            cli_error("run: --stats: %s", strerror(-error));
            kernel_end(&launch, EXIT_STARLING);
        }
        syscall_stats_start();
    }
    host_job_allow(made.job, stub_may(options));
    if (stub_may(options) & SLOT_PUBLIC_LOCAL) {
        fd_page_enable();
    }
    if (!options->strace && !options->no_direct) {
        donation_enable();
    }
    status = start_program(options, &launch, kernel, fs, creds, &init);
    if (status) {
        kernel_end(&launch, status);
    }
    fs_context_put(fs);
    credentials_put(creds);
    error = kernel_pause_start(options, kernel);
    if (error) {
        cli_error("run: --pause-every: %s", strerror(-error));
        kernel_end(&launch, EXIT_STARLING);
    }
    /* Guests are this thread's children, so it stays. The end of the first process ends the rest.
     */
    while (kernel_wait_idle(kernel, WAIT_FOREVER) != 0) {
    }
    if (options->stats) {
        syscall_stats_print(LOG_FD, made.job);
        kernel_pause_print(LOG_FD);
    }
    host_job_end(made.job);
    kernel_end(&launch, status_of(atomic_load(&kernel->init_status)));
}
