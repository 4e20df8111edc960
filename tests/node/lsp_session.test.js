// Whole sessions: a real LSP client, the real server, and the scripted engine for known answers.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { positionOf, startServer } from './support/lsp_client.js';
import { build, program } from './support/modules.js';
import { oracle } from './support/oracle.js';
import { Sandbox } from './support/sandbox.js';
import { startScriptedEngine } from './support/scripted_engine.js';

const TRUTH = `#include <stdio.h>

static int add(int first, int second)
{
    return first + second;
}

int main(void)
{
    printf("%d\\n", add(1, 2));
    return 0;
}
`;
const CANCELLED = -32800;
const HANG = { hang: true };
const BLANK = [{ line: 1, character: 0 }, { line: 6, character: 0 }]; // empty lines of the truth

/** Runs `body(client, engine)` with a server that is ready, and ends both. */
async function session(options, body) {
    const engine = await startScriptedEngine(options.engine);
    let client = null;
    try {
        client = await startServer({ endpoint: engine.endpoint, ...options });
        if (options.ready !== false) await client.waitForStatus('ready');
        await body(client, engine);
        assert.deepEqual(client.messages, [], 'nothing pops up');
    } finally {
        await client?.close();
        await engine.close();
    }
    // Ended by the end of its input, or by a shutdown; by itself, and with nothing to complain about.
    assert.ok([0, 1].includes(client.exited?.code), `${JSON.stringify(client.exited)} ${client.stderr}`);
    assert.ok(!/runtime error|Sanitizer/.test(client.stderr), client.stderr);
}

/** The document as it was when the truth had been typed up to the end of `typed`. */
function upTo(typed) {
    const at = TRUTH.indexOf(typed) + typed.length;
    const lineEnd = TRUTH.indexOf('\n', at);
    return { text: TRUTH.slice(0, at) + TRUTH.slice(lineEnd), position: positionOf(TRUTH, typed, { end: true }) };
}

const settled = (promise) => promise.then((items) => ({ items }), (error) => ({ code: error.code }));

test('an answer is the rest of the line, with an explicit range', async () => {
    await session({ engine: { script: oracle({ 'a.c': TRUTH }, { lines: 1 }) } }, async (client) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        assert.equal(await client.prompt(uri), null);
        const items = await client.complete(uri, position, { invoked: true });
        assert.equal(items.length, 1);
        assert.deepEqual(items[0].range, { start: position, end: position });
        assert.equal(client.accepted(uri, items[0]), TRUTH);
        const prompt = await client.prompt(uri);
        assert.equal(prompt.uri, uri);
        assert.ok(prompt.blocks.length > 0 && prompt.tokens > 0);
        assert.ok(prompt.blocks.every((block) => block.kind && block.reason && block.tokens >= 0));
        assert.ok(prompt.ms.total >= prompt.ms.first_token && prompt.ms.first_token > 0);
    });
});

for (const [encoding, column] of [['utf-8', 19], ['utf-16', 17], ['utf-32', 16]]) {
    test(`ranges are in ${encoding}`, async () => {
        // The comment has U+1F600: four bytes, two UTF-16 units, one character.
        const truth = 'int a; /*\u{1F600}*/ b = 12345;\n';
        const line = 'int a; /*\u{1F600}*/ b =\n';
        const at = { line: 0, character: column };
        const capabilities = {
            general: { positionEncodings: [encoding] },
            textDocument: { inlineCompletion: {} },
        };
        await session({ capabilities, engine: { script: oracle({ 'a.c': truth }, { lines: 1 }) } }, async (client) => {
            assert.equal(client.initialized.capabilities.positionEncoding, encoding);
            const uri = client.open('a.c', line);
            const [item] = await client.complete(uri, at, { invoked: true });
            assert.equal(item.insertText, ' 12345;');
            assert.deepEqual(item.range, { start: at, end: at });
        });
    });
}

