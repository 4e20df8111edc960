// `dbrx-ls complete` and `dbrx-ls doctor` as people and scripts use them.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { program } from './support/modules.js';
import { oracle } from './support/oracle.js';
import { Sandbox } from './support/sandbox.js';
import { startScriptedEngine } from './support/scripted_engine.js';
import { eventually } from './support/service.js';
import { makeTinyModel, tiny } from './support/tiny_model.js';

const TRUTH = `int add(int first, int second)
{
    return first + second;
}

int main(void)
{
    /*\u{1F600}*/ return add(1, 2);
}
`;
const TYPED = TRUTH.replace(' + second;', '').replace('add(1, 2);', '');

let sandbox, model;

before(() => {
    sandbox = new Sandbox();
    model = makeTinyModel(path.join(sandbox.directory, 'tiny'));
    sandbox.write({ 'a.c': TYPED, 'crlf.c': 'int a;\r\nint \r\n', '.env': 'KEY=1\n', 'bad\xe9.c': 'x' });
    fs.symlinkSync('.env', path.join(sandbox.work, 'harmless.c'));
});
after(() => sandbox.close());

/** The program, started in the work directory; `.ended` resolves to what became of it. */
function start(args, env = {}, where = sandbox) {
    const child = spawn(program, args, { cwd: sandbox.work, env: where.env(env) });
    const result = { out: '', err: '' };
    child.stdout.setEncoding('utf8').on('data', (text) => { result.out += text; });
    child.stderr.setEncoding('utf8').on('data', (text) => { result.err += text; });
    child.ended = new Promise((resolve) => {
        child.on('close', (code, signal) => resolve({ ...result, code, signal }));
    });
    return child;
}

const run = (...args) => start(...args).ended;

async function withEngine(options, body) {
    const engine = await startScriptedEngine(options);
    try {
        await body(engine);
    } finally {
        await engine.close();
    }
}

const answering = (lines) => ({ script: oracle({ 'a.c': TRUTH }, { lines }) });

test('complete --json has the fixed shape, and ranges as LSP counts', async () => {
    await withEngine(answering(1), async (engine) => {
        const first = await run(['complete', 'a.c:3:17', '--json', '--endpoint', engine.endpoint]);
        assert.equal(first.code, 0, first.err);
        assert.equal(first.err, '');
        const answer = JSON.parse(first.out);
        assert.deepEqual(Object.keys(answer), ['items', 'ttft_ms', 'tokens', 'tokens_reused']);
        const at = { line: 2, character: 16 };
        assert.deepEqual(answer.items, [{ text: ' + second;', range: { start: at, end: at } }]);
        assert.equal(answer.tokens, engine.requests[0].ids.length);
        assert.equal(answer.tokens_reused, 0);
        assert.ok(answer.ttft_ms > 0);

        // U+1F600 is one character of COL and two UTF-16 units; line 8 up to "return " has 17 characters.
        const other = await run(['complete', 'a.c:8:18', '--json'], { DBRX_ENDPOINT: engine.endpoint });
        const [item] = JSON.parse(other.out).items;
        assert.equal(item.text, 'add(1, 2);');
        assert.deepEqual(item.range.start, { line: 7, character: 18 });
    });
});

test('complete for people: the line, the ghost in it, a line of numbers', async () => {
    await withEngine(answering(1), async (engine) => {
        const { code, out } = await run(['complete', 'a.c:3:17', '--endpoint', engine.endpoint]);
        assert.equal(code, 0);
        const [line, numbers, end] = out.split('\n');
        assert.equal(line, '    return first + second;');
        assert.match(numbers, /^first token [\d.]+ ms, all [\d.]+ ms, \d+ tokens.*; prompt \d+ tokens, 0 reused; /);
        assert.equal(end, '');
    });
});

