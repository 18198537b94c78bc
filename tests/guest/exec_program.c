/*
 * execve(2), execveat(2): arguments, environment, what survives and what does not, `#!` scripts,
 * errors, limits, exec from a thread. The program executes itself: `prog --child WHAT ...`.
 */
#include "guest_test.h"

#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static char self[4096];
extern char **environ;

__attribute__((noinline)) static int exec_strings(const char *path, const char *const *argv,
                                                  const char *const *envp) {
    return execve(path, (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)envp);
}

static pid_t spawn_self(const char *what, const char *more) {
    pid_t pid = fork();
    if (pid == 0) {
        execl(self, "child-name", "--child", what, more, (char *)NULL);
        _exit(126);
    }
    return pid;
}

static int run_status(pid_t pid) {
    int status = -1;
    return waitpid(pid, &status, 0) == pid ? status : -1;
}

/* A file of our own with this content and mode, its name in `name`. */
static void write_file(char *name, size_t size, const void *bytes, size_t count, mode_t mode) {
    static int number;
    snprintf(name, size, "exec_program.%d.%d", (int)getpid(), number++);
    int fd = open(name, O_CREAT | O_WRONLY | O_TRUNC, mode);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, bytes, count), (ssize_t)count);
    CHECK_OK(fchmod(fd, mode));
    close(fd);
}

TEST(arguments_and_environment) {
    pid_t pid = fork();
    if (pid == 0) {
        const char *argv[] = {"zero", "--child", "arguments", "", "with space", "\xff\x01", NULL};
        const char *envp[] = {"A=1", "EMPTY=", "NOEQUALS", NULL};
        exec_strings(self, argv, envp);
        _exit(126);
    }
    CHECK_CHILD_OK(pid);
}

static int child_arguments(int argc, char **argv) {
    CHECK_EQ(argc, 6);
    CHECK_STREQ(argv[0], "zero");
    CHECK_STREQ(argv[3], "");
    CHECK_STREQ(argv[4], "with space");
    CHECK_STREQ(argv[5], "\xff\x01");
    CHECK(argv[6] == NULL);
    CHECK_STREQ(environ[0], "A=1");
    CHECK_STREQ(environ[1], "EMPTY=");
    CHECK_STREQ(environ[2], "NOEQUALS");
    CHECK(environ[3] == NULL);
    CHECK_STREQ((char *)getauxval(AT_EXECFN), self[0] == '/' ? (char *)getauxval(AT_EXECFN) : "");
    return 0;
}

TEST(descriptors_that_close) {
    char numbers[32];
    int keep = open("/dev/null", O_RDONLY), gone = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int later = open("/dev/null", O_RDONLY);
    CHECK_OK(fcntl(later, F_SETFD, FD_CLOEXEC));
    snprintf(numbers, sizeof numbers, "%d %d %d", keep, gone, later);
    CHECK_CHILD_OK(spawn_self("descriptors", numbers));
    close(keep);
    close(gone);
    close(later);
}

static int child_descriptors(int argc, char **argv) {
    int keep, gone, later;
    CHECK_EQ(sscanf(argv[3], "%d %d %d", &keep, &gone, &later), 3);
    CHECK_OK(fcntl(keep, F_GETFD));
    CHECK_ERR(fcntl(gone, F_GETFD), EBADF);
    CHECK_ERR(fcntl(later, F_GETFD), EBADF);
    return 0;
}

static void handler(int signo) {
}

TEST(signals) {
    pid_t pid = fork();
    if (pid == 0) {
        static char stack[65536];
        stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
        sigset_t set;
        signal(SIGUSR1, handler);
        signal(SIGUSR2, SIG_IGN);
        sigaltstack(&alternate, NULL);
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_SETMASK, &set, NULL);
        raise(SIGTERM); /* stays pending over exec */
        execl(self, "child-name", "--child", "signals", (char *)NULL);
        _exit(126);
    }
    CHECK_CHILD_OK(pid);
}

