/* Every bound of the program, with its reason. A bound that is reached gives ERR_LIMIT or the
 * behaviour named here, never a crash. */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* safetensors: the reference implementation's own limit on the JSON header. */
#define SAFETENSORS_HEADER_MAX ((size_t)100000000)
/* Objects and arrays in one JSON file of a model: three per tensor, and DBRX split by expert would
 * have 2,200 tensors. Bounds the memory that a hostile header of 100 MB can ask for. */
#define MODEL_JSON_CONTAINERS_MAX 1000000
/* Dimensions of a tensor: DBRX's have one or two. */
#define TENSOR_DIMENSIONS_MAX 8
/* Shards of a checkpoint: DBRX ships in 61. Each is one mapping and one descriptor at open. */
#define SHARDS_MAX 4096
/* Values a quantiser's thread holds at once: the longest row a shape allows, 4 MiB as fp32. */
#define QUANTIZE_CHUNK_VALUES ((size_t)16 * D_MODEL_MAX)
/* Its threads: 1.5 GiB of chunks, of the 4 GiB that quantising DBRX may take. */
#define QUANTIZE_THREADS_MAX 256
/* Shards it writes: large enough for few, small enough that little is lost when it is killed. */
#define QUANTIZE_SHARD_BYTES (4 * GIB)
/* Statistics of a calibration: DBRX's have 45 MB. */
#define CALIBRATION_BYTES_MAX GIB
/* config.json, tokenizer_config.json, index.json: a real index of DBRX's 323 tensors has 40 KiB. */
#define MODEL_JSON_MAX (64 * MIB)
/* tokenizer.json of cl100k is 4 MiB, pretty-printed 7 MiB. */
#define TOKENIZER_FILE_MAX (64 * MIB)
/* Rows of the embedding: ten times DBRX's vocabulary, so that ids fit comfortably in int32. */
#define VOCABULARY_MAX 1048576
/* One token's bytes: cl100k's longest has 128; a rank list with longer ones is not of this kind. */
#define TOKEN_BYTES_MAX 1024
/* Special tokens a model may name: DBRX leaves 96 rows for them. */
#define ADDED_TOKENS_MAX 1024
/* Text given to one run of tokenize: one piece without a break takes 32 bytes of memory a byte. */
#define TOKENIZE_INPUT_MAX (256 * MIB)

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
/* One window's record for `dbrx-ls replay`: weeks of typing. */
#define TRACE_BYTES_MAX GIB
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
/* Parses of open documents go on between messages, a little at a time; 2 MiB of C take 0.3 s in all,
 * and what takes longer than this is hostile. */
#define LIVE_PARSE_STEP_US 2000
#define LIVE_PARSE_MAX_US  2000000
/* Text of all open documents that have a tree, which is some ten times as large; the documents that
 * were looked at longest ago lose theirs. */
#define LIVE_PARSE_BYTES_MAX (8 * MIB)

/* Prompts. Ids kept per document so that a keystroke encodes one line: 4 MiB hold some 40,000 lines,
 * more than the largest prompt window. */
#define UNIT_CACHE_MAX (4 * MIB)
/* A line (with the blank lines below it) longer than this is no source to learn from: the window
 * ends there instead of encoding megabytes per keystroke. */
#define UNIT_BYTES_MAX (16 * KIB)
/* What prompt.suffix and post-processing look at behind the gap. */
#define SUFFIX_BYTES_MAX (4 * KIB)
/* A completion's answer: ten times the longest one asked for; the rest is not read. */
#define TRIM_ANSWER_MAX (256 * KIB)
/* An answer of a task: 30,000 tokens of the longest context it can be asked in; the rest is not read. */
#define TASK_ANSWER_MAX (256 * KIB)
/* Brackets are matched this far on both sides of the gap: 1 ms of scanning. */
#define TRIM_SCAN_MAX (512 * KIB)

/* A document that nobody keeps a tree of is parsed for each answer, if it is no larger: 20 ms. */
#define TRIM_PARSE_MAX (192 * KIB)

/* Patterns of files that the user excludes. */
#define GLOBS_MAX (16 * KIB)