test('--many asks for more than a line', async () => {
    const truth = 'int sum(int a, int b)\n{\n    int s = 0;\n    s += a;\n    s += b;\n    return s;\n}\n';
    sandbox.write({ 'm.c': truth.replace(/ +s \+= a;[^]*s;\n/, '    \n') });
    await withEngine({ script: oracle({ 'm.c': truth }) }, async (engine) => {
        const ask = async (...more) => {
            const { code, out } = await run(['complete', 'm.c:4:5', '--json', '--endpoint', engine.endpoint, ...more]);
            assert.equal(code, 0);
            return JSON.parse(out).items[0].text;
        };
        assert.equal(await ask(), 's += a;');
        assert.equal(await ask('--many'), 's += a;\n    s += b;\n    return s;');
    });
});

test('nothing to show is no failure, and says why', async () => {
    await withEngine({ script: '```' }, async (engine) => {
        const json = await run(['complete', 'a.c:3:17', '--json', '--endpoint', engine.endpoint]);
        assert.equal(json.code, 0);
        assert.deepEqual(JSON.parse(json.out).items, []);
        assert.match(JSON.parse(json.out).reason, /\w/);
        const human = await run(['complete', 'a.c:3:17', '--endpoint', engine.endpoint]);
        assert.equal(human.code, 0);
        assert.match(human.out, /^ {4}return first\nnothing to show: \S/);
    });
});

test('of a line without end only what is near the cursor is shown', async () => {
    sandbox.write({ 'wide.c': '\u6f22'.repeat(1000000) });
    await withEngine({ script: '```' }, async (engine) => {
        const { code, out } = await run(['complete', 'wide.c:1:500000', '--endpoint', engine.endpoint]);
        assert.equal(code, 0);
        assert.match(out, /^\u6f22{100,300}\n/);
        assert.ok(out.length < 1000);
    });
});

test('escape sequences of an answer do not reach the terminal', async () => {
    await withEngine({ script: ' + "\x1b[31m\u009b";\n```' }, async (engine) => {
        const { out } = await run(['complete', 'a.c:3:17', '--endpoint', engine.endpoint]);
        assert.ok(![...out].some((c) => /[\x00-\x08\x0b-\x1f\x7f-\x9f]/.test(c)), JSON.stringify(out));
    });
});

test('lines end as in editors', async () => {
    await withEngine({ script: 'int b;\n```' }, async (engine) => {
        const { out } = await run(['complete', 'crlf.c:2:99', '--json', '--endpoint', engine.endpoint]);
        for (const item of JSON.parse(out).items)
            assert.deepEqual(item.range.start, { line: 1, character: 4 });
        assert.equal(engine.requests.length, 1);
    });
});

test('the local engine is started, used, and used again', async () => {
    const ask = () => run(['complete', 'a.c:3:17', '--json', '--model', model, '--threads', '1']);
    const first = await ask(), second = await ask();
    assert.equal(first.code, 0, first.err);
    assert.equal(second.code, 0, second.err);
    const [one, two] = [first, second].map((r) => JSON.parse(r.out));
    assert.equal(two.tokens, one.tokens);
    assert.ok(two.tokens_reused > one.tokens / 2, second.out);
    assert.deepEqual(two.items, one.items, 'greedy, and the same whatever was cached');
    assert.ok(sandbox.enginePid());

    const { code, out } = await run(['doctor', '--json', '--model', model]);
    const rows = rowsOf(out);
    assert.equal(code, 0, out);
    assert.equal(rows['engine lock'].value, `held by pid ${sandbox.enginePid()}`);
    assert.equal(rows.engine.value, `ready, model tiny, context ${tiny.maxModelLen}`);

    const other = path.join(sandbox.directory, 'other');
    fs.symlinkSync(sandbox.work, other);
    const differs = rowsOf((await run(['doctor', '--json', '--model', other])).out);
    assert.equal(differs["engine's model"].verdict, 'warn');
    assert.equal(differs["engine's model"].value, 'tiny runs, not work');
});

