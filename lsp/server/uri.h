/* URIs of documents, and paths as people say them. Any thread; nothing is shared.
 * Source: RFC 3986. */
#ifndef LSP_SERVER_URI_H
#define LSP_SERVER_URI_H

#include "base/text.h"

/* Appends the path of a URI, percent-decoded: "file:///a%20b" gives "/a b", "untitled:x" gives "x".
 * Wrong escapes stay as they are. */
void uri_to_path(buffer *out, text uri);

/* Appends the URI of an absolute path: "/a b" gives "file:///a%20b". */
void uri_of_path(buffer *out, text path);

/* "file" of "file:///w/a.c"; empty when there is none. */
text uri_scheme(text uri);

/* `path` below `folder` ("/w" and "/w/a/b.c" give "a/b.c"); empty when it is not. A view. */
text path_below(text path, text folder);

text path_file_name(text path);

#endif
