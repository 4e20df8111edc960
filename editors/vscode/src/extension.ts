// The extension's life: one language client, started once, restarted on command and when a setting
// it was started with changes. Everything that is not an editor's business is in the server.
import * as vscode from 'vscode';
import { LanguageClient } from 'vscode-languageclient/node';
import { registerActions } from './actions';
import { PromptViewer } from './prompt';
import { clientOptions, keyName, serverOptions, startSettings } from './server';
import { StatusBar } from './status';

let client: LanguageClient | undefined;

async function start(context: vscode.ExtensionContext, status: StatusBar): Promise<void> {
    const server = await serverOptions(context);
    if (typeof server === 'string') {
        status.off(server);
        return;
    }
    client = new LanguageClient('dbrx', 'dbrx-ls', server, clientOptions(status, () => client));
    client.onNotification('dbrx/status', (params: unknown) => status.update(params));
    try {
        await client.start();
    } catch (error) {
        status.off(error instanceof Error ? error.message : String(error));
    }
}

async function stop(): Promise<void> {
    const old = client;
    client = undefined;
    if (!old) return;
    try {
        await old.dispose(5000);
    } catch {
        // It was not running: that is what was wanted.
    }
}

/** Escape: VS Code hides the ghost text, and the server does not offer it there again. */
async function dismiss(): Promise<void> {
    const uri = vscode.window.activeTextEditor?.document.uri;
    await vscode.commands.executeCommand('editor.action.inlineSuggest.hide');
    if (!client?.isRunning() || !uri) return;
    await client.sendNotification('dbrx/dismissed', {
        textDocument: { uri: client.code2ProtocolConverter.asUri(uri) },
    });
}

async function setKey(context: vscode.ExtensionContext): Promise<boolean> {
    const key = await vscode.window.showInputBox({
        title: 'Key of the engine',
        password: true,
        ignoreFocusOut: true,
        prompt: "Kept in the editor's secret storage. Empty removes it.",
    });
    if (key === undefined) return false;
    if (key) await context.secrets.store(keyName, key);
    else await context.secrets.delete(keyName);
    return true;
}

export async function activate(context: vscode.ExtensionContext): Promise<void> {
    const status = new StatusBar();
    const prompts = new PromptViewer(() => client);
    // One start or stop at a time, in order.
    let running: Promise<void> = Promise.resolve();
    const restart = (): Promise<void> => {
        running = running.then(stop).then(() => start(context, status));
        return running;
    };
    context.subscriptions.push(
        status,
        prompts,
        ...registerActions(() => client),
        vscode.commands.registerCommand('dbrx.dismiss', () => dismiss()),
        vscode.commands.registerCommand('dbrx.restart', restart),
        vscode.commands.registerCommand('dbrx.showStatus', () => status.show()),
        vscode.commands.registerCommand('dbrx.showPrompt', () => prompts.show()),
        vscode.commands.registerCommand('dbrx.setKey', async () => {
            if (await setKey(context)) await restart();
        }),
        vscode.workspace.onDidChangeConfiguration((event) => {
            if (startSettings.some((name) => event.affectsConfiguration(`dbrx.${name}`)))
                void restart();
        }),
    );
    await restart();
}

export function deactivate(): Promise<void> {
    return stop();
}