const failures = [
    ['no place', ['complete'], 2, /expected one FILE:LINE:COL/],
    ['two places', ['complete', 'a.c:1:1', 'a.c:1:2'], 2, /expected one FILE:LINE:COL/],
    ['no numbers', ['complete', 'a.c'], 2, /found "a\.c", expected FILE:LINE:COL/],
    ['no column', ['complete', 'a.c:1'], 2, /found "a\.c:1", expected FILE:LINE:COL/],
    ['from zero', ['complete', 'a.c:0:1'], 2, /both from 1/],
    ['no file name', ['complete', ':1:1'], 2, /expected FILE:LINE:COL/],
    ['a number too large', ['complete', 'a.c:1:99999999999'], 2, /expected FILE:LINE:COL/],
    ['unknown option', ['complete', 'a.c:1:1', '--jsn'], 2, /unknown option --jsn/],
    ['bad timeout', ['complete', 'a.c:1:1', '--timeout', '0'], 2, /--timeout: found 0, expected/],
    ['missing file', ['complete', 'gone.c:1:1'], 1, /gone\.c: No such file/],
    ['a directory', ['complete', '.:1:1'], 1, /\.: .*regular file/],
    ['excluded', ['complete', '.env:1:1'], 1, /\.env never reaches a model: /],
    ['a link to it', ['complete', 'harmless.c:1:1'], 1, /harmless\.c never reaches a model: /],
    ['no such model', ['complete', 'a.c:3:17', '--model', 'nowhere'], 1, /model nowhere: no such directory/],
    ['a model of nothing', ['complete', 'a.c:3:17', '--model', '.'], 1, /could not start: .*config\.json|failed: .*config\.json/],
    ['bad endpoint', ['complete', 'a.c:3:17', '--endpoint', 'nonsense'], 2, /endpoint: expected http/],
    ['nobody there', ['complete', 'a.c:3:17', '--endpoint', 'unix:/nonexistent'], 1, /unix:\/nonexistent: /],
    ['doctor with words', ['doctor', 'now'], 2, /unexpected argument "now"/],
    ['an unknown KV type', ['serve', '--kv-type', 'q8'], 2, /--kv-type: found "q8", expected f32, bf16 or e4m3/],
    ['a size of no unit', ['serve', '--memory', '8Q'], 2, /--memory: found "8Q", expected a size such as 512M/],
    ['a size below nothing', ['serve', '--host-memory', '-1G'], 2, /--host-memory: found "-1G", expected a size/],
];

test('what cannot be done is said in one line', async () => {
    const own = new Sandbox();
    try {
        for (const [name, args, code, message] of failures) {
            const result = await run(args, {}, own);
            assert.equal(result.code, code, `${name}: ${JSON.stringify(result)}`);
            assert.match(result.err, message, name);
            assert.match(result.err, /^dbrx-ls (complete|doctor|serve): [^\n]*\n$/, name);
            assert.equal(result.out, '', name);
        }
    } finally {
        own.close();
    }
});

const engineFailures = [
    ['an error', { script: { status: 500, message: 'scripted 500' } }, [], /scripted 500|HTTP 500/],
    ['a stream that breaks', { script: { text: 'abc'.repeat(100), cutAfterBytes: 10 } }, [], /\S/],
    ['a wrong key', { key: 'secret' }, [], /key/],
    ['no word', { script: { hang: true } }, ['--timeout', '3'], /no whole line within the time allowed/],
    ['a model that never loads', { handshake: { state: 'loading' } }, ['--timeout', '0.5'], /no engine within 0\.5 s: the model is loading/],
];

test('an engine that fails: one line, exit code 1', async () => {
    for (const [name, options, more, message] of engineFailures)
        await withEngine(options, async (engine) => {
            const result = await run(['complete', 'a.c:3:17', '--endpoint', engine.endpoint, ...more]);
            assert.equal(result.code, 1, `${name}: ${JSON.stringify(result)}`);
            assert.match(result.err, message, name);
            assert.match(result.err, /^dbrx-ls complete: [^\n]*\n$/, name);
            assert.equal(result.out, '', name);
        });
});

