#include "tree_write.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "images_disk.h"
#include "rights.h"

static int bad(struct err *err, const char *what)
{
    return err_set(err, EBADMSG, "the image is damaged: %s", what);
}

/* Nothing that an overlay takes for a mark of its own may come from an image. */
static int check_overlay_marks(const struct blob_image *image, uint32_t inode, const struct blob_inode *in,
                               struct err *err)
{
    if (S_ISCHR(in->mode) && in->rdev_major == 0 && in->rdev_minor == 0)
        return bad(err, "it has a character device 0:0");
    const char *mark = rights_are_roots() ? "trusted.overlay." : "user.overlay.";
    struct blob_xattr x;
    for (uint32_t k = 0; in->xattr_set && blob_image_xattr(image, in->xattr_set, k, &x); k++)
        if (x.name_bytes >= strlen(mark) && memcmp(x.name, mark, strlen(mark)) == 0)
            return err_set(err, EBADMSG, "the image is damaged: inode %u has an overlay's attribute", inode);
    return 0;
}

/* Walks from the root, breadth first, so that every step up from an inode that was met ends at the root. */
static int index_names(struct tree *t, struct err *err)
{
    uint32_t inodes = blob_image_inodes(t->image);
    const uint8_t *bytes;
    size_t entries_max = blob_image_bytes(t->image, &bytes); /* an entry takes more than a byte */
    uint64_t entries = 0;

    memset(t->entry_of, 0xff, (size_t)inodes * sizeof(*t->entry_of));
    t->dirs[t->dir_count++] = 0;
    for (uint32_t at = 0; at < t->dir_count; at++) {
        struct blob_inode dir;
        blob_image_inode(t->image, t->dirs[at], &dir);
        entries += dir.entries;
        if (entries > entries_max)
            return bad(err, "directories share their entries");
        for (uint32_t e = dir.entries_first; e < dir.entries_first + dir.entries; e++) {
            struct blob_entry entry;
            struct blob_inode in;
            blob_image_entry(t->image, e, &entry);
            blob_image_inode(t->image, entry.inode, &in);
            bool is_dir = S_ISDIR(in.mode);
            if (is_dir && (entry.inode == 0 || t->entry_of[entry.inode] != TREE_NO_ENTRY))
                return bad(err, "a directory has two names");
            if (in.parent == t->dirs[at] && t->entry_of[entry.inode] == TREE_NO_ENTRY)
                t->entry_of[entry.inode] = e;
            if (is_dir && t->entry_of[entry.inode] != e)
                return bad(err, "a directory is not in its parent");
            if (is_dir)
                t->dirs[t->dir_count++] = entry.inode;
        }
    }
    return 0;
}

