// How the server is found, started and told its settings.
import * as fs from 'node:fs';
import * as path from 'node:path';
import * as vscode from 'vscode';
import {
    CloseAction,
    ErrorAction,
    RevealOutputChannelOn,
    type CloseHandlerResult,
    type ErrorHandler,
    type ErrorHandlerResult,
    type Executable,
    type LanguageClient,
    type LanguageClientOptions,
} from 'vscode-languageclient/node';
import { middlewareOf } from './actions';
import type { StatusBar } from './status';

export const keyName = 'dbrx.key';

/** Settings the server is started with: a change means a restart. */
export const startSettings = ['server.path', 'model', 'endpoint', 'caFile', 'backend', 'threads', 'idle'];

// Never what a workspace says: these name programs, files and hosts. The scope "machine" keeps
// workspaces out already; this does not depend on it.
function ofUser<T>(name: string): T | undefined {
    const found = vscode.workspace.getConfiguration('dbrx').inspect<T>(name);
    return found?.globalValue ?? found?.defaultValue;
}

function isProgram(file: string): boolean {
    try {
        fs.accessSync(file, fs.constants.X_OK);
        return fs.statSync(file).isFile();
    } catch {
        return false;
    }
}

function findProgram(context: vscode.ExtensionContext): string | undefined {
    const inPath = (process.env['PATH'] ?? '')
        .split(path.delimiter)
        .filter((directory) => path.isAbsolute(directory)) // "." would be the workspace
        .map((directory) => path.join(directory, 'dbrx-ls'));
    const inCheckout =
        context.extensionMode === vscode.ExtensionMode.Production
            ? []
            : [path.join(context.extensionPath, '../../build/dbrx-ls')];
    return [...inCheckout, ...inPath].find(isProgram);
}

/** The command that starts the server, or why there is none. */
export async function serverOptions(
    context: vscode.ExtensionContext,
): Promise<Executable | string> {
    const set = ofUser<string>('server.path');
    const command = set || findProgram(context);
    if (!command) return 'the program dbrx-ls is not in PATH; install it or set dbrx.server.path';
    if (set && !isProgram(set)) return `dbrx.server.path: ${set} is no program`;
    const key = await context.secrets.get(keyName);
    // The key travels in the environment: messages may be logged.
    return { command, options: { env: key ? { ...process.env, DBRX_API_KEY: key } : process.env } };
}

function startOptions(): Record<string, unknown> {
    const options: Record<string, unknown> = { status: true, instructions: true };
    for (const name of startSettings) {
        const value = ofUser<unknown>(name);
        if (name !== 'server.path' && value !== '' && value !== 0 && value !== undefined)
            options[name] = value;
    }
    return options;
}

// A server that dies is started again, five times in three minutes, without a message: the status
// bar says it.
class QuietRestarts implements ErrorHandler {
    private readonly deaths: number[] = [];

    constructor(private readonly status: StatusBar) {}

    error(): ErrorHandlerResult {
        return { action: ErrorAction.Continue, handled: true };
    }

    closed(): CloseHandlerResult {
        const now = Date.now();
        this.deaths.push(now);
        const recent = this.deaths.filter((at) => now - at < 180_000).length;
        if (recent < 5) {
            this.status.starting();
            return { action: CloseAction.Restart, handled: true };
        }
        this.status.off(
            'the server ended five times; "dbrx-ls: Restart the Language Server" tries again',
        );
        return { action: CloseAction.DoNotRestart, handled: true };
    }
}

export function clientOptions(
    status: StatusBar,
    client: () => LanguageClient | undefined,
): LanguageClientOptions {
    return {
        documentSelector: [{ scheme: 'file' }],
        initializationOptions: { dbrx: startOptions() },
        synchronize: { configurationSection: 'dbrx' },
        revealOutputChannelOn: RevealOutputChannelOn.Never,
        initializationFailedHandler: () => false,
        errorHandler: new QuietRestarts(status),
        middleware: middlewareOf(client),
    };
}