/* The index. A larger file is data or generated; one that takes longer to parse is hostile. */
#define INDEX_FILE_MAX (2 * MIB)
#define TAGS_MAX_US    500000
/* Definitions, occurrences and imports of one file, each: 2 MiB of "a b c" has a million words. */
#define TAGS_MAX ((size_t)1000000)
/* Matches under way in one query: a pattern of ours has no two open ends. */
#define TAGS_PENDING_MAX 256
/* A longer identifier is generated; a longer head of a definition tells nobody more. */
#define TAG_NAME_MAX      128
#define TAG_SIGNATURE_MAX 256
/* A line of source longer than this, on average or once, is minified or data. */
#define INDEX_LINE_MEAN_MAX 400
#define INDEX_LINE_MAX      (32 * KIB)
/* Files in one repository: ten times the Linux kernel's. At 200 bytes each, 200 MB. */
#define REPOSITORY_FILES_MAX 1000000
/* Directories within each other; each costs a descriptor while it is walked. */
#define REPOSITORY_DEPTH_MAX 128
/* A .gitattributes that is larger is not read for whether it speaks of ours: it is taken to. */
#define ATTRIBUTES_READ_MAX (1 * MIB)
/* The database; SQLite itself keeps to it. Below the floor, its size is not worth a thought. It may be as
 * large as the source, of which a file counts so much at least: its path, id and stamp alone take 290
 * bytes. What contents say has seven eighths: into the rest a million paths fit. */
#define INDEX_DATABASE_MAX   (4 * GIB)
#define INDEX_DATABASE_FLOOR (64 * MIB)
/* The same where contents that no file has would be the reason: they slow questions down. */
#define INDEX_UNUSED_FLOOR (4 * MIB)
#define INDEX_SOURCE_MIN   KIB
/* Threads that parse: more would outrun the one that writes. */
#define INDEX_THREADS_MAX 8
/* One transaction: long enough that pages many files write to are written once (in fifths of a second
 * twice as many bytes were written as in whole ones), short enough that others can write between and
 * that little is lost with a kill. */
#define INDEX_BATCH_FILES 4096
#define INDEX_BATCH_US    3000000
/* Pages of the database that a writer keeps, and what it writes to the journal before that is moved into
 * the file: the indexes of names are written at random, page after page, and each page once per move. */
#define INDEX_CACHE_BYTES   (128 * MIB)
#define INDEX_JOURNAL_BYTES (64 * MIB)
/* How long a writer waits for another one's transaction. */
#define INDEX_BUSY_MS 10000
/* Counted outcomes: 300 bytes every five minutes of work; two such files are years. */
#define STATISTICS_FILE_MAX MIB
/* Memory of a process that indexes, above what it has at its start. */
#define INDEX_MEMORY_MAX GIB

/* A diff: more files are a rename of the tree or generated, and a list nobody reads; patches beyond
 * these bytes fit no prompt, of one file or of all; renames by content cost the product of two lists. */
#define DIFF_FILES_MAX   10000
#define DIFF_PATCH_MAX   (256 * KIB)
#define DIFF_BYTES_MAX   (8 * MIB)
#define DIFF_RENAMES_MAX 200
/* Commits looked at, from HEAD back: half a year of a busy repository. */
#define HISTORY_COMMITS_MAX 2000
/* A commit that touches more files is a renaming or a merge of worlds: no two of them belong together. */
#define HISTORY_TOUCHED_MAX 30
/* The repository map: lines kept (some 6,000 tokens, a fifth of the largest prompt), and of one file;
 * definitions of one name that still say something; edges held in memory at 8 bytes each. */
#define MAP_LINES_MAX    300
#define MAP_FILE_LINES   10
#define MAP_DEFINERS_MAX 8
#define MAP_EDGES_MAX    ((size_t)32 * 1000 * 1000)
/* commit.template: a page of advice has 2 KiB. */
#define COMMIT_TEMPLATE_MAX ((int)(64 * KIB))

/* Typing sessions of the bench: a day of five keys a second, in files as INDEX_FILE_MAX has them. */
#define TYPING_STEPS_MAX     432000
#define TYPING_DOCUMENTS_MAX 256
#define TYPING_FILE_MAX      (256 * MIB)

/* HTTP: a 32k-token prompt as JSON ids is under 300 KiB; 8 MiB leaves room for text prompts. */
#define HTTP_BODY_MAX        (8 * MIB)
#define HTTP_CHOICES_MAX     4
#define HTTP_STOPS_MAX       16
#define HTTP_LOGPROBS_MAX    20
#define HTTP_CONNECTIONS_MAX 256
/* JSON values of one body: four prompts of SEQUENCE_TOKENS_MAX ids fit; at jansson's 100 bytes a
 * value the parsed form stays near 100 MB. */
