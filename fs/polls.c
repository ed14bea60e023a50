#include "polls.h"

struct polls {
    pthread_mutex_t lock;
    struct control_file *first;
};

int polls_new(struct polls **out)
{
    struct polls *polls = calloc(1, sizeof(*polls));
    if (!polls)
        return -ENOMEM;
    pthread_mutex_init(&polls->lock, NULL);
    *out = polls;
    return 0;
}

void polls_free(struct polls *polls)
{
    if (!polls)
        return;
    pthread_mutex_destroy(&polls->lock);
    free(polls);
}

static void take_off(struct control_file *file)
{
    *file->polls_at = file->polls_next;
    if (file->polls_next)
        file->polls_next->polls_at = file->polls_at;
    file->polls_next = NULL;
    file->polls_at = NULL;
}

void polls_add(struct polls *polls, struct control_file *file, struct fuse_pollhandle *handle)
{
    HOLD_LOCK(&polls->lock);
    if (file->poll)
        fuse_pollhandle_destroy(file->poll);
    file->poll = handle;
    if (file->polls_at)
        return;
    file->polls_next = polls->first;
    file->polls_at = &polls->first;
    if (file->polls_next)
        file->polls_next->polls_at = &file->polls_next;
    polls->first = file;
}

void polls_remove(struct polls *polls, struct control_file *file)
{
    HOLD_LOCK(&polls->lock);
    if (file->polls_at)
        take_off(file);
    if (file->poll)
        fuse_pollhandle_destroy(file->poll);
    file->poll = NULL;
}

static bool is_woken(const struct control_file *file, enum engine_topic topic, uint32_t slot)
{
    if (topic == ENGINE_SLOTS) /* its slot may be gone, or be called otherwise */
        return file->row->topic == ENGINE_SLOT;
    if (file->row->topic != (int)topic)
        return false;
    return topic != ENGINE_SLOT || file->owner == slot || file->row->place != PLACE_SLOT;
}

void polls_wake(struct polls *polls, enum engine_topic topic, uint32_t slot)
{
    HOLD_LOCK(&polls->lock);
    struct control_file *next;
    for (struct control_file *file = polls->first; file; file = next) {
        next = file->polls_next;
        if (!is_woken(file, topic, slot))
            continue;
        /* The kernel asks again, and gives another handle, when it still waits. */
        (void)fuse_lowlevel_notify_poll(file->poll);
        fuse_pollhandle_destroy(file->poll);
        file->poll = NULL;
        take_off(file);
    }
}
