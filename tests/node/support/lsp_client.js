// An editor without a screen: starts the language server over stdio in a sandbox of its own and
// speaks the protocol through vscode-languageserver-protocol, as editors do.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { load, program } from './modules.js';
import { Sandbox } from './sandbox.js';

export const protocol = load('vscode-languageserver-protocol/node');

const CAPABILITIES = {
    general: { positionEncodings: ['utf-16'] },
    textDocument: { synchronization: {}, inlineCompletion: { dynamicRegistration: false } },
    window: { workDoneProgress: true },
};
const LANGUAGES = {
    '.c': 'c',
    '.h': 'c',
    '.js': 'javascript',
    '.ts': 'typescript',
    '.py': 'python',
    '.lua': 'lua',
    '.go': 'go',
    '.rs': 'rust',
    '.php': 'php',
    '.java': 'java',
    '.md': 'markdown',
    '.sh': 'shellscript',
};

/**
 * Starts a server and initializes it. Options:
 *   sandbox        where it lives; absent: one of its own, closed with the client
 *   folder         the workspace; absent: the sandbox's work directory
 *   endpoint, model, env, args      how the server is started
 *   capabilities   merged over the defaults
 *   settings       the "dbrx" object of initializationOptions, merged over { status: true }
 *   locale         of the user, "de-AT"; absent: not said
 *   initialize     false: start only; the test initializes itself through client.connection
 */
export async function startServer(options = {}) {
    const client = new LspClient(options);
    try {
        await client.start();
    } catch (thrown) {
        await client.close();
        throw thrown;
    }
    return client;
}

export class LspClient {
    constructor(options) {
        this.options = options;
        this.ownsSandbox = !options.sandbox;
        this.sandbox = options.sandbox ?? new Sandbox();
        this.folder = options.folder ?? this.sandbox.work;
        this.documents = new Map(); // uri -> { text, version }
        this.statuses = []; // of dbrx/status, in order
        this.messages = []; // window/showMessage: an editor would pop these up
        this.logs = []; // window/logMessage
        this.stderr = '';
        this.exited = null; // { code, signal }
        this.waiters = [];
    }

    async start() {
        const { env, endpoint, model, args = [] } = this.options;
        this.process = spawn(this.options.program ?? program, args, {
            cwd: this.folder,
            env: this.sandbox.env({ DBRX_ENDPOINT: endpoint, DBRX_MODEL: model, ...env }),
            stdio: ['pipe', 'pipe', 'pipe'],
        });
        this.process.stderr.setEncoding('utf8').on('data', (text) => {
            this.stderr = (this.stderr + text).slice(-65536);
        });
        this.process.on('exit', (code, signal) => {
            this.exited = { code, signal };
            this.#event();
        });
        this.process.stdin.on('error', () => {}); // a dead server shows as its exit
        await once(this.process, 'spawn');
        this.#connect();
        if (this.options.initialize !== false) await this.initialize();
    }

