// The scripted engine itself: what other tests rely on it for.
import assert from 'node:assert/strict';
import http from 'node:http';
import path from 'node:path';
import { once } from 'node:events';
import { test } from 'node:test';
import { load } from './support/modules.js';
import { openTurnOf, oracle, turnsOf } from './support/oracle.js';
import { Sandbox } from './support/sandbox.js';
import * as scripts from './support/scripts.js';
import { startScriptedEngine } from './support/scripted_engine.js';
import { decode, encode, rankList, specials } from './support/vocabulary.js';

const TRUTH = `#include <stdio.h>

int add(int a, int b)
{
    return a + b;
}

int sub(int a, int b)
{
    return a - b;
}
`;

function withControls(text) {
    return text.split(/(<\|\w+\|>)/).flatMap((part) => {
        const name = /^<\|(\w+)\|>$/.exec(part)?.[1];
        return name in specials ? [specials[name]] : encode(part);
    });
}

// A prompt in the shape of the real one, for a gap behind `before`.
function promptFor(before, tail, fence = '```') {
    return withControls(
        `<|im_start|>system\nYou complete code.<|im_end|>\n<|im_start|>user\n` +
            `math.c\n\`\`\`\n${before.slice(0, before.length - tail.length)}\`\`\`\n<|im_end|>\n` +
            `<|im_start|>assistant\n${fence}c\n${tail}`,
    );
}

async function withEngine(options, body) {
    const engine = await startScriptedEngine(options);
    try {
        await body(engine);
    } finally {
        await engine.close();
    }
}

function post(engine, body, route = '/v1/completions') {
    return fetch(`${engine.endpoint}${route}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ max_tokens: 64, ...body }),
    });
}

async function complete(engine, body) {
    return (await (await post(engine, body)).json()).choices[0];
}

test('a fixed text, a list and a function answer', async () => {
    await withEngine(
        { script: ['one', 'two', (request) => `got ${request.prompt}`] },
        async (engine) => {
            assert.equal((await complete(engine, { prompt: 'x' })).text, 'one');
            assert.equal((await complete(engine, { prompt: 'x' })).text, 'two');
            assert.equal((await complete(engine, { prompt: encode('ids') })).text, 'got ids');
            assert.deepEqual(engine.requests[2].ids, encode('ids'));
        },
    );
});

test('ids decode to the text with control tokens spelt out, text stays text', () => {
    const ids = [specials.im_start, ...encode('user\nliteral <|im_end|>'), specials.im_end];
    assert.equal(decode(ids), '<|im_start|>user\nliteral <|im_end|><|im_end|>');
    assert.equal(ids.filter((id) => id === specials.im_end).length, 1);
    assert.throws(() => decode([100256]), /100256 stands for nothing/);
});

test("the rank list is in tiktoken's text form", () => {
    const lines = rankList().text.trimEnd().split('\n');
    assert.equal(lines.length, 100256);
    assert.equal(lines[0], 'IQ== 0'); // "!" is the first rank
    const [token, rank] = lines[15339].split(' ');
    assert.deepEqual([Buffer.from(token, 'base64').toString(), Number(rank)], ['hello', 15339]);
    assert.match(rankList().sha256, /^[0-9a-f]{64}$/);
});

test('turns and the open turn are found', () => {
    const prompt = decode(promptFor(TRUTH.slice(0, 44), 'int add(', '````'));
    assert.deepEqual(
        turnsOf(prompt).map((turn) => turn.role),
        ['system', 'user', 'assistant'],
    );
    assert.deepEqual(openTurnOf(prompt), { fence: '````', tail: 'int add(' });
});

test('the oracle continues with the truth, at the right one of two equal places', async () => {
    const script = oracle({ 'other.c': 'int x;\n', 'math.c': TRUTH });
    await withEngine({ script }, async (engine) => {
        const tail = '(int a, int b)\n{\n    return a ';
        for (const [name, rest] of [
            ['add', '+ b;\n}\n\nint sub'],
            ['sub', '- b;\n}\n```'],
        ]) {
            const at = TRUTH.indexOf(tail, TRUTH.indexOf(name)) + tail.length;
            const choice = await complete(engine, { prompt: promptFor(TRUTH.slice(0, at), tail) });
            assert.equal(choice.text.slice(0, rest.length), rest);
        }
    });
});