test('an interrupt ends the request at the engine, and the program by that signal', async () => {
    await withEngine({ script: { hang: true } }, async (engine) => {
        const child = start(['complete', 'a.c:3:17', '--endpoint', engine.endpoint]);
        await eventually('the request', () => engine.requests.length === 1);
        child.kill('SIGINT');
        const { code, signal, out } = await child.ended;
        assert.deepEqual([code, signal, out], [null, 'SIGINT', '']);
        await eventually('the hang-up', () => engine.requests[0].closedBy === 'client');
    });
});

function rowsOf(out) {
    const report = JSON.parse(out);
    assert.match(report.version, /^\d+\.\d+\.\d+$/);
    assert.equal(report.ok, report.rows.every((row) => row.verdict !== 'fail'));
    return Object.fromEntries(report.rows.map((row) => [row.name, row]));
}

test('doctor: settings with sources, the model checked, nothing started', async () => {
    const own = new Sandbox();
    try {
        const { code, out } = await run(['doctor', '--json', '--threads', '1'], { DBRX_MODEL: model, DBRX_API_KEY: 'hush' }, own);
        const rows = rowsOf(out);
        assert.equal(code, 0, out);
        assert.deepEqual([rows.model.value, rows.model.source], [model, 'environment']);
        assert.deepEqual([rows.threads.value, rows.threads.source], ['1', 'flag']);
        assert.deepEqual([rows.backend.value, rows.backend.source], ['auto', 'default']);
        assert.ok(!out.includes('hush'));
        assert.equal(rows['model directory'].value, model);
        // Per layer: two norms, qkv (4 + 2 x 2 heads of 16), out, router, three tensors of 4 x 64 rows.
        const width = 64;
        const layer = 2 * width + 128 * width + width * width + 4 * width + 3 * 4 * 64 * width;
        const parameters = 2 * layer + width + 2 * tiny.vocabularySize * width;
        assert.match(rows.weights.value, new RegExp(`^${parameters} parameters, 19 tensors, `));
        assert.match(rows['config.json'].value, /^d_model 64, 2 layers, 4 heads of 16 \(2 for keys\), 4 experts of 64, 2 used/);
        assert.match(rows.tokenizer.value, /^\d+ ids, sha256 [0-9a-f]{64}$/);
        assert.match(rows.kernels.value, /^cpu \w+, 1 threads on \d+ cores$/);
        assert.match(rows.memory.value, new RegExp(`^${4 * tiny.maxModelLen} KV tokens \\(4\\.0 contexts, 2 streams of 8k\\)`));
        assert.equal(rows['cache directory'].value, `${own.cache}/dbrx-ls (writable)`);
        assert.match(rows.engine.value, /^not running/);
        assert.deepEqual(own.pids(), []);
    } finally {
        own.close();
    }
});

