/* A link: frames above TLS. */
#include "link_parts.h"

#include <string.h>

#include <openssl/err.h>

#include "codec.h"

/* ---- making one ---- */

static int no_memory(struct err *err)
{
    return err_set(err, ENOMEM, "there is no memory for a connection");
}

int wire_link_new_controller(wire_find_key find, void *arg, struct wire_link **out, struct err *err)
{
    struct wire_link *link = calloc(1, sizeof(*link));
    if (!link)
        return no_memory(err);
    link->find = find;
    link->find_arg = arg;
    link->key_fault = LINK_KEY_NONE;
    if (link_tls_new(link) < 0) {
        ERR_clear_error();
        wire_link_free(link);
        return no_memory(err);
    }
    *out = link;
    return 0;
}

static int shake(struct wire_link *link, struct err *err);

int wire_link_new_agent(const struct wire_key *key, struct wire_link **out, struct err *err)
{
    struct wire_link *link = calloc(1, sizeof(*link));
    if (!link)
        return no_memory(err);
    link->key = *key;
    int rc = link_tls_new(link);
    if (rc < 0) {
        ERR_clear_error();
        rc = no_memory(err);
    } else {
        rc = shake(link, err); /* the first words are the agent's */
    }
    if (rc < 0) {
        wire_link_free(link);
        return rc;
    }
    *out = link;
    return 0;
}

void wire_link_free(struct wire_link *link)
{
    if (!link)
        return;
    SSL_free(link->ssl);
    SSL_CTX_free(link->ctx);
    BIO_meth_free(link->bio_method);
    buf_free(&link->in.buf);
    buf_free(&link->out.buf);
    buf_free(&link->scratch);
    OPENSSL_cleanse(&link->key, sizeof(link->key));
    free(link);
}

/* ---- from the peer ---- */

static int shake(struct wire_link *link, struct err *err)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(link->ssl);
    if (rc != 1)
        return SSL_get_error(link->ssl, rc) == SSL_ERROR_WANT_READ ? 0 : link_tls_fault(link, err);
    if (!link_tls_keyed(link))
        return err_set(err, EPROTO, "a TLS handshake ended well without a slot's key: it is not accepted");
    memcpy(link->peer, link->claimed, sizeof(link->peer));
    link->up = true;
    return 0;
}

static int take_plaintext(struct wire_link *link, struct err *err)
{
    ERR_clear_error();
    for (;;) {
        uint8_t *room = link_queue_room(&link->in, LINK_RECORD_BYTES);
        if (!room)
            return err_set(err, ENOMEM, "there is no memory for what a peer sent");
        size_t got = 0;
        if (SSL_read_ex(link->ssl, room, LINK_RECORD_BYTES, &got)) {
            buf_grew(&link->in.buf, got);
            continue;
        }
        switch (SSL_get_error(link->ssl, 0)) {
        case SSL_ERROR_WANT_READ:
            return 0;
        case SSL_ERROR_ZERO_RETURN: /* what came before still counts; the end of the socket follows */
            link->closed = true;
            return 0;
        default:
            return link_tls_fault(link, err);
        }
    }
}

static int is_dead(const struct wire_link *link, int code, struct err *err)
{
    return link->dead ? err_set(err, code, "the connection has already failed") : 0;
}

int wire_link_feed(struct wire_link *link, const void *bytes, size_t len_bytes, struct err *err)
{
    int rc = is_dead(link, EPROTO, err);
    if (rc < 0)
        return rc;
    link_queue_eat(&link->in, link->taken_bytes);
    link->taken_bytes = 0;
    link->fed = bytes;
    link->fed_bytes = len_bytes;
    if (!link->up)
        rc = shake(link, err);
    if (rc == 0 && link->up && !link->closed)
        rc = take_plaintext(link, err);
    link->fed = NULL;
    link->fed_bytes = 0;
    link->dead = rc < 0;
    return rc;
}

int wire_link_next(struct wire_link *link, struct wire_message *message, struct err *err)
{
    int rc = is_dead(link, EBADMSG, err);
    if (rc < 0)
        return rc;
    link_queue_eat(&link->in, link->taken_bytes);
    link->taken_bytes = 0;
    rc = wire_decode(link_queue_front(&link->in), link_queue_len(&link->in), message, err);
    link->dead = rc < 0;
    if (rc <= 0)
        return rc;
    link->taken_bytes = (size_t)rc;
    return 1;
}

/* ---- to the peer ---- */

static int put_plaintext(struct wire_link *link, const void *bytes, size_t len_bytes, struct err *err)
{
    size_t put = 0;
    if (len_bytes == 0)
        return 0;
    if (!SSL_write_ex(link->ssl, bytes, len_bytes, &put))
        return link_tls_fault(link, err);
    link->key_bytes += put;
    return 0;
}

/* Takes the next key before the present one has protected too much; the peer follows by itself. */
static int rekey(struct wire_link *link, struct err *err)
{
    if (link->key_bytes < LINK_REKEY_BYTES)
        return 0;
    if (!SSL_key_update(link->ssl, SSL_KEY_UPDATE_NOT_REQUESTED))
        return link_tls_fault(link, err);
    link->key_bytes = 0;
    return 0;
}

static int put_frame(struct wire_link *link, const struct wire_bytes *tail, struct err *err)
{
    /* The head and as much of the tail as fills a record go together, the rest is not copied. */
    struct buf *head = &link->scratch;
    size_t free_bytes = head->len_bytes < LINK_RECORD_BYTES ? LINK_RECORD_BYTES - head->len_bytes : 0;
    size_t joined = tail->len_bytes < free_bytes ? tail->len_bytes : free_bytes;
    buf_put(head, tail->at, joined);
    if (head->error)
        return err_set(err, ENOMEM, "there is no memory for a message");
    ERR_clear_error();
    int rc = rekey(link, err);
    if (rc == 0)
        rc = put_plaintext(link, head->bytes, head->len_bytes, err);
    if (rc == 0 && joined < tail->len_bytes)
        rc = put_plaintext(link, tail->at + joined, tail->len_bytes - joined, err);
    return rc;
}

int wire_link_send(struct wire_link *link, const struct wire_message *message, struct err *err)
{
    if (link->dead || !link->up)
        return err_set(err, ENOTCONN, "a %s message cannot be sent: the connection %s",
                       wire_type_name(message->type), link->dead ? "has failed" : "is not up yet");
    struct wire_bytes tail = {0};
    link->scratch.len_bytes = 0;
    int rc = wire_encode_head(message, &link->scratch, &tail);
    if (rc < 0)
        return err_sys(err, -rc, "a %s message cannot be made", wire_type_name(message->type));
    rc = put_frame(link, &tail, err);
    link->dead = rc < 0;
    return rc;
}

size_t wire_link_output(struct wire_link *link, const uint8_t **bytes)
{
    *bytes = link_queue_front(&link->out);
    return link_queue_len(&link->out);
}

void wire_link_sent(struct wire_link *link, size_t n_bytes)
{
    link_queue_eat(&link->out, n_bytes);
}

void wire_link_take(struct wire_link *link, struct buf *bytes)
{
    link_queue_swap(&link->out, bytes);
}

/* ---- what is known of the other end ---- */

bool wire_link_is_up(const struct wire_link *link)
{
    return link->up && !link->dead;
}

const char *wire_link_peer(const struct wire_link *link)
{
    return link->peer;
}

int wire_link_peer_key(const struct wire_link *link)
{
    return link->peer_key;
}

const char *wire_link_claimed(const struct wire_link *link)
{
    return link->claimed;
}
