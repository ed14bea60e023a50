#include "choose.h"

#include <string.h>

static bool better(const struct candidate *a, const struct candidate *b)
{
    if (a->missing_bytes != b->missing_bytes)
        return a->missing_bytes < b->missing_bytes;
    if (a->ready_ns != b->ready_ns)
        return a->ready_ns < b->ready_ns;
    return strcmp(a->name, b->name) < 0;
}

int choose_blade(const struct candidate *candidates, size_t count)
{
    int best = -1;
    for (size_t i = 0; i < count; i++) {
        if (candidates[i].available && (best < 0 || better(&candidates[i], &candidates[best])))
            best = (int)i;
    }
    return best;
}