    #connect() {
        this.connection = protocol.createProtocolConnection(
            new protocol.StreamMessageReader(this.process.stdout),
            new protocol.StreamMessageWriter(this.process.stdin),
        );
        this.connection.onError(() => {});
        this.connection.onUnhandledNotification(() => {});
        const collect = (method, list) =>
            this.connection.onNotification(method, (params) => {
                list.push(params);
                this.#event();
            });
        collect('dbrx/status', this.statuses);
        collect('window/showMessage', this.messages);
        collect('window/logMessage', this.logs);
        for (const method of ['window/workDoneProgress/create', 'client/registerCapability'])
            this.connection.onRequest(method, () => null);
        this.connection.onRequest('workspace/configuration', ({ items }) => items.map(() => null));
        this.connection.listen();
    }

    async initialize() {
        const uri = pathToFileURL(this.folder).href;
        this.initialized = await this.connection.sendRequest('initialize', {
            processId: process.pid,
            clientInfo: { name: 'tests' },
            locale: this.options.locale,
            rootUri: uri,
            workspaceFolders: [{ uri, name: path.basename(this.folder) }],
            capabilities: { ...CAPABILITIES, ...this.options.capabilities },
            initializationOptions: { dbrx: { status: true, ...this.options.settings } },
        });
        await this.connection.sendNotification('initialized', {});
    }

    uri(name) {
        return pathToFileURL(path.resolve(this.folder, name)).href;
    }

    /** Opens a file of the workspace, with its text on disk or another one. Returns its uri. */
    open(name, text, languageId) {
        const uri = this.uri(name);
        const content = text ?? fs.readFileSync(path.resolve(this.folder, name), 'utf8');
        this.documents.set(uri, { text: content, version: 1 });
        this.#notify('textDocument/didOpen', {
            textDocument: {
                uri,
                languageId: languageId ?? LANGUAGES[path.extname(name)] ?? 'plaintext',
                version: 1,
                text: content,
            },
        });
        return uri;
    }

    text(uri) {
        return this.documents.get(uri).text;
    }

    /** Replaces the range by text, as one incremental change. */
    change(uri, range, text) {
        const document = this.documents.get(uri);
        document.text = replaced(document.text, range, text);
        document.version++;
        this.#notify('textDocument/didChange', {
            textDocument: { uri, version: document.version },
            contentChanges: [{ range, text }],
        });
    }

    /** Types text at a position, one change per character; returns the position behind it. */
    type(uri, position, text) {
        let at = position;
        for (const character of text) {
            this.change(uri, { start: at, end: at }, character);
            at =
                character === '\n'
                    ? { line: at.line + 1, character: 0 }
                    : { line: at.line, character: at.character + character.length };
        }
        return at;
    }

    closeDocument(uri) {
        this.documents.delete(uri);
        this.#notify('textDocument/didClose', { textDocument: { uri } });
    }

    /** Asks for an inline completion. The promise has a cancel() and resolves to a list of items;
     * a cancelled one rejects with code -32800. */
    complete(uri, position, { invoked = false, ...context } = {}) {
        const source = new protocol.CancellationTokenSource();
        const answer = this.connection
            .sendRequest(
                'textDocument/inlineCompletion',
                {
                    textDocument: { uri },
                    position,
                    context: { triggerKind: invoked ? 1 : 2, ...context },
                },
                source.token,
            )
            .then((result) => (Array.isArray(result) ? result : result.items));
        answer.cancel = () => source.cancel();
        return answer;
    }

    /** What `body` sends reaches the server in one piece: nothing happens there in between. */
    async together(body) {
        const { stdin } = this.process;
        const pieces = [];
        stdin.write = (piece, ...more) => {
            pieces.push(Buffer.from(piece, typeof more[0] === 'string' ? more[0] : undefined));
            process.nextTick(more.at(-1)); // the connection waits for it before it writes more
            return true;
        };
        const sent = body();
        await sleep(20);
        delete stdin.write;
        stdin.write(Buffer.concat(pieces));
        return sent;
    }

    /** The document's text once the item is accepted. */
    accepted(uri, item) {
        const text = typeof item.insertText === 'string' ? item.insertText : item.insertText.value;
        return replaced(this.text(uri), item.range, text);
    }

    /** What was sent for the document's last completion, or null. */
    prompt(uri) {
        return this.connection.sendRequest('dbrx/prompt', { textDocument: { uri } });
    }

    get status() {
        return this.statuses.at(-1) ?? null;
    }

    /** Resolves to the first status from now on (the present one included) that `test` likes; a
     * text stands for the state. */
    async waitForStatus(test, limitMs = 60000) {
        const wanted = typeof test === 'string' ? (status) => status.state === test : test;
        await this.until(
            () => this.status !== null && wanted(this.status),
            `the status ${test}`,
            limitMs,
        );
        return this.status;
    }

    async until(test, what = 'the language server', limitMs = 60000) {
        const end = Date.now() + limitMs;
        while (!(await test(this))) {
            const last = JSON.stringify(this.status);
            if (this.exited)
                throw new Error(
                    `server exited (${JSON.stringify(this.exited)}) while ` +
                        `waiting for ${what}: ${this.stderr}`,
                );
            if (Date.now() > end)
                throw new Error(
                    `waited ${limitMs} ms for ${what}; last status ` +
                        `${last}; stderr: ${this.stderr}`,
                );
            await Promise.race([new Promise((done) => this.waiters.push(done)), sleep(100)]);
        }
    }

    /** shutdown and exit; resolves to the exit { code, signal }. */
    async shutdown() {
        await this.connection.sendRequest('shutdown');
        await this.connection.sendNotification('exit');
        await this.#gone(10000);
        return this.exited;
    }

    /** Ends the server, and with its own sandbox everything it started. Never throws. */
    async close() {
        if (this.process && !this.exited) {
            this.process.stdin.end();
            await this.#gone(2000);
            if (!this.exited) this.process.kill('SIGKILL');
            await this.#gone(2000);
        }
        this.connection?.dispose();
        if (this.ownsSandbox) this.sandbox.close();
    }

    async #gone(limitMs) {
        const end = Date.now() + limitMs;
        while (!this.exited && Date.now() < end) await sleep(10);
    }

    #notify(method, params) {
        this.connection.sendNotification(method, params).catch(() => {}); // the exit tells
    }

    #event() {
        for (const done of this.waiters.splice(0)) done();
    }
}

function replaced(text, range, by) {
    return text.slice(0, offsetOf(text, range.start)) + by + text.slice(offsetOf(text, range.end));
}

/** The UTF-16 offset of a position; beyond the end of a line or text it is that end. */
export function offsetOf(text, { line, character }) {
    let start = 0;
    for (let i = 0; i < line; i++) {
        const next = text.indexOf('\n', start);
        if (next < 0) return text.length;
        start = next + 1;
    }
    const end = text.indexOf('\n', start);
    return Math.min(start + character, end < 0 ? text.length : end);
}

/** The position of the first occurrence of `text` in the document, or of its end. */
export function positionOf(document, text, { end = false } = {}) {
    const at = document.indexOf(text);
    if (at < 0) throw new Error(`not in the document: ${text}`);
    const before = document.slice(0, end ? at + text.length : at).split('\n');
    return { line: before.length - 1, character: before.at(-1).length };
}
