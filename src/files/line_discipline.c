/*
 * termios(3): input processing, echo and editing of canonical mode, signals of keys, output
 * processing. Bytes only: a multibyte character is erased byte by byte unless IUTF8 is set.
 */
#include "files/line_discipline.h"

#define LINE_END 0x100 /* this byte ends a line */
#define LINE_EOF 0x200 /* this is VEOF: ends a line and is not read itself */

#define DISABLED 0 /* _POSIX_VDISABLE */
#define TAB_SIZE 8

int line_init(struct line_discipline *line) {
    memset(line, 0, sizeof(*line));
    line->output.data = malloc(OUTPUT_SIZE);
    if (!line->output.data) {
        return -ENOMEM;
    }
    /* tty_std_termios of Linux: what a fresh terminal has. */
    line->termios = (struct kernel_termios){
        .iflag = ICRNL | IXON,
        .oflag = OPOST | ONLCR,
        .cflag = B38400 | CS8 | CREAD | HUPCL,
        .lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
        .ispeed = 38400,
        .ospeed = 38400,
        .cc = {[VINTR] = 3,
               [VQUIT] = 28,
               [VERASE] = 127,
               [VKILL] = 21,
               [VEOF] = 4,
               [VMIN] = 1,
               [VSTART] = 17,
               [VSTOP] = 19,
               [VSUSP] = 26,
               [VREPRINT] = 18,
               [VDISCARD] = 15,
               [VWERASE] = 23,
               [VLNEXT] = 22},
    };
    return 0;
}

void line_fini(struct line_discipline *line) {
    free(line->output.data);
}

static bool flag_l(const struct line_discipline *line, uint32_t flag) {
    return line->termios.lflag & flag;
}
static bool flag_i(const struct line_discipline *line, uint32_t flag) {
    return line->termios.iflag & flag;
}
static bool flag_o(const struct line_discipline *line, uint32_t flag) {
    return line->termios.oflag & flag;
}
static bool is_key(const struct line_discipline *line, uint8_t byte, int index) {
    return byte == line->termios.cc[index] && line->termios.cc[index] != DISABLED;
}

/* ---- output ---- */

static size_t output_room(const struct line_discipline *line) {
    return OUTPUT_SIZE - line->output.count;
}

static void output_byte(struct line_discipline *line, uint8_t byte) {
    struct byte_queue *output = &line->output;

    if (output->count < OUTPUT_SIZE) {
        output->data[(output->head + output->count++) % OUTPUT_SIZE] = byte;
    }
}

/* The most bytes that one byte of a slave can become: a tab. */
#define OUTPUT_MAX_EXPANSION TAB_SIZE

static void output_processed(struct line_discipline *line, uint8_t byte) {
    if (!flag_o(line, OPOST)) {
        output_byte(line, byte);
        return;
    }
    switch (byte) {
    case '\n':
        if (flag_o(line, ONLCR)) {
            output_byte(line, '\r');
        }
        line->column = 0;
        break;
    case '\r':
        if (flag_o(line, ONOCR) && line->column == 0) {
            return;
        }
        if (flag_o(line, OCRNL)) {
            byte = '\n';
        }
        line->column = 0;
        break;
    case '\t': {
        unsigned spaces = TAB_SIZE - line->column % TAB_SIZE;

        line->column += spaces;
        if (flag_o(line, XTABS)) {
            while (spaces--) {
                output_byte(line, ' ');
            }
            return;
        }
        break;
    }
    case '\b':
        line->column -= line->column > 0;
        break;
    default:
        if (flag_o(line, OLCUC) && byte >= 'a' && byte <= 'z') {
            byte = (uint8_t)(byte - 32);
        }
        line->column += byte >= 32 && byte != 127 && (byte & 0xc0) != 0x80;
        break;
    }
    output_byte(line, byte);
}

size_t line_write(struct line_discipline *line, const uint8_t *bytes, size_t size) {
    size_t used = 0;

    while (used < size && !line->stopped && output_room(line) >= OUTPUT_MAX_EXPANSION) {
        output_processed(line, bytes[used++]);
    }
    return used;
}

size_t line_take_output(struct line_discipline *line, uint8_t *buffer, size_t size) {
    struct byte_queue *output = &line->output;
    size_t count = MIN(size, output->count);

    for (size_t i = 0; i < count; i++) {
        buffer[i] = output->data[(output->head + i) % OUTPUT_SIZE];
    }
    output->head = (output->head + count) % OUTPUT_SIZE;
    output->count -= count;
    return count;
}

/* ---- echo ---- */

static bool is_control(uint8_t byte) {
    return (byte < 32 && byte != '\t') || byte == 127;
}

