/* What went wrong below, said so that the reader knows which side it was and what to do. */
#include "link_parts.h"

#include <openssl/err.h>

#define ALERT_NONE (-1)

/* The alert that the peer sent (RFC 8446 6.2), when that is what ended it: OpenSSL adds 1000 to its number.
 */
static int alert_of(unsigned long code)
{
    int reason = ERR_GET_REASON(code);
    bool alert = ERR_GET_LIB(code) == ERR_LIB_SSL && reason >= SSL_AD_REASON_OFFSET &&
                 reason < SSL_AD_REASON_OFFSET + 256;
    return alert ? reason - SSL_AD_REASON_OFFSET : ALERT_NONE;
}

static const char *words_of(unsigned long code)
{
    const char *words = ERR_reason_error_string(code);
    return words ? words : "no reason given";
}

static int controller_fault(const struct wire_link *link, unsigned long code, struct err *err)
{
    switch (link->key_fault) {
    case LINK_KEY_UNKNOWN_ID:
        return err_set(
            err, EPROTO,
            "a peer claims the slot id '%s', which no slot has: if it is a blade, give its agent the "
            "key file of a slot that exists (blades/<slot>/key)",
            link->claimed);
    case LINK_KEY_WRONG:
        return err_set(err, EPROTO,
                       "a peer claims the slot id %s, but the key that it offers is not this slot's: copy "
                       "blades/<slot>/key to the blade again",
                       link->claimed);
    case LINK_KEY_NONE:
        return err_set(err, EPROTO, "a peer that offers no slot's key tried to connect (%s)", words_of(code));
    default:
        break;
    }
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_BINDER_DOES_NOT_VERIFY)
        return err_set(
            err, EPROTO,
            "a peer claims the slot id %s and names its key, but does not have it: nothing was let in",
            link->claimed);
    if (alert_of(code) != ALERT_NONE)
        return err_set(err, EPROTO, "the agent of slot id %s ended the TLS handshake (%s)", link->claimed,
                       words_of(code));
    return err_set(err, EPROTO, "the TLS handshake with the agent of slot id %s failed here (%s)",
                   link->claimed, words_of(code));
}

static int agent_fault(const struct wire_link *link, unsigned long code, struct err *err)
{
    switch (alert_of(code)) {
    case SSL_AD_HANDSHAKE_FAILURE:
    case SSL_AD_DECRYPT_ERROR:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_ILLEGAL_PARAMETER:
    case SSL_AD_UNKNOWN_PSK_IDENTITY:
        return err_set(
            err, EPROTO,
            "the controller refused the key of slot id %s: read blades/<slot>/key again and put it "
            "into this agent's key file",
            link->key.id);
    case ALERT_NONE:
        return err_set(err, EPROTO,
                       "what answers there is no bladefs controller that knows the key of slot id %s (%s): "
                       "check the host and the port that the agent was given",
                       link->key.id, words_of(code));
    default:
        return err_set(
            err, EPROTO,
            "the controller ended the TLS handshake (%s): check that both programs are of the same "
            "or neighbouring releases",
            words_of(code));
    }
}

int link_tls_fault(struct wire_link *link, struct err *err)
{
    unsigned long code = ERR_peek_error();
    int rc;
    if (link->no_memory || ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE)
        rc = err_set(err, ENOMEM, "there is no memory for a connection");
    else if (link->flooded)
        rc = err_set(err, EPROTO, "the peer sent more than %d bytes without finishing the TLS handshake",
                     LINK_HANDSHAKE_MAX_BYTES);
    else if (link->up)
        rc = err_set(err, EPROTO,
                     alert_of(code) == ALERT_NONE
                         ? "what came from the %s was damaged or tampered with on its way (%s)"
                         : "the %s ended the connection (%s)",
                     link->find ? "agent" : "controller", words_of(code));
    else
        rc = link->find ? controller_fault(link, code, err) : agent_fault(link, code, err);
    ERR_clear_error();
    return rc;
}
