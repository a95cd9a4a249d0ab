// Paths in configs.

/** A path without its detours, so that two spellings of it are equal: `./data//a/../b` is `data/b`. Other texts stay. */
export function plainPath(text) {
  if (!text.includes("/") || text.includes("://")) return text;
  const parts = [];
  for (const part of text.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === ".." && parts.length > 0 && parts.at(-1) !== "..") parts.pop();
    else parts.push(part);
  }
  return (text.startsWith("/") ? "/" : "") + parts.join("/");
}

/** Whether runs have the same value of a key, each `{ value, data }` or undefined: the same text, path or data. */
export function sameValue(one, other) {
  if (one === undefined || other === undefined) return one === other;
  if (one.data !== undefined && one.data === other.data) return true;
  return plainPath(one.value) === plainPath(other.value);
}
