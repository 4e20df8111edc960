// Actions by command, the words of an instruction, explanations beside the code, and the commit message
// in the source control view. What an action does is the server's business.
import * as vscode from 'vscode';
import type { LanguageClient, Middleware } from 'vscode-languageclient/node';

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

/** The server asks for an instruction through the argument; nothing typed is nothing done. */
export const middleware: Middleware = {
    async executeCommand(command, args, next) {
        if (command !== `${server}rewrite`) return next(command, args);
        const [argument] = args as [Argument];
        const words = argument.instruction ?? (await instruction());
        return words ? next(command, [{ ...argument, instruction: words }]) : undefined;
    },
    window: {
        async showDocument(params, token, next) {
            const uri = vscode.Uri.parse(params.uri, true);
            if (uri.scheme !== scheme) return next(params, token);
            const document = await vscode.workspace.openTextDocument(uri);
            await vscode.languages.setTextDocumentLanguage(document, 'markdown');
            await vscode.window.showTextDocument(document, {
                viewColumn: vscode.ViewColumn.Beside,
                preserveFocus: true,
                preview: true,
            });
            return { success: true };
        },
    },
};

async function act(client: LanguageClient | undefined, name: string): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    if (!editor || !client?.isRunning()) return;
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

async function commitMessage(
    client: LanguageClient | undefined,
    from: { rootUri?: vscode.Uri } | undefined,
): Promise<void> {
    const repository = repositoryOf(from);
    if (!client?.isRunning() || !repository) return;
    const written = repository.inputBox.value;
    const result = await vscode.commands.executeCommand<{ message: string } | undefined>(
        `${server}commitMessage`,
        // The same change asked about once more wants other words.
        { folder: repository.rootUri.toString(), again: written !== '' },
    );
    // What was typed meanwhile is the user's.
    if (result && repository.inputBox.value === written)
        repository.inputBox.value = result.message.trimEnd();
}

export function registerActions(client: () => LanguageClient | undefined): vscode.Disposable[] {
    return [
        ...commands.map((name) =>
            vscode.commands.registerCommand(`dbrx.${name}`, () => act(client(), name)),
        ),
        vscode.commands.registerCommand('dbrx.commitMessage', (from?: { rootUri?: vscode.Uri }) =>
            commitMessage(client(), from),
        ),
    ];
}
