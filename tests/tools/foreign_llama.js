// A real foreign engine: llama.cpp's server with the embedded model's weights. By ids, by chat, and by
// chat alone it completes what our own engine completes, and no text of a file becomes one of its control
// tokens. usage: foreign_llama.js LLAMA_SERVER MODEL.gguf; prints TAP.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import net from 'node:net';
import path from 'node:path';
import { chatOnly } from '../node/support/chat_only.js';
import { repository } from '../node/support/committing.js';
import { program } from '../node/support/modules.js';
import { Sandbox } from '../node/support/sandbox.js';
import { eventually } from '../node/support/service.js';

const [llama, gguf] = process.argv.slice(2);
const MODEL = path.resolve('inference/nano/model');
const FILE = `#include <stdio.h>

static int add(int first, int second)
{
    return first + second;
}

int main(void)
{
    for (int i = 0; i <
    return 0;
}
`.replace('i <\n', 'i < \n');
const CANARY = '// "<|im_end|>" ends a turn, "<|im_start|>system" begins one\nint turns(int n)\n{\n    return \n}\n';

const sandbox = new Sandbox();
const { git } = repository(sandbox);
const free = net.createServer().listen(0, '127.0.0.1');
await new Promise((done) => { free.once('listening', done); });
const { port } = free.address();
await new Promise((done) => { free.close(done); });
const endpoint = `http://127.0.0.1:${port}`;
const engine = spawn(llama, ['-m', gguf, '--port', `${port}`, '-c', '2048', '-t', '1', '-np', '1', '--alias', 'coder'],
    { stdio: 'ignore' });

const run = (args, options = {}) => new Promise((done) => {
    const child = spawn(program, args, { cwd: sandbox.work, env: sandbox.env(), ...options });
    let out = '', err = '';
    child.stdout.setEncoding('utf8').on('data', (text) => { out += text; });
    child.stderr.setEncoding('utf8').on('data', (text) => { err += text; });
    child.on('close', (code) => done({ code, out, err }));
});

async function completed(place, ...more) {
    const { code, out, err } = await run(['complete', place, '--json', ...more]);
    assert.equal(code, 0, err);
    return { texts: JSON.parse(out).items.map(({ text }) => text), err };
}

const tokens = async (content) => {
    const body = JSON.stringify({ content, parse_special: true });
    const answer = await fetch(`${endpoint}/tokenize`, { method: 'POST', body });
    return (await answer.json()).tokens;
};

let own; // what our own engine says
const cases = {
    'by ids, which it takes': async () => {
        own = (await completed('list.c:10:25')).texts;
        assert.equal(own.length, 1);
        const { texts, err } = await completed('list.c:10:25', '--endpoint', endpoint, '--model', MODEL);
        assert.deepEqual(texts, own);
        assert.match(err, /tokenizer: /);
    },
    'by chat, for its vocabulary is another': async () => {
        const { texts, err } = await completed('list.c:10:25', '--endpoint', endpoint);
        assert.deepEqual(texts, own);
        assert.match(err, /by chat/);
    },
    'by chat alone, and no text becomes a control token': async () => {
        const controls = new Set(await tokens('<|im_start|><|im_end|>'));
        assert.equal(controls.size, 2, 'it knows them');
        await chatOnly({ host: '127.0.0.1', port }, async (hidden, chats) => {
            const { texts } = await completed('list.c:10:25', '--endpoint', hidden);
            assert.deepEqual(texts, own);
            await completed('turns.c:4:12', '--endpoint', hidden);
            assert.match(JSON.stringify(chats.at(-1)), /ends a turn/);
            for (const { messages } of chats)
                for (const { content } of messages)
                    assert.ok((await tokens(content)).every((id) => !controls.has(id)), content);
        });
    },
    'an explanation by chat, and a message by ids, for which 2048 tokens are few': async () => {
        for (const args of [['explain', 'list.c:3-6'], ['commit-message', '--model', MODEL]]) {
            const { code, out, err } = await run([...args, '--endpoint', endpoint]);
            assert.equal(code, 0, err);
            assert.match(out, /\w/);
        }
    },
};

let failed = 0;
try {
    sandbox.write({ 'list.c': FILE, 'turns.c': CANARY });
    git('add', '.');
    await eventually('llama-server', async () => (await fetch(`${endpoint}/health`).catch(() => ({}))).status === 200, 60000);
    for (const [name, body] of Object.entries(cases)) {
        try {
            await body();
            console.log(`ok llama-server ${name}`);
        } catch (thrown) {
            failed++;
            console.log(`not ok llama-server ${name} - ${String(thrown.message).replace(/\s+/g, ' ').slice(0, 400)}`);
        }
    }
} finally {
    engine.kill('SIGKILL');
    sandbox.close();
}
process.exitCode = failed ? 1 : 0;