static int check_inodes(const struct tree *t, struct err *err)
{
    uint32_t inodes = blob_image_inodes(t->image);
    for (uint32_t i = 0; i < inodes; i++) {
        struct blob_inode in;
        blob_image_inode(t->image, i, &in);
        if (i > 0 && t->entry_of[i] == TREE_NO_ENTRY)
            return bad(err, "an inode has no name");
        int r = check_overlay_marks(t->image, i, &in, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int tree_init(struct tree *tree, const struct blob_image *image, int fd, struct err *err)
{
    uint32_t inodes = blob_image_inodes(image);
    struct tree t = {.image = image, .fd = fd};
    t.entry_of = calloc(inodes ? inodes : 1, sizeof(*t.entry_of));
    t.dirs = calloc(inodes ? inodes : 1, sizeof(*t.dirs));
    t.finished = calloc(inodes ? inodes : 1, sizeof(*t.finished));
    if (!t.entry_of || !t.dirs || !t.finished) {
        tree_fini(&t);
        return err_set(err, ENOMEM, "no memory for the index of an image");
    }
    struct blob_inode root = {0};
    if (inodes > 0)
        blob_image_inode(image, 0, &root);
    int r = S_ISDIR(root.mode) ? index_names(&t, err) : bad(err, "it has no root directory");
    if (r == 0)
        r = check_inodes(&t, err);
    if (r < 0) {
        tree_fini(&t);
        return r;
    }
    *tree = t;
    return 0;
}

void tree_fini(struct tree *tree)
{
    free(tree->entry_of);
    free(tree->dirs);
    free(tree->finished);
    *tree = (struct tree){.fd = -1};
}

/* A directory's group and default ACL go on to what is made in it (inode(7), acl(5)); so does what is above
 * the tree to its top. */
void tree_is_fresh(struct tree *tree)
{
    struct stat st;
    if (fstat(tree->fd, &st) < 0 || st.st_mode & S_ISGID)
        return;
    tree->fresh = fgetxattr(tree->fd, "system.posix_acl_default", NULL, 0) < 0 &&
                  (errno == ENODATA || errno == ENOTSUP);
    tree->made_uid = st.st_uid;
    tree->made_gid = st.st_gid;
}

static uint32_t parent_of(const struct tree *t, uint32_t inode)
{
    struct blob_inode in;
    blob_image_inode(t->image, inode, &in);
    return in.parent;
}

int tree_path(const struct tree *tree, uint32_t inode, char *out, size_t out_bytes)
{
    if (out_bytes < 2)
        return -ENAMETOOLONG;
    if (inode == 0) {
        memcpy(out, ".", 2);
        return 0;
    }
    size_t at = out_bytes - 1; /* from the end to the front */
    out[at] = '\0';
    for (uint32_t i = inode; i != 0; i = parent_of(tree, i)) {
        struct blob_entry entry;
        blob_image_entry(tree->image, tree->entry_of[i], &entry);
        size_t need = entry.name_bytes + (i == inode ? 0u : 1u);
        if (need > at)
            return -ENAMETOOLONG;
        if (i != inode)
            out[--at] = '/';
        at -= entry.name_bytes;
        memcpy(out + at, entry.name, entry.name_bytes);
    }
    memmove(out, out + at, out_bytes - at);
    return 0;
}

void tree_path_show(const struct tree *tree, uint32_t inode, char out[256])
{
    char tail[256];
    size_t at = sizeof(tail) - 1;
    tail[at] = '\0';
    for (uint32_t i = inode; i != 0 && at > 4; i = parent_of(tree, i)) {
        struct blob_entry entry;
        blob_image_entry(tree->image, tree->entry_of[i], &entry);
        if ((size_t)entry.name_bytes + 4 > at) { /* room for what stands for the rest */
            at -= 3;
            memcpy(tail + at, "...", 3);
            break;
        }
        at -= entry.name_bytes;
        memcpy(tail + at, entry.name, entry.name_bytes);
        tail[--at] = '/';
    }
    for (char *p = tail + at; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    memcpy(out, tail + at, sizeof(tail) - at);
}

/* Opens the first of `chain` (`count` inodes, each in the one before) that fit into one path, below `at`.
 * Returns the fd; `*used`: how many they were. */
static int open_some(const struct tree *t, int at, const uint32_t *chain, size_t count, int flags,
                     size_t *used)
{
    char path[PATH_MAX];
    size_t len = 0, n = 0;
    for (; n < count; n++) {
        struct blob_entry entry;
        blob_image_entry(t->image, t->entry_of[chain[n]], &entry);
        if (len + 1 + entry.name_bytes + 1 > sizeof(path))
            break;
        if (len)
            path[len++] = '/';
        memcpy(path + len, entry.name, entry.name_bytes);
        len += entry.name_bytes;
    }
    path[len] = '\0';
    *used = n;
    return open_beneath(at, path, n == count ? flags : O_PATH | O_DIRECTORY, 0600);
}

/* Opens in steps of at most PATH_MAX what one path is too long for. */
static int open_deep(const struct tree *t, int top, uint32_t inode, int flags)
{
    size_t depth = 0;
    for (uint32_t i = inode; i != 0; i = parent_of(t, i))
        depth++;
    uint32_t *chain = calloc(depth + 1, sizeof(*chain));
    if (!chain)
        return -ENOMEM;
    size_t fill = depth;
    for (uint32_t i = inode; i != 0; i = parent_of(t, i))
        chain[--fill] = i;

    int at = top;
    for (size_t next = 0, used; next < depth && at >= 0; next += used) {
        int fd = open_some(t, at, chain + next, depth - next, flags, &used);
        if (at != top)
            close(at);
        at = fd;
    }
    free(chain);
    return at;
}

int tree_open(const struct tree *tree, uint32_t inode, int flags)
{
    return tree_open_in(tree, tree->fd, inode, flags);
}

int tree_open_in(const struct tree *tree, int top, uint32_t inode, int flags)
{
    char path[PATH_MAX];
    if (tree_path(tree, inode, path, sizeof(path)) < 0)
        return open_deep(tree, top, inode, flags);
    return open_beneath(top, path, flags, 0600);
}

static int make_entry(const struct tree *t, int dirfd, const struct blob_entry *entry)
{
    struct blob_inode in;
    blob_image_inode(t->image, entry->inode, &in);
    char name[NAME_MAX + 1];
    memcpy(name, entry->name, entry->name_bytes);
    name[entry->name_bytes] = '\0';

    int r = 0;
    if (S_ISDIR(in.mode)) {
        r = mkdirat(dirfd, name, 0700);
    } else if (S_ISLNK(in.mode)) {
        char target[PATH_MAX];
        if (in.size_bytes >= sizeof(target))
            return -ENAMETOOLONG;
        memcpy(target, in.target, in.size_bytes);
        target[in.size_bytes] = '\0';
        r = symlinkat(target, dirfd, name);
    } else if (!S_ISREG(in.mode)) {
        r = mknodat(dirfd, name, (in.mode & S_IFMT) | 0600, makedev(in.rdev_major, in.rdev_minor));
    }
    return r < 0 && errno != EEXIST ? -errno : 0;
}

int tree_skeleton(const struct tree *tree, struct err *err)
{
    char shown[256];
    for (uint32_t at = 0; at < tree->dir_count; at++) {
        struct blob_inode dir;
        if (tree_is_kept(tree, tree->dirs[at]))
            continue;
        blob_image_inode(tree->image, tree->dirs[at], &dir);
        OWNED_FD fd = tree_open(tree, tree->dirs[at], O_RDONLY | O_DIRECTORY);
        if (fd < 0) {
            tree_path_show(tree, tree->dirs[at], shown);
            return err_sys(err, -fd, "cannot open %s", shown);
        }
        for (uint32_t e = dir.entries_first; e < dir.entries_first + dir.entries; e++) {
            struct blob_entry entry;
            blob_image_entry(tree->image, e, &entry);
            if (tree->entry_of[entry.inode] != e || tree_is_kept(tree, entry.inode))
                continue;
            int r = make_entry(tree, fd, &entry);
            if (r < 0) {
                tree_path_show(tree, entry.inode, shown);
                return err_sys(err, -r, "cannot make %s", shown);
            }
        }
    }
    return 0;
}