test('an answer continues the selected popup item and replaces its range', async () => {
    await session({ engine: { script: oracle({ 'a.c': TRUTH }, { lines: 1 }) } }, async (client) => {
        const { text, position } = upTo('    pri');
        const uri = client.open('a.c', text);
        const range = { start: { line: position.line, character: 4 }, end: position };
        const items = await client.complete(uri, position, {
            invoked: true,
            selectedCompletionInfo: { range, text: 'printf' },
        });
        assert.equal(items.length, 1);
        assert.deepEqual(items[0].range, range);
        assert.ok(items[0].insertText.startsWith('printf'));
        assert.equal(client.accepted(uri, items[0]), TRUTH);
    });
});

test('a cancelled request is answered as cancelled, and the engine stops', async () => {
    await session({ engine: { script: HANG } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        const answer = client.complete(uri, position, { invoked: true });
        await engine.until(() => engine.requests.length === 1, 'the request');
        answer.cancel();
        assert.deepEqual(await settled(answer), { code: CANCELLED });
        await engine.until(() => engine.requests[0].closedBy === 'client', 'the stream to close');
    });
});

test('a storm of requests and cancels: each gets one reply, nothing stays open', async () => {
    await session({ engine: { script: HANG } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        const answers = [];
        for (let i = 0; i < 200; i++) {
            const answer = client.complete(uri, [position, ...BLANK][i % 3], { invoked: i % 2 === 0 });
            answers.push(settled(answer));
            if (i % 4 < 2) answer.cancel();
        }
        client.change(uri, { start: position, end: position }, ' ');
        for (const { code, items } of await Promise.all(answers))
            assert.ok(code === CANCELLED || items.length === 0, `${code} ${JSON.stringify(items)}`);
        await engine.until(() => engine.requests.every((request) => request.closedBy), 'all streams to close');
        engine.script = oracle({ 'a.c': TRUTH }, { lines: 1 });
        const [item] = await client.complete(uri, { ...position, character: position.character + 1 }, { invoked: true });
        assert.equal(client.accepted(uri, item), TRUTH);
    });
});

test('a newer request supersedes; the same place shares one generation', async () => {
    await session({ engine: { script: HANG } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        const old = settled(client.complete(uri, BLANK[0], { invoked: true }));
        await engine.until(() => engine.requests.length === 1, 'the first request');
        engine.script = oracle({ 'a.c': TRUTH }, { lines: 1 });
        const answers = await Promise.all([
            client.complete(uri, position, { invoked: true }),
            client.complete(uri, position),
        ]);
        assert.deepEqual(await old, { code: CANCELLED });
        for (const [item] of answers) assert.equal(client.accepted(uri, item), TRUTH);
        assert.equal(engine.requests.length, 2);
    });
});

test('out of step: empty lists and a reason, until the document is opened again', async () => {
    await session({ engine: { script: oracle({ 'a.c': TRUTH }, { lines: 1 }) } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        client.connection.sendNotification('textDocument/didChange', {
            textDocument: { uri, version: 0 }, contentChanges: [{ text: 'x' }],
        });
        assert.deepEqual(await client.complete(uri, position, { invoked: true }), []);
        const status = await client.waitForStatus((one) => one.reason.includes('a.c'));
        assert.match(status.reason, /version 0 came after 1/);
        assert.equal(engine.requests.length, 0);
        client.open('a.c', text);
        const [item] = await client.complete(uri, position, { invoked: true });
        assert.equal(client.accepted(uri, item), TRUTH);
        await client.waitForStatus((one) => one.reason === '');
    });
});

test('excluded files reach no engine', async () => {
    await session({ engine: { script: 'hello' }, settings: { exclude: ['gen/*'] } }, async (client, engine) => {
        for (const name of ['.env', 'deploy/id_rsa', 'gen/a.c']) {
            const uri = client.open(name, 'key = \n');
            assert.deepEqual(await client.complete(uri, { line: 0, character: 6 }, { invoked: true }), []);
            const file = path.basename(name);
            await client.waitForStatus((status) => status.reason.startsWith(`${file}: `));
        }
        for (const uri of ['untitled:.env', 'git:/w/deploy/id_rsa']) { // nothing on the disk says so
            client.connection.sendNotification('textDocument/didOpen',
                { textDocument: { uri, languageId: 'plaintext', version: 1, text: 'key = \n' } });
            assert.deepEqual(await client.complete(uri, { line: 0, character: 6 }, { invoked: true }), []);
        }
        assert.equal(engine.requests.length, 0);
        assert.ok(!client.stderr.includes('key ='));
    });
});