static int child_signals(int argc, char **argv) {
    struct sigaction action;
    sigset_t set;
    stack_t alternate;
    CHECK_OK(sigaction(SIGUSR1, NULL, &action));
    CHECK(action.sa_handler == SIG_DFL);
    CHECK_OK(sigaction(SIGUSR2, NULL, &action));
    CHECK(action.sa_handler == SIG_IGN);
    CHECK_OK(sigprocmask(SIG_SETMASK, NULL, &set));
    CHECK(sigismember(&set, SIGTERM));
    CHECK(!sigismember(&set, SIGUSR1));
    CHECK_OK(sigpending(&set));
    CHECK(sigismember(&set, SIGTERM));
    CHECK_OK(sigaltstack(NULL, &alternate));
    CHECK_EQ(alternate.ss_flags, SS_DISABLE);
    return 0;
}

TEST(identity_survives) {
    char numbers[64];
    pid_t pid = fork();
    if (pid == 0) {
        alarm(1000);
        umask(0123);
        CHECK_OK(chdir("/"));
        snprintf(numbers, sizeof numbers, "%d %d", (int)getpid(), (int)getppid());
        execl(self, "child-name", "--child", "identity", numbers, (char *)NULL);
        _exit(126);
    }
    CHECK_CHILD_OK(pid);
}

static int child_identity(int argc, char **argv) {
    int pid, ppid;
    char cwd[16], comm[32] = "";
    CHECK_EQ(sscanf(argv[3], "%d %d", &pid, &ppid), 2);
    CHECK_EQ(getpid(), pid);
    CHECK_EQ(getppid(), ppid);
    CHECK_EQ(syscall(SYS_gettid), pid);
    CHECK(alarm(0) > 900);
    CHECK_EQ(umask(0), 0123);
    CHECK(getcwd(cwd, sizeof cwd) != NULL);
    CHECK_STREQ(cwd, "/");
    CHECK_OK(prctl(PR_GET_NAME, comm));
    const char *name = strrchr((char *)getauxval(AT_EXECFN), '/');
    CHECK_EQ(strncmp(comm, name ? name + 1 : "", 15), 0);
    return 0;
}

TEST(errors) {
    const char *argv[] = {"x", NULL}, *envp[] = {NULL};
    char name[64];
    CHECK_ERR(exec_strings("/nonexistent/file", argv, envp), ENOENT);
    CHECK_ERR(exec_strings("", argv, envp), ENOENT);
    CHECK_ERR(exec_strings("/", argv, envp), EACCES);
    CHECK_ERR(exec_strings("/dev/null", argv, envp), EACCES);
    CHECK_ERR(exec_strings((char *)1, argv, envp), EFAULT);
    CHECK_ERR(exec_strings(self, (const char **)8, envp), EFAULT);
    CHECK_ERR(exec_strings(self, argv, (const char **)8), EFAULT);
    const char *bad[] = {"x", (char *)16, NULL};
    CHECK_ERR(exec_strings(self, bad, envp), EFAULT);
    write_file(name, sizeof name, "plain text\n", 11, 0755);
    CHECK_ERR(exec_strings(name, argv, envp), ENOEXEC);
    unlink(name);
    write_file(name, sizeof name, "", 0, 0755);
    CHECK_ERR(exec_strings(name, argv, envp), ENOEXEC);
    unlink(name);
    write_file(name, sizeof name, "#!/bin/sh\n", 10, 0644); /* not even root without an x bit */
    CHECK_ERR(exec_strings(name, argv, envp), EACCES);
    unlink(name);
    char component[512];
    memset(component, 'a', sizeof component);
    component[sizeof component - 1] = 0;
    CHECK_ERR(exec_strings(component, argv, envp), ENAMETOOLONG);
}

TEST(text_busy) {
    static char bytes[1 << 16];
    char name[64];
    const char *argv[] = {name, NULL}, *envp[] = {NULL};
    int in = open(self, O_RDONLY);
    ssize_t size = read(in, bytes, sizeof bytes);
    close(in);
    write_file(name, sizeof name, bytes, (size_t)size, 0755);
    int fd = open(name, O_WRONLY);
    CHECK_ERR(exec_strings(name, argv, envp), ETXTBSY);
    close(fd);
    /* Only who may write to it at all is told so. */
    CHECK_ERR(open(self, O_WRONLY), access(self, W_OK) == 0 ? ETXTBSY : EACCES);
    unlink(name);
}

