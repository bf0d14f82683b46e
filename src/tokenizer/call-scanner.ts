// Reads the JSON object of a tool call while it is written: its name as soon as it is there, its arguments piece by piece.

export interface ScannedPiece {
  /** The tool's name, once, when it is complete. */
  name?: string;
  /** More of the arguments' text, once the name is known. */
  arguments: string;
  /** What came after the object's end; undefined while the object is open. */
  rest?: string;
}

export interface CallScanner {
  push(text: string): ScannedPiece;
  /** The object so far, with what stood before it. */
  readonly body: string;
  /** Whether the object has ended. */
  readonly done: boolean;
}

export function createCallScanner(): CallScanner {
  let body = "";
  let depth = 0;
  let done = false;
  let inString = false;
  let escaped = false;
  /** The string of the outermost object that is being read, with its quotes. */
  let text = "";
  /** The last string that stood where a key stands, and the key whose value is being read. */
  let lastString: string | undefined;
  let key: string | undefined;
  let name: string | undefined;
  let inArguments = false;
  let seenArguments = false;
  /** Arguments that wait for the name. */
  let held = "";

  function endString(): void {
    if (depth !== 1) return;
    try {
      lastString = JSON.parse(text) as string;
    } catch {
      lastString = undefined;
    }
    if (key === "name") name ??= lastString;
  }

  function push(piece: string): ScannedPiece {
    const knewName = name !== undefined;
    let at = 0;
    for (; at < piece.length && !done; at++) {
      const character = piece[at]!;
      const before = inArguments;
      if (inString) {
        text += character;
        if (escaped) escaped = false;
        else if (character === "\\") escaped = true;
        else if (character === '"') {
          inString = false;
          endString();
        }
      } else if (character === '"') {
        inString = true;
        text = '"';
      } else if (character === "{" || character === "[") {
        if (depth === 1 && character === "{" && !seenArguments && (key === "parameters" || key === "arguments")) {
          inArguments = true;
          seenArguments = true;
        }
        depth += 1;
      } else if (character === "}" || character === "]") {
        depth -= 1;
        if (depth <= 1) inArguments = false;
        if (depth <= 0) done = true;
      } else if (depth === 1 && character === ":") key = lastString;
      else if (depth === 1 && character === ",") key = undefined;
      if (before || inArguments) held += character;
    }
    body += piece.slice(0, at);
    const result: ScannedPiece = { arguments: "" };
    if (name !== undefined) {
      if (!knewName) result.name = name;
      result.arguments = held;
      held = "";
    }
    if (done) result.rest = piece.slice(at);
    return result;
  }

  return {
    push,
    get body() {
      return body;
    },
    get done() {
      return done;
    },
  };
}