static void echo(struct line_discipline *line, uint8_t byte) {
    if (byte == '\n') {
        output_processed(line, byte);
    } else if (flag_l(line, ECHOCTL) && is_control(byte)) {
        output_processed(line, '^');
        output_processed(line, byte ^ 0x40);
    } else {
        output_processed(line, byte);
    }
}

static unsigned echo_width(const struct line_discipline *line, uint8_t byte) {
    if ((byte & 0xc0) == 0x80 && flag_i(line, IUTF8)) {
        return 0;
    }
    return flag_l(line, ECHOCTL) && is_control(byte) ? 2 : 1;
}

/* ---- input ---- */

bool line_has_room(const struct line_discipline *line) {
    /* In canonical mode more is taken and thrown away, so that the line can still be ended. */
    return line->count < LINE_INPUT_SIZE - 1 || (flag_l(line, ICANON) && !line->lines);
}

static void input_put(struct line_discipline *line, uint16_t entry) {
    bool ends = entry & (LINE_END | LINE_EOF);

    if (line->count >= LINE_INPUT_SIZE - (ends ? 0 : 1)) {
        if (flag_i(line, IMAXBEL)) {
            output_byte(line, '\a');
        }
        return;
    }
    line->input[(line->head + line->count++) % LINE_INPUT_SIZE] = entry;
    if (ends) {
        line->lines++;
        line->editable = 0;
    } else {
        line->editable++;
    }
}

static uint16_t input_last(const struct line_discipline *line) {
    return line->input[(line->head + line->count - 1) % LINE_INPUT_SIZE];
}

static void erase_echo(struct line_discipline *line, uint8_t byte) {
    unsigned width = echo_width(line, byte);

    if (!flag_l(line, ECHO)) {
        return;
    }
    if (byte == '\t') {
        width = 1; /* its real width is not kept: good enough to see that it went */
    }
    while (width--) {
        output_processed(line, '\b');
        output_processed(line, ' ');
        output_processed(line, '\b');
    }
}

static void erase_one(struct line_discipline *line, bool show) {
    uint8_t byte;

    do {
        if (!line->editable) {
            return;
        }
        byte = (uint8_t)input_last(line);
        line->count--;
        line->editable--;
        if (show) {
            erase_echo(line, byte);
        }
    } while (flag_i(line, IUTF8) && (byte & 0xc0) == 0x80);
}

static void erase_word(struct line_discipline *line) {
    bool word = false;

    while (line->editable) {
        uint8_t byte = (uint8_t)input_last(line);
        bool blank = byte == ' ' || byte == '\t';

        if (blank && word) {
            break;
        }
        word = word || !blank;
        erase_one(line, true);
    }
}

static void kill_line(struct line_discipline *line) {
    bool show = flag_l(line, ECHOKE) && flag_l(line, ECHOE);

    while (line->editable) {
        erase_one(line, show);
    }
    if (flag_l(line, ECHO) && !show) {
        echo(line, line->termios.cc[VKILL]);
        if (flag_l(line, ECHOK)) {
            output_processed(line, '\n');
        }
    }
}

static void reprint(struct line_discipline *line) {
    echo(line, line->termios.cc[VREPRINT]);
    output_processed(line, '\n');
    for (size_t i = line->count - line->editable; i < line->count; i++) {
        echo(line, (uint8_t)line->input[(line->head + i) % LINE_INPUT_SIZE]);
    }
}

void line_flush_input(struct line_discipline *line) {
    line->head = line->count = line->lines = line->editable = 0;
}

static int key_signal(const struct line_discipline *line, uint8_t byte) {
    if (!flag_l(line, ISIG)) {
        return 0;
    }
    if (is_key(line, byte, VINTR)) {
        return SIGINT;
    }
    if (is_key(line, byte, VQUIT)) {
        return SIGQUIT;
    }
    return is_key(line, byte, VSUSP) ? SIGTSTP : 0;
}

/* Canonical mode's editing keys: true when the byte was one. */
static bool edit(struct line_discipline *line, uint8_t byte) {
    bool extended = flag_l(line, IEXTEN);

    if (is_key(line, byte, VERASE)) {
        if (line->editable) {
            erase_one(line, flag_l(line, ECHOE));
            if (flag_l(line, ECHO) && !flag_l(line, ECHOE)) {
                echo(line, byte);
            }
        }
        return true;
    }
    if (is_key(line, byte, VKILL)) {
        kill_line(line);
        return true;
    }
    if (extended && is_key(line, byte, VWERASE)) {
        erase_word(line);
        return true;
    }
    if (extended && is_key(line, byte, VLNEXT)) {
        line->literal = true;
        if (flag_l(line, ECHO) && flag_l(line, ECHOCTL)) {
            output_processed(line, '^');
            output_processed(line, '\b');
        }
        return true;
    }
    if (extended && flag_l(line, ECHO) && is_key(line, byte, VREPRINT)) {
        reprint(line);
        return true;
    }
    return false;
}

