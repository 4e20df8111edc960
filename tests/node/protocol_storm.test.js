// A client gone mad: messages of every kind, most of them with something wrong in them (a type, a number,
// a field that is missing or too much), answers nobody asked for, cancels of anything. Whatever it says,
// the server lives, gives each request one reply, puts nothing but frames on its output, and serves a
// document that was left alone as before. STORM_MESSAGES says how many, SEED which.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import test from 'node:test';
import { pathToFileURL } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { CANCELLED, FILES, HANG, TRUTH, upTo } from './support/completing.js';
import { program } from './support/modules.js';
import { oracle } from './support/oracle.js';
import { Sandbox } from './support/sandbox.js';
import { startScriptedEngine } from './support/scripted_engine.js';
import { cutOff, failing, hostile } from './support/scripts.js';

const MESSAGES = Number(process.env.STORM_MESSAGES ?? 1500);
const LIMIT_MS = 30000;
const COMMANDS = ['fix', 'explain', 'simplify', 'extract', 'rename', 'rewrite', 'document', 'tests', 'translate',
    'commitMessage', 'accepted'];
const PLACE = upTo('return first'); // most of the time somebody types there
const WRONG = [null, true, -1, 0, 0.5, 1e308, 2 ** 53, -(2 ** 31) - 1, '', 'x', 'file:///', 'file:///%ff%00', 'dbrx-doc:/x',
    '../../etc/passwd', '\0', '\ud800', '\u202e}', 'é'.repeat(3000), [], {}, [[[[[]]]]], { uri: {} }, [null]];

let state = Number(process.env.SEED ?? 11);
/** Numbers that a failure can be repeated with (Lehmer 1951, modulus 2^31 - 1). */
const chance = (below) => { state = (state * 48271) % 0x7fffffff; return state % below; };
let versions = 0;
const one = (list) => list[chance(list.length)];

const position = () => ({ line: chance(22), character: chance(40) });
const range = () => {
    const start = position(), lines = chance(3);
    return { start, end: lines ? { line: start.line + lines, character: chance(20) } : { ...start, character: start.character + chance(9) } };
};

/** Every message a client may send, as it should be; `uri` is the document it speaks of. */
function rightMessages(uri, root) {
    const textDocument = { uri };
    const versioned = { uri, version: ++versions };
    const open = ['textDocument/didOpen', { textDocument: { uri, languageId: 'c', version: versions, text: one([TRUTH, PLACE.text]) } }];
    const ask = ['textDocument/inlineCompletion', { textDocument, position: PLACE.position, context: { triggerKind: 1 + chance(2) } }, true];
    const argument = { textDocument: versioned, range: range(), instruction: 'count', language: 'German',
        diagnostics: [{ range: range(), message: 'unused', source: 'cc' }], folder: root, again: true, id: chance(9) };
    return [
        open, open, open, open, ask, ask, ask, ask,
        ['textDocument/didChange', { textDocument: versioned, contentChanges: [{ range: range(), text: one(['x', '\n', '()', '']) }] }],
        ['textDocument/didChange', { textDocument: versioned, contentChanges: [{ text: TRUTH }, { range: range(), text: 'y' }] }],
        ['textDocument/didSave', { textDocument }],
        ['textDocument/didClose', { textDocument }],
        ['workspace/didChangeConfiguration', { settings: { dbrx: { delayMs: 10, exclude: ['*.key'], budgetTokens: 2000 } } }],
        ['workspace/didChangeWorkspaceFolders', { event: { added: [{ uri: root, name: 'w' }], removed: [] } }],
        ['workspace/didChangeWatchedFiles', { changes: [{ uri, type: 2 }] }],
        ['window/workDoneProgress/cancel', { token: chance(9) }],
        ['dbrx/dismissed', { textDocument }],
        ['$/setTrace', { value: one(['off', 'messages']) }],
        ['$/progress', { token: 1, value: {} }],
        ['no/such', {}],
        ['textDocument/inlineCompletion', { textDocument, position: position(), context: { triggerKind: 1 + chance(2) } }, true],
        ['textDocument/inlineCompletion', { textDocument, position: position(),
            context: { triggerKind: 1, selectedCompletionInfo: { range: range(), text: 'sum' } } }, true],
        ['textDocument/completion', { textDocument, position: position() }, true],
        ['textDocument/codeAction', { textDocument, range: range(), context: { diagnostics: [] } }, true],
        ['workspace/executeCommand', { command: `dbrx-ls.${one(COMMANDS)}`, arguments: [argument] }, true],
        ['workspace/executeCommand', { command: `dbrx-ls.${one(COMMANDS)}`, arguments: [{ ...argument, textDocument }] }, true],
        ['workspace/textDocumentContent', { uri: 'dbrx-doc:/explain/a-1.md' }, true],
        ['dbrx/prompt', { textDocument }, true],
        ['$/no/such', {}, true],
    ];
}

