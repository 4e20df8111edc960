// `dbrx-ls serve` over real HTTP: every route, every refusal, and how it lives and ends.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { program } from './support/modules.js';
import { Sandbox } from './support/sandbox.js';
import { eventually, Service } from './support/service.js';
import { makeTinyModel, tiny } from './support/tiny_model.js';

const KEY = 'the-key-of-this-test';
const GREEDY = { temperature: 0, ignore_eos: true };
const LONG = { ...GREEDY, prompt: [5, 6, 7], max_tokens: tiny.maxModelLen };
let models, model;

before(() => {
    models = new Sandbox();
    model = makeTinyModel(path.join(models.work, 'tiny-dbrx'), { demo: true });
});
after(() => models.close());

/** Runs `body` with a started service and leaves nothing behind. */
async function withService(args, body, options) {
    const sandbox = new Sandbox();
    try {
        const service = new Service(sandbox, ['--model', model, '--threads', '1', ...args], options);
        await service.listening();
        return await body(service, sandbox);
    } finally {
        sandbox.close();
    }
}

const textOf = (stream) => stream.objects.map((o) => o.choices[0]?.text ?? '').join('');

describe('one service on its socket', () => {
    let sandbox, service;
    before(async () => {
        sandbox = new Sandbox();
        service = new Service(sandbox, ['--model', model, '--threads', '1', '--idle', 'never']);
        await service.ready();
    });
    after(() => sandbox.close());

    test('the socket is private, the lock names the process', () => {
        assert.equal(fs.statSync(service.socketPath).mode & 0o777, 0o600);
        assert.equal(fs.readFileSync(path.join(sandbox.runtime, 'dbrx-ls/engine.lock'), 'utf8'),
            `${service.child.pid}\n`);
    });

    test('health and ready', async () => {
        assert.deepEqual((await service.get('/health')).json, { status: 'ok' });
        const ready = await service.get('/ready');
        assert.equal(ready.status, 200);
        assert.deepEqual(ready.json, { state: 'ready' });
    });

    test('the handshake names the model, its tokenizer and what works', async () => {
        const { json } = await service.get('/v1/dbrx');
        assert.equal(json.api, 1);
        assert.equal(json.state, 'ready');
        assert.equal(json.progress, 1);
        assert.equal(json.model, 'tiny-dbrx');
        assert.equal(json.max_model_len, tiny.maxModelLen);
        assert.equal(json.vocabulary_size, tiny.vocabularySize);
        assert.deepEqual(json.specials, tiny.specials);
        assert.equal(json.demo, true);
        assert.match(json.backend, /^cpu/);
        for (const name of ['token_ids', 'lease']) assert.ok(json.features.includes(name));
        const version = execFileSync(program, ['--version'], { encoding: 'utf8' });
        assert.equal(version, `dbrx-ls ${json.version}\n`);
    });

    test('the tokenizer is the rank list of the model, under its hash', async () => {
        const { text, headers } = await service.get('/v1/dbrx/tokenizer');
        assert.match(headers['content-type'], /^text\/plain/);
        assert.equal(text, fs.readFileSync(path.join(model, 'cl100k_first.tiktoken'), 'utf8'));
        const { json } = await service.get('/v1/dbrx');
        assert.equal(createHash('sha256').update(text).digest('hex'), json.tokenizer_sha256);
    });

    test('models', async () => {
        const { json } = await service.get('/v1/models');
        assert.equal(json.object, 'list');
        assert.deepEqual(json.data.map((m) => [m.id, m.object, m.max_model_len]),
            [['tiny-dbrx', 'model', tiny.maxModelLen]]);
    });

    test('a completion: text, usage, times', async () => {
        const { status, json } = await service.complete({ ...GREEDY, prompt: [5, 6, 7], max_tokens: 9 });
        assert.equal(status, 200);
        assert.equal(json.object, 'text_completion');
        assert.match(json.id, /^cmpl-/);
        assert.equal(json.model, 'tiny-dbrx');
        assert.equal(json.choices[0].finish_reason, 'length');
        assert.equal(json.choices[0].logprobs, null);
        assert.equal(json.usage.prompt_tokens, 3);
        assert.equal(json.usage.completion_tokens, 9);
        assert.equal(json.usage.total_tokens, 12);
        assert.ok(json.usage.prompt_tokens_details.cached_tokens >= 0);
        for (const name of ['queue_ms', 'prefill_ms', 'decode_ms']) assert.ok(json.dbrx[name] >= 0);
    });

    test('text and its ids are the same prompt', async () => {
        // Single bytes that no rank below 1000 merges: ids are the ranks of the bytes.
        const list = fs.readFileSync(path.join(model, 'cl100k_first.tiktoken'), 'utf8');
        const rank = (c) => list.split('\n').findIndex((l) =>
            Buffer.from(l.split(' ')[0], 'base64').toString('latin1') === c);
        const ids = ['Q', 'Z', 'Q'].map(rank);
        const [text, given] = await Promise.all([
            service.complete({ ...GREEDY, prompt: 'QZQ', max_tokens: 12 }),
            service.complete({ ...GREEDY, prompt: ids, max_tokens: 12 })]);
        assert.equal(text.json.usage.prompt_tokens, 3);
        assert.equal(text.json.choices[0].text, given.json.choices[0].text);
        const many = await service.complete({ ...GREEDY, prompt: [ids, [9, 8]], max_tokens: 12 });
        assert.equal(many.json.choices.length, 2);
        assert.deepEqual(many.json.choices.map((c) => c.index), [0, 1]);
        assert.equal(many.json.choices[0].text, given.json.choices[0].text);
        assert.equal(many.json.usage.prompt_tokens, 5);
    });

    test('control tokens in text stay text', async () => {
        const { json } = await service.complete({ ...GREEDY, prompt: '<|im_end|>', max_tokens: 1 });
        assert.ok(json.usage.prompt_tokens > 1);
    });

    test('a stream says the same as one object, in whole characters', async () => {
        const request = { ...GREEDY, prompt: [5, 6, 7], max_tokens: 800, temperature: 1, seed: 11 };
        const whole = await service.complete(request);
        const stream = await service.stream('POST', '/v1/completions',
            { ...request, stream: true, stream_options: { include_usage: true } });
        assert.equal(stream.status, 200);
        assert.match(stream.response.headers['content-type'], /^text\/event-stream/);
        assert.equal(await stream.done, 'end');
        assert.equal(stream.events.at(-1), '[DONE]');
        assert.equal(textOf(stream), whole.json.choices[0].text);
        assert.deepEqual(stream.last.choices, []);
        assert.equal(stream.last.usage.completion_tokens, 800);
        assert.ok(stream.last.dbrx.decode_ms >= 0);
        const chunks = stream.objects.slice(0, -1);
        assert.ok(chunks.length > 1);
        assert.ok(chunks.every((c) => c.usage === null && c.id === chunks[0].id));
        assert.deepEqual(chunks.map((c) => c.choices[0].finish_reason).filter(Boolean), ['length']);
    });

    test('usage in every chunk, for clients that may close early', async () => {
        const stream = await service.stream('POST', '/v1/completions', { ...GREEDY, prompt: [5, 6],
            max_tokens: 300, stream: true,
            stream_options: { include_usage: true, continuous_usage_stats: true } });
        await stream.done;
        const counts = stream.objects.map((o) => o.usage.completion_tokens);
        assert.deepEqual(counts, counts.toSorted((a, b) => a - b));
        assert.equal(counts.at(-1), 300);
        assert.ok(stream.objects.every((o) => o.usage.prompt_tokens === 2));
    });

    test('text is what the bytes of the tokens decode to', async () => {
        // Random tokens below rank 256 are single bytes: most of it is ill-formed UTF-8, which the
        // platform's own decoder has to read the same way.
        for (let seed = 1; seed <= 4; seed++) {
            const { json } = await service.post('/v1/chat/completions', {
                messages: [{ role: 'user', content: 'bytes' }], max_tokens: 80, temperature: 2,
                seed, logprobs: true, ignore_eos: true });
            const { message, logprobs } = json.choices[0];
            const bytes = Uint8Array.from(logprobs.content.flatMap((t) => t.bytes ?? []));
            assert.equal(logprobs.content.length, 80);
            assert.equal(message.content, new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes));
            assert.equal(message.role, 'assistant');
        }
    });

    test('seeds decide, choices differ', async () => {
        const request = { prompt: [5], max_tokens: 20, temperature: 1, seed: 3, n: 3, ignore_eos: true };
        const [a, b] = await Promise.all([service.complete(request), service.complete(request)]);
        const texts = a.json.choices.map((c) => c.text);
        assert.deepEqual(b.json.choices.map((c) => c.text), texts);
        assert.equal(new Set(texts).size, 3);
        const alone = await service.complete({ ...request, n: 1 });
        assert.equal(alone.json.choices[0].text, texts[0]);
        assert.equal(a.json.usage.prompt_tokens, 1);
        assert.equal(a.json.usage.completion_tokens, 60);
    });

    test('a stop string ends the text before it', async () => {
        const request = { prompt: [5, 6], max_tokens: 60, temperature: 1, seed: 5, ignore_eos: true };
        const full = (await service.complete(request)).json.choices[0].text;
        const ascii = [...full.matchAll(/[!-~]{3}/g)].find((m) => m.index > 2);
        assert.ok(ascii, 'a random text with three printable characters in a row');
        const stopped = await service.complete({ ...request, stop: ['never there', ascii[0]] });
        assert.equal(stopped.json.choices[0].text, full.slice(0, full.indexOf(ascii[0])));
        assert.equal(stopped.json.choices[0].finish_reason, 'stop');
    });

    test('logprobs in the legacy form', async () => {
        const { json } = await service.complete({ ...GREEDY, prompt: [5, 6], max_tokens: 12, logprobs: 3 });
        const { tokens, token_logprobs, top_logprobs, text_offset } = json.choices[0].logprobs;
        for (const list of [tokens, token_logprobs, top_logprobs, text_offset]) assert.equal(list.length, 12);
        assert.ok(token_logprobs.every((l) => l <= 0));
        assert.equal(text_offset[0], 0);
        tokens.forEach((token, i) => {
            const best = Math.max(...Object.values(top_logprobs[i]));
            assert.equal(top_logprobs[i][token], best); // greedy: the chosen one is the best
            assert.equal(token_logprobs[i], best);
            assert.ok(Object.keys(top_logprobs[i]).length <= 3);
        });
    });

    test('chat: ChatML around the words, parts joined', async () => {
        const ask = (content) => service.post('/v1/chat/completions', { ...GREEDY, max_tokens: 10,
            messages: [{ role: 'system', content: 's' }, { role: 'user', content }] });
        const plain = await ask('QZ');
        const parts = await ask([{ type: 'text', text: 'Q' }, { type: 'text', text: 'Z' }]);
        assert.equal(plain.json.object, 'chat.completion');
        assert.equal(plain.json.choices[0].message.content, parts.json.choices[0].message.content);
        assert.equal(plain.json.usage.prompt_tokens, parts.json.usage.prompt_tokens);
    });

    test('a warm request computes the prompt for its owner alone', async () => {
        const prompt = Array.from({ length: 200 }, (_, i) => 300 + i);
        const cached = async (dbrx) => (await service.complete({ ...GREEDY, prompt, max_tokens: 1, dbrx }))
            .json.usage.prompt_tokens_details.cached_tokens;
        const warm = await service.complete({ prompt, max_tokens: 0, dbrx: { priority: 'warm' } });
        assert.equal(warm.status, 200);
        assert.equal(warm.json.usage.completion_tokens, 0);
        assert.equal(warm.json.choices[0].text, '');
        assert.ok(await cached({}) >= 192);
        assert.equal(await cached({ cache_salt: 'another' }), 0);
        assert.ok(await cached({ cache_salt: 'another', priority: 'action' }) >= 192);
    });

    test('another user is refused, whatever the modes of the files',
        { skip: process.getuid() !== 0 && 'needs root' }, () => {
            for (const [file, mode] of [[sandbox.directory, 0o711], [sandbox.runtime, 0o711],
                [path.dirname(service.socketPath), 0o711], [service.socketPath, 0o666]])
                fs.chmodSync(file, mode);
            const script = 'import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);' +
                's.sendall(b"GET /health HTTP/1.0\\r\\n\\r\\n"); print(s.recv(4096).decode())';
            const ask = (ids) => spawnSync('/usr/bin/python3', ['-c', script, service.socketPath],
                { ...ids, encoding: 'utf8' }).stdout;
            assert.match(ask({ uid: 65534, gid: 65534 }), /^HTTP\/1\.[01] 403 /);
            assert.match(ask({}), /^HTTP\/1\.[01] 200 /);
            fs.chmodSync(service.socketPath, 0o600);
        });

    test('a deadline ends an answer in time', async () => {
        const { json } = await service.complete({ ...LONG, dbrx: { deadline_ms: 30 } });
        assert.equal(json.dbrx.finish_detail, 'deadline');
        assert.equal(json.choices[0].finish_reason, 'length');
        assert.ok(json.usage.completion_tokens < tiny.maxModelLen - 4);
    });

    const tooLong = Array(tiny.maxModelLen).fill(5);
    const chat = '/v1/chat/completions', completions = '/v1/completions';
    const refusals = [
        ['GET', '/nothing', undefined, 404, null, /nothing/],
        ['GET', '/v1/dbrx/', undefined, 404, null, /no such path/],
        ['HEAD', '/v1/models', undefined, 405],
        ['OPTIONS', completions, undefined, 405, null, /OPTIONS/],
        ['GET', completions, undefined, 405, null, /GET/],
        ['DELETE', '/health', undefined, 405, null, /DELETE/],
        ['POST', completions, '', 400, null, /body: line 1/],
        ['POST', completions, '{"prompt": ', 400, null, /line 1/],
        ['POST', completions, '{"prompt": "x", "prompt": "y"}', 400, null, /duplicate/],
        ['POST', completions, '['.repeat(200), 400, null, /128/],
        ['POST', completions, Buffer.from([0x7b, 0xff, 0x7d]), 400, null, /0xff/],
        ['POST', completions, '[]', 400, null, /object/],
        ['POST', completions, {}, 400, 'prompt', /prompt/],
        ['POST', completions, { prompt: [] }, 400, 'prompt', /empty/],
        ['POST', completions, { prompt: '' }, 400, 'prompt', /empty/],
        ['POST', completions, { prompt: [5, -1] }, 400, 'prompt[1]', /-1/],
        ['POST', completions, { prompt: [5, 1056] }, 400, 'prompt[1]', /1056.*0 to 1055/],
        ['POST', completions, { prompt: [tiny.deadId] }, 400, 'prompt[0]', /not used/],
        ['POST', completions, { prompt: tooLong }, 400, 'prompt', /4096 tokens, at most 4095/],
        ['POST', completions, { prompt: 'x', max_tokens: -1 }, 400, 'max_tokens', /-1/],
        ['POST', completions, '{"prompt": "x", "temperature": NaN}', 400, null, /line 1/],
        ['POST', completions, { prompt: 'x', n: 5 }, 400, 'n', /1 to 4/],
        ['POST', completions, { prompt: 'x', stop: Array(17).fill('a') }, 400, 'stop', /16/],
        ['POST', completions, { prompt: 'x', logprobs: 21 }, 400, 'logprobs', /20/],
        ['POST', completions, { prompt: 'x', echo: true }, 400, 'echo', /support/],
        ['POST', completions, { prompt: 'x', model: 'other' }, 404, 'model', /tiny-dbrx/],
        ['POST', chat, {}, 400, 'messages', /messages/],
        ['POST', chat, { messages: [{ role: 'tool', content: 'x' }] }, 400, 'messages[0].role', /tool/],
        ['POST', chat, { messages: [{ role: 'user', content: 5 }] }, 400, 'messages[0].content', /integer/],
    ];
    for (const [method, where, body, status, param, message] of refusals) {
        const shown = typeof body === 'string' ? body : JSON.stringify(body) ?? '';
        test(`refused: ${method} ${where} ${shown.slice(0, 60)}`, async () => {
            const reply = await service.request(method, where, { body });
            assert.equal(reply.status, status);
            if (status === 405) assert.match(reply.headers.allow, /^(GET|POST)$/);
            if (method === 'HEAD') return;
            assert.deepEqual(Object.keys(reply.json.error), ['message', 'type', 'param', 'code']);
            assert.equal(reply.json.error.type, 'invalid_request_error');
            assert.equal(reply.json.error.param, param);
            assert.match(reply.json.error.message, message);
        });
    }

    test('a body over 8 MiB: 413, declared or not', async () => {
        const big = Buffer.alloc(8 * 1024 * 1024 + 1, 0x20);
        const declared = await service.post(completions, big);
        assert.equal(declared.status, 413);
        assert.match(declared.json.error.message, /8388608/);
        const chunked = await service.request('POST', completions,
            { body: big, headers: { 'transfer-encoding': 'chunked' } });
        assert.equal(chunked.status, 413);
    });

    test('a slow body is waited for', async () => {
        const body = JSON.stringify({ ...GREEDY, prompt: [5], max_tokens: 2 });
        const socket = await service.connect();
        let reply = '';
        socket.on('data', (data) => { reply += data; });
        socket.write(`POST ${completions} HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`);
        for (const c of body) {
            socket.write(c);
            await sleep(5);
        }
        await eventually('reply', () => reply.includes('"text_completion"'));
        assert.match(reply, /^HTTP\/1\.1 200/);
        socket.destroy();
    });

    test('garbage hurts nobody', async () => {
        const garbage = ['\0\x01\x02\xff\r\n\r\n', 'GET\r\n\r\n', 'GET / HTTP/9.9\r\n\r\n',
            `GET /${'a'.repeat(100000)} HTTP/1.1\r\n\r\n`,
            'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n',
            'POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n',
            'GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n}{garbage\r\n\r\n'];
        for (const bytes of garbage) {
            const socket = await service.connect();
            socket.on('error', () => {});
            socket.write(Buffer.from(bytes, 'latin1'));
            await Promise.race([new Promise((r) => { socket.on('close', r); }), sleep(100)]);
            socket.destroy();
            assert.equal((await service.get('/health')).status, 200);
        }
    });

    test('pipelined requests are answered in order', async () => {
        const socket = await service.connect();
        let reply = '';
        socket.on('data', (data) => { reply += data; });
        socket.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /ready HTTP/1.1\r\nHost: x\r\n\r\n');
        await eventually('both', () => reply.includes('"state":"ready"'));
        assert.ok(reply.indexOf('"status":"ok"') < reply.indexOf('"state":"ready"'));
        socket.destroy();
    });

    test('sixteen clients at once get what each would get alone', async () => {
        const requests = Array.from({ length: 16 }, (_, i) => ({ prompt: [5 + i, 6, 7 + i],
            max_tokens: 24, temperature: i % 2, seed: i, ignore_eos: true }));
        const alone = [];
        for (const request of requests) alone.push((await service.complete(request)).json.choices[0].text);
        const together = await Promise.all(requests.map(async (request, i) => {
            if (i % 3) return (await service.complete(request)).json.choices[0].text;
            const stream = await service.stream('POST', completions, { ...request, stream: true });
            await stream.done;
            return textOf(stream);
        }));
        assert.deepEqual(together, alone);
    });

    for (const stream of [true, false])
        test(`a dropped connection stops the work (stream: ${stream})`, async () => {
            const lease = await service.lease();
            const socket = await service.connect();
            const body = JSON.stringify({ ...LONG, n: 4, stream });
            socket.write(`POST ${completions} HTTP/1.1\r\nHost: x\r\n` +
                `Content-Length: ${body.length}\r\n\r\n${body}`);
            await eventually('running', () => lease.last?.running === 4);
            const before = lease.events.length;
            socket.destroy();
            const dropped = Date.now();
            await eventually('stopped', () => lease.events.length > before &&
                lease.last.running === 0 && lease.last.queue === 0, 2000);
            assert.ok(Date.now() - dropped < 2000); // ten times what is promised
            lease.close();
        });

    test('many dropped connections leave nothing running', async () => {
        const lease = await service.lease();
        for (let i = 0; i < 20; i++) {
            const stream = await service.stream('POST', completions, { ...LONG, stream: true });
            if (i % 2) await eventually('text', () => stream.events.length > 0);
            stream.close();
        }
        await eventually('stopped', () => lease.last.running === 0 && lease.last.queue === 0);
        assert.equal((await service.complete({ ...GREEDY, prompt: [5], max_tokens: 1 })).status, 200);
        lease.close();
    });

    test('more connections than there is room for', async () => {
        const sockets = [];
        for (let i = 0; i < 256; i++) sockets.push(await service.connect());
        const refused = await eventually('refused', async () => {
            const reply = await service.get('/v1/models');
            return reply.status === 503 && reply;
        });
        assert.equal(refused.json.error.code, 'too_many_connections');
        assert.equal(refused.headers['retry-after'], '1');
        sockets.forEach((s) => s.destroy());
        await eventually('room again', async () => (await service.get('/v1/models')).status === 200);
    });
});

