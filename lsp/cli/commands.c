/* The table of subcommands, in the order of --help and README. */
#include "lsp/cli/command.h"

#include <stddef.h>

const struct command commands[] = {
    {"serve", command_serve, "run the engine: an OpenAI-compatible service for this machine"},
    {"key", command_key, "access keys of an engine on a TCP port: add, list, revoke"},
    {"complete", command_complete, "complete a place of a file, as an editor would"},
    {"explain", command_explain, "explain lines of a file, in prose"},
    {"refactor", command_refactor, "change lines of a file: a unified diff, nothing is written"},
    {"commit-message", command_commit_message, "a message for what is staged; also as git's hook"},
    {"tokenize", command_tokenize, "token ids of the text on stdin"},
    {"detokenize", command_detokenize, "text of the token ids on stdin"},
    {"logits", command_logits, "print all logits of a text given as token ids"},
    {"quantize", command_quantize, "write a checkpoint with smaller weights"},
    {"compare", command_compare, "how far a quantised model or KV is from its source, on a text"},
    {"prompt", command_prompt, "show what the model would be asked for a completion, a task"},
    {"bench", command_bench, "measure the engine, and a typing session on it"},
    {"doctor", command_doctor, "check settings, model, memory, directories and engine"},
    {"index", command_index, "bring a repository's index up to date; look up a definition"},
    {"stats", command_stats, "what became of completions on this machine"},
    {"replay", command_replay,
     "say a recorded session again, and report what is answered otherwise"},
    {NULL, NULL, NULL},
};