test('doctor: what fails is named, with what to do, and exit code 1', async () => {
    const broken = path.join(sandbox.directory, 'broken');
    fs.cpSync(model, broken, { recursive: true });
    fs.truncateSync(path.join(broken, 'model.safetensors'), 1000);
    const blocked = path.join(sandbox.directory, 'file');
    fs.writeFileSync(blocked, '');
    const long = path.join(sandbox.directory, 'x'.repeat(100));
    fs.mkdirSync(long, { mode: 0o700 });
    for (const [args, env, name, value] of [
        [['--model', '/nonexistent'], {}, 'model directory', /no such directory/],
        [['--model', sandbox.work], {}, 'config.json', /config\.json/],
        [['--model', broken], {}, 'weights', /model\.safetensors/],
        [['--model', model, '--backend', 'cuda'], {}, 'kernels', /"cuda"(:| is) (not in this build|no GPU answers)/],
        [['--model', model], { XDG_CACHE_HOME: blocked }, 'cache directory', /file\/dbrx-ls|file/],
        [['--model', model], { XDG_RUNTIME_DIR: long }, 'engine socket', /longer than a socket's path/],
        [['--endpoint', 'unix:/nonexistent'], {}, 'engine', /^off: unix:\/nonexistent/],
        [[], { DBRX_ENDPOINT: 'nonsense' }, 'engine', /endpoint: expected/],
    ]) {
        const { code, out } = await run(['doctor', '--json', ...args], env);
        const row = rowsOf(out)[name];
        assert.equal(row?.verdict, 'fail', `${args}: ${out}`);
        assert.match(row.value, value);
        assert.notEqual(row.advice, '');
        assert.equal(code, 1);
    }
});

// Sizes of DBRX worked out from its shape: 131.6e9 parameters of which the embedding, norms and routers
// stay 16-bit; KV of 40 layers, K and V, 8 heads of 128.
test('doctor: what a GPU of a named memory would hold, from config.json alone', async () => {
    const directory = path.join(sandbox.directory, 'dbrx-config');
    fs.mkdirSync(directory);
    fs.writeFileSync(path.join(directory, 'config.json'), JSON.stringify({
        architectures: ['DbrxForCausalLM'], model_type: 'dbrx', d_model: 6144, n_heads: 48, n_layers: 40,
        max_seq_len: 32768, vocab_size: 100352, attn_config: { kv_n_heads: 8, clip_qkv: 8, rope_theta: 500000 },
        ffn_config: { ffn_hidden_size: 10752, moe_num_experts: 16, moe_top_k: 4, ffn_act_fn: { name: 'silu' } } }));
    const fit = async (...args) => {
        const { code, out } = await run(['doctor', '--json', '--model', directory, '--gpu-memory', ...args]);
        return { code, ...rowsOf(out)['on such a GPU'] };
    };
    const int4 = await fit('139G', '--weights', 'int4');
    assert.equal(int4.code, 0);
    assert.match(int4.value, /^arithmetic for 139\.0 GiB, no GPU was asked: weights 65\.9 GiB, .* of 81920 bytes, (\d+) streams of 8k$/);
    // (139 * 0.98 - 65.9) GiB of 8192 * 81920 bytes each are 112 streams, less what a step works in.
    const streams = Number(int4.value.match(/(\d+) streams/)[1]);
    assert.ok(streams <= 112 && streams >= 105, int4.value);
    const fp8 = await fit('79G', '--weights', 'fp8');
    assert.equal(fp8.code, 1);
    assert.match(fp8.value, /no GPU was asked: not enough memory: 98 % of free memory is 79278 MiB, expected 127\d{3} MiB for weights/);
    const none = await run(['doctor', '--model', directory, '--gpu-memory', '0']);
    assert.equal(none.code, 2);
    assert.match(none.err, /^dbrx-ls doctor: --gpu-memory: found 0, expected a size such as 80G\n$/);
    const f32 = await fit('139G', '--kv-type', 'f32');
    assert.match(f32.value, /KV as f32: a GPU keeps bf16 or e4m3$/);
    assert.match(f32.advice, /--kv-type/);
});

test('doctor for people: a line per row, and what to do below it', async () => {
    await withEngine({}, async (engine) => {
        const { code, out } = await run(['doctor', '--endpoint', engine.endpoint]);
        assert.equal(code, 0, out);
        assert.match(out, /^ok +version +\d/);
        assert.match(out, /\nok +engine +ready, model scripted, context 32768\n/);
        assert.equal(engine.requests.length, 0);
    });
    const { out } = await run(['doctor', '--model', '/nonexistent']);
    assert.match(out, /\nfail +model directory +\/nonexistent: no such directory\n +-> name a directory/);
});
