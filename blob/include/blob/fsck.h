/*
 * Checking a store: every record of every pack is read, expanded and compared with its id, every footer with
 * its records, and where the chunks lie with what was found there. A damaged chunk is set aside (it is stored
 * again when its content passes by), unless another good copy of it lies in some pack, which then is stored
 * again. Nothing is removed. It goes on beside puts, gets and collections: what is stored after its beginning
 * is not looked at.
 */
#ifndef BLOB_FSCK_H
#define BLOB_FSCK_H

#include "blob/store.h"

struct blob_fsck;

enum blob_fsck_fault {
    BLOB_FSCK_CHUNK,     /* a record is damaged, or its content has not its id: set aside */
    BLOB_FSCK_RECOVERED, /* another copy of such a chunk, which lies there, is good and was stored again; or
                          * of one that was set aside earlier */
    BLOB_FSCK_HEADER,    /* the pack's is damaged: the next start goes through its records */
    BLOB_FSCK_FOOTER,    /* the same of its footer */
    BLOB_FSCK_BYTES,     /* between the records of such a pack */
    BLOB_FSCK_UNREADABLE /* the disk does not give the pack's bytes, these first: `error` */
};

struct blob_fsck_event {
    enum blob_fsck_fault fault;
    uint64_t pack;
    uint32_t offset_bytes; /* but for HEADER and FOOTER */
    struct blob_id id;     /* of CHUNK and RECOVERED */
    int error;
};

struct blob_fsck_options {
    const bool *cancelled; /* read atomically, may be NULL: -ECANCELED soon after */
    void (*progress)(void *arg, uint64_t done_bytes, uint64_t all_bytes); /* may be NULL */
    void (*event)(void *arg, const struct blob_fsck_event *event);
    void *arg;
};

struct blob_fsck_result {
    uint64_t packs, chunks, bytes; /* that were looked at; chunks: good records */
    uint64_t bad_chunks;           /* that were in use, also if they were recovered */
    uint64_t recovered;            /* on a full disk not synced yet, or not all */
    uint64_t other_faults;
};

/* Blocks as long as it takes: one pack is in memory at a time, and 4 bytes for each record. */
int blob_fsck_run(struct blob_store *store, const struct blob_fsck_options *options, struct blob_fsck **out,
                  struct err *err) MUST_CHECK;
void blob_fsck_free(struct blob_fsck *fsck);
void blob_fsck_result(const struct blob_fsck *fsck, struct blob_fsck_result *out);

/* Whether the chunk is in the store and good, as far as was seen; what was stored since is taken for good.
 * May read it, and set it aside. */
bool blob_fsck_has(struct blob_fsck *fsck, const struct blob_id *id);

#endif
