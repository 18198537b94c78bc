/*
 * The line discipline of a pseudo-terminal (N_TTY): termios(3) as a plain object without locks or
 * waiting. Its owner (pty.c) guards it.
 */
#ifndef STARLING_LINE_DISCIPLINE_H
#define STARLING_LINE_DISCIPLINE_H

#include "files/tty_internal.h"

#define LINE_INPUT_SIZE 4096 /* termios(3): a line of canonical mode is at most 4095 bytes */
#define OUTPUT_SIZE     65536

/* Bytes on their way to the master. */
struct byte_queue {
    uint8_t *data; /* OUTPUT_SIZE, owned */
    size_t head, count;
};

struct line_discipline {
    struct kernel_termios termios;
    uint16_t input[LINE_INPUT_SIZE]; /* a ring of bytes with LINE_* marks */
    size_t head, count;
    size_t lines;    /* marks among them: complete lines */
    size_t editable; /* bytes at the end that erase can still take back */
    unsigned column;
    bool literal; /* the next byte is taken as it is (VLNEXT) */
    bool stopped; /* output, by VSTOP or TCOOFF */
    struct byte_queue output;
};

int MUST_CHECK line_init(struct line_discipline *line); /* -ENOMEM */
void line_fini(struct line_discipline *line);
/* New settings; input that waits is kept. */
void line_set_termios(struct line_discipline *line, const struct kernel_termios *termios);
/* From the master: takes bytes until the input is full; how many. *signal: what the last of them
 * raised (then it stopped there), else 0. */
size_t line_receive(struct line_discipline *line, const uint8_t *bytes, size_t size, int *signal);
/* Would a read return something? In raw mode at least `minimum` bytes. */
bool line_readable(const struct line_discipline *line, size_t minimum);
bool line_has_room(const struct line_discipline *line);
/* What a read takes, at most a line in canonical mode; 0: an end of file (or nothing). */
size_t line_read(struct line_discipline *line, uint8_t *buffer, size_t size);
/* From the slave: processed into the output as long as there is room; how many bytes were used. */
size_t line_write(struct line_discipline *line, const uint8_t *bytes, size_t size);
size_t line_take_output(struct line_discipline *line, uint8_t *buffer, size_t size);
void line_flush_input(struct line_discipline *line);

#endif
