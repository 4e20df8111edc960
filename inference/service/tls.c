/* The files are read, checked and kept parsed; every handshake gets copies, which GnuTLS frees. So a
 * handshake under way never sees a certificate go. */
#include "inference/service/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"

enum { CHAIN_MAX = 16 };

struct identity {
    gnutls_x509_crt_t chain[CHAIN_MAX];
    unsigned n_chain;
    gnutls_x509_privkey_t key;
    struct timespec changed[2]; /* of the files, when they were read */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct identity current;
static const char *paths[2]; /* certificate, key */

static void identity_free(struct identity *id)
{
    for (unsigned i = 0; i < id->n_chain; i++) gnutls_x509_crt_deinit(id->chain[i]);
    if (id->key) gnutls_x509_privkey_deinit(id->key);
    *id = (struct identity){0};
}

static status pem_read(buffer *out, struct timespec *changed, int which, error *err)
{
    struct stat st;
    const char *path = paths[which];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        int reason = errno;
        if (fd >= 0) close(fd);
        return fail(err, ERR_IO, "%s: %s", path, strerror(reason));
    }
    *changed = st.st_mtim;
    status s = OK;
    if (which == 1 && (st.st_mode & 007) != 0)
        s = fail(err, ERR_IO, "%s: found mode %04o: everybody could use this private key", path,
                 (unsigned)(st.st_mode & 07777));
    if (s == OK) s = stream_read(out, fd, TLS_PEM_MAX, err);
    close(fd);
    return s;
}

static gnutls_datum_t datum_of(const buffer *b)
{
    return (gnutls_datum_t){(unsigned char *)b->bytes, (unsigned)b->size};
}

static status parse(struct identity *id, const buffer *certificate, const buffer *key, error *err)
{
    gnutls_datum_t chain = datum_of(certificate), secret = datum_of(key);
    unsigned n = CHAIN_MAX;
    int code = gnutls_x509_crt_list_import(id->chain, &n, &chain, GNUTLS_X509_FMT_PEM,
                                           GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);
    if (code < 1)
        return fail(err, ERR_FORMAT, "%s: found no certificate chain in PEM: %s", paths[0],
                    gnutls_strerror(code));
    id->n_chain = (unsigned)code;
    code = gnutls_x509_privkey_init(&id->key);
    if (code == 0)
        code = gnutls_x509_privkey_import2(id->key, &secret, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (code != 0)
        return fail(err, ERR_FORMAT, "%s: found no private key in PEM: %s", paths[1],
                    gnutls_strerror(code));
    return OK;
}

static status pair_check(const struct identity *id, error *err)
{
    unsigned char certificate_id[64], key_id[64];
    size_t certificate_size = sizeof certificate_id, key_size = sizeof key_id;
    time_t until = gnutls_x509_crt_get_expiration_time(id->chain[0]);
    if (gnutls_x509_crt_get_key_id(id->chain[0], 0, certificate_id, &certificate_size) != 0 ||
        gnutls_x509_privkey_get_key_id(id->key, 0, key_id, &key_size) != 0 ||
        certificate_size != key_size || memcmp(certificate_id, key_id, key_size) != 0)
        return fail(err, ERR_FORMAT, "%s: it is not the key of the certificate in %s", paths[1],
                    paths[0]);
    if (until == (time_t)-1 || until <= time(NULL))
        return fail(err, ERR_FORMAT, "%s: the certificate has expired", paths[0]);
    return OK;
}

static status identity_read(struct identity *id, error *err)
{
    buffer certificate = {0}, key = {0};
    *id = (struct identity){0};
    status s = pem_read(&certificate, &id->changed[0], 0, err);
    if (s == OK) s = pem_read(&key, &id->changed[1], 1, err);
    if (s == OK) s = parse(id, &certificate, &key, err);
    if (s == OK) s = pair_check(id, err);
    if (s != OK) identity_free(id);
    if (key.bytes) explicit_bzero(key.bytes, key.size);
    buffer_free(&key);
    buffer_free(&certificate);
    return s;
}

status tls_open(const char *certificate_path, const char *key_path, error *err)
{
    paths[0] = certificate_path;
    paths[1] = key_path;
    return identity_read(&current, err);
}

static bool is_same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Called by the watching thread alone, so only it writes `current`. A file that is away is being
 * replaced. */
void tls_refresh(void)
{
    struct identity next;
    struct stat st[2];
    error err;
    if (!paths[0] || stat(paths[0], &st[0]) != 0 || stat(paths[1], &st[1]) != 0) return;
    if (is_same_time(st[0].st_mtim, current.changed[0]) &&
        is_same_time(st[1].st_mtim, current.changed[1]))
        return;
    status s = identity_read(&next, &err);
    pthread_mutex_lock(&mutex);
    struct identity old = current;
    if (s == OK) current = next;
    /* What is broken is not read again until it changes again. */
    current.changed[0] = st[0].st_mtim;
    current.changed[1] = st[1].st_mtim;
    pthread_mutex_unlock(&mutex);
    if (s == OK) identity_free(&old);
    log_line(s == OK ? LOG_INFO : LOG_ERROR, "serve: %s",
             s == OK ? "the certificate was renewed" : err.message);
}

bool tls_covers(text host)
{
    char name[256];
    if (host.size == 0 || host.size >= sizeof name) return false;
    memcpy(name, host.bytes, host.size);
    name[host.size] = 0;
    pthread_mutex_lock(&mutex);
    bool covers = current.n_chain && gnutls_x509_crt_check_hostname(current.chain[0], name) != 0;
    pthread_mutex_unlock(&mutex);
    return covers;
}

/* Copies of the identity, in memory that GnuTLS may free. */
static int identity_copy(gnutls_pcert_st **certificates, unsigned *n, gnutls_privkey_t *key)
{
    gnutls_pcert_st *chain = gnutls_calloc(current.n_chain, sizeof *chain);
    int code = chain ? 0 : GNUTLS_E_MEMORY_ERROR;
    *n = 0;
    while (code == 0 && *n < current.n_chain) {
        code = gnutls_pcert_import_x509(&chain[*n], current.chain[*n], 0);
        if (code == 0) ++*n;
    }
    if (code == 0) code = gnutls_privkey_init(key);
    if (code == 0) {
        code = gnutls_privkey_import_x509(*key, current.key, GNUTLS_PRIVKEY_IMPORT_COPY);
        if (code != 0) gnutls_privkey_deinit(*key);
    }
    if (code == 0) {
        *certificates = chain;
        return 0;
    }
    for (unsigned i = 0; i < *n; i++) gnutls_pcert_deinit(&chain[i]);
    gnutls_free(chain);
    return code;
}

int tls_certificate(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
                    gnutls_pcert_st **certs, unsigned *certs_length, gnutls_ocsp_data_st **ocsp,
                    unsigned *ocsp_length, gnutls_privkey_t *privkey, unsigned *flags)
{
    (void)session, (void)info;
    *ocsp = NULL;
    *ocsp_length = 0;
    *flags = GNUTLS_CERT_RETR_DEINIT_ALL;
    pthread_mutex_lock(&mutex);
    int code = identity_copy(certs, certs_length, privkey);
    pthread_mutex_unlock(&mutex);
    return code;
}
