/* From a member back to the object that it lies in. */
#ifndef BASE_CONTAINER_H
#define BASE_CONTAINER_H

#include <stddef.h>

/*
 * The `type` whose `member` is at `member_at`, which must point to one of that member's type: another is a
 * warning. By way of void *, as a char * promises no alignment and -Wcast-align would say so.
 */
#define CONTAINER_OF(member_at, type, member)                                                                \
    __extension__({                                                                                          \
        __typeof__(((type *)NULL)->member) *member_ = (member_at);                                           \
        (type *)(void *)((char *)member_ - offsetof(type, member));                                          \
    })

#endif
