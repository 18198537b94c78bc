/* Intrusive doubly linked list, in Linux's shape. Not thread-safe: the list's owner names the lock.
 */
#ifndef STARLING_LIST_H
#define STARLING_LIST_H

#include <stdbool.h>

#include "base/compiler.h"

struct list_head {
    struct list_head *next, *prev;
};

#define LIST_HEAD_INIT(name)                                                                       \
    { &(name), &(name) }

static inline void list_init(struct list_head *head) {
    head->next = head->prev = head;
}

static inline bool list_empty(const struct list_head *head) {
    return head->next == head;
}

static inline void list_insert_between(struct list_head *node, struct list_head *prev,
                                       struct list_head *next) {
    node->prev = prev;
    node->next = next;
    prev->next = node;
    next->prev = node;
}

static inline void list_add(struct list_head *node, struct list_head *head) {
    list_insert_between(node, head, head->next);
}

static inline void list_add_tail(struct list_head *node, struct list_head *head) {
    list_insert_between(node, head->prev, head);
}

/* Unlinks; the node is left pointing to itself, so unlinking twice is harmless. */
static inline void list_del(struct list_head *node) {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

#define list_entry(ptr, type, member)        container_of(ptr, type, member)
#define list_first_entry(head, type, member) list_entry((head)->next, type, member)
#define list_for_each_entry(pos, head, member)                                                     \
    for (pos = list_entry((head)->next, __typeof__(*pos), member); &pos->member != (head);         \
         pos = list_entry(pos->member.next, __typeof__(*pos), member))
/* Safe against removal of `pos` itself. */
#define list_for_each_entry_safe(pos, tmp, head, member)                                           \
    for (pos = list_entry((head)->next, __typeof__(*pos), member),                                 \
        tmp = list_entry(pos->member.next, __typeof__(*pos), member);                              \
         &pos->member != (head);                                                                   \
         pos = tmp, tmp = list_entry(tmp->member.next, __typeof__(*tmp), member))

#endif
