#include "images.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "base/log.h"
#include "images_disk.h"

struct held {
    uint64_t number;
    uint64_t base; /* 0: a whole tree */
    unsigned holds;
    bool dropped; /* goes when nobody holds it */
    bool foreign;
    int64_t used_ns;
    struct blob_image *image; /* parsed, or NULL */
};

struct images {
    int dirfd;
    unsigned keep;
    pthread_mutex_t lock; /* guards what follows */
    struct held *held;
    size_t count, cap;
    uint64_t partial;
    uint64_t *view; /* what images_list gave out */

    pthread_cond_t wake; /* of the remover, and of who waits for it */
    pthread_t remover;
    bool has_remover, stop;
    uint64_t discarded, removed; /* how often something came to the trash; up to which it was emptied */
};

static struct held *find(const struct images *images, uint64_t number)
{
    for (size_t i = 0; i < images->count; i++)
        if (images->held[i].number == number)
            return &images->held[i];
    return NULL;
}

static int add(struct images *images, const struct images_found *found)
{
    if (images->count == images->cap) {
        size_t cap = images->cap ? images->cap * 2 : 8;
        struct held *held = realloc(images->held, cap * sizeof(*held));
        if (!held)
            return -ENOMEM;
        images->held = held;
        images->cap = cap;
    }
    images->held[images->count++] = (struct held){
        .number = found->number, .base = found->base, .foreign = found->foreign, .used_ns = found->used_ns};
    return 0;
}

/* ---- deleting ---- */

static void *remover_main(void *arg)
{
    struct images *images = arg;
    pthread_mutex_lock(&images->lock);
    while (!images->stop) {
        if (images->removed == images->discarded) {
            pthread_cond_wait(&images->wake, &images->lock);
            continue;
        }
        uint64_t upto = images->discarded;
        pthread_mutex_unlock(&images->lock);
        (void)!images_disk_empty_trash(images->dirfd, &images->stop);
        pthread_mutex_lock(&images->lock);
        images->removed = upto;
        pthread_cond_broadcast(&images->wake);
    }
    pthread_mutex_unlock(&images->lock);
    return NULL;
}

static int discard(struct images *images, const char *from, uint64_t number)
{
    int r = images_disk_discard(images->dirfd, from, number);
    if (r < 0) {
        log_warn("cannot remove %s/%" PRIu64 " below the agent's directory: %s", from, number, strerror(-r));
        return r;
    }
    images->discarded++;
    pthread_cond_broadcast(&images->wake);
    return 0;
}

static bool is_base_of_another(const struct images *images, uint64_t number)
{
    for (size_t i = 0; i < images->count; i++)
        if (images->held[i].base == number)
            return true;
    return false;
}

static bool is_in_use(const struct images *images, const struct held *held)
{
    return held->holds > 0 || is_base_of_another(images, held->number);
}

static void remove_held(struct images *images, struct held *held)
{
    if (discard(images, "images", held->number) < 0)
        return;
    blob_image_free(held->image);
    *held = images->held[--images->count];
}

/* What was dropped and is in use no more; a base may become free by it, so again until nothing goes. */
static void sweep(struct images *images)
{
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < images->count && !again; i++) {
            struct held *held = &images->held[i];
            size_t before = images->count;
            if (held->dropped && !is_in_use(images, held)) {
                remove_held(images, held);
                again = images->count < before;
            }
        }
    }
}

static struct held *oldest_unused(const struct images *images)
{
    struct held *oldest = NULL;
    for (size_t i = 0; i < images->count; i++) {
        struct held *held = &images->held[i];
        if (!is_in_use(images, held) && (!oldest || held->used_ns < oldest->used_ns))
            oldest = held;
    }
    return oldest;
}

static bool drop_oldest(struct images *images)
{
    struct held *oldest = oldest_unused(images);
    if (!oldest)
        return false;
    size_t before = images->count;
    log_info("image %" PRIu64 " is no longer kept", oldest->number);
    remove_held(images, oldest);
    return images->count < before;
}

