// Actions by command, the words of an instruction, explanations beside the code, and the commit message
// in the source control view. What an action does is the server's business.
//
// Every command goes to the server by `execute`, also those from the menu: the language client's own way
// says "Request workspace/executeCommand failed" and lets the palette show a dialog.
import * as vscode from 'vscode';
import {
    ExecuteCommandRequest,
    LSPErrorCodes,
    ResponseError,
    type LanguageClient,
    type Middleware,
} from 'vscode-languageclient/node';

const scheme = 'dbrx-doc';
const server = 'dbrx-ls.';

/** Editor command -> the server's. Listed in package.json. */
const commands = ['explain', 'simplify', 'extract', 'rename', 'rewrite', 'fix', 'document', 'tests', 'translate'];

interface Argument {
    textDocument: { uri: string; version?: number };
    range: unknown;
    instruction?: string;
    diagnostics?: unknown[];
}

interface Message {
    message: string;
    omitted: string[];
    note: string;
}

// Of git's extension, what is used here; its own typings are not on npm.
interface GitRepository {
    rootUri: vscode.Uri;
    inputBox: { value: string };
}
interface GitExtension {
    getAPI(version: 1): { repositories: GitRepository[] };
}

async function instruction(): Promise<string | undefined> {
    return vscode.window.showInputBox({
        title: 'What shall change?',
        placeHolder: 'use a map, keep the order',
        ignoreFocusOut: true,
    });
}

/** A word at the status bar, for a while: nothing to click away. */
function mention(words: string): void {
    vscode.window.setStatusBarMessage(`dbrx-ls: ${words}`, 8000);
}

/** The user gave a command, so a refusal is told; what was ended is only mentioned. */
function tellFailure(error: unknown): void {
    const words = error instanceof Error ? error.message : String(error);
    const ended = error instanceof ResponseError && error.code === LSPErrorCodes.RequestCancelled;
    if (ended) mention(words);
    else void vscode.window.showWarningMessage(`dbrx-ls: ${words}`);
}

const underWay = new Set<vscode.CancellationTokenSource>();

/** The server's answer; undefined when there is none, and then the user was told why. */
async function execute(
    client: LanguageClient | undefined,
    command: string,
    args: unknown[],
): Promise<unknown> {
    if (!client?.isRunning()) {
        tellFailure(new Error('the server does not run; the status bar says why'));
        return undefined;
    }
    const source = new vscode.CancellationTokenSource();
    underWay.add(source);
    try {
        const params = { command, arguments: args };
        return (await client.sendRequest(ExecuteCommandRequest.type, params, source.token)) as unknown;
    } catch (error) {
        tellFailure(error);
        return undefined;
    } finally {
        underWay.delete(source);
        source.dispose();
    }
}

function cancelAll(): void {
    if (underWay.size === 0) mention('nothing is under way');
    for (const source of underWay) source.cancel();
}

/** Beside the code, which keeps the focus: whoever types on types there. */
async function showBeside(uri: vscode.Uri): Promise<void> {
    const document = await vscode.workspace.openTextDocument(uri);
    const explains = uri.scheme === scheme;
    if (explains) await vscode.languages.setTextDocumentLanguage(document, 'markdown');
    await vscode.window.showTextDocument(document, {
        viewColumn: vscode.ViewColumn.Beside,
        preserveFocus: true,
        preview: explains,
    });
}

/** An instruction is asked for here; nothing typed is nothing done. */
export function middlewareOf(client: () => LanguageClient | undefined): Middleware {
    return {
        async executeCommand(command, args) {
            if (command !== `${server}rewrite`) return execute(client(), command, args);
            const [argument] = args as [Argument];
            const words = argument.instruction ?? (await instruction());
            if (!words) return undefined;
            return execute(client(), command, [{ ...argument, instruction: words }]);
        },
        window: {
            async showDocument(params) {
                await showBeside(vscode.Uri.parse(params.uri, true));
                return { success: true };
            },
        },
    };
}