describe('loading', () => {
    test('states come in order, and progress only grows', () => withService([], async (service) => {
        const lease = await service.lease();
        const first = await service.complete({ ...GREEDY, prompt: [5], max_tokens: 1 });
        assert.ok(first.status === 200 || (first.status === 503 && first.headers['retry-after']));
        await eventually('ready', () => lease.last?.state === 'ready');
        const states = lease.objects.map((o) => o.state);
        assert.deepEqual(states, states.toSorted(), 'loading before ready');
        const progress = lease.objects.map((o) => o.progress);
        assert.deepEqual(progress, progress.toSorted((a, b) => a - b));
        lease.close();
    }));

    test('a model that cannot be loaded: said over HTTP, then on stderr, exit 1', () =>
        withService(['--model', '/nonexistent/model'], async (service) => {
            const lease = await service.lease();
            await eventually('failed', () => lease.last?.state === 'failed');
            assert.match(lease.last.reason, /\/nonexistent\/model/);
            const handshake = await service.get('/v1/dbrx');
            assert.equal(handshake.json.state, 'failed');
            assert.match(handshake.json.reason, /\/nonexistent\/model/);
            assert.equal((await service.get('/health')).status, 200);
            assert.equal((await service.get('/ready')).status, 503);
            const work = await service.complete({ prompt: 'x' });
            assert.equal(work.status, 503);
            assert.match(work.json.error.message, /\/nonexistent\/model/);
            assert.equal((await service.exited).code, 1);
            const lines = service.stderr.trimEnd().split('\n');
            assert.equal(lines.length, 2);
            assert.match(lines[1], /^dbrx-ls serve: .*\/nonexistent\/model/);
        }));
});