/** The value with something wrong in it, in a place chosen by chance. */
function spoilt(value) {
    if (value === null || typeof value !== 'object' || chance(6) === 0) return one(WRONG);
    const keys = Object.keys(value);
    if (keys.length === 0) return one(WRONG);
    const copy = Array.isArray(value) ? [...value] : { ...value };
    const key = one(keys);
    if (chance(5) === 0) delete copy[key];
    else copy[key] = spoilt(copy[key]);
    if (chance(12) === 0) copy[one(['uri', 'range', 'text', 'textDocument', 'extra'])] = one(WRONG);
    return copy;
}

/** The server and what it says, frame by frame: a byte that belongs to none is an error. */
class Server {
    constructor(sandbox, endpoint) {
        this.process = spawn(program, [], {
            cwd: sandbox.work, env: sandbox.env({ DBRX_ENDPOINT: endpoint }), stdio: ['pipe', 'pipe', 'pipe'],
        });
        this.replies = new Map(); // id -> replies
        this.asked = new Map(); // id -> method
        this.rest = Buffer.alloc(0);
        this.stderr = '';
        this.nextId = 0;
        this.wrong = null;
        this.gone = new Promise((done) => this.process.on('close', (code, signal) => done(signal ?? code)));
        this.process.stdin.on('error', () => {});
        this.process.stderr.on('data', (text) => { this.stderr = (this.stderr + text).slice(-65536); });
        this.process.stdout.on('data', (bytes) => this.#take(bytes));
    }

    #take(bytes) {
        this.rest = Buffer.concat([this.rest, bytes]);
        while (this.rest.length > 0) {
            const header = /^Content-Length: (\d+)\r\n\r\n/.exec(this.rest.subarray(0, 64).toString('latin1'));
            if (!header && this.rest.length >= 64) this.wrong ??= `no frame: ${this.rest.subarray(0, 64)}`;
            if (!header) return;
            const end = header[0].length + Number(header[1]);
            if (this.rest.length < end) return;
            this.#message(JSON.parse(this.rest.subarray(header[0].length, end)));
            this.rest = this.rest.subarray(end);
        }
    }

    /** Replies are kept; requests get an answer that may be right, wrong, twice, or never. */
    #message(message) {
        if (message.method === undefined) {
            const list = this.replies.get(message.id) ?? [];
            this.replies.set(message.id, [...list, message]);
        } else if (message.id !== undefined) {
            const answers = [{ result: null }, { result: one(WRONG) }, { result: { applied: true } }, { error: one(WRONG) },
                { error: { code: -1, message: 'no' } }];
            for (let i = chance(3); i > 0; i--) this.send({ id: message.id, ...one(answers) });
        }
    }

    send(message) {
        const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...message }));
        this.process.stdin.write(Buffer.concat([Buffer.from(`Content-Length: ${body.length}\r\n\r\n`), body]));
    }

    notify(method, params) { this.send({ method, params }); }

    /** Sends a request; returns its id. */
    ask(method, params) {
        const id = chance(2) ? ++this.nextId : `s${++this.nextId}`;
        this.asked.set(id, method);
        this.send({ id, method, params });
        return id;
    }

    async reply(id) {
        for (const end = Date.now() + LIMIT_MS; Date.now() < end; await sleep(5)) {
            if (this.replies.has(id)) return this.replies.get(id)[0];
            assert.equal(this.process.exitCode ?? this.process.signalCode, null, `the server ended: ${this.stderr}`);
        }
        return assert.fail(`no reply to ${this.asked.get(id)} ${id}: ${this.stderr}`);
    }
}

