#include "instance_spec.h"

#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "json_bytes.h"

#define SPEC_MAX_BYTES ((size_t)1 << 20)
#define SPEC_VERSION 1

char **strings_copy(const char *const *list)
{
    size_t count = 0;
    while (list && list[count])
        count++;
    char **copy = calloc(count + 1, sizeof(*copy));
    for (size_t i = 0; copy && i < count; i++) {
        copy[i] = strdup(list[i]);
        if (!copy[i]) {
            strings_free(copy);
            return NULL;
        }
    }
    return copy;
}

void strings_free(char **list)
{
    for (char **s = list; s && *s; s++)
        free(*s);
    free((void *)list);
}

void instance_spec_free(struct instance_spec *spec)
{
    free(spec->exec);
    strings_free(spec->binds);
    strings_free(spec->caps);
    *spec = (struct instance_spec){0};
}

static json_t *strings_to_json(char *const *list)
{
    json_t *array = json_array();
    for (char *const *s = list; array && s && *s; s++) {
        if (json_array_append_new(array, bytes_to_json(*s)) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static char **strings_from_json(const json_t *array)
{
    size_t count = json_array_size(array);
    char **list = json_is_array(array) ? calloc(count + 1, sizeof(*list)) : NULL;
    for (size_t i = 0; list && i < count; i++) {
        list[i] = bytes_from_json(json_array_get(array, i));
        if (!list[i]) {
            strings_free(list);
            return NULL;
        }
    }
    return list;
}

static json_t *lowers_to_json(const struct instance_spec *spec)
{
    json_t *array = json_array();
    for (unsigned i = 0; array && i < spec->lower_count; i++)
        if (json_array_append_new(array, bytes_to_json(spec->lowers[i])) < 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

/* json_object_set_new takes a NULL value for the failure that it is. */
static json_t *spec_to_json(const struct instance_spec *spec)
{
    json_t *root = json_object();
    int bad = !root;
    bad |= json_object_set_new(root, "version", json_integer(SPEC_VERSION));
    bad |= json_object_set_new(root, "image", json_integer((json_int_t)spec->image));
    bad |= json_object_set_new(root, "snapshot", bytes_to_json(spec->snapshot));
    bad |= json_object_set_new(root, "slot", bytes_to_json(spec->slot));
    bad |= json_object_set_new(root, "committed", json_boolean(spec->committed));
    bad |= json_object_set_new(root, "wanted", json_boolean(spec->wanted));
    bad |= json_object_set_new(root, "boot_id", bytes_to_json(spec->boot_id));
    bad |= json_object_set_new(root, "start", json_integer((json_int_t)spec->start));
    bad |= json_object_set_new(root, "restarts", json_integer((json_int_t)spec->restarts));
    bad |= json_object_set_new(root, "id", bytes_to_json(spec->id));
    bad |= json_object_set_new(root, "exec", bytes_to_json(spec->exec));
    bad |= json_object_set_new(root, "lowers", lowers_to_json(spec));
    bad |= json_object_set_new(root, "runtime", bytes_to_json(spec->runtime));
    bad |= json_object_set_new(root, "init", bytes_to_json(spec->init));
    bad |= json_object_set_new(root, "binds", strings_to_json(spec->binds));
    bad |= json_object_set_new(root, "caps", strings_to_json(spec->caps));
    if (bad) {
        json_decref(root);
        return NULL;
    }
    return root;
}

/* A plain replacement: whole or not at all for who reads it now, nothing promised for a power loss. */
static int replace_lightly(int dirfd, const char *name, const char *text)
{
    char temporary[32];
    snprintf(temporary, sizeof(temporary), "%s.new", name);
    OWNED_FD fd = openat(dirfd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int r = fd_write(fd, text, strlen(text));
    if (r < 0)
        return r;
    return renameat(dirfd, temporary, dirfd, name) < 0 ? -errno : 0;
}

int instance_spec_write(int dirfd, const char *name, const struct instance_spec *spec, bool durable)
{
    json_t *root = spec_to_json(spec);
    OWNED char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    if (!text)
        return -ENOMEM;
    return durable ? file_replace(dirfd, name, 0600, text, strlen(text)) : replace_lightly(dirfd, name, text);
}

static bool text_field(const json_t *root, const char *key, char *out, size_t out_bytes)
{
    OWNED char *bytes = bytes_from_json(json_object_get(root, key));
    if (!bytes || strlen(bytes) >= out_bytes)
        return false;
    memcpy(out, bytes, strlen(bytes) + 1);
    return true;
}

static bool count_field(const json_t *root, const char *key, uint64_t *out)
{
    const json_t *value = json_object_get(root, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static bool lowers_field(const json_t *root, struct instance_spec *out)
{
    const json_t *array = json_object_get(root, "lowers");
    size_t count = json_array_size(array);
    if (count < 1 || count > INSTANCE_LOWERS_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        OWNED char *bytes = bytes_from_json(json_array_get(array, i));
        if (!bytes || !bytes[0] || strlen(bytes) >= sizeof(out->lowers[i]))
            return false;
        memcpy(out->lowers[i], bytes, strlen(bytes) + 1);
    }
    out->lower_count = (unsigned)count;
    return true;
}

static bool spec_from_json(const json_t *root, struct instance_spec *out)
{
    uint64_t version = 0, restarts = 0;
    if (!count_field(root, "version", &version) || version != SPEC_VERSION)
        return false;
    const json_t *committed = json_object_get(root, "committed");
    const json_t *wanted = json_object_get(root, "wanted");
    out->committed = json_is_true(committed);
    out->wanted = json_is_true(wanted);
    out->exec = bytes_from_json(json_object_get(root, "exec"));
    out->binds = strings_from_json(json_object_get(root, "binds"));
    out->caps = strings_from_json(json_object_get(root, "caps"));
    bool good = json_is_boolean(committed) && json_is_boolean(wanted) && out->exec && out->binds && out->caps;
    good = good && count_field(root, "image", &out->image) && count_field(root, "start", &out->start);
    good = good && count_field(root, "restarts", &restarts) && restarts <= UINT32_MAX;
    good = good && text_field(root, "snapshot", out->snapshot, sizeof(out->snapshot));
    good = good && text_field(root, "slot", out->slot, sizeof(out->slot));
    good = good && text_field(root, "boot_id", out->boot_id, sizeof(out->boot_id));
    good = good && text_field(root, "id", out->id, sizeof(out->id));
    good = good && text_field(root, "runtime", out->runtime, sizeof(out->runtime));
    good = good && text_field(root, "init", out->init, sizeof(out->init));
    out->restarts = (uint32_t)restarts;
    return good && lowers_field(root, out);
}

int instance_spec_read(int dirfd, const char *name, struct instance_spec *out)
{
    OWNED_BUF struct buf text = BUF_EMPTY;
    int r = file_read(dirfd, name, SPEC_MAX_BYTES, &text);
    if (r < 0)
        return r;
    json_t *root = json_loadb((const char *)text.bytes, text.len_bytes, 0, NULL);
    struct instance_spec spec = {0};
    bool good = root && spec_from_json(root, &spec);
    json_decref(root);
    if (!good) {
        instance_spec_free(&spec);
        return -EBADMSG;
    }
    *out = spec;
    return 0;
}
