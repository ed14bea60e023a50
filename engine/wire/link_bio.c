/* The bytes below TLS: from what was fed, and into the output. BIO_meth_new(3). */
#include "link_parts.h"

#include <string.h>

static int bio_read(BIO *bio, char *out, size_t len_bytes, size_t *got)
{
    struct wire_link *link = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *got = 0;
    if (link->fed_bytes == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    size_t n = len_bytes < link->fed_bytes ? len_bytes : link->fed_bytes;
    if (!link->up) {
        link->flooded |= n > LINK_HANDSHAKE_MAX_BYTES - link->early_bytes;
        if (link->flooded)
            return 0;
        link->early_bytes += n;
    }
    memcpy(out, link->fed, n);
    link->fed += n;
    link->fed_bytes -= n;
    *got = n;
    return 1;
}

static int bio_write(BIO *bio, const char *bytes, size_t len_bytes, size_t *put)
{
    struct wire_link *link = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *put = 0;
    uint8_t *room = link_queue_room(&link->out, len_bytes);
    if (!room) {
        link->no_memory = true;
        return 0;
    }
    memcpy(room, bytes, len_bytes);
    buf_grew(&link->out.buf, len_bytes);
    *put = len_bytes;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH; /* 0: there is no such control */
}

int link_bio_attach(struct wire_link *link)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "wire link");
    if (!method)
        return -ENOMEM;
    link->bio_method = method; /* freed with the link, after the BIO */
    if (!BIO_meth_set_read_ex(method, bio_read) || !BIO_meth_set_write_ex(method, bio_write) ||
        !BIO_meth_set_ctrl(method, bio_ctrl))
        return -ENOMEM;
    BIO *bio = BIO_new(method);
    if (!bio)
        return -ENOMEM;
    BIO_set_data(bio, link);
    BIO_set_init(bio, 1);
    SSL_set_bio(link->ssl, bio, bio); /* takes it */
    return 0;
}
