// DBRX's vocabulary as another implementation has it: cl100k ranks from npm's tiktoken and the
// model's own control ids. Control tokens are spelt out when decoding, never read when encoding.
import { createHash } from 'node:crypto';
import { load } from './modules.js';

export const specials = {
    endoftext: 100257,
    fim_prefix: 100258,
    fim_middle: 100259,
    fim_suffix: 100260,
    endofprompt: 100276,
    pad: 100277,
    im_start: 100278,
    im_end: 100279,
};
export const vocabularySize = 100352;

let cached;

function coder() {
    if (cached) return cached;
    const { Tiktoken } = load('tiktoken/lite');
    const cl100k = load('tiktoken/encoders/cl100k_base.json');
    const named = Object.fromEntries(
        Object.entries(specials).map(([name, id]) => [`<|${name}|>`, id]),
    );
    cached = new Tiktoken(cl100k.bpe_ranks, named, cl100k.pat_str);
    return cached;
}

export function encode(text) {
    return Array.from(coder().encode(text, [], []));
}

/** The bytes of ids; throws a RangeError for an id that stands for nothing. */
export function decodeBytes(ids) {
    const known = new Set(Object.values(specials));
    for (const id of ids) {
        if (!Number.isInteger(id) || id < 0 || (id > 100255 && !known.has(id)))
            throw new RangeError(`token id ${id} stands for nothing`);
    }
    return Buffer.from(coder().decode(Uint32Array.from(ids)));
}

export function decode(ids) {
    return decodeBytes(ids).toString('utf8');
}

let list;

/** The rank list in tiktoken's text form, as GET /v1/dbrx/tokenizer serves it, and its hash. */
export function rankList() {
    if (list) return list;
    const lines = [];
    for (const part of load('tiktoken/encoders/cl100k_base.json').bpe_ranks.split('\n')) {
        const [, first, ...tokens] = part.split(' '); // "! FIRST_RANK TOKEN TOKEN ..."
        tokens.forEach((token, i) => {
            lines[Number(first) + i] = `${token} ${Number(first) + i}\n`;
        });
    }
    const text = lines.join('');
    list = { text, sha256: createHash('sha256').update(text).digest('hex') };
    return list;
}