TEST(scripts) {
    char script[64], nested[64], text[512];
    const char *envp[] = {NULL};
    int n = snprintf(text, sizeof text, "#! %s   --child script  \nignored\n", self);
    /* One argument: "--child script" as a whole. */
    write_file(script, sizeof script, text, (size_t)n, 0755);
    pid_t pid = fork();
    if (pid == 0) {
        const char *argv[] = {"dropped", "first", "second", NULL};
        exec_strings(script, argv, envp);
        _exit(126);
    }
    CHECK_CHILD_OK(pid);
    /* A script for a script. */
    char cwd[256];
    CHECK(getcwd(cwd, sizeof cwd) != NULL);
    n = snprintf(text, sizeof text, "#!%s/%s\n", cwd, script);
    if (n > 250)
        SKIP("the current directory has a long name");
    write_file(nested, sizeof nested, text, (size_t)n, 0755);
    pid = fork();
    if (pid == 0) {
        const char *argv[] = {"dropped", "first", "second", NULL};
        exec_strings(nested, argv, envp);
        _exit(126);
    }
    CHECK_EQ(run_status(pid), 7 << 8); /* one argument more: see child_script() */
    unlink(nested);
    unlink(script);
}

/* argv: self, "--child script", the script's name, "first", "second" */
static int child_script(int argc, char **argv) {
    if (argc == 6)
        return 7;
    CHECK_EQ(argc, 5);
    CHECK_STREQ(argv[0], self);
    CHECK_EQ(strncmp(argv[2], "exec_program.", 13), 0);
    CHECK_STREQ(argv[3], "first");
    CHECK_STREQ(argv[4], "second");
    return 0;
}

TEST(scripts_that_fail) {
    char script[64], text[512], cwd[256];
    const char *argv[] = {"x", NULL}, *envp[] = {NULL};
    write_file(script, sizeof script, "#!\n", 3, 0755);
    CHECK_ERR(exec_strings(script, argv, envp), ENOEXEC);
    unlink(script);
    write_file(script, sizeof script, "#!/nonexistent/interpreter\n", 27, 0755);
    CHECK_ERR(exec_strings(script, argv, envp), ENOENT);
    unlink(script);
    write_file(script, sizeof script, "#!/\n", 4, 0755);
    CHECK_ERR(exec_strings(script, argv, envp), EACCES);
    unlink(script);
    /* Its own interpreter. */
    CHECK(getcwd(cwd, sizeof cwd) != NULL);
    int n = snprintf(text, sizeof text, "#!%s/exec_loop\n", cwd);
    if (n < 250) {
        write_file(script, sizeof script, text, (size_t)n, 0755);
        CHECK_OK(rename(script, "exec_loop"));
        CHECK_ERR(exec_strings("exec_loop", argv, envp), ELOOP);
        unlink("exec_loop");
    }
}

TEST(limits) {
    static const char *many[300000];
    char *big = malloc(200000);
    const char *argv[] = {"x", NULL, NULL}, *envp[] = {NULL};
    memset(big, 'b', 200000);
    big[131072] = 0; /* MAX_ARG_STRLEN counts the NUL */
    argv[1] = big;
    CHECK_ERR(exec_strings(self, argv, envp), E2BIG);
    big[131071] = 0;
    pid_t pid = fork();
    if (pid == 0) {
        execl(self, "child-name", "--child", "length", big, (char *)NULL);
        _exit(126);
    }
    CHECK_CHILD_OK(pid);
    /* Many, within and beyond a quarter of the stack's limit. */
    struct rlimit limit;
    CHECK_OK(getrlimit(RLIMIT_STACK, &limit));
    if (limit.rlim_cur != 8 << 20)
        SKIP("the stack limit is not 8 MiB");
    many[0] = "child-name";
    many[1] = "--child";
    many[2] = "many";
    for (int i = 3; i < 120000; i++)
        many[i] = "argument";
    many[120000] = NULL;
    pid = fork();
    if (pid == 0) {
        exec_strings(self, many, envp);
        _exit(126);
    }
    CHECK_CHILD_OK(pid);
    for (int i = 3; i < 299999; i++)
        many[i] = "argument";
    many[299999] = NULL;
    CHECK_ERR(exec_strings(self, many, envp), E2BIG);
    free(big);
}

