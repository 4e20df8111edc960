// Writes cl100k.bin, the rank list the program embeds, from npm's tiktoken package:
//
//   node tokenizer/data/make_cl100k.mjs NODE_MODULES/tiktoken/encoders/cl100k_base.json \
//       tokenizer/data/cl100k.bin
//
// Layout (README.md beside this file): "dbrxbpe1", the number of ranks as u32 little-endian, the
// SHA-256 of the list in tiktoken's text form (32 bytes), one length byte per rank, the tokens'
// bytes one after another.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';

const [source, target] = process.argv.slice(2);
const words = JSON.parse(readFileSync(source, 'utf8')).bpe_ranks.trim().split(/\s+/);
// The package's lines are "! FIRST_RANK TOKEN TOKEN ..."; cl100k is one line that begins at 0.
if (words[0] !== '!' || words[1] !== '0' || words.lastIndexOf('!') !== 0)
    throw new Error(`${source}: bpe_ranks: expected one line "! 0 ..."`);
const tokens = words.slice(2);
const bytes = tokens.map((t) => Buffer.from(t, 'base64'));
if (bytes.some((b) => b.length < 1 || b.length > 255)) throw new Error('a token is not 1 to 255 bytes');

const text = tokens.map((t, rank) => `${t} ${rank}\n`).join('');
const head = Buffer.alloc(12);
head.write('dbrxbpe1', 'latin1');
head.writeUInt32LE(tokens.length, 8);
writeFileSync(target, Buffer.concat([
    head, createHash('sha256').update(text).digest(), Buffer.from(bytes.map((b) => b.length)), ...bytes,
]));
