// MB/s of bench_tokenizer and of npm's tiktoken over the same file, taken in turns since the machine's
// speed drifts: node tests/tools/bench_tokenizer.mjs FILE [BUILD]
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [file, build = 'build'] = process.argv.slice(2);
const require = createRequire(join(process.cwd(), build, 'npm/tests/node_modules/tiktoken/'));
const { get_encoding } = require('tiktoken');
const reference = get_encoding('cl100k_base');
const text = readFileSync(file, 'utf8');
let ours = {}, theirs = 0;
for (let round = 0; round < 5; round++) {
    const begin = performance.now();
    reference.encode(text, [], []);
    theirs = Math.max(theirs, Buffer.byteLength(text) / (performance.now() - begin) / 1000);
    const found = JSON.parse(spawnSync(join(build, 'tools/bench_tokenizer'), [file, '3']).stdout);
    if (found.encode_mb_s > (ours.encode_mb_s ?? 0)) ours = found;
}
console.log(JSON.stringify({ ...ours, tiktoken_mb_s: +theirs.toFixed(2), ratio: +(ours.encode_mb_s / theirs).toFixed(1) }));