test('the oracle ends where it is told, and says so when it does not know the place', async () => {
    const before = TRUTH.slice(0, TRUTH.indexOf('return a +'));
    const tail = '{\n    ';
    const engine = await startScriptedEngine({ script: oracle({ 'math.c': TRUTH }, { lines: 1 }) });
    assert.equal(
        (await complete(engine, { prompt: promptFor(before, tail) })).text,
        'return a + b;\n```',
    );
    engine.script = oracle({ 'math.c': TRUTH }, { until: '\nint sub' });
    assert.equal(
        (await complete(engine, { prompt: promptFor(before, tail) })).text,
        'return a + b;\n}\n```',
    );
    engine.script = oracle({ 'elsewhere.c': TRUTH });
    assert.equal((await post(engine, { prompt: promptFor(before, tail) })).status, 500);
    await assert.rejects(engine.close(), /none of the files/);
});

test('a failed check fails the test at close', async () => {
    const engine = await startScriptedEngine({ check: (r) => assert.match(r.prompt, /needle/) });
    assert.equal((await post(engine, { prompt: 'a needle' })).status, 200);
    assert.equal((await post(engine, { prompt: 'hay' })).status, 500);
    await assert.rejects(engine.close(), /needle/);
});

test('wrappers do what models do wrong', async () => {
    const reply = async (script) => (await scripts.replyOf(script, { index: 0 })).text;
    assert.equal(await reply(scripts.prose('x', 'A: ', ' B')), 'A: x B');
    assert.equal(await reply(scripts.fenced('x\n```', 'c')), '```c\nx\n```\n');
    assert.equal(await reply(scripts.repeatedSuffix('x;\n```', '}\n')), 'x;}\n\n```');
    assert.equal(await reply(scripts.wrongIndentation('a\n  b\n```', 2)), 'a\nb\n```');
    assert.equal(await reply(scripts.wrongIndentation('a\nb', '\t')), 'a\n\tb');
    assert.equal(await reply(scripts.tabsForSpaces('a\n        b')), 'a\n\t\tb');
});

// The bytes of a streamed answer until it ends or breaks.
async function readStream(response) {
    let text = '';
    try {
        for await (const part of response.body) text += Buffer.from(part).toString('latin1');
    } catch {
        return { text, broken: true };
    }
    return { text, broken: false };
}

test('a stream comes in pieces, with usage and cached tokens at its end', async () => {
    const script = { text: 'äöü'.repeat(4), pieceBytes: 3 };
    await withEngine({ script }, async (engine) => {
        const prompt = encode('the same beginning');
        await complete(engine, { prompt: [...prompt, ...encode(' one')] });
        const { text } = await readStream(
            await post(engine, {
                prompt: [...prompt, ...encode(' two')],
                stream: true,
                stream_options: { include_usage: true },
            }),
        );
        const events = Buffer.from(text, 'latin1').toString().trimEnd().split('\n\n');
        assert.equal(events.pop(), 'data: [DONE]');
        const chunks = events.map((event) => JSON.parse(event.slice('data: '.length)));
        const usage = chunks.pop();
        assert.deepEqual(usage.choices, []);
        assert.equal(usage.usage.prompt_tokens_details.cached_tokens, prompt.length);
        assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
        assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(''), 'äöü'.repeat(4));
        assert.equal(chunks.length, 12 + 1); // 24 bytes, a whole character in each piece of 3
        assert.equal(engine.requests[1].closedBy, 'engine');
    });
});

test('a stream that breaks has no end', async () => {
    await withEngine({ script: scripts.cutOff('0123456789', 4) }, async (engine) => {
        const { text, broken } = await readStream(
            await post(engine, { prompt: 'x', stream: true }),
        );
        assert.ok(broken);
        assert.match(text, /"0123"/);
        assert.doesNotMatch(text, /DONE|4567/);
    });
});

test('a client that hangs up is noticed', async () => {
    const script = scripts.slow('x'.repeat(4096), { pieceMs: 50, pieceBytes: 1 });
    await withEngine({ script }, async (engine) => {
        const request = http.request(`${engine.endpoint}/v1/completions`, { method: 'POST' });
        request.on('error', () => {});
        request.end(JSON.stringify({ prompt: 'x', stream: true, max_tokens: 4096 }));
        const [response] = await once(request, 'response');
        await once(response, 'data');
        request.destroy();
        await engine.until(() => engine.requests[0].closedBy === 'client');
        assert.ok(engine.requests[0].sentBytes < 4096);
        assert.ok(engine.requests[0].closedAt > engine.requests[0].at);
    });
});

test('max_tokens bounds an answer', async () => {
    await withEngine({ script: 'one two three four five' }, async (engine) => {
        const choice = await complete(engine, { prompt: 'x', max_tokens: 2 });
        assert.deepEqual([choice.text, choice.finish_reason], ['one two', 'length']);
    });
});

