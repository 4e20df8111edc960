// Transcripts: what a client sends and what must come back, from tests/transcripts/*.json.
//
// Each file is one session: { about, steps: [ ... ], bulk, exit }. A step sends a message
// ({ send }), bytes as they are ({ raw }, one character a byte; `repeat: [character, n]` puts n of
// them behind), or names the next message expected ({ expect }; "*" stands for anything). `exit` is
// the exit code after the last step and the end of input. `bulk` sessions run three times more: all
// in one write, one byte per write, and from a file.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { program, repository } from './support/modules.js';
import { Sandbox } from './support/sandbox.js';

const folder = path.join(repository, 'tests/transcripts');
const LIMIT_MS = 20000;

function frame(message) {
    const body = Buffer.from(JSON.stringify(message));
    return Buffer.concat([Buffer.from(`Content-Length: ${body.length}\r\n\r\n`), body]);
}

function bytesOf(step) {
    if (step.send !== undefined) return frame(step.send);
    if (step.raw === undefined) return Buffer.alloc(0);
    const [character, n] = step.repeat ?? ['', 0];
    return Buffer.concat([Buffer.from(step.raw, 'latin1'), Buffer.alloc(n, character || ' ')]);
}

class Session {
    constructor(sandbox, stdin = 'pipe') {
        this.messages = [];
        this.rest = Buffer.alloc(0);
        this.process = spawn(program, [], {
            // No engine: what is under test answers without one.
            env: sandbox.env({ DBRX_ENDPOINT: `unix:${sandbox.directory}/no.sock` }),
            stdio: [stdin, 'pipe', 'pipe'],
        });
        this.stderr = '';
        this.process.stderr.on('data', (text) => { this.stderr += text; });
        this.process.stdin?.on('error', () => {});
        this.exit = new Promise((done) => this.process.on('close', (code) => done(code)));
        this.process.stdout.on('data', (bytes) => this.take(bytes));
        this.waiter = () => {};
    }

    // Strict: every byte of the output belongs to a frame as the specification draws it.
    take(bytes) {
        this.rest = Buffer.concat([this.rest, bytes]);
        for (;;) {
            const header = /^Content-Length: (\d+)\r\n\r\n/.exec(this.rest.subarray(0, 64).toString('latin1'));
            if (!header) break;
            const end = header[0].length + Number(header[1]);
            if (this.rest.length < end) break;
            this.messages.push(JSON.parse(this.rest.subarray(header[0].length, end)));
            this.rest = this.rest.subarray(end);
        }
        this.waiter();
    }

    async next(index) {
        const timer = setTimeout(() => this.process.kill('SIGKILL'), LIMIT_MS);
        let gone = false;
        this.exit.then(() => { gone = true; this.waiter(); });
        while (this.messages.length <= index && !gone)
            await new Promise((done) => { this.waiter = done; });
        clearTimeout(timer);
        assert.ok(this.messages.length > index,
            `message ${index} came; so far ${JSON.stringify(this.messages)}; stderr ${this.stderr}`);
        return this.messages[index];
    }

    async end() {
        this.process.stdin?.end();
        const timer = setTimeout(() => this.process.kill('SIGKILL'), LIMIT_MS);
        const code = await this.exit;
        clearTimeout(timer);
        assert.equal(this.rest.length, 0, `stray bytes on stdout: ${this.rest}`);
        return code;
    }
}

function matches(expected, found) {
    if (expected === '*') return true;
    if (expected === null || typeof expected !== 'object') return Object.is(expected, found);
    if (found === null || typeof found !== 'object') return false;
    const names = Object.keys(expected);
    return names.length === Object.keys(found).length && Array.isArray(expected) === Array.isArray(found)
        && names.every((name) => matches(expected[name], found[name]));
}

function check(expected, found) {
    if (!matches({ jsonrpc: '2.0', ...expected }, found)) assert.deepEqual(found, expected);
}

async function inStep(script, sandbox) {
    const session = new Session(sandbox);
    let n = 0;
    for (const step of script.steps) {
        session.process.stdin.write(bytesOf(step));
        if (step.expect !== undefined) check(step.expect, await session.next(n++));
    }
    assert.equal(await session.end(), script.exit);
    assert.equal(session.messages.length, n, `no more than expected: ${JSON.stringify(session.messages.slice(n))}`);
}

async function allExpected(script, session) {
    const expected = script.steps.filter((step) => step.expect !== undefined);
    assert.equal(await session.end(), script.exit);
    assert.equal(session.messages.length, expected.length, JSON.stringify(session.messages));
    expected.forEach((step, i) => check(step.expect, session.messages[i]));
}

async function atOnce(script, sandbox) {
    const session = new Session(sandbox);
    session.process.stdin.write(Buffer.concat(script.steps.map(bytesOf)));
    await allExpected(script, session);
}

async function byteByByte(script, sandbox) {
    const session = new Session(sandbox);
    const bytes = Buffer.concat(script.steps.map(bytesOf));
    for (let i = 0; i < bytes.length && session.process.exitCode === null; i++) {
        session.process.stdin.write(bytes.subarray(i, i + 1));
        if (i % 64 === 0) await new Promise((done) => setImmediate(done));
    }
    await allExpected(script, session);
}

async function fromFile(script, sandbox) {
    const file = path.join(sandbox.directory, 'transcript');
    fs.writeFileSync(file, Buffer.concat(script.steps.map(bytesOf)));
    const fd = fs.openSync(file, 'r');
    const session = new Session(sandbox, fd);
    fs.closeSync(fd);
    await allExpected(script, session);
}

for (const name of fs.readdirSync(folder).filter((file) => file.endsWith('.json')).sort()) {
    const script = JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8'));
    const runs = script.bulk ? [inStep, atOnce, byteByByte, fromFile] : [inStep];
    for (const run of runs) {
        test(`${name}: ${script.about} (${run.name})`, async () => {
            const sandbox = new Sandbox();
            try {
                await run(script, sandbox);
            } finally {
                sandbox.close();
            }
        });
    }
}
