// An editor that lets a server act: progress, edits with versions, questions to the user, documents of
// the server. What it was asked is recorded; what it does is said by the test.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { LspClient, offsetOf, protocol } from './lsp_client.js';

const TEXT_DOCUMENT = {
    synchronization: {},
    inlineCompletion: { dynamicRegistration: false },
    codeAction: {
        codeActionLiteralSupport: {
            codeActionKind: { valueSet: ['', 'quickfix', 'refactor', 'refactor.rewrite'] },
        },
        tagSupport: { valueSet: [1] },
    },
};
const WORKSPACE = {
    applyEdit: true,
    workspaceEdit: { documentChanges: true, resourceOperations: ['create'] },
};

/**
 * Options beside those of startServer:
 *   shows      'content' (dbrx-doc by workspace/textDocumentContent), 'notes' (dbrx/document),
 *              'file' (window/showDocument alone) or 'nothing'
 *   answer     the title picked when the server asks the user, or a function (client, params) that says
 *              it; absent: the question is dismissed
 *   onEdit     function (client, params) instead of applying the edit; its value is the response
 *   workspace  replaced capabilities of the workspace
 */
export async function startActing(options = {}) {
    const shows = options.shows ?? 'content';
    const workspace = { ...WORKSPACE, ...options.workspace };
    if (shows === 'content') workspace.textDocumentContent = {};
    const client = new ActingClient({
        ...options,
        initialize: false,
        settings: { documents: shows === 'notes', instructions: true, ...options.settings },
        capabilities: {
            textDocument: TEXT_DOCUMENT,
            window: { workDoneProgress: true, showDocument: { support: shows !== 'nothing' } },
            workspace,
            ...options.capabilities,
        },
    });
    try {
        await client.start();
        client.listenToActions();
        await client.initialize();
    } catch (thrown) {
        await client.close();
        throw thrown;
    }
    return client;
}

export class ActingClient extends LspClient {
    constructor(options) {
        super(options);
        this.edits = []; // params of workspace/applyEdit
        this.questions = []; // of window/showMessageRequest
        this.shown = []; // of window/showDocument
        this.refreshed = []; // uris of workspace/textDocumentContent/refresh
        this.notes = []; // of dbrx/document
        this.progress = new Map(); // token -> values
        this.requestsMade = []; // methods the server called, in order
    }

    listenToActions() {
        const on = (method, answer) =>
            this.connection.onRequest(method, async (params) => {
                this.requestsMade.push(method);
                const result = await answer(params);
                this.wake();
                return result;
            });
        on('workspace/applyEdit', (params) => this.#edit(params));
        on('window/showMessageRequest', (params) => {
            this.questions.push(params);
            const { answer } = this.options;
            const title = typeof answer === 'function' ? answer(this, params) : answer;
            const picked = params.actions.find((action) => action.title === title);
            return picked ?? null;
        });
        on('window/showDocument', (params) => {
            this.shown.push(params);
            return { success: true };
        });
        on('window/workDoneProgress/create', ({ token }) => {
            this.progress.set(token, []);
            return null;
        });
        on('workspace/textDocumentContent/refresh', ({ uri }) => {
            this.refreshed.push(uri);
            return null;
        });
        this.connection.onNotification('dbrx/document', (params) => {
            this.notes.push(params);
            this.wake();
        });
        this.connection.onNotification('$/progress', ({ token, value }) => {
            this.progress.get(token).push(value); // throws for a token nobody made
            this.wake();
        });
    }

    #edit(params) {
        this.edits.push(params);
        if (this.options.onEdit) return this.options.onEdit(this, params);
        return this.apply(params.edit);
    }

    /** Applies an edit as editors do: all of it or nothing, versions checked, then says didChange. */
    apply(edit) {
        for (const change of edit.documentChanges ?? []) {
            if (change.kind === 'create') {
                const file = fileURLToPath(change.uri);
                if (fs.existsSync(file)) return { applied: false, failureReason: 'the file exists' };
                fs.mkdirSync(path.dirname(file), { recursive: true });
                fs.writeFileSync(file, '', { flag: 'wx' });
                continue;
            }
            const { uri, version } = change.textDocument;
            const open = this.documents.get(uri);
            if (open && version !== open.version) return { applied: false };
            this.#applyAll(uri, change.edits);
        }
        for (const [uri, edits] of Object.entries(edit.changes ?? {})) this.#applyAll(uri, edits);
        return { applied: true };
    }

    #applyAll(uri, edits) {
        for (const { range, newText } of [...edits].reverse()) {
            if (this.documents.has(uri)) this.change(uri, range, newText);
            else fs.appendFileSync(fileURLToPath(uri), newText);
        }
    }

    /** The actions listed for a range; `context` as in the protocol. */
    actions(uri, range, context = {}) {
        return this.connection.sendRequest('textDocument/codeAction', {
            textDocument: { uri },
            range,
            context: { diagnostics: [], triggerKind: 1, ...context },
        });
    }

    /** The promise has a cancel(), which sends $/cancelRequest. */
    execute(command, ...args) {
        const source = new protocol.CancellationTokenSource();
        const params = { command, arguments: args };
        const answer = this.connection.sendRequest('workspace/executeCommand', params, source.token);
        answer.cancel = () => source.cancel();
        return answer;
    }

    /** Lists, picks by command name and runs: { result } or { error }. `more` goes into the argument. */
    async act(name, uri, range, { context, more } = {}) {
        const list = await this.actions(uri, range, context);
        const picked = list.find((action) => action.command.command === `dbrx-ls.${name}`);
        if (!picked) throw new Error(`not listed: ${name}`);
        const [argument] = picked.command.arguments;
        return this.settled(this.execute(picked.command.command, { ...argument, ...more }));
    }

    settled(promise) {
        return promise.then(
            (result) => ({ result }),
            (error) => ({ error: { code: error.code, message: error.message } }),
        );
    }

    content(uri) {
        return this.connection.sendRequest('workspace/textDocumentContent', { uri });
    }

    wake() {
        for (const done of this.waiters.splice(0)) done();
    }
}

/** The range of the first occurrence of `text`, or from it to the end of `last`. */
export function rangeOf(document, text, last = text) {
    const from = document.indexOf(text);
    if (from < 0) throw new Error(`not in the document: ${text}`);
    const to = document.indexOf(last, from) + last.length;
    const at = (offset) => {
        const lines = document.slice(0, offset).split('\n');
        return { line: lines.length - 1, character: lines.at(-1).length };
    };
    return { start: at(from), end: at(to) };
}

export { offsetOf };