describe('TCP', () => {
    test('a key for every route but health and ready, and the right Host', () =>
        withService(['--port', '0'], async (service) => {
            await service.ready();
            const open = await service.get('/health');
            assert.equal(open.status, 200);
            for (const where of ['/v1/dbrx', '/v1/models', '/v1/dbrx/tokenizer', '/v1/dbrx/events', '/no']) {
                const without = await service.get(where);
                assert.equal(without.status, 401, where);
                assert.equal(without.json.error.code, 'invalid_api_key');
                assert.equal((await service.get(where, { key: `${KEY}x` })).status, 401);
            }
            assert.equal((await service.get('/v1/dbrx', { key: KEY })).status, 200);
            const done = await service.complete({ ...GREEDY, prompt: [5], max_tokens: 3 }, { key: KEY });
            assert.equal(done.json.usage.completion_tokens, 3);
            const foreign = { key: KEY, headers: { host: 'evil.example:80' } };
            assert.equal((await service.get('/v1/dbrx', foreign)).status, 403);
            assert.equal((await service.get('/health', foreign)).status, 403);
            const forwarded = { key: KEY, headers: { host: 'localhost:9999' } };
            assert.equal((await service.get('/v1/dbrx', forwarded)).status, 200);
        }, { env: { DBRX_API_KEY: KEY } }));
});