test('completions that are switched off, for all or for a language: empty lists, and the engine is not asked', async () => {
    for (const settings of [{ enabled: false }, { languages: ['python'] }]) {
        await session({ engine: { script: 'hello' }, settings, ready: false }, async (client, engine) => {
            await client.waitForStatus((status) => status.model === 'scripted');
            const { text, position } = upTo('return first');
            const uri = client.open('a.c', text);
            for (const invoked of [false, true])
                assert.deepEqual(await client.complete(uri, position, { invoked }), []);
            await client.waitForStatus((status) => /switched off|a\.c: .*language/.test(status.reason));
            assert.equal(engine.requests.length, 0);
        });
    }
});

test('a document over 16 MiB is kept and gets nothing', async () => {
    await session({ engine: { script: 'hello' } }, async (client, engine) => {
        const uri = client.open('a.c', 'int x;\n'.repeat(Math.ceil(16 * 1024 * 1024 / 7) + 1));
        assert.deepEqual(await client.complete(uri, { line: 0, character: 6 }, { invoked: true }), []);
        await client.waitForStatus((status) => /larger than 16 MiB/.test(status.reason));
        assert.equal(engine.requests.length, 0);
    });
});

test('more requests than may wait are answered at once, by empty lists', async () => {
    await session({ engine: { script: HANG } }, async (client) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        const order = [];
        const ask = (i) => settled(client.complete(uri, position, { invoked: true })).then((answer) => {
            order.push(i);
            return answer;
        });
        const answers = Array.from({ length: 300 }, (_, i) => ask(i)); // 256 may wait
        assert.deepEqual(await answers[299], { items: [] });
        assert.ok(!order.includes(255) && order.includes(256), order.join(' '));
        for (const { items } of await Promise.all(answers)) assert.deepEqual(items, []);
    });
});

test('an engine that loads, dies and comes back never makes an error', async () => {
    const script = oracle({ 'a.c': TRUTH }, { lines: 1 });
    const engine = { script, handshake: { state: 'loading' } };
    await session({ engine, ready: false }, async (client, scripted) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        await client.waitForStatus('loading');
        assert.deepEqual(await client.complete(uri, position, { invoked: true }), []);
        scripted.setState('ready');
        await client.waitForStatus('ready');
        assert.equal((await client.complete(uri, position, { invoked: true })).length, 1);
        scripted.script = HANG;
        const waiting = settled(client.complete(uri, BLANK[0], { invoked: true }));
        await scripted.until(() => scripted.requests.length >= 2, 'the request');
        await scripted.stop();
        assert.deepEqual(await waiting, { items: [] });
        await client.waitForStatus((status) => status.state !== 'ready' && status.state !== 'busy');
        assert.deepEqual(await client.complete(uri, position, { invoked: true }), []);
        scripted.script = script;
        await scripted.listen();
        await client.waitForStatus('ready');
        const [item] = await client.complete(uri, position, { invoked: true });
        assert.equal(client.accepted(uri, item), TRUTH);
    });
});

test('popups are answered at once and have the answer soon', async () => {
    const options = {
        capabilities: { textDocument: { inlineCompletion: undefined } },
        engine: { script: oracle({ 'a.c': TRUTH }, { lines: 1 }) },
    };
    await session(options, async (client, engine) => {
        assert.deepEqual(client.initialized.capabilities.completionProvider, { resolveProvider: false });
        const { text, position } = upTo('return fir');
        const uri = client.open('a.c', text);
        const ask = (at) => client.connection.sendRequest('textDocument/completion', { textDocument: { uri }, position: at });
        let list = await ask(position);
        for (const end = Date.now() + 20000; list.items.length === 0 && Date.now() < end; await sleep(20))
            list = await ask(position);
        assert.equal(list.isIncomplete, true);
        assert.equal(list.items[0].filterText, 'first + second;');
        const n = engine.requests.length;
        const at = client.type(uri, position, 'st');
        list = await ask(at);
        assert.equal(engine.requests.length, n, 'typing along asks nothing new');
        assert.deepEqual(list.items[0].textEdit, {
            range: { start: { line: at.line, character: 11 }, end: at },
            newText: 'first + second;',
        });
    });
});