static int child_length(int argc, char **argv) {
    CHECK_EQ(strlen(argv[3]), 131071);
    return 0;
}

static int child_many(int argc, char **argv) {
    CHECK_EQ(argc, 120000);
    CHECK_STREQ(argv[119999], "argument");
    return 0;
}

TEST(no_arguments) {
    pid_t pid = fork();
    if (pid == 0) {
        const char *none[] = {NULL}, *envp[] = {"EXEC_PROGRAM_CHILD=empty", NULL};
        exec_strings(self, none, envp);
        _exit(126);
    }
    CHECK_CHILD_OK(pid);
}

TEST(execveat_by_descriptor) {
    const char *argv[] = {"child-name", "--child", "nothing", NULL}, *envp[] = {NULL};
    int fd = open(self, O_PATH);
    CHECK_ERR(syscall(SYS_execveat, fd, "", argv, envp, 0), ENOENT);
    CHECK_ERR(syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH | 0x40000), EINVAL);
    CHECK_ERR(syscall(SYS_execveat, -1, "", argv, envp, AT_EMPTY_PATH), EBADF);
    pid_t pid = fork();
    if (pid == 0) {
        syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
        _exit(126);
    }
    CHECK_CHILD_OK(pid);
    close(fd);
    pid = fork();
    if (pid == 0) {
        syscall(SYS_execveat, AT_FDCWD, self, argv, envp, 0);
        _exit(126);
    }
    CHECK_CHILD_OK(pid);
    pid = fork();
    if (pid == 0) {
        syscall(SYS_execveat, -1, self, argv, envp, 0); /* an absolute path needs no directory */
        _exit(126);
    }
    CHECK_CHILD_OK(pid);
    CHECK_OK(symlink(self, "exec_link"));
    CHECK_ERR(syscall(SYS_execveat, AT_FDCWD, "exec_link", argv, envp, AT_SYMLINK_NOFOLLOW), ELOOP);
    unlink("exec_link");
}

static void *thread_that_waits(void *arg) {
    for (;;)
        pause();
    return NULL;
}

static void *thread_that_execs(void *arg) {
    execl(self, "child-name", "--child", "only-thread", arg, (char *)NULL);
    _exit(126);
}

TEST(from_a_thread) {
    for (int leader_waits = 0; leader_waits < 2; leader_waits++) {
        pid_t pid = fork();
        if (pid == 0) {
            char number[16];
            pthread_t thread;
            snprintf(number, sizeof number, "%d", (int)getpid());
            for (int i = 0; i < 4; i++)
                pthread_create(&thread, NULL, thread_that_waits, NULL);
            if (leader_waits) {
                pthread_create(&thread, NULL, thread_that_execs, number);
                for (;;)
                    pause();
            }
            thread_that_execs(number);
        }
        CHECK_CHILD_OK(pid);
    }
}

static int child_only_thread(int argc, char **argv) {
    CHECK_EQ(getpid(), atoi(argv[3]));
    CHECK_EQ(syscall(SYS_gettid), atoi(argv[3]));
    return 0;
}

TEST(vfork_and_spawn) {
    pid_t pid = vfork();
    if (pid == 0) {
        execl(self, "child-name", "--child", "nothing", (char *)NULL);
        _exit(126);
    }
    CHECK_CHILD_OK(pid);
    const char *argv[] = {"child-name", "--child", "nothing", NULL};
    char *const *spawn_argv = (char *const *)(uintptr_t)argv;
    CHECK_EQ(posix_spawn(&pid, self, NULL, NULL, spawn_argv, environ), 0);
    CHECK_CHILD_OK(pid);
    CHECK_EQ(posix_spawn(&pid, "/nonexistent", NULL, NULL, spawn_argv, environ), ENOENT);
}