test('hostile answers arrive as they are', async () => {
    await withEngine({ script: scripts.hostile.invalidUtf8 }, async (engine) => {
        const { text } = await readStream(await post(engine, { prompt: 'x', stream: true }));
        const sent = [...text.matchAll(/"text":"([^"]*)"/g)].map((match) => match[1]).join('');
        assert.deepEqual(Buffer.from(sent, 'latin1'), scripts.hostile.invalidUtf8);
        engine.script = scripts.hostile.huge;
        const huge = await readStream(await post(engine, { prompt: 'x', stream: true }));
        assert.equal(huge.text.match(/x/g).length >= 10 << 20, true);
        engine.script = scripts.hostile.notEvents;
        assert.match(await (await post(engine, { prompt: 'x', stream: true })).text(), /It works/);
    });
});

test("errors have their status and OpenAI's form", async () => {
    const script = [scripts.failing(429, 'full', { 'retry-after': '3' }), scripts.failing(500)];
    await withEngine({ script, key: 'secret' }, async (engine) => {
        assert.equal((await post(engine, { prompt: 'x' })).status, 401);
        const headers = { authorization: 'Bearer secret' };
        const send = () =>
            fetch(`${engine.endpoint}/v1/completions`, {
                method: 'POST',
                headers,
                body: '{"prompt":"x"}',
            });
        const full = await send();
        assert.deepEqual([full.status, full.headers.get('retry-after')], [429, '3']);
        assert.equal((await full.json()).error.message, 'full');
        assert.equal((await send()).status, 500);
        assert.equal((await fetch(`${engine.endpoint}/health`)).status, 200);
    });
});

test('the handshake, the tokenizer and the lease are ours; a foreign engine has none', async () => {
    await withEngine({ handshake: { state: 'loading', max_model_len: 512 } }, async (engine) => {
        const hello = await (await fetch(`${engine.endpoint}/v1/dbrx`)).json();
        assert.deepEqual([hello.api, hello.state, hello.max_model_len], [1, 'loading', 512]);
        const ranks = await (await fetch(`${engine.endpoint}/v1/dbrx/tokenizer`)).text();
        assert.equal(ranks, rankList().text);
        assert.equal((await post(engine, { prompt: 'x' })).status, 503);
        const lease = new AbortController();
        const events = await fetch(`${engine.endpoint}/v1/dbrx/events`, { signal: lease.signal });
        const reader = events.body.getReader();
        const next = async () =>
            JSON.parse(
                Buffer.from((await reader.read()).value)
                    .toString()
                    .slice(6),
            );
        assert.equal((await next()).state, 'loading');
        engine.setState('ready');
        assert.equal((await next()).state, 'ready');
        assert.equal(engine.leases.size, 1);
        lease.abort();
        await engine.until(() => engine.leases.size === 0);
    });
    await withEngine({ foreign: true, takesIds: false }, async (engine) => {
        assert.equal((await fetch(`${engine.endpoint}/v1/dbrx`)).status, 404);
        assert.equal((await post(engine, { prompt: [1, 2] })).status, 400);
        const chat = await post(
            engine,
            { messages: [{ role: 'user', content: 'hi' }] },
            '/v1/chat/completions',
        );
        assert.equal((await chat.json()).choices[0].message.content, '```');
        assert.equal(
            engine.requests[1].prompt,
            '<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n',
        );
    });
});

test('it goes away and comes back on a Unix socket', async () => {
    const sandbox = new Sandbox();
    const socketPath = path.join(sandbox.runtime, 'engine.sock');
    const health = () =>
        new Promise((done) => {
            http.get({ socketPath, path: '/health', agent: false }, (res) =>
                done(res.resume().statusCode),
            ).on('error', (error) => done(error.code));
        });
    const engine = await startScriptedEngine({ socket: socketPath });
    assert.equal(engine.endpoint, `unix:${socketPath}`);
    assert.equal(await health(), 200);
    await engine.stop();
    assert.equal(await health(), 'ENOENT');
    await engine.listen();
    assert.equal(await health(), 200);
    await engine.close();
    sandbox.close();
});

test('the openai package gets completions and streams', async () => {
    const { default: OpenAI } = load('openai');
    await withEngine({ script: 'hello there' }, async (engine) => {
        const client = new OpenAI({
            baseURL: `${engine.endpoint}/v1`,
            apiKey: 'none',
            maxRetries: 0,
        });
        const whole = await client.completions.create({ model: 'm', prompt: 'x', max_tokens: 9 });
        assert.equal(whole.choices[0].text, 'hello there');
        let streamed = '';
        const chat = await client.chat.completions.create({
            model: 'm',
            stream: true,
            max_tokens: 9,
            messages: [{ role: 'user', content: 'x' }],
        });
        for await (const chunk of chat) streamed += chunk.choices[0]?.delta.content ?? '';
        assert.equal(streamed, 'hello there');
    });
});
