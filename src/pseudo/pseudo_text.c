/*
 * A text that grows at its end. Owns its buffer. Once memory ran out (or the cap is reached) it
 * takes nothing more and says so in `failed`; whoever made the text checks that once, at the end.
 */
#include "pseudo/pseudo_internal.h"

#include <stdarg.h>
#include <stdio.h>

/* The longest texts are those of a process with very many mappings. */
#define TEXT_MAX (64u << 20)

/* Room for `more` bytes and a NUL. */
static bool text_reserve(struct text *text, size_t more) {
    size_t capacity = text->capacity ? text->capacity : 256;
    char *grown;

    if (text->failed || more >= TEXT_MAX || text->length + more >= TEXT_MAX) {
        text->failed = true;
        return false;
    }
    while (capacity < text->length + more + 1) {
        capacity *= 2;
    }
    if (capacity == text->capacity) {
        return true;
    }
    grown = realloc(text->data, capacity);
    if (!grown) {
        text->failed = true;
        return false;
    }
    text->data = grown;
    text->capacity = capacity;
    return true;
}

void text_put(struct text *text, const void *data, size_t size) {
    if (text_reserve(text, size)) {
        memcpy(text->data + text->length, data, size);
        text->length += size;
        text->data[text->length] = '\0';
    }
}

void text_puts(struct text *text, const char *string) {
    text_put(text, string, strlen(string));
}

void text_printf(struct text *text, const char *format, ...) {
    va_list args;
    size_t room;
    int length;

    if (!text_reserve(text, 128)) {
        return;
    }
    room = text->capacity - text->length;
    va_start(args, format);
    length = vsnprintf(text->data + text->length, room, format, args);
    va_end(args);
    if (length >= 0 && (size_t)length >= room) {
        if (!text_reserve(text, (size_t)length)) {
            text->data[text->length] = '\0';
            return;
        }
        va_start(args, format);
        length = vsnprintf(text->data + text->length, (size_t)length + 1, format, args);
        va_end(args);
    }
    if (length < 0) {
        text->failed = true;
        return;
    }
    text->length += (size_t)length;
}

void text_put_escaped(struct text *text, const char *string, const char *special) {
    for (; *string; string++) {
        if (*string == '\\' || strchr(special, *string)) {
            text_printf(text, "\\%03o", (unsigned char)*string);
        } else {
            text_put(text, string, 1);
        }
    }
}

void text_destroy(struct text *text) {
    free(STEAL(text->data));
    text->length = text->capacity = 0;
}