TEST(memory_is_fresh) {
    /* The old program's mappings do not show in the new one. */
    char *p = mmap((void *)0x200000000000, 4096, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (p == MAP_FAILED)
        SKIP("the place is taken");
    CHECK_CHILD_OK(spawn_self("fresh", NULL));
    munmap(p, 4096);
}

static int child_fresh(int argc, char **argv) {
    unsigned char v;
    CHECK_ERR(mincore((void *)0x200000000000, 4096, &v), ENOMEM);
    return 0;
}

TEST(addresses_are_random) {
    int pipes[2];
    unsigned long seen[3][4] = {{0}};
    for (int i = 0; i < 3; i++) {
        char number[16];
        CHECK_OK(pipe(pipes));
        snprintf(number, sizeof number, "%d", pipes[1]);
        CHECK_CHILD_OK(spawn_self("addresses", number));
        CHECK_EQ(read(pipes[0], seen[i], sizeof seen[i]), (ssize_t)sizeof seen[i]);
        close(pipes[0]);
        close(pipes[1]);
    }
    for (int k = 0; k < 4; k++)
        CHECK(seen[0][k] != seen[1][k] || seen[1][k] != seen[2][k]);
}

TEST(addresses_are_fixed_on_request) {
    int pipes[2];
    unsigned long seen[2][4] = {{0}};
    for (int i = 0; i < 2; i++) {
        char number[16];
        CHECK_OK(pipe(pipes));
        snprintf(number, sizeof number, "%d", pipes[1]);
        pid_t pid = fork();
        if (pid == 0) {
            personality(ADDR_NO_RANDOMIZE);
            execl(self, "child-name", "--child", "addresses", number, (char *)NULL);
            _exit(126);
        }
        CHECK_CHILD_OK(pid);
        CHECK_EQ(read(pipes[0], seen[i], sizeof seen[i]), (ssize_t)sizeof seen[i]);
        close(pipes[0]);
        close(pipes[1]);
    }
    CHECK_EQ(seen[0][2], seen[1][2]); /* the heap; AT_RANDOM stays random */
    CHECK(seen[0][3] != seen[1][3]);
}

static int child_addresses(int argc, char **argv) {
    unsigned long seen[4];
    unsigned long random[2];
    memcpy(random, (void *)getauxval(AT_RANDOM), 16);
    seen[0] = (unsigned long)__builtin_frame_address(0);
    seen[1] = (unsigned long)mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    seen[2] = (unsigned long)sbrk(0);
    seen[3] = random[0] ^ random[1];
    CHECK_EQ(write(atoi(argv[3]), seen, sizeof seen), (ssize_t)sizeof seen);
    return 0;
}

TEST(loop) {
    for (int i = 0; i < 30; i++)
        CHECK_CHILD_OK(spawn_self("nothing", NULL));
}

static int child_main(const char *what, int argc, char **argv) {
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } children[] = {
        {"arguments", child_arguments}, {"descriptors", child_descriptors},
        {"signals", child_signals},     {"identity", child_identity},
        {"script", child_script},       {"length", child_length},
        {"many", child_many},           {"only-thread", child_only_thread},
        {"fresh", child_fresh},         {"addresses", child_addresses},
    };
    for (size_t i = 0; i < sizeof children / sizeof *children; i++) {
        if (strcmp(what, children[i].name) == 0) {
            int result = children[i].run(argc, argv);
            return guest_test_failures ? 1 : result;
        }
    }
    return strcmp(what, "nothing") == 0 ? 0 : 3;
}

int main(int argc, char **argv) {
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0)
        return 4;
    self[length] = 0;
    if (getenv("EXEC_PROGRAM_CHILD"))
        return argc == 1 && argv[0][0] == 0 ? 0 : 5; /* an empty argv[0] is put in */
    if (argc >= 2 && strcmp(argv[1], "--child script") == 0)
        return child_main("script", argc, argv);
    if (argc >= 3 && strcmp(argv[1], "--child") == 0)
        return child_main(argv[2], argc, argv);
    return guest_test_main(argc, argv);
}
