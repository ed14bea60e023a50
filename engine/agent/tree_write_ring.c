#include "tree_write_ring.h"

#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <linux/openat2.h>

#include "base/fdio.h"

struct open_file {
    uint32_t inode;
    int fd; /* or -errno */
    char path[PATH_MAX];
};

struct tree_ring {
    struct io_uring ring;
    struct open_how how;
    unsigned files;
    struct open_file file[TREE_RING_PIECES];
    int result[TREE_RING_PIECES];
};

int tree_ring_new(struct tree_ring **out, struct err *err)
{
    struct tree_ring *ring = calloc(1, sizeof(*ring));
    if (!ring)
        return err_set(err, ENOMEM, "no memory to write a tree");
    int r = io_uring_queue_init(2 * TREE_RING_PIECES, &ring->ring, 0);
    if (r < 0) {
        free(ring);
        return err_sys(err, -r, "cannot set up an io_uring to write a tree");
    }
    io_uring_ring_dontfork(&ring->ring);
    ring->how = (struct open_how){
        .flags = O_WRONLY | O_CREAT | O_CLOEXEC,
        .mode = 0600,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    *out = ring;
    return 0;
}

void tree_ring_free(struct tree_ring *ring)
{
    if (!ring)
        return;
    io_uring_queue_exit(&ring->ring);
    free(ring);
}

/* Hands over what was prepared and waits for all of it; `result[user_data]` is filled. */
static int run(struct tree_ring *ring, unsigned count)
{
    unsigned done = 0;
    while (done < count) {
        int r = io_uring_submit_and_wait(&ring->ring, count - done);
        if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
            return r;
        struct io_uring_cqe *cqe;
        unsigned head, seen = 0;
        io_uring_for_each_cqe(&ring->ring, head, cqe)
        {
            ring->result[cqe->user_data] = cqe->res;
            seen++;
        }
        io_uring_cq_advance(&ring->ring, seen);
        done += seen;
    }
    return 0;
}

static struct io_uring_sqe *next(struct tree_ring *ring)
{
    return io_uring_get_sqe(&ring->ring); /* the ring is larger than a batch */
}

static unsigned find_file(const struct tree_ring *ring, uint32_t inode)
{
    unsigned i = 0;
    while (i < ring->files && ring->file[i].inode != inode)
        i++;
    return i;
}

static int open_files(struct tree_ring *ring, const struct tree *tree, const struct tree_piece *pieces,
                      unsigned count)
{
    unsigned asked = 0, of[TREE_RING_PIECES];
    ring->files = 0;
    for (unsigned p = 0; p < count; p++) {
        unsigned i = find_file(ring, pieces[p].inode);
        if (i < ring->files)
            continue;
        struct open_file *file = &ring->file[ring->files++];
        file->inode = pieces[p].inode;
        file->fd = -EIO;
        if (tree_path(tree, file->inode, file->path, sizeof(file->path)) < 0) {
            file->fd = tree_open(tree, file->inode, O_WRONLY | O_CREAT);
            continue;
        }
        struct io_uring_sqe *sqe = next(ring);
        if (!sqe)
            return -EIO;
        io_uring_prep_openat2(sqe, tree->fd, file->path, &ring->how);
        io_uring_sqe_set_data64(sqe, asked);
        of[asked++] = i;
    }
    int r = run(ring, asked);
    if (r < 0)
        return r;
    for (unsigned a = 0; a < asked; a++) {
        struct open_file *file = &ring->file[of[a]];
        file->fd = ring->result[a];
        if (file->fd == -EAGAIN || file->fd == -EINTR)
            file->fd = tree_open(tree, file->inode, O_WRONLY | O_CREAT);
    }
    return 0;
}

static int write_pieces(struct tree_ring *ring, const struct tree *tree, const struct tree_piece *pieces,
                        unsigned count, struct err *err)
{
    char shown[256];
    int fds[TREE_RING_PIECES];
    for (unsigned p = 0; p < count; p++) {
        fds[p] = ring->file[find_file(ring, pieces[p].inode)].fd;
        if (fds[p] < 0) {
            tree_path_show(tree, pieces[p].inode, shown);
            return err_sys(err, -fds[p], "cannot open %s", shown);
        }
    }
    for (unsigned p = 0; p < count; p++) {
        struct io_uring_sqe *sqe = next(ring);
        if (!sqe)
            return err_set(err, EIO, "the ring to write a tree is full");
        io_uring_prep_write(sqe, fds[p], pieces[p].bytes, pieces[p].len_bytes, pieces[p].offset_bytes);
        io_uring_sqe_set_data64(sqe, p);
    }
    int r = run(ring, count);
    if (r < 0)
        return err_sys(err, -r, "cannot write a tree through io_uring");
    for (unsigned p = 0; p < count; p++) {
        uint32_t n = ring->result[p] > 0 ? (uint32_t)ring->result[p] : 0;
        r = ring->result[p] < 0 ? ring->result[p] : 0;
        if (r == -EINTR || r == -EAGAIN)
            r = 0;
        if (r == 0 && n < pieces[p].len_bytes) /* a short write: the rest, or the reason */
            r = fd_write_at(fds[p], (const uint8_t *)pieces[p].bytes + n, pieces[p].len_bytes - n,
                            pieces[p].offset_bytes + n);
        if (r < 0) {
            tree_path_show(tree, pieces[p].inode, shown);
            return err_sys(err, -r, "cannot write %s", shown);
        }
    }
    return 0;
}

static void close_files(struct tree_ring *ring)
{
    unsigned asked = 0;
    for (unsigned i = 0; i < ring->files; i++) {
        if (ring->file[i].fd < 0)
            continue;
        struct io_uring_sqe *sqe = next(ring);
        if (!sqe) {
            close(ring->file[i].fd);
            continue;
        }
        io_uring_prep_close(sqe, ring->file[i].fd);
        io_uring_sqe_set_data64(sqe, asked++);
    }
    (void)!run(ring, asked);
    ring->files = 0;
}

int tree_ring_write(struct tree_ring *ring, const struct tree *tree, const struct tree_piece *pieces,
                    unsigned count, struct err *err)
{
    if (count > TREE_RING_PIECES)
        return err_set(err, EINVAL, "too many pieces in one batch");
    int r = open_files(ring, tree, pieces, count);
    if (r < 0)
        r = err_sys(err, -r, "cannot write a tree through io_uring");
    else
        r = write_pieces(ring, tree, pieces, count, err);
    close_files(ring);
    return r;
}