/** The line is completed as the oracle knows it. */
async function servedAsBefore(server, uri) {
    server.notify('textDocument/didOpen', { textDocument: { uri, languageId: 'c', version: 1, text: PLACE.text } });
    for (let i = 0; i < 20; i++) {
        const { result } = await server.reply(server.ask('textDocument/inlineCompletion',
            { textDocument: { uri }, position: PLACE.position, context: { triggerKind: 1 } }));
        const items = result.items ?? result;
        if (items.length > 0) return assert.ok(`return first${items[0].insertText}`.includes('+ second;'), items[0].insertText);
        await sleep(100);
    }
    return assert.fail(`nothing is shown: ${server.stderr}`);
}

test(`${MESSAGES} messages, most of them wrong`, async () => {
    const known = oracle(FILES, { lines: 1 });
    const truth = (request) => { try { return known(request); } catch { return 'x;\n```'; } };
    const engine = await startScriptedEngine({
        script: (request) => [truth, truth, HANG, failing(503), cutOff(truth, 5), hostile][request.index % 6],
    });
    const sandbox = new Sandbox();
    const server = new Server(sandbox, engine.endpoint);
    try {
        sandbox.write({ 'a.c': TRUTH, 'b/c.c': TRUTH, '.env': 'A=1\n' });
        const root = pathToFileURL(sandbox.work).href;
        const uris = ['a.c', 'b/c.c', '.env', 'new.c'].map((name) => `${root}/${name}`);
        await server.reply(server.ask('initialize', {
            processId: null, rootUri: root, workspaceFolders: [{ uri: root, name: 'w' }],
            capabilities: {
                textDocument: { codeAction: { codeActionLiteralSupport: { codeActionKind: { valueSet: ['quickfix'] } } } },
                window: { workDoneProgress: true, showDocument: { support: true } },
                workspace: { applyEdit: true, workspaceFolders: true, textDocumentContent: {}, workspaceEdit: { documentChanges: true } },
            },
            initializationOptions: { dbrx: { status: true, popup: true, instructions: true } },
        }));
        server.notify('initialized', {});
        for (let i = 0; i < MESSAGES; i++) {
            const [method, params, asks] = one(rightMessages(one(uris), root));
            const said = chance(4) === 0 ? spoilt(params) : params;
            if (asks || chance(40) === 0) server.ask(method, said);
            else server.notify(method, said);
            if (chance(12) === 0) server.notify('$/cancelRequest', { id: chance(3) ? server.nextId : one(WRONG) });
            if (chance(6) === 0) await sleep(chance(30));
        }
        assert.ok(engine.requests.length > 3, 'some of it was served');
        engine.script = known;
        await servedAsBefore(server, `${root}/alone/a.c`);
        await server.reply(server.ask('shutdown'));
        server.notify('exit');
        assert.equal(await server.gone, 0, server.stderr);
        assert.equal(server.wrong, null);
        assert.equal(server.rest.length, 0);
        assert.ok(!/runtime error|Sanitizer/.test(server.stderr), server.stderr);
        for (const [id, method] of server.asked) {
            const replies = server.replies.get(id) ?? [];
            assert.equal(replies.length, 1, `${method} ${id}: ${JSON.stringify(replies)}`);
            if (method === 'textDocument/inlineCompletion' || method === 'textDocument/completion')
                assert.ok(!replies[0].error || replies[0].error.code === CANCELLED, JSON.stringify(replies[0]));
        }
        assert.ok([...server.replies.keys()].every((id) => server.asked.has(id)), 'no reply to what was not asked');
    } finally {
        server.process.kill('SIGKILL');
        sandbox.close();
        await engine.close().catch(() => {}); // what it thought of such prompts is no matter
    }
});