describe('wrong use and what is in the way', () => {
    const run = (args, env = {}) => {
        const sandbox = new Sandbox();
        try {
            return spawnSync(program, ['serve', ...args],
                { env: sandbox.env(env), encoding: 'utf8', timeout: 20000 });
        } finally {
            sandbox.close();
        }
    };
    const long = `/tmp/${'x'.repeat(120)}`;
    const table = [
        [['--port', '0'], {}, 2, /DBRX_API_KEY/],
        [['--port', '70000'], { DBRX_API_KEY: KEY }, 2, /70000/],
        [['--port', '0', '--host', '0.0.0.0'], { DBRX_API_KEY: KEY }, 2, /loopback.*--tls-cert/],
        [['--port', '0', '--host', 'example.com'], { DBRX_API_KEY: KEY }, 2, /example\.com/],
        [['--port', '0', '--socket', '/tmp/x'], { DBRX_API_KEY: KEY }, 2, /--socket/],
        [['--host', '127.0.0.1'], {}, 2, /--port/],
        [['--keys', '/tmp/keys'], {}, 2, /--port/],
        [['--port', '0', '--host', 'fe80::1::2'], { DBRX_API_KEY: KEY }, 2, /fe80::1::2/],
        [['--drain', '-1'], {}, 2, /--drain/],
        [['--idle', '-3'], {}, 2, /--idle.*-3/],
        [['--idle', 'soon'], {}, 2, /--idle.*soon/],
        [['--socket', long], {}, 1, /125 bytes, expected 1 to 107/],
        [['--socket', '/nonexistent/x.sock'], {}, 1, /\/nonexistent/],
        [['--socket', '/dev/null'], {}, 1, /\/dev\/null/],
        [['--lock-fd', '77'], {}, 2, /77/],
        [['--nonsense'], {}, 2, /--nonsense/],
        [['word'], {}, 2, /word/],
    ];
    for (const [args, env, code, message] of table)
        test(`serve ${args.join(' ').slice(0, 50)}`, () => {
            const done = run(args, env);
            assert.equal(done.status, code);
            assert.match(done.stderr, message);
            assert.equal(done.stderr.trimEnd().split('\n').length, 1);
            assert.equal(done.stdout, '');
        });

    test('--help', () => {
        const done = run(['--help']);
        assert.equal(done.status, 0);
        assert.match(done.stdout, /--socket PATH/);
    });

    test('a port in use', async () => {
        const server = net.createServer().listen(0, '127.0.0.1');
        await new Promise((r) => { server.once('listening', r); });
        const { port } = server.address();
        const done = run(['--port', `${port}`], { DBRX_API_KEY: KEY });
        server.close();
        assert.equal(done.status, 1);
        assert.match(done.stderr, new RegExp(`port ${port}`));
    });
});

