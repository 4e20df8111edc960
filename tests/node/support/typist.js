// Somebody who types a text into a document key by key, in an editor that closes brackets and quotes
// and indents after Enter by itself. In the end the document is before + text + after, whatever the
// editor added on the way.

const CLOSERS = { '(': ')', '[': ']', '{': '}', '"': '"', "'": "'", '`': '`' };
const isWord = (c) => c !== undefined && /\w/.test(c);

export class Typist {
    /** change(from, to, text): the editor's change, offsets of the text before it. */
    constructor({ before, typed, after }, change, indent = '    ') {
        this.text = before + after;
        this.cursor = before.length;
        this.goal = before + typed + after;
        this.end = after.length; // of the text that is not typed
        this.change = change;
        this.indent = indent;
        this.closers = 0; // put there by the editor, right behind the cursor or on lines below
        this.keys = 0;
    }

    get done() {
        return this.text === this.goal && this.cursor === this.goal.length - this.end;
    }

    get before() {
        return this.text.slice(0, this.cursor);
    }

    /** What the editor added and the typist has not reached yet. */
    get added() {
        return this.text.slice(this.cursor, this.text.length - this.end);
    }

    #replace(from, to, text, cursor) {
        this.change(from, to, text);
        this.text = this.text.slice(0, from) + text + this.text.slice(to);
        this.cursor = cursor;
    }

    /** A suggestion is taken over: `text` in place of [from, to). */
    take(from, to, text) {
        this.#replace(from, to, text, from + text.length);
        this.keys++;
    }

    /** The next key. What the goal wants next decides. */
    key() {
        this.keys++;
        const line = this.text.slice(this.text.lastIndexOf('\n', this.cursor - 1) + 1, this.cursor);
        const typed = this.goal.slice(0, this.goal.length - this.end);
        if (!typed.startsWith(this.before)) {
            if (line.trim() !== '' && typed.length >= this.cursor) throw new Error(`typed ${JSON.stringify(line)} for something else`);
            return this.#replace(this.cursor - 1, this.cursor, '', this.cursor - 1); // too deep
        }
        const next = this.goal[this.cursor];
        if (this.added.startsWith(next) && (next !== '\n' || this.#isOver()))
            return this.#over(next);
        if (this.cursor >= this.goal.length - this.end) // all is typed: what was added too much goes
            return this.#replace(this.cursor, this.cursor + this.added.length, '', this.cursor);
        if (next === '\n') return this.#enter(line);
        return this.#character(next);
    }

    /** Whether the goal has all that the editor added, from here. */
    #isOver() {
        return this.goal.slice(this.cursor).startsWith(this.added);
    }

    // Over a closer that stands there: the cursor moves, the text stays.
    #over(next) {
        const wanted = this.goal.slice(this.cursor);
        let n = next.length;
        if (next === '\n') while (/\s/.test(this.added[n] ?? '') && wanted[n] === this.added[n]) n++;
        this.cursor += n;
    }

    #enter(line) {
        const indentation = /^[ \t]*/.exec(line)[0];
        const opens = /[{([:]\s*$/.test(line);
        const deeper = indentation + (opens ? this.indent : '');
        const between = /[{([]$/.test(line) && /^[})\]]/.test(this.added);
        const text = `\n${deeper}${between ? `\n${indentation}` : ''}`;
        this.#replace(this.cursor, this.cursor, text, this.cursor + 1 + deeper.length);
    }

    #character(next) {
        const behind = this.text[this.cursor];
        const closer = CLOSERS[next];
        const free = behind === undefined || /[\s)\]},;:]/.test(behind);
        const quote = closer === next;
        const closes = closer && free && !(quote && (isWord(this.before.at(-1)) || this.before.at(-1) === next));
        this.#replace(this.cursor, this.cursor, closes ? next + closer : next, this.cursor + 1);
    }
}
