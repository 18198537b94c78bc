/* pty(7), pts(4), ioctl_tty(2): pseudo-terminals and their line discipline. */
#include "guest_test.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>

static int master, slave;

static void open_pair(void) {
    char name[64];
    REQUIRE_OK(master = posix_openpt(O_RDWR | O_NOCTTY));
    CHECK_EQ(ptsname_r(master, name, sizeof name), 0);
    CHECK_ERR(open(name, O_RDWR | O_NOCTTY), EIO); /* locked */
    CHECK_OK(grantpt(master));
    CHECK_OK(unlockpt(master));
    REQUIRE_OK(slave = open(name, O_RDWR | O_NOCTTY));
}
static void close_pair(void) {
    close(master);
    close(slave);
}

/* What the master sees within a moment. */
static const char *seen(void) {
    static char text[8192];
    size_t used = 0;
    struct pollfd p = {.fd = master, .events = POLLIN};
    while (used < sizeof text - 1 && poll(&p, 1, 30) == 1 && (p.revents & POLLIN)) {
        ssize_t n = read(master, text + used, sizeof text - 1 - used);
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    text[used] = '\0';
    return text;
}
static void type(const char *keys) {
    CHECK_EQ(write(master, keys, strlen(keys)), (ssize_t)strlen(keys));
}
static const char *line(void) {
    static char text[8192];
    ssize_t n = read(slave, text, sizeof text - 1);
    text[n < 0 ? 0 : n] = '\0';
    return n < 0 ? "(error)" : text;
}
static void raw(int minimum, int time) {
    struct termios t;
    CHECK_OK(tcgetattr(slave, &t));
    cfmakeraw(&t);
    t.c_cc[VMIN] = (cc_t)minimum;
    t.c_cc[VTIME] = (cc_t)time;
    CHECK_OK(tcsetattr(slave, TCSANOW, &t));
}

TEST(names) {
    struct stat st;
    char name[64];
    open_pair();
    CHECK(isatty(slave));
    CHECK(isatty(master));
    CHECK_EQ(ttyname_r(slave, name, sizeof name), 0);
    CHECK_EQ(strncmp(name, "/dev/pts/", 9), 0);
    CHECK_OK(stat(name, &st));
    CHECK(S_ISCHR(st.st_mode));
    CHECK_EQ(st.st_rdev >> 8, 136);
    CHECK_ERR(lseek(slave, 0, SEEK_SET), ESPIPE);
    close_pair();
    CHECK_ERR(stat(name, &st), ENOENT);
}

TEST(canonical_lines) {
    open_pair();
    type("hello\r");
    CHECK_STREQ(line(), "hello\n");
    CHECK_STREQ(seen(), "hello\r\n");
    type("one\ntwo\n");
    CHECK_STREQ(line(), "one\n");
    CHECK_STREQ(line(), "two\n");
    (void)seen();
    type("abd\177c\n");
    CHECK_STREQ(seen(), "abd\b \bc\r\n");
    CHECK_STREQ(line(), "abc\n");
    type("wrong\025right\n");
    CHECK_STREQ(line(), "right\n");
    type("two words\027x\n");
    CHECK_STREQ(line(), "two x\n");
    type("a\026\003b\n"); /* a literal ^C */
    CHECK_STREQ(line(), "a\003b\n");
    (void)seen();
    type("partial");
    struct pollfd p = {.fd = slave, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 0), 0);
    type("\004");
    CHECK_STREQ(line(), "partial");
    type("\004");
    CHECK_EQ(read(slave, &p, 1), 0); /* end of file, once */
    type("more\n");
    CHECK_STREQ(line(), "more\n");
    /* A read that is too small leaves the rest of the line. */
    type("long\n");
    char two[2];
    CHECK_EQ(read(slave, two, 2), 2);
    CHECK_STREQ(line(), "ng\n");
    close_pair();
}

TEST(output_processing) {
    struct termios t;
    open_pair();
    CHECK_EQ(write(slave, "a\nb\tc", 5), 5);
    CHECK_STREQ(seen(), "a\r\nb\tc");
    CHECK_OK(tcgetattr(slave, &t));
    t.c_oflag &= ~(tcflag_t)ONLCR;
    t.c_lflag &= ~(tcflag_t)ECHO;
    CHECK_OK(tcsetattr(slave, TCSADRAIN, &t));
    CHECK_EQ(write(slave, "x\ny", 3), 3);
    type("silent\n");
    CHECK_STREQ(seen(), "x\ny");
    CHECK_STREQ(line(), "silent\n");
    close_pair();
}

TEST(raw_mode) {
    char buffer[16];
    open_pair();
    raw(1, 0);
    type("\003\r\177");
    CHECK_EQ(read(slave, buffer, 16), 3);
    CHECK_EQ(memcmp(buffer, "\003\r\177", 3), 0);
    CHECK_STREQ(seen(), "");
    raw(0, 0);
    CHECK_EQ(read(slave, buffer, 16), 0);
    raw(0, 1);
    CHECK_EQ(read(slave, buffer, 16), 0); /* after a tenth of a second */
    type("z");
    CHECK_EQ(read(slave, buffer, 16), 1);
    raw(3, 0);
    type("ab");
    struct pollfd p = {.fd = slave, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 0), 0);
    type("c");
    CHECK_EQ(poll(&p, 1, 1000), 1);
    CHECK_EQ(read(slave, buffer, 16), 3);
    CHECK_OK(fcntl(slave, F_SETFL, O_NONBLOCK));
    CHECK_ERR(read(slave, buffer, 16), EAGAIN);
    int queued = -1;
    type("12345");
    CHECK_EQ(poll(&p, 1, 1000), 1);
    CHECK_OK(ioctl(slave, FIONREAD, &queued));
    CHECK_EQ(queued, 5);
    CHECK_OK(tcflush(slave, TCIFLUSH));
    CHECK_ERR(read(slave, buffer, 16), EAGAIN);
    close_pair();
}