describe('one engine per user', () => {
    test('a second one names the first and leaves; a killed one is replaced', async () => {
        const sandbox = new Sandbox();
        const start = (...args) => new Service(sandbox, ['--model', model, '--threads', '1', ...args]);
        try {
            const first = await start().ready();
            const lock = path.join(sandbox.runtime, 'dbrx-ls/engine.lock');
            const inode = fs.statSync(lock).ino;
            const second = start();
            assert.equal((await second.exited).code, 1);
            assert.match(second.stderr, new RegExp(`pid ${first.child.pid}\\b`));
            const third = start('--socket', first.socketPath);
            assert.equal((await third.exited).code, 1);
            assert.match(third.stderr, /in use/);
            assert.equal((await first.get('/ready')).status, 200);
            first.signal('SIGKILL');
            await first.exited;
            assert.ok(first.socketExists(), 'a killed engine leaves its socket');
            const next = await start().ready();
            assert.equal(fs.readFileSync(lock, 'utf8'), `${next.child.pid}\n`);
            next.signal('SIGTERM');
            assert.equal((await next.exited).code, 0);
            assert.ok(!next.socketExists());
            assert.equal(fs.statSync(lock).ino, inode, 'the lock file is never replaced');
        } finally {
            sandbox.close();
        }
    });

    test('ten started at once: one engine', async () => {
        const sandbox = new Sandbox();
        try {
            const all = Array.from({ length: 10 }, () =>
                new Service(sandbox, ['--model', model, '--threads', '1']));
            const losers = all.map((s) => s.exited.then(() => s));
            await eventually('nine gone', () => all.filter((s) => s.ended).length === 9);
            const winner = all.find((s) => !s.ended);
            await winner.ready();
            assert.equal(sandbox.enginePid(), winner.child.pid);
            for (const loser of all.filter((s) => s !== winner)) {
                assert.equal((await loser.exited).code, 1);
                assert.match(loser.stderr, /an engine runs already/);
            }
            winner.signal('SIGTERM');
            await Promise.all(losers);
        } finally {
            sandbox.close();
        }
    });

    test('a lock that was inherited is held for life', async () => {
        const sandbox = new Sandbox();
        const lock = path.join(sandbox.work, 'engine.lock'), socket = path.join(sandbox.work, 's.sock');
        const script = `exec 9>>"$1"; flock -n 9 || exit 9; exec "$2" serve --lock-fd 9 ` +
            `--socket "$3" --model "$4" --threads 1`;
        const held = () => spawnSync('flock', ['-n', lock, 'true']).status === 1;
        try {
            const service = new Service(sandbox, [],
                { command: ['sh', '-c', script, 'sh', lock, program, socket, model] });
            await service.ready();
            assert.equal(fs.readFileSync(lock, 'utf8'), `${service.child.pid}\n`);
            assert.ok(held());
            service.signal('SIGTERM');
            assert.equal((await service.exited).code, 0);
            assert.ok(!held());
            assert.ok(fs.existsSync(lock) && !fs.existsSync(socket));
        } finally {
            sandbox.close();
        }
    });
});