const POPUPS = { textDocument: { inlineCompletion: undefined } };

test('popups do not wait for the engine', async () => {
    await session({ capabilities: POPUPS, engine: { script: HANG } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const [uri, other] = ['a.c', 'b.c'].map((name) => client.open(name, text));
        const order = [];
        // It may wait for three seconds, and is asked first.
        const inline = client.complete(other, position, { invoked: true }).then(() => order.push('inline'));
        await engine.until(() => engine.requests.length === 1, 'the request');
        for (let i = 0; i < 3; i++) {
            const list = await client.connection.sendRequest('textDocument/completion',
                { textDocument: { uri }, position, context: { triggerKind: 1 } });
            order.push('popup');
            assert.deepEqual(list, { isIncomplete: true, items: [] });
        }
        await inline;
        assert.deepEqual(order, ['popup', 'popup', 'popup', 'inline']);
    });
});

test('a popup is not answered for an older text', async () => {
    await session({ capabilities: POPUPS, engine: { script: oracle({ 'a.c': TRUTH }, { lines: 1 }) } }, async (client) => {
        const { text, position } = upTo('return fir');
        const uri = client.open('a.c', text);
        const ask = (at) => client.connection.sendRequest('textDocument/completion',
            { textDocument: { uri }, position: at, context: { triggerKind: 3 } }); // known at once
        let list = await ask(position);
        for (const end = Date.now() + 20000; list.items.length === 0 && Date.now() < end; await sleep(20))
            list = await ask(position);
        assert.equal(list.items.length, 1);
        const start = { line: 0, character: 0 };
        const late = await client.together(() => {
            const answer = ask(position);
            client.change(uri, { start, end: start }, '//\n');
            return answer;
        });
        assert.deepEqual(late.items, []);
    });
});

test('a popup typed against what the engine says is asked for anew', async () => {
    const handshake = { features: ['token_ids', 'lease', 'must_start_with'] };
    const script = ({ body, index }) => { // its beginning, and then nothing for long
        const must = Buffer.from(body.dbrx.must_start_with ?? '', 'base64').toString();
        return { text: `${must} + second;\n`, pieceBytes: must.length + 4, pieceMs: index ? 0 : 60000 };
    };
    await session({ capabilities: POPUPS, engine: { script, handshake } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        const ask = (at) => client.connection.sendRequest('textDocument/completion',
            { textDocument: { uri }, position: at, context: { triggerKind: 1 } });
        await ask(position);
        await engine.until(() => engine.requests[0]?.sentBytes > 0, 'its beginning');
        const at = client.type(uri, position, ' -');
        await ask(at);
        await engine.until(() => engine.requests.length === 2, 'another question');
    });
});

test('the status is sent at most four times a second', async () => {
    await session({ engine: { script: '```' } }, async (client) => {
        const began = Date.now();
        const n = client.statuses.length;
        const ok = client.open('a.c', TRUTH);
        for (let i = 0; i < 300; i++) {
            client.open(`${i}.env`, 'a');
            if (i % 10 === 0) await client.complete(ok, { line: 0, character: 0 });
        }
        await client.prompt(ok);
        const seconds = (Date.now() - began) / 1000;
        assert.ok(client.statuses.length - n <= 4 * seconds + 2, `${client.statuses.length - n} in ${seconds} s`);
    });
});

test('shutdown answers what is under way and ends with 0', async () => {
    await session({ engine: { script: HANG } }, async (client, engine) => {
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        const waiting = settled(client.complete(uri, position, { invoked: true }));
        await engine.until(() => engine.requests.length === 1, 'the request');
        const exit = client.shutdown();
        assert.deepEqual(await waiting, { code: CANCELLED });
        assert.deepEqual(await exit, { code: 0, signal: null });
    });
});