TEST(flow_control) {
    open_pair();
    type("\023");
    usleep(20000); /* Linux passes keys on a little later */
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_EQ(write(slave, "held", 4), 4);
        CHILD_EXIT();
    }
    CHECK_STREQ(seen(), "");
    type("\021");
    CHECK_CHILD_OK(pid);
    CHECK_STREQ(seen(), "held");
    close_pair();
}

TEST(hang_up) {
    char c;
    open_pair();
    close(slave);
    struct pollfd p = {.fd = master, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 1000), 1);
    CHECK(p.revents & POLLHUP);
    CHECK_ERR(read(master, &c, 1), EIO);
    close(master);
    open_pair();
    close(master);
    CHECK_EQ(read(slave, &c, 1), 0);
    CHECK_ERR(write(slave, "x", 1), EIO);
    close(slave);
}

/* A child that leads a session on the slave. */
static pid_t session(void (*run)(int ready), int *from) {
    int gate[2];
    char name[64];
    REQUIRE_OK(pipe(gate));
    CHECK_EQ(ptsname_r(master, name, sizeof name), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(gate[0]);
        close(slave);
        close(master);
        CHECK_OK(setsid());
        slave = open(name, O_RDWR);
        CHECK_OK(slave);
        run(gate[1]);
        CHILD_EXIT();
    }
    close(gate[1]);
    *from = gate[0];
    return pid;
}

static volatile int last_signal;
static void note(int signo) {
    last_signal = signo;
}

static void keys_child(int ready) {
    struct sigaction action = {.sa_handler = note};
    char c;
    CHECK_EQ(tcgetpgrp(slave), getpgrp());
    CHECK_EQ(tcgetsid(slave), getsid(0));
    int tty = open("/dev/tty", O_RDWR);
    CHECK_OK(tty);
    CHECK_OK(sigaction(SIGINT, &action, NULL));
    CHECK_OK(sigaction(SIGQUIT, &action, NULL));
    CHECK_OK(sigaction(SIGWINCH, &action, NULL));
    CHECK_EQ(write(ready, "1", 1), 1);
    CHECK_ERR(read(slave, &c, 1), EINTR);
    CHECK_EQ(last_signal, SIGINT);
    CHECK_EQ(write(ready, "2", 1), 1);
    CHECK_ERR(read(tty, &c, 1), EINTR);
    CHECK_EQ(last_signal, SIGQUIT);
    CHECK_EQ(write(ready, "3", 1), 1);
    CHECK_ERR(read(slave, &c, 1), EINTR);
    CHECK_EQ(last_signal, SIGWINCH);
    struct winsize size;
    CHECK_OK(ioctl(slave, TIOCGWINSZ, &size));
    CHECK_EQ(size.ws_col, 123);
}

TEST(keys_raise_signals) {
    int from;
    char c;
    open_pair();
    pid_t pid = session(keys_child, &from);
    CHECK_EQ(read(from, &c, 1), 1);
    usleep(20000); /* until it reads; a signal before that is lost to the check above */
    type("\003");
    CHECK_EQ(read(from, &c, 1), 1);
    usleep(20000);
    type("\034");
    CHECK_EQ(read(from, &c, 1), 1);
    usleep(20000);
    struct winsize size = {.ws_col = 123, .ws_row = 45};
    CHECK_OK(ioctl(master, TIOCSWINSZ, &size));
    CHECK_CHILD_OK(pid);
    CHECK(strstr(seen(), "^C") != NULL);
    close(from);
    close_pair();
}

static void background_child(int ready) {
    struct sigaction action = {.sa_handler = note};
    int status;
    char c;
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_OK(setpgid(0, 0));
        (void)!read(slave, &c, 1); /* stops us with SIGTTIN */
        CHILD_EXIT();
    }
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTIN);
    CHECK_OK(kill(pid, SIGKILL));
    CHECK_OK(waitpid(pid, &status, 0));
    /* With SIGTTIN ignored it is an error. */
    pid = fork();
    if (pid == 0) {
        CHECK_OK(setpgid(0, 0));
        signal(SIGTTIN, SIG_IGN);
        CHECK_ERR(read(slave, &c, 1), EIO);
        action.sa_handler = SIG_IGN;
        CHECK_OK(sigaction(SIGTTOU, &action, NULL));
        CHECK_OK(tcsetpgrp(slave, getpgrp()));
        CHECK_EQ(tcgetpgrp(slave), getpgrp());
        CHILD_EXIT();
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    signal(SIGTTOU, SIG_IGN);
    CHECK_OK(tcsetpgrp(slave, getpgrp()));
    CHECK_ERR(tcsetpgrp(slave, 1), EPERM);
    (void)ready;
}

TEST(background) {
    int from;
    open_pair();
    pid_t pid = session(background_child, &from);
    CHECK_CHILD_OK(pid);
    close(from);
    close_pair();
}

static void hangup_child(int ready) {
    CHECK_EQ(write(ready, "1", 1), 1);
    pause();
}

TEST(hang_up_reaches_the_session) {
    int from, status;
    char c;
    open_pair();
    pid_t pid = session(hangup_child, &from);
    CHECK_EQ(read(from, &c, 1), 1);
    close(slave);
    close(master);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGHUP);
    close(from);
}

TEST_MAIN()
