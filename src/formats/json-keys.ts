// Duplicate keys of a JSON object. JSON.parse keeps the last silently; where a key names a tensor that is not acceptable.

/** The first key that the outermost object of valid JSON text holds twice, or undefined. */
export function findDuplicateKey(text: string): string | undefined {
  const seen = new Set<string>();
  let depth = 0;
  let expectKey = false;
  for (let i = 0; i < text.length; i++) {
    switch (text[i]) {
      case "{":
      case "[":
        depth++;
        expectKey = depth === 1;
        break;
      case "}":
      case "]":
        depth--;
        break;
      case ",":
        expectKey = depth === 1;
        break;
      case '"': {
        const begin = i++;
        while (text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
        if (!expectKey) break;
        expectKey = false;
        const key = JSON.parse(text.slice(begin, i + 1)) as string;
        if (seen.has(key)) return key;
        seen.add(key);
        break;
      }
    }
  }
  return undefined;
}
