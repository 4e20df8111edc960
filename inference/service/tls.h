/* TLS: one certificate and its key, for as long as the process lives, renewed when the files are.
 *
 * libmicrohttpd speaks TLS through GnuTLS; this module only hands it the certificate of the moment,
 * so that a renewed one needs no restart. One identity per process, because GnuTLS's callback takes
 * no context. Any thread. */
#ifndef INFERENCE_SERVICE_TLS_H
#define INFERENCE_SERVICE_TLS_H

#include <gnutls/abstract.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/text.h"

/* 1.2 and 1.3, GnuTLS's own choice of the rest. */
#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE"

/* PEM files: the certificate with its chain, and its key. ERR_IO, ERR_FORMAT: what is wrong with
 * which (unreadable, key of another certificate, expired, readable by everybody). The strings must
 * outlive the process's last connection. */
status tls_open(const char *certificate_path, const char *key_path, error *err);

/* Takes changed files; with a fault in them the old ones stay, and the log says so. */
void tls_refresh(void);

/* Whether the certificate is for this host name or address. */
bool tls_covers(text host);

/* What libmicrohttpd's MHD_OPTION_HTTPS_CERT_CALLBACK2 wants. */
gnutls_certificate_retrieve_function3 tls_certificate;

#endif
