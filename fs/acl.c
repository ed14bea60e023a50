#include "acl.h"

#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#include "base/buf.h"

enum { HEAD_BYTES = 4, ENTRY_BYTES = 8 };
#define NO_ID ((uint32_t)ACL_UNDEFINED_ID)

/* The order of tags: none may come before one of a lower rank. -1: no such tag. */
static int rank_of(unsigned tag)
{
    switch (tag) {
    case ACL_USER_OBJ:
        return 0;
    case ACL_USER:
        return 1;
    case ACL_GROUP_OBJ:
        return 2;
    case ACL_GROUP:
        return 3;
    case ACL_MASK:
        return 4;
    case ACL_OTHER:
        return 5;
    default:
        return -1;
    }
}

static bool is_named(const struct acl_entry *e)
{
    return e->tag == ACL_USER || e->tag == ACL_GROUP;
}

static const struct acl_entry *entry_of(const struct acl *acl, unsigned tag)
{
    for (size_t i = 0; i < acl->count; i++)
        if (acl->at[i].tag == tag)
            return &acl->at[i];
    return NULL;
}

/* May it stand behind the entries before it? */
static bool fits(const struct acl *acl, const struct acl_entry *e)
{
    int rank = rank_of(e->tag);
    int before = acl->count ? rank_of(acl->at[acl->count - 1].tag) : -1;
    if (rank < 0 || rank < before || (rank == before && !is_named(e)) || e->perm & ~7U)
        return false;
    if (!is_named(e))
        return true;
    if (e->id == NO_ID)
        return false;
    for (size_t i = 0; i < acl->count; i++)
        if (acl->at[i].tag == e->tag && acl->at[i].id == e->id)
            return false;
    return true;
}

static bool is_whole(const struct acl *acl)
{
    bool named = entry_of(acl, ACL_USER) || entry_of(acl, ACL_GROUP);
    return entry_of(acl, ACL_USER_OBJ) && entry_of(acl, ACL_GROUP_OBJ) && entry_of(acl, ACL_OTHER) &&
           (!named || entry_of(acl, ACL_MASK));
}

int acl_parse(const void *bytes, size_t len_bytes, struct acl *out)
{
    struct rd r = rd_over(bytes, len_bytes);
    out->count = 0;
    if (len_bytes == 0)
        return 0;
    if (len_bytes > ACL_MAX_BYTES)
        return -E2BIG;
    if (len_bytes < HEAD_BYTES || (len_bytes - HEAD_BYTES) % ENTRY_BYTES != 0)
        return -EINVAL;
    if (rd_u32(&r) != POSIX_ACL_XATTR_VERSION)
        return -EOPNOTSUPP;
    while (r.left_bytes > 0) {
        struct acl_entry e = {.tag = rd_u16(&r)};
        e.perm = rd_u16(&r);
        e.id = rd_u32(&r);
        if (r.error || !fits(out, &e)) {
            out->count = 0;
            return -EINVAL;
        }
        if (!is_named(&e))
            e.id = NO_ID;
        out->at[out->count++] = e;
    }
    if (out->count == 0 || is_whole(out)) /* a version and nothing else is no ACL either */
        return 0;
    out->count = 0;
    return -EINVAL;
}

size_t acl_write(const struct acl *acl, uint8_t out[ACL_MAX_BYTES])
{
    if (acl->count == 0)
        return 0;
    le32_to(out, POSIX_ACL_XATTR_VERSION);
    uint8_t *p = out + HEAD_BYTES;
    for (size_t i = 0; i < acl->count; i++, p += ENTRY_BYTES) {
        le16_to(p, acl->at[i].tag);
        le16_to(p + 2, acl->at[i].perm);
        le32_to(p + 4, acl->at[i].id);
    }
    return (size_t)(p - out);
}

mode_t acl_to_mode(struct acl *acl, mode_t mode)
{
    bool more = false;
    if (acl->count == 0)
        return mode;
    mode &= ~(mode_t)0777;
    for (size_t i = 0; i < acl->count; i++) {
        const struct acl_entry *e = &acl->at[i];
        switch (e->tag) {
        case ACL_USER_OBJ:
            mode |= (mode_t)e->perm << 6;
            break;
        case ACL_GROUP_OBJ:
            if (!entry_of(acl, ACL_MASK))
                mode |= (mode_t)e->perm << 3;
            break;
        case ACL_MASK:
            mode |= (mode_t)e->perm << 3;
            more = true;
            break;
        case ACL_OTHER:
            mode |= e->perm;
            break;
        default:
            more = true;
            break;
        }
    }
    if (!more)
        acl->count = 0;
    return mode;
}

void acl_set_mode(struct acl *acl, mode_t mode)
{
    bool masked = entry_of(acl, ACL_MASK);
    for (size_t i = 0; i < acl->count; i++) {
        struct acl_entry *e = &acl->at[i];
        if (e->tag == ACL_USER_OBJ)
            e->perm = mode >> 6 & 7;
        else if (e->tag == (masked ? ACL_MASK : ACL_GROUP_OBJ))
            e->perm = mode >> 3 & 7;
        else if (e->tag == ACL_OTHER)
            e->perm = mode & 7;
    }
}

void acl_limit(struct acl *acl, unsigned mask)
{
    for (size_t i = 0; i < acl->count; i++)
        acl->at[i].perm &= (uint16_t)mask;
}

/* What an entry gives, under the mask. */
static bool gives(const struct acl *acl, const struct acl_entry *e, unsigned wanted)
{
    const struct acl_entry *mask = entry_of(acl, ACL_MASK);
    unsigned perm = e->perm & (mask ? mask->perm : 7U);
    return (wanted & ~perm) == 0;
}

static bool of_group(const struct caller *caller, gid_t gid, const struct acl_entry *e)
{
    return (e->tag == ACL_GROUP_OBJ && caller_in_group(caller, gid)) ||
           (e->tag == ACL_GROUP && caller_in_group(caller, e->id));
}

/* The owner, a named user, then the groups (any of them may allow it), then the others; acl(5). */
bool acl_allows(const struct caller *caller, uid_t uid, gid_t gid, mode_t mode, const struct acl *acl,
                int wanted)
{
    bool in_a_group = false;
    if (acl->count == 0 || caller->uid == 0 || caller->uid == uid)
        return caller_mode_allows(caller, uid, gid, mode, wanted);
    for (size_t i = 0; i < acl->count; i++)
        if (acl->at[i].tag == ACL_USER && acl->at[i].id == caller->uid)
            return gives(acl, &acl->at[i], (unsigned)wanted);
    for (size_t i = 0; i < acl->count; i++) {
        if (!of_group(caller, gid, &acl->at[i]))
            continue;
        in_a_group = true;
        if (gives(acl, &acl->at[i], (unsigned)wanted))
            return true;
    }
    return !in_a_group && ((unsigned)wanted & ~(unsigned)mode & 7) == 0;
}
