/*
 * Another guest, which must not notice anything: a process that looks after its own memory, its
 * descriptors and its thread, and says so when it is asked. A signal would end it.
 */
#ifndef BYSTANDER_H
#define BYSTANDER_H

#include <pthread.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "guest_test.h"

#define BYSTANDER_SIZE 65536

static int bystander_socket;
static pid_t bystander_pid;

static void *bystander_thread(void *arg) {
    int *ends = arg;
    char byte;

    while (read(ends[0], &byte, 1) == 1 && write(ends[1], &byte, 1) == 1) {
    }
    return NULL;
}

static bool bystander_is_well(const unsigned char *memory, const int ends[4]) {
    static char number;
    char byte = 0;

    for (size_t i = 0; i < BYSTANDER_SIZE; i++) {
        if (memory[i] != (unsigned char)(i * 7 + 3)) {
            return false;
        }
    }
    number++;
    return write(ends[1], &number, 1) == 1 && read(ends[2], &byte, 1) == 1 && byte == number;
}

static _Noreturn void bystander_main(int socket) {
    static unsigned char memory[BYSTANDER_SIZE];
    int ends[4];
    pthread_t thread;
    char answer;

    for (size_t i = 0; i < BYSTANDER_SIZE; i++) {
        memory[i] = (unsigned char)(i * 7 + 3);
    }
    if (pipe(ends) || pipe(ends + 2) ||
        pthread_create(&thread, NULL, bystander_thread, (int[]){ends[0], ends[3]})) {
        _exit(1);
    }
    while (read(socket, &answer, 1) == 1) {
        answer = bystander_is_well(memory, ends) ? 'y' : 'n';
        if (write(socket, &answer, 1) != 1) {
            break;
        }
    }
    _exit(0); /* the test is over */
}

static void bystander_check(void) {
    char answer = 0;

    CHECK_EQ(send(bystander_socket, "?", 1, MSG_NOSIGNAL), 1);
    CHECK_EQ(read(bystander_socket, &answer, 1), 1);
    CHECK_EQ(answer, 'y');
    CHECK_EQ(waitpid(bystander_pid, NULL, WNOHANG), 0);
}

/* Once; before there is an attacker. */
static void bystander_start(void) {
    int ends[2];

    if (bystander_pid) {
        return;
    }
    REQUIRE_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    bystander_pid = fork();
    REQUIRE_OK(bystander_pid);
    if (bystander_pid == 0) {
        close(ends[0]);
        bystander_main(ends[1]);
    }
    close(ends[1]);
    bystander_socket = ends[0];
    bystander_check();
}

#endif