static void accept_byte(struct line_discipline *line, uint8_t byte, bool literal) {
    bool canonical = flag_l(line, ICANON);

    if (canonical && !literal) {
        if (edit(line, byte)) {
            return;
        }
        if (is_key(line, byte, VEOF)) {
            input_put(line, LINE_EOF);
            return;
        }
        if (byte == '\n') {
            if (flag_l(line, ECHO) || flag_l(line, ECHONL)) {
                output_processed(line, '\n');
            }
            input_put(line, byte | LINE_END);
            return;
        }
        if (is_key(line, byte, VEOL) || (flag_l(line, IEXTEN) && is_key(line, byte, VEOL2))) {
            if (flag_l(line, ECHO)) {
                echo(line, byte);
            }
            input_put(line, byte | LINE_END);
            return;
        }
    }
    if (flag_l(line, ECHO)) {
        echo(line, byte);
    }
    input_put(line, byte);
}

/* One byte from the keyboard: the signal that it raised, or 0. */
static int receive_byte(struct line_discipline *line, uint8_t byte) {
    int signal;

    if (flag_i(line, ISTRIP)) {
        byte &= 0x7f;
    }
    if (line->literal) {
        line->literal = false;
        accept_byte(line, byte, true);
        return 0;
    }
    if (flag_i(line, IXON)) {
        if (is_key(line, byte, VSTOP)) {
            line->stopped = true;
            return 0;
        }
        if (is_key(line, byte, VSTART)) {
            line->stopped = false;
            return 0;
        }
    }
    signal = key_signal(line, byte);
    if (signal) {
        if (!flag_l(line, NOFLSH)) {
            line_flush_input(line); /* the output is with the master already */
        }
        line->stopped = false;
        if (flag_l(line, ECHO)) {
            echo(line, byte);
        }
        return signal;
    }
    if (flag_i(line, IXANY) && flag_i(line, IXON)) {
        line->stopped = false;
    }
    if (byte == '\r') {
        if (flag_i(line, IGNCR)) {
            return 0;
        }
        if (flag_i(line, ICRNL)) {
            byte = '\n';
        }
    } else if (byte == '\n' && flag_i(line, INLCR)) {
        byte = '\r';
    }
    if (flag_i(line, IUCLC) && flag_l(line, IEXTEN) && byte >= 'A' && byte <= 'Z') {
        byte = (uint8_t)(byte + 32);
    }
    accept_byte(line, byte, false);
    return 0;
}

size_t line_receive(struct line_discipline *line, const uint8_t *bytes, size_t size, int *signal) {
    size_t used = 0;

    *signal = 0;
    while (used < size && !*signal && line_has_room(line)) {
        *signal = receive_byte(line, bytes[used++]);
    }
    return used;
}

/* ---- reading ---- */

void line_set_termios(struct line_discipline *line, const struct kernel_termios *termios) {
    bool was = flag_l(line, ICANON);

    line->termios = *termios;
    if (was != flag_l(line, ICANON)) {
        /* termios(3) leaves open what becomes of waiting bytes; Linux makes them a line. */
        line->editable = 0;
        if (flag_l(line, ICANON) && line->count && !(input_last(line) & (LINE_END | LINE_EOF))) {
            line->input[(line->head + line->count - 1) % LINE_INPUT_SIZE] |= LINE_END;
            line->lines++;
        }
    }
    if (!flag_i(line, IXON)) {
        line->stopped = false;
    }
}

bool line_readable(const struct line_discipline *line, size_t minimum) {
    return flag_l(line, ICANON) ? line->lines > 0 : line->count >= MAX(minimum, (size_t)1);
}

size_t line_read(struct line_discipline *line, uint8_t *buffer, size_t size) {
    bool canonical = flag_l(line, ICANON);
    size_t done = 0;

    if (canonical && !line->lines) {
        return 0;
    }
    while (line->count && (done < size || (canonical && line->input[line->head] == LINE_EOF))) {
        uint16_t entry = line->input[line->head];
        bool ends = entry & (LINE_END | LINE_EOF);

        if (entry == LINE_EOF && done == size && size == 0) {
            break;
        }
        line->head = (line->head + 1) % LINE_INPUT_SIZE;
        line->count--;
        line->lines -= ends;
        if (!(entry & LINE_EOF)) {
            buffer[done++] = (uint8_t)entry;
        } else if (!canonical) {
            buffer[done++] = line->termios.cc[VEOF];
        }
        if (canonical && ends) {
            break;
        }
    }
    line->editable = MIN(line->editable, line->count);
    return done;
}
