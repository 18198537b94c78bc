/*
 * The log: one line a message, to the descriptor given at start (stderr when none was). Messages
 * are for the person who runs the sandbox: what was tried, on what, why it failed, what to do.
 */
#ifndef STARLING_LOG_H
#define STARLING_LOG_H

#include <stdbool.h>

#include "base/compiler.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Lines above `level` are dropped. `fd` is borrowed and stays open as long as the process. */
void log_start(int fd, enum log_level level);
int log_descriptor(void); /* borrowed */
bool log_enabled(enum log_level level);
void log_line(enum log_level level, const char *format, ...) PRINTF(2, 3);
/* Once for each pair of `topic` (a static string) and `key`, however often it is called. */
void log_once(enum log_level level, const char *topic, uint64_t key, const char *format, ...)
    PRINTF(4, 5);

/* For broken invariants only: prints what broke and where it was found, then aborts. */
#define panic(...) panic_at(__FILE__, __LINE__, __VA_ARGS__)
void panic_at(const char *file, int line, const char *format, ...) PRINTF(3, 4) NORETURN;

#endif
