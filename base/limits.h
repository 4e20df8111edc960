/* Every bound of the program, with its reason. A bound that is reached gives ERR_LIMIT or the
 * behaviour named here, never a crash. */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* safetensors: the reference implementation's own limit on the JSON header. */
#define SAFETENSORS_HEADER_MAX ((size_t)100000000)
/* config.json, tokenizer_config.json, index.json: a real index of DBRX's 323 tensors has 40 KiB. */
#define MODEL_JSON_MAX (64 * MIB)
/* tokenizer.json of cl100k is 4 MiB, pretty-printed 7 MiB. */
#define TOKENIZER_FILE_MAX (64 * MIB)
/* Rows of the embedding: ten times DBRX's vocabulary, so that ids fit comfortably in int32. */
#define VOCABULARY_MAX 1048576
/* One token's bytes: cl100k's longest has 128; a rank list with longer ones is not of this kind. */
#define TOKEN_BYTES_MAX 1024
/* Text given to one tokenizer call: bounds the memory of stdin. */
#define TOKENIZE_INPUT_MAX (1 * GIB)

/* Model shape: engine.h's contract, generous enough for DBRX (40 layers, d_model 6144). */
#define LAYERS_MAX          256
#define EXPERTS_MAX         64
#define TOP_K_MAX           8
#define D_MODEL_MAX         65536
#define SEQUENCE_TOKENS_MAX 131072

/* LSP frames: a header is a few dozen bytes; 64 MiB holds the largest document with JSON escapes. */
#define LSP_HEADER_MAX  (8 * KIB)
#define LSP_MESSAGE_MAX (64 * MIB)
#define JSON_DEPTH_MAX  128
/* A larger Content-Length is junk, not a message worth draining: no editor holds such a document. */
#define LSP_DRAIN_MAX GIB
/* Of a drained message this much is kept, to find out which document and request it was about. */
#define LSP_DRAIN_KEPT_MAX (64 * KIB)
/* Unread output at which stdin is no longer read: a client that does not read stops us, not grows
 * us. Notifications that can be repeated are held back long before. */
#define LSP_OUTPUT_MAX      (16 * MIB)
#define LSP_OUTPUT_IDLE_MAX (256 * KIB)
/* Completions waiting at once; one more gets its empty list at once. Real editors have one or two. */
#define LSP_PENDING_MAX 256
/* Documents: beyond this size or count they are out of step rather than in memory. 32-bit line
 * offsets rely on the first. */
#define DOCUMENT_TRACK_MAX  (256 * MIB)
#define DOCUMENTS_TOTAL_MAX (2 * GIB)
#define DOCUMENTS_MAX       65536
/* Documents larger than this are tracked (so offsets stay right) but get no model work. */
#define DOCUMENT_MODEL_MAX (16 * MIB)
/* Documents larger than this are not parsed in the front. */
#define DOCUMENT_PARSE_MAX (2 * MIB)
#define PARSE_MAX_US       20000

/* HTTP: a 32k-token prompt as JSON ids is under 300 KiB; 8 MiB leaves room for text prompts. */
#define HTTP_BODY_MAX        (8 * MIB)
#define HTTP_CHOICES_MAX     4
#define HTTP_STOPS_MAX       16
#define HTTP_LOGPROBS_MAX    20
#define HTTP_CONNECTIONS_MAX 256
/* Requests waiting for the engine; one more is answered 503 with Retry-After. */
#define ENGINE_QUEUE_MAX 256
/* An answer of a peer engine: more than any completion; beyond it the stream is cut. */
#define ENGINE_ANSWER_MAX (4 * MIB)

#endif