async function act(client: LanguageClient | undefined, name: string): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    if (!editor) return mention('no file is open');
    if (!client?.isRunning()) return void execute(client, name, []);
    const { document, selection } = editor;
    const convert = client.code2ProtocolConverter;
    const argument: Argument = {
        textDocument: { uri: convert.asUri(document.uri), version: document.version },
        range: convert.asRange(selection),
    };
    if (name === 'fix') {
        const here = vscode.languages
            .getDiagnostics(document.uri)
            .filter((diagnostic) => diagnostic.range.intersection(selection));
        argument.diagnostics = await convert.asDiagnostics(here);
    }
    await vscode.commands.executeCommand(`${server}${name}`, argument);
}

function repositories(): GitRepository[] {
    const git = vscode.extensions.getExtension<GitExtension>('vscode.git');
    return git?.isActive ? git.exports.getAPI(1).repositories : [];
}

/** The one the button stands in, else the one of the file in view, else the first. */
function repositoryOf(from: { rootUri?: vscode.Uri } | undefined): GitRepository | undefined {
    const all = repositories();
    const root = from?.rootUri?.toString();
    const file = vscode.window.activeTextEditor?.document.uri.fsPath ?? '';
    const within = (repository: GitRepository): boolean =>
        file.startsWith(`${repository.rootUri.fsPath}/`);
    return all.find((one) => one.rootUri.toString() === root) ?? all.find(within) ?? all[0];
}

/** What the model did not see: in short at the status bar, whole in the log. */
function tellOmissions(client: LanguageClient | undefined, { omitted, note }: Message): void {
    const [first] = omitted;
    const more = omitted.length > 1 ? ` and ${omitted.length - 1} more (see the output)` : '';
    if (first) mention(`not all was read: ${first}${more}`);
    for (const line of omitted) client?.outputChannel.appendLine(`commit message: ${line}`);
    if (note) void vscode.window.showWarningMessage(`dbrx-ls: ${note}`);
}

let ours = ''; // the message that was written last

function putMessage(repository: GitRepository, written: string, message: string): void {
    ours = message;
    // What was typed meanwhile is the user's.
    if (repository.inputBox.value !== written) return mention('the message was changed meanwhile, and stays');
    repository.inputBox.value = message;
}

async function offerBack(repository: GitRepository, written: string, message: string): Promise<void> {
    const back = 'Put It Back';
    const choice = await vscode.window.showInformationMessage(
        'dbrx-ls: another message stood there.',
        back,
    );
    if (choice === back && repository.inputBox.value === message) repository.inputBox.value = written;
}

async function commitMessage(
    client: LanguageClient | undefined,
    from: { rootUri?: vscode.Uri } | undefined,
): Promise<void> {
    const repository = repositoryOf(from);
    if (!repository) return mention('no repository of git is open');
    const written = repository.inputBox.value;
    const again = written !== '' && written === ours; // the same change wants other words
    const argument = { folder: repository.rootUri.toString(), again };
    const result = (await execute(client, `${server}commitMessage`, [argument])) as Message | undefined;
    if (!result) return;
    const message = result.message.trimEnd();
    putMessage(repository, written, message);
    tellOmissions(client, result);
    const lost = written !== '' && !again && repository.inputBox.value === message;
    if (lost) await offerBack(repository, written, message);
}

export function registerActions(client: () => LanguageClient | undefined): vscode.Disposable[] {
    return [
        ...commands.map((name) =>
            vscode.commands.registerCommand(`dbrx.${name}`, () => act(client(), name)),
        ),
        vscode.commands.registerCommand('dbrx.cancel', cancelAll),
        vscode.commands.registerCommand('dbrx.commitMessage', (from?: { rootUri?: vscode.Uri }) =>
            commitMessage(client(), from),
        ),
    ];
}