/* ---- open and close ---- */

static int make_folder(int dirfd, const char *name, struct err *err)
{
    if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "cannot make the folder %s in the agent's directory", name);
    return 0;
}

static int found_image(void *arg, int parent, const struct images_found *found)
{
    struct images *images = arg;
    char path[64];
    struct stat st;
    snprintf(path, sizeof(path), "%" PRIu64 "/tree", found->number);
    if (found->used_ns && fstatat(parent, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
        return add(images, found);
    return images_disk_discard(images->dirfd, "images", found->number);
}

static int found_partial(void *arg, int parent, const struct images_found *found)
{
    struct images *images = arg;
    (void)parent;
    if (images->partial || find(images, found->number)) /* only one, and not of what is complete */
        return images_disk_discard(images->dirfd, "incoming", found->number);
    images->partial = found->number;
    return 0;
}

/* A layer whose base is not there is of no use to anybody. */
static int discard_orphans(struct images *images)
{
    for (size_t i = 0; i < images->count;) {
        struct held *held = &images->held[i];
        if (held->base == 0 || find(images, held->base)) {
            i++;
            continue;
        }
        int r = images_disk_discard(images->dirfd, "images", held->number);
        if (r < 0)
            return r;
        *held = images->held[--images->count];
        i = 0;
    }
    return 0;
}

static int read_folders(struct images *images, struct err *err)
{
    static const char *const folders[] = {"images", "incoming", "trash"};
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        int r = make_folder(images->dirfd, folders[i], err);
        if (r < 0)
            return r;
    }
    int r = images_disk_walk(images->dirfd, "images", found_image, images);
    if (r == 0)
        r = discard_orphans(images);
    if (r == 0)
        r = images_disk_walk(images->dirfd, "incoming", found_partial, images);
    return r < 0 ? err_sys(err, -r, "cannot read the images in the agent's directory") : 0;
}

int images_open(int dirfd, unsigned keep, struct images **out, struct err *err)
{
    struct images *images = calloc(1, sizeof(*images));
    if (!images)
        return err_set(err, ENOMEM, "no memory for the list of images");
    images->dirfd = dirfd;
    images->keep = keep;
    images->discarded = 1; /* what an earlier run left in the trash */
    pthread_mutex_init(&images->lock, NULL);
    pthread_cond_init(&images->wake, NULL);

    int r = read_folders(images, err);
    if (r == 0) {
        r = -pthread_create(&images->remover, NULL, remover_main, images);
        images->has_remover = r == 0;
        if (r < 0)
            r = err_sys(err, -r, "cannot start a thread");
    }
    if (r < 0) {
        images_close(images);
        return r;
    }
    *out = images;
    return 0;
}

void images_close(struct images *images)
{
    if (!images)
        return;
    if (images->has_remover) {
        pthread_mutex_lock(&images->lock);
        __atomic_store_n(&images->stop, true, __ATOMIC_RELAXED);
        pthread_cond_broadcast(&images->wake);
        pthread_mutex_unlock(&images->lock);
        pthread_join(images->remover, NULL);
    }
    for (size_t i = 0; i < images->count; i++)
        blob_image_free(images->held[i].image);
    pthread_cond_destroy(&images->wake);
    pthread_mutex_destroy(&images->lock);
    free(images->held);
    free(images->view);
    free(images);
}

/* ---- what is there ---- */

bool images_has(const struct images *images, uint64_t number)
{
    HOLD_LOCK(&((struct images *)(uintptr_t)images)->lock);
    const struct held *held = find(images, number);
    return held && !held->foreign && !held->dropped;
}

bool images_is_foreign(struct images *images, uint64_t number)
{
    HOLD_LOCK(&images->lock);
    const struct held *held = find(images, number);
    return held && held->foreign;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

size_t images_list(const struct images *constant, const uint64_t **out, uint64_t *partial)
{
    struct images *images = (struct images *)(uintptr_t)constant; /* only its lock and the view change */
    HOLD_LOCK(&images->lock);
    uint64_t *view = realloc(images->view, (images->count + 1) * sizeof(*view));
    size_t n = 0;
    if (view) {
        images->view = view;
        for (size_t i = 0; i < images->count; i++)
            if (!images->held[i].foreign && !images->held[i].dropped)
                view[n++] = images->held[i].number;
        qsort(view, n, sizeof(*view), by_number);
    }
    *out = view;
    *partial = images->partial;
    return n;
}

static int load(const struct images *images, uint64_t number, struct blob_image **out, struct err *err)
{
    char path[64];
    snprintf(path, sizeof(path), "images/%" PRIu64 "/image", number);
    OWNED_BUF struct buf bytes = BUF_EMPTY;
    int r = file_read(images->dirfd, path, BLOB_IMAGE_MAX_BYTES, &bytes);
    if (r < 0)
        return err_sys(err, -r, "cannot read %s in the agent's directory", path);
    r = blob_image_parse(&bytes, out, err);
    if (r < 0)
        return err_prefix(err, "%s in the agent's directory", path);
    return 0;
}

int images_get(struct images *images, uint64_t number, const struct blob_image **out, struct err *err)
{
    {
        HOLD_LOCK(&images->lock);
        const struct held *held = find(images, number);
        if (!held)
            return err_set(err, ENOENT, "image %" PRIu64 " is not on this blade", number);
        if (held->image) {
            *out = held->image;
            return 0;
        }
    }
    struct blob_image *image = NULL;
    int r = load(images, number, &image, err);
    if (r < 0)
        return r;
    HOLD_LOCK(&images->lock);
    struct held *held = find(images, number);
    if (!held || held->image) { /* meanwhile dropped, or parsed by another thread */
        blob_image_free(image);
        if (!held)
            return err_set(err, ENOENT, "image %" PRIu64 " is not on this blade", number);
    } else {
        held->image = image;
    }
    *out = held->image;
    return 0;
}

void images_give_parsed(struct images *images, uint64_t number, struct blob_image *image)
{
    {
        HOLD_LOCK(&images->lock);
        struct held *held = find(images, number);
        if (held && !held->image)
            held->image = STEAL(image);
    }
    blob_image_free(image);
}

int images_lowerdirs(struct images *images, uint64_t number, char out[IMAGES_STACK_MAX][64])
{
    HOLD_LOCK(&images->lock);
    int n = 0;
    for (uint64_t at = number; at; n++) {
        const struct held *held = find(images, at);
        if (!held)
            return -ENOENT;
        if (n == IMAGES_STACK_MAX)
            return -ELOOP;
        snprintf(out[n], 64, "images/%" PRIu64 "/tree", at);
        at = held->base;
    }
    return n > 0 ? n : -ENOENT;
}

int images_open_trees(struct images *images, uint64_t number, int out[IMAGES_STACK_MAX], struct err *err)
{
    char path[IMAGES_STACK_MAX][64];
    int count = images_lowerdirs(images, number, path);
    if (count < 0)
        return err_sys(err, -count, "cannot find the trees of image %" PRIu64, number);
    for (int i = 0; i < count; i++) {
        out[i] = open_beneath(images->dirfd, path[i], O_RDONLY | O_DIRECTORY, 0);
        if (out[i] >= 0)
            continue;
        int code = -out[i];
        for (int k = 0; k < i; k++)
            close(out[k]);
        return err_sys(err, code, "cannot open %s in the agent's directory", path[i]);
    }
    return count;
}

static unsigned depth_of(const struct images *images, const struct held *held)
{
    unsigned depth = 1;
    while (held && held->base && depth <= IMAGES_STACK_MAX) {
        held = find(images, held->base);
        depth++;
    }
    return depth;
}

static bool can_be_base(const struct images *images, const struct held *held)
{
    return !held->foreign && !held->dropped && depth_of(images, held) + 1 < IMAGES_STACK_MAX;
}

/* Whether `a` was used before `b`; no two are alike in that. */
static bool is_older(const struct held *a, const struct held *b)
{
    return a->used_ns != b->used_ns ? a->used_ns < b->used_ns : a->number < b->number;
}

size_t images_bases(struct images *images, uint64_t *out, size_t max)
{
    HOLD_LOCK(&images->lock);
    const struct held *last = NULL;
    size_t n = 0;
    while (n < max) {
        const struct held *next = NULL;
        for (size_t i = 0; i < images->count; i++) {
            const struct held *held = &images->held[i];
            if ((!last || is_older(held, last)) && (!next || is_older(next, held)) &&
                can_be_base(images, held))
                next = held;
        }
        if (!next)
            break;
        out[n++] = next->number;
        last = next;
    }
    return n;
}

/* ---- use ---- */

static void touch(struct images *images, struct held *held)
{
    char path[64];
    snprintf(path, sizeof(path), "images/%" PRIu64 "/image", held->number);
    held->used_ns = clock_wall_ns();
    if (utimensat(images->dirfd, path, NULL, AT_SYMLINK_NOFOLLOW) < 0)
        log_debug("cannot note the use of image %" PRIu64 ": %s", held->number, strerror(errno));
}

static struct held *pin(struct images *images, uint64_t number)
{
    struct held *held = find(images, number);
    if (held)
        held->holds++;
    return held;
}

static struct held *unpin(struct images *images, uint64_t number)
{
    struct held *held = find(images, number);
    if (!held || held->holds == 0)
        return NULL;
    held->holds--;
    return held;
}

void images_hold(struct images *images, uint64_t number)
{
    HOLD_LOCK(&images->lock);
    struct held *held = pin(images, number);
    if (held)
        touch(images, held);
}

void images_release(struct images *images, uint64_t number)
{
    HOLD_LOCK(&images->lock);
    struct held *held = unpin(images, number);
    if (held)
        touch(images, held);
    sweep(images);
}

void images_pin(struct images *images, uint64_t number)
{
    HOLD_LOCK(&images->lock);
    (void)!pin(images, number);
}

void images_unpin(struct images *images, uint64_t number)
{
    HOLD_LOCK(&images->lock);
    (void)!unpin(images, number);
    sweep(images);
}

void images_drop(struct images *images, uint64_t number)
{
    HOLD_LOCK(&images->lock);
    struct held *held = find(images, number);
    if (!held)
        return;
    held->dropped = true;
    sweep(images);
}

void images_trim(struct images *images)
{
    HOLD_LOCK(&images->lock);
    for (size_t i = 0; i < images->count; i++) /* left by an earlier run; nobody can ask for them */
        images->held[i].dropped |= images->held[i].foreign;
    sweep(images);
    while (images->count > (size_t)images->keep + 1 && drop_oldest(images))
        ;
}

uint64_t images_make_room(struct images *images, uint64_t need_bytes)
{
    HOLD_LOCK(&images->lock);
    for (;;) {
        uint64_t free_bytes = images_disk_free_bytes(images->dirfd);
        if (free_bytes >= need_bytes || images->stop)
            return free_bytes;
        if (images->removed == images->discarded && !drop_oldest(images))
            return free_bytes;
        uint64_t upto = images->discarded;
        while (images->removed < upto && !images->stop)
            pthread_cond_wait(&images->wake, &images->lock);
    }
}

/* ---- the store ---- */

static void uuid_text(const uint8_t uuid[IMAGES_UUID_BYTES], char text[2 * IMAGES_UUID_BYTES + 2])
{
    for (int i = 0; i < IMAGES_UUID_BYTES; i++)
        snprintf(text + 2 * (size_t)i, 3, "%02x", uuid[i]);
    text[2 * IMAGES_UUID_BYTES] = '\n';
    text[2 * IMAGES_UUID_BYTES + 1] = '\0';
}

static int make_foreign(struct images *images)
{
    for (size_t i = 0; i < images->count; i++) {
        struct held *held = &images->held[i];
        char path[64];
        snprintf(path, sizeof(path), "images/%" PRIu64 "/foreign", held->number);
        int r = file_replace(images->dirfd, path, 0600, "", 0);
        if (r < 0)
            return r;
        held->foreign = true;
        held->dropped = true; /* as soon as nobody holds it */
    }
    sweep(images);
    return 0;
}

int images_set_store(struct images *images, const uint8_t uuid[IMAGES_UUID_BYTES], struct err *err)
{
    char text[2 * IMAGES_UUID_BYTES + 2];
    uuid_text(uuid, text);
    OWNED_BUF struct buf old = BUF_EMPTY;
    int r = file_read(images->dirfd, "store", 256, &old);
    if (r == 0 && old.len_bytes == strlen(text) && memcmp(old.bytes, text, old.len_bytes) == 0)
        return 0;
    bool first = r == -ENOENT;

    HOLD_LOCK(&images->lock);
    if (!first)
        log_info("the controller has another store: images of the old one are unknown to it and go");
    r = make_foreign(images);
    if (r == 0 && images->partial) {
        r = discard(images, "incoming", images->partial);
        images->partial = 0;
    }
    if (r == 0)
        r = file_replace(images->dirfd, "store", 0600, text, strlen(text));
    return r < 0 ? err_sys(err, -r, "cannot note the controller's store in the agent's directory") : 1;
}

/* ---- arriving ---- */

int images_arrive(struct images *images, uint64_t number, struct err *err)
{
    char path[64];
    snprintf(path, sizeof(path), "incoming/%" PRIu64, number);
    HOLD_LOCK(&images->lock);
    if (find(images, number))
        return err_set(err, EIO,
                       "an image with the number %" PRIu64
                       ", of another store, is still in use on this blade: "
                       "unload it, then load again",
                       number);
    int r = 0;
    if (images->partial && images->partial != number)
        r = discard(images, "incoming", images->partial);
    if (r == 0) {
        images->partial = number;
        if (mkdirat(images->dirfd, path, 0700) < 0 && errno != EEXIST)
            r = -errno;
    }
    int fd = r < 0 ? r : open_beneath(images->dirfd, path, O_RDONLY | O_DIRECTORY, 0);
    return fd < 0 ? err_sys(err, -fd, "cannot make %s in the agent's directory", path) : fd;
}

void images_abandon(struct images *images, uint64_t number)
{
    HOLD_LOCK(&images->lock);
    if (images->partial != number || number == 0)
        return;
    if (discard(images, "incoming", number) == 0)
        images->partial = 0;
}

static int sync_folder(int dirfd, const char *name)
{
    OWNED_FD fd = open_beneath(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fd;
    return fsync(fd) < 0 ? -errno : 0;
}

/* Renames what arrived and lists it. */
static int take_in(struct images *images, uint64_t number, const char *from, const char *to)
{
    struct images_found found = {.number = number, .base = images_disk_base(images->dirfd, from)};
    HOLD_LOCK(&images->lock);
    if (images->partial != number || find(images, number))
        return -EEXIST;
    if (found.base && !find(images, found.base)) /* who receives holds it */
        return -ESTALE;
    int r = add(images, &found);
    if (r < 0)
        return r;
    if (renameat(images->dirfd, from, images->dirfd, to) < 0) {
        r = -errno;
        images->count--;
        return r;
    }
    images->partial = 0;
    touch(images, &images->held[images->count - 1]);
    return 0;
}

int images_complete(struct images *images, uint64_t number, struct err *err)
{
    char from[64], to[64];
    snprintf(from, sizeof(from), "incoming/%" PRIu64, number);
    snprintf(to, sizeof(to), "images/%" PRIu64, number);

    int r = syncfs(images->dirfd) < 0 ? -errno : 0;
    if (r == 0)
        r = take_in(images, number, from, to);
    if (r == 0)
        r = sync_folder(images->dirfd, "images");
    if (r == 0)
        r = sync_folder(images->dirfd, "incoming");
    return r < 0 ? err_sys(err, -r, "cannot complete %s in the agent's directory", from) : 0;
}
