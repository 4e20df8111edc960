// A checkpoint small enough for a test: random weights from a seed, the first ranks of cl100k, and
// control ids behind them, with ids between that stand for nothing.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { build, load } from './modules.js';

const RANKS = 1000;

export const tiny = {
    ranks: RANKS,
    vocabularySize: 1056,
    maxModelLen: 4096,
    specials: { endoftext: 1001, fim_prefix: 1002, im_start: 1022, im_end: 1023 },
    deadId: 1010,
};

/** The first n ranks of cl100k in tiktoken's text form. */
function rankList(n) {
    // npm's form: "! FIRST_RANK TOKEN TOKEN ..." by lines, tokens in base64.
    const lines = load('tiktoken/encoders/cl100k_base.json').bpe_ranks.split('\n');
    const tokens = lines.filter(Boolean).flatMap((line) => line.split(' ').slice(2));
    return tokens.slice(0, n).map((token, rank) => `${token} ${rank}\n`).join('');
}

/** Writes the model into `directory`; `demo` as in config.json's dbrx_ls object; more layers and
 *  width where its answers must take their time; endless: no id ends them; flags: more of
 *  make_checkpoint's. */
export function makeTinyModel(directory,
    { demo = false, seed = 7, layers = 2, width = 64, endless = false,
        flags: more = [] } = {}) {
    const flags = ['--out', directory, '--d-model', `${width}`, '--n-heads', '4', '--kv-n-heads', '2',
        '--n-layers', `${layers}`, '--ffn', `${width}`, '--experts', '4', '--top-k', '2',
        '--vocab', `${tiny.vocabularySize}`, '--max-seq-len', `${tiny.maxModelLen}`,
        '--seed', `${seed}`];
    if (demo) flags.push('--demo');
    flags.push(...more.map(String));
    execFileSync(path.join(build, 'tools/make_checkpoint'), flags, { stdio: 'ignore' });
    const decoder = Object.entries(tiny.specials)
        .filter(([name]) => !endless || !['endoftext', 'im_end'].includes(name))
        .map(([name, id]) => [id, { content: `<|${name}|>`, special: true }]);
    fs.writeFileSync(path.join(directory, 'cl100k_first.tiktoken'), rankList(RANKS));
    fs.writeFileSync(path.join(directory, 'tokenizer_config.json'),
        JSON.stringify({ added_tokens_decoder: Object.fromEntries(decoder) }));
    return directory;
}
