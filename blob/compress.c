/* zstd (RFC 8878), one frame a chunk, no dictionary, no checksum of its own: the record has one. */
#include "compress.h"

#include <pthread.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

struct blob_compressor {
    ZSTD_CCtx *context;
    uint8_t scratch[BLOB_RECORD_MAX_BYTES];
};

int blob_compressor_new(int level, struct blob_compressor **out)
{
    struct blob_compressor *c = malloc(sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->context = ZSTD_createCCtx();
    if (!c->context) {
        free(c);
        return -ENOMEM;
    }
    if (ZSTD_isError(ZSTD_CCtx_setParameter(c->context, ZSTD_c_compressionLevel, level))) {
        blob_compressor_free(c);
        return -EINVAL;
    }
    *out = c;
    return 0;
}

void blob_compressor_free(struct blob_compressor *c)
{
    if (!c)
        return;
    ZSTD_freeCCtx(c->context);
    free(c);
}

uint8_t *blob_compressor_scratch(struct blob_compressor *c)
{
    return c->scratch;
}

int blob_compress(struct blob_compressor *c, const void *raw, uint32_t raw_bytes, uint8_t *out)
{
    /* zstd gives up by itself when the room is too small, which is how it learns what is enough. */
    uint32_t enough = raw_bytes - raw_bytes / 32 - 1;
    size_t n = ZSTD_compress2(c->context, out, enough, raw, raw_bytes);
    if (!ZSTD_isError(n))
        return (int)n;
    switch (ZSTD_getErrorCode(n)) {
    case ZSTD_error_dstSize_tooSmall:
        return 0;
    case ZSTD_error_memory_allocation:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

/* A decompression context is 160 KB and worth keeping: one a thread, freed when the thread ends. */
static pthread_key_t expander_key;
static int expander_error;
static pthread_once_t expander_once = PTHREAD_ONCE_INIT;

static void expander_free(void *context)
{
    ZSTD_freeDCtx(context);
}

static void expander_init(void)
{
    expander_error = pthread_key_create(&expander_key, expander_free);
}

static ZSTD_DCtx *expander(void)
{
    pthread_once(&expander_once, expander_init);
    if (expander_error)
        return NULL;
    ZSTD_DCtx *context = pthread_getspecific(expander_key);
    if (context)
        return context;
    context = ZSTD_createDCtx();
    if (context && pthread_setspecific(expander_key, context) != 0) {
        ZSTD_freeDCtx(context);
        return NULL;
    }
    return context;
}

int blob_expand(enum blob_codec codec, const void *payload, uint32_t stored_bytes, void *raw,
                uint32_t raw_bytes)
{
    if (raw_bytes == 0 || raw_bytes > BLOB_CHUNK_MAX_BYTES || stored_bytes == 0 || stored_bytes > raw_bytes)
        return -EBADMSG;
    if (codec == BLOB_CODEC_RAW) {
        if (stored_bytes != raw_bytes)
            return -EBADMSG;
        memcpy(raw, payload, raw_bytes);
        return 0;
    }
    if (codec != BLOB_CODEC_ZSTD)
        return -EBADMSG;

    ZSTD_DCtx *context = expander();
    if (!context)
        return -ENOMEM;
    /* All in one call: zstd writes into `raw` alone and needs no window that the frame could ask for. */
    size_t n = ZSTD_decompressDCtx(context, raw, raw_bytes, payload, stored_bytes);
    return !ZSTD_isError(n) && n == raw_bytes ? 0 : -EBADMSG;
}
