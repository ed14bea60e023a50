/* Cleanup attributes: what a scope owns is released when the scope ends, on every path. */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

static inline void cleanup_fd(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        errno = saved;
    }
}

static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_file(FILE **f)
{
    if (*f)
        fclose(*f);
}

static inline void cleanup_dir(DIR **d)
{
    if (*d)
        closedir(*d);
}

static inline void cleanup_unlock(pthread_mutex_t **m)
{
    if (*m)
        pthread_mutex_unlock(*m);
}

/* An fd, malloc'd pointer, FILE or DIR that the scope owns. Initialise it (-1, NULL) at its declaration. */
#define OWNED_FD __attribute__((cleanup(cleanup_fd))) int
#define OWNED __attribute__((cleanup(cleanup_free)))
#define OWNED_FILE __attribute__((cleanup(cleanup_file))) FILE *
#define OWNED_DIR __attribute__((cleanup(cleanup_dir))) DIR *

/* Holds a mutex to the end of the scope: HOLD_LOCK(&table->lock); */
#define CLEANUP_CAT2(a, b) a##b
#define CLEANUP_CAT(a, b) CLEANUP_CAT2(a, b)
/* A pointer by another name: clang-tidy takes a bare `*` in the macro for a product without parentheses. */
typedef pthread_mutex_t *held_lock;
#define HOLD_LOCK(mutex)                                                                                     \
    __attribute__((cleanup(cleanup_unlock), unused)) held_lock CLEANUP_CAT(held_lock_, __LINE__) =           \
        cleanup_lock(mutex)

static inline pthread_mutex_t *cleanup_lock(pthread_mutex_t *m)
{
    pthread_mutex_lock(m);
    return m;
}

/* Gives an owned fd or pointer away: the scope no longer releases it. */
static inline int steal_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

#define STEAL(p)                                                                                             \
    __extension__({                                                                                          \
        __typeof__(p) taken_ = (p);                                                                          \
        (p) = NULL;                                                                                          \
        taken_;                                                                                              \
    })

#endif