describe('the end', () => {
    test('idle: leaves without a lease, stays with one', () => withService(['--idle', '1'], async (service) => {
        const lease = await service.lease();
        await eventually('ready', () => lease.last?.state === 'ready');
        await sleep(1500);
        assert.ok(!service.ended);
        lease.close();
        assert.equal((await service.exited).code, 0);
        assert.ok(!service.socketExists());
        // Where it listens, and which backend "auto" took.
        assert.match(service.stderr, /^dbrx-ls serve: listening on \S+\n[^\n]* backend auto takes [^\n]+\n$/);
    }));

    test('SIGTERM: running answers finish, new ones are refused, exit 0', () => withService(['--drain', '60'], async (service) => {
        await service.ready();
        const lease = await service.lease();
        // Its 2 MB fit into no buffer on the way: it cannot end before its reader goes on.
        const running = await service.stream('POST', '/v1/completions', { ...LONG, logprobs: 20, stream: true });
        await eventually('running', () => running.events.length > 3);
        running.response.pause();
        service.signal('SIGTERM');
        await eventually('draining', () => lease.last.state === 'draining');
        assert.ok(!running.events.includes('[DONE]'));
        const refused = await service.complete({ ...GREEDY, prompt: [5], max_tokens: 1 });
        assert.equal(refused.status, 503);
        assert.equal(refused.json.error.code, 'draining');
        assert.ok(refused.headers['retry-after']);
        running.response.resume();
        assert.equal(await running.done, 'end');
        assert.equal(running.events.at(-1), '[DONE]');
        assert.equal(await lease.done, 'end');
        assert.equal((await service.exited).code, 0);
        assert.ok(!service.socketExists());
    }));

    test('--drain: what runs longer is cut, and told so', () => withService(['--drain', '0'], async (service) => {
        await service.ready();
        const running = await service.stream('POST', '/v1/completions', { ...LONG, n: 4, stream: true });
        await eventually('running', () => running.events.length > 3);
        service.signal('SIGTERM');
        assert.equal((await service.exited).code, 0);
        await running.done;
        assert.ok(!running.events.includes('[DONE]'));
        assert.equal(running.last.error.code, 'stopped');
    }));

    test('a second signal ends it at once', () => withService(['--drain', '600'], async (service) => {
        await service.ready();
        const running = await service.stream('POST', '/v1/completions', { ...LONG, n: 4, stream: true });
        await eventually('running', () => running.events.length > 3);
        service.signal('SIGTERM');
        await eventually('draining', async () => (await service.get('/ready')).json?.state === 'draining');
        service.signal('SIGINT');
        assert.equal((await service.exited).code, 1);
        assert.ok(!running.events.includes('[DONE]'));
        assert.match(service.stderr, /second signal/);
    }));
});

