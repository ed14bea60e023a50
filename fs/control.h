/*
 * Control files: each is a row of one table (control_table.c), and adding one is adding a row. A row says
 * where the file is, what it reads as and what a write does; everything else is the same for all
 * (control_file.c).
 */
#ifndef FS_CONTROL_H
#define FS_CONTROL_H

#include "base/container.h"
#include "fs.h"
#include "opens.h"

enum control_place { PLACE_TOP, PLACE_STORE, PLACE_SLOT, PLACE_ANY, PLACE_BLADEFS };

struct control;

/* An open control file. What `any/load` answered to a write is read from the descriptor that wrote it. */
struct control_file {
    struct opened open;
    const struct control *row;
    uint64_t owner;
    int flags;
    pthread_mutex_t lock;
    uint32_t users;
    struct buf answer; /* owned: what was written, and the line behind it; empty: none */
    off_t answer_at;
    struct buf text;              /* owned: what a reader has begun with and has not read to its end */
    off_t text_at;                /* where it goes on */
    int64_t seen_ns;              /* of what was read last, for poll */
    uint64_t read_to;             /* where the last read of a long file ended, for poll */
    struct fuse_pollhandle *poll; /* owned: whom to wake */
    struct control_file *polls_next, **polls_at;
};

/* One write, whose value is checked. */
struct control_write {
    struct fs *fs;
    fuse_req_t req;
    struct control_file *file;
    uint64_t owner;
    const char *value; /* NUL-terminated, without newline */
    size_t value_bytes;
    const char *written; /* as it came */
    size_t written_bytes;
    off_t offset;
};

#define CONTROL_LATER 1 /* of `store`: the request is answered by and by */

struct control {
    uint8_t row; /* from 1; in node ids, so never another's */
    enum control_place place;
    const char *name;
    mode_t mode; /* in .bladefs: what is taken of the top directory's */
    bool action; /* each look-up gives a node of its own, so that writers do not wait for each other */
    bool fixed;  /* owner and mode do not change */
    int topic;   /* the engine's topic that wakes a poll of it, -1: none */
    /* Appends what it reads as, and when that last changed. `owner`: slot, or the inode of a top directory.
     */
    int (*show)(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns);
    int (*store)(const struct control_write *write); /* 0, CONTROL_LATER or -errno; NULL: read only */
    /* For what is too long to be shown whole: instead of `show`. */
    int (*size)(struct fs *fs, uint64_t owner, uint64_t *size_bytes, int64_t *changed_ns);
    ssize_t (*read)(struct fs *fs, uint64_t owner, void *out, size_t len_bytes, uint64_t offset);
};

/* The table: rows `first` to the one with row 0. */
const struct control *control_table(void);
const struct control *control_of_row(unsigned row); /* NULL: none */
const struct control *control_named(enum control_place place, const char *name);

/* A node number for a file, another one each time for an action file. */
uint64_t control_number(struct fs *fs, const struct control *row, uint64_t owner);
/* -ESTALE: no such file (any more). */
int control_stat(struct fs *fs, const struct node_id *id, uint64_t number, struct stat *out) MUST_CHECK;
/* In place of the time of what never changed, one that means something. -ESTALE. */
int control_time(struct fs *fs, const struct control *row, uint64_t owner, int64_t *changed_ns) MUST_CHECK;
/* The name under which the engine keeps its owner and mode. */
void control_attr_name(const struct control *row, char out[64]);

void control_file_put(struct control_file *file);
/* Keeps what the descriptor reads behind what it wrote. */
void control_file_answer(struct control_file *file, const char *written, size_t written_bytes, off_t offset,
                         const char *line);

/* The functions of the rows. control_show.c: */
int show_load(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns);
int show_state(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns);
int show_progress(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns);
int show_error(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns);
int show_key(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns);
int show_info(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns);
int show_status(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns);
int show_store_stats(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns);
int show_checked(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns);
int show_collected(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns);
int size_log(struct fs *fs, uint64_t owner, uint64_t *size_bytes, int64_t *changed_ns);
ssize_t read_log(struct fs *fs, uint64_t owner, void *out, size_t len_bytes, uint64_t offset);
/* control_store.c */
int store_load(const struct control_write *write);
int store_run(const struct control_write *write);
int store_unload(const struct control_write *write);
int store_key(const struct control_write *write);
int store_check(const struct control_write *write);
int store_collect(const struct control_write *write);
/* control_bladefs.c */
int show_exec(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns);
int store_exec(const struct control_write *write);
int show_stats(struct fs *fs, uint64_t owner, struct buf *out, int64_t *changed_ns);
/* Attributes of a snapshot's top directory. -ESTALE. */
int top_stat(struct fs *fs, uint64_t inode, struct stat *out) MUST_CHECK;
struct acl;
int top_acl(struct fs *fs, uint64_t inode, struct acl *out) MUST_CHECK;

#endif