/** Resolves once the process is gone. N13: five seconds; ten times that for a busy machine. */
async function gone(pid) {
    for (const end = Date.now() + 50000; Date.now() < end; await sleep(50)) {
        try {
            if (/\) Z /.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'))) return;
        } catch {
            return;
        }
    }
    assert.fail(`process ${pid} is still there`);
}

test('the server ends with the client process named in initialize', async () => {
    const engine = await startScriptedEngine();
    const editor = spawn('sleep', ['600']);
    const client = await startServer({ endpoint: engine.endpoint, initialize: false });
    try {
        await client.connection.sendRequest('initialize', { processId: editor.pid, capabilities: {} });
        editor.kill('SIGKILL');
        await gone(client.process.pid);
    } finally {
        editor.kill('SIGKILL');
        await client.close();
        await engine.close();
    }
});

test('the server ends with its parent, though its input stays open', async () => {
    const sandbox = new Sandbox();
    const fifo = path.join(sandbox.directory, 'input');
    execFileSync('mkfifo', [fifo]);
    const holder = fs.openSync(fifo, 'r+'); // keeps the input from ending
    const env = sandbox.env({ DBRX_ENDPOINT: `unix:${sandbox.directory}/no.sock` });
    const shell = spawn('sh', ['-c', `"${program}" <"${fifo}" >/dev/null & echo $!; wait`], { env });
    try {
        const pid = await new Promise((done) => shell.stdout.once('data', (text) => done(Number(text))));
        await sleep(300);
        assert.ok(fs.existsSync(`/proc/${pid}`));
        shell.kill('SIGKILL');
        await gone(pid);
    } finally {
        fs.closeSync(holder);
        sandbox.close();
    }
});

test('a client that does not read is waited for, not stored', async () => {
    const sandbox = new Sandbox();
    const env = sandbox.env({ DBRX_ENDPOINT: `unix:${sandbox.directory}/no.sock` });
    const server = spawn(program, [], { env, stdio: ['pipe', 'pipe', 'ignore'] });
    const n = 400000; // replies of 116 bytes: nearly three times what may wait
    const text = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'no/such' });
    const memory = () => Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${server.pid}/status`, 'utf8'))[1]);
    try {
        server.stdin.write(`Content-Length: ${text.length}\r\n\r\n${text}`.repeat(n));
        // Until it no longer takes input: what is left to write stands still.
        for (let left = -1; left !== server.stdin.writableLength || memory() < 16384; await sleep(300))
            left = server.stdin.writableLength;
        const limit = process.env.ASAN_OPTIONS ? 1000000 : 120000;
        assert.ok(memory() < limit, `${memory()} KiB`);
        let bytes = 0;
        const reply = '{"jsonrpc":"2.0","id":1,"error":{"code":-32002,"message":"the server is not initialized yet"}}';
        const expected = n * `Content-Length: ${reply.length}\r\n\r\n${reply}`.length;
        for await (const piece of server.stdout) {
            bytes += piece.length;
            if (bytes >= expected) break;
        }
        assert.equal(bytes, expected);
    } finally {
        server.kill('SIGKILL');
        sandbox.close();
    }
});

const model = path.join(build, 'model');

test('the real engine with the demo model', { skip: !fs.existsSync(path.join(model, 'config.json')) && 'no demo model' }, async () => {
    const client = await startServer({ model, settings: { idle: '1' } });
    try {
        await client.waitForStatus('ready', 120000);
        assert.equal(client.status.demo, true);
        const { text, position } = upTo('return first');
        const uri = client.open('a.c', text);
        const items = await client.complete(uri, position, { invoked: true });
        assert.ok(Array.isArray(items));
        const prompt = await client.prompt(uri);
        assert.ok(prompt.tokens > 0);
        assert.deepEqual(await client.shutdown(), { code: 0, signal: null });
    } finally {
        await client.close();
    }
});