#define HTTP_JSON_VALUES_MAX 1000000
/* Of them, those of one access key: twenty editor windows. And those of one address that have not
 * shown a key yet: what a stranger can hold. */
#define HTTP_CONNECTIONS_KEY_MAX     64
#define HTTP_CONNECTIONS_STRANGE_MAX 64
/* From the connection, or the reply before, to the end of a request's headers; and of its body: 8 MiB
 * at 150 KB/s. Slower ones hold a place for nothing. */
#define HTTP_HEADER_FIRST_US ((int64_t)10 * 1000000)
#define HTTP_HEADER_US       ((int64_t)60 * 1000000)
#define HTTP_BODY_US         ((int64_t)60 * 1000000)
/* Answers of one access key under way: three quarters of the engine's places, so that others find one. */
#define HTTP_REQUESTS_KEY_MAX 48
/* Access keys of one engine; each is hashed for every request that shows one, 1.5 us each. */
#define KEYS_MAX      1024
#define KEY_NAME_MAX  64
#define KEYS_FILE_MAX (1 * MIB)
/* PEM files: a chain of four certificates is 8 KiB. */
#define TLS_PEM_MAX (1 * MIB)
/* A connection that says nothing for this long is closed; streams say something every 10 s. */
#define HTTP_TIMEOUT_S 60
/* Bytes an output can be made to begin with: the tail a prompt was rolled back by is a word or a run
 * of spaces; each costs one pass over binary searches per token. */
#define MUST_START_MAX (4 * KIB)
/* Requests waiting for the engine; one more is answered 503 with Retry-After. */
#define ENGINE_QUEUE_MAX 256
/* Of them, of one owner: half, so that nobody shuts the others out. */
#define ENGINE_QUEUE_OWNER_MAX 128
/* Sequences that share one step: beyond it a step's decode rows cost more than a second step. */
#define ENGINE_SEQUENCES_MAX 64
/* Pinned pages of the prefix cache: one of so many. What is pinned is had by nobody else. */
#define PREFIX_PINNED_SHARE 4
/* Pages that end shallower in their prompt, and were never found again, are not worth host memory:
 * so few tokens are computed again in one short step. */
#define PREFIX_SPILL_TOKENS_MIN 256
/* Rows of one step at most: a larger slice of prefill gains nothing and delays everybody. */
#define ENGINE_ROWS_MAX 8192
/* Output a reader leaves lying: a full context is 128 KiB of text; beyond it the request ends. */
#define ENGINE_UNREAD_MAX (4 * MIB)
/* Rows of drafts in one step: one stream's longest draft with some to spare, or eight streams' short
 * ones. Each is a row of logits, 400 KB at DBRX's vocabulary. */
#define ENGINE_DRAFT_ROWS_MAX 64
/* Tokens of one sequence's draft: beyond it even a copy gains nothing on a step that reads all
 * experts anyway. */
#define DRAFT_TOKENS_MAX 48
/* Ids of one request whose probability behind its output is asked for: a label, a line or two. */
#define SCORE_TOKENS_MAX 256
/* Ids that may not come first: all control tokens and a line's worth of blanks. */
#define FORBID_FIRST_MAX 1024
/* Stop strings of one request, and the bytes of one: what might become one is held back. */
#define STOPS_MAX      64
#define STOP_BYTES_MAX 4096
/* An answer of a peer engine: more than any completion; beyond it the stream is cut. */
#define ENGINE_ANSWER_MAX (4 * MIB)

/* Headers of a peer's answer: a handful of lines; curl itself has no bound on their sum. */
#define HTTP_ANSWER_HEADER_MAX (64 * KIB)
/* A handshake, a model list, an error object of a peer. */
#define ENGINE_JSON_MAX (1 * MIB)
/* One event of a peer's stream: a token's text with its object around it is under 1 KiB. */
#define SSE_EVENT_MAX (256 * KIB)
/* Calls of one front under way at an engine: a window has a few; more means a loop of ours. */
#define ENGINE_CALLS_MAX 64
/* Tokenizers a front keeps open: an engine that changes its own more often is out of order. */
#define TOKENIZERS_OPEN_MAX 8
/* Tokenizers kept in the cache directory, 1.7 MB each; the oldest go first. */
#define TOKENIZERS_CACHED_MAX 8
/* Explanations kept there for editors that open files only; half a megabyte each at most. */
#define EXPLANATIONS_CACHED_MAX 32
/* The local engine's log is moved aside when larger. */
#define ENGINE_LOG_MAX (1 * MIB)

#endif
