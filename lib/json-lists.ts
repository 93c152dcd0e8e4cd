import { Fault } from "./fault.ts";

/** In bytes; `entries`: of each list. */
export type JsonListLimits = { body: number; entry: number; entries: number };

/** For the messages: what the body is, such as `import`, and what its sender can do about an entry that is too long, or about too many of them. */
export type JsonListNames = { body: string; shorten: string; split: string };

/** What is not an entry of a list: a few names and settings. */
const LONGEST_FRAME = 65_536;
/** So much is read in one turn of the event loop: entries may be of one byte each. */
const PIECE = 16_384;

const [QUOTE, BACKSLASH, COMMA, LIST] = [0x22, 0x5c, 0x2c, 0x5b];
const isOpening = (byte: number) => byte === 0x7b || byte === LIST;
const isClosing = (byte: number) => byte === 0x7d || byte === 0x5d;
const isSpace = (byte: number) => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

/**
 * Parses a JSON object whose members may be long lists. Each entry of a list is parsed as it arrives, so that no turn of the event loop takes long, however long the
 * lists are. The lists have what `keep` returns for each entry. Faults: REQUEST_INVALID, BODY_TOO_LARGE.
 */
export async function readJsonLists(
  body: AsyncIterable<Buffer>,
  limits: JsonListLimits,
  names: JsonListNames,
  keep: (entry: unknown) => unknown = (entry) => entry,
): Promise<unknown> {
  const reader = createBodyReader(limits, names, keep);
  for await (const chunk of body)
    for (let at = 0; at < chunk.length; at += PIECE) {
      if (at > 0) await new Promise(setImmediate);
      reader.read(chunk.subarray(at, at + PIECE));
    }
  return reader.end();
}

/** The text of one entry, or of what is around the lists. */
type CollectedText = { add(bytes: Buffer): void; take(): string };

function createBodyReader(limits: JsonListLimits, names: JsonListNames, keep: (entry: unknown) => unknown) {
  const notJson = () => new Fault("REQUEST_INVALID", `The ${names.body} is not JSON.`);
  const parse = (text: string): unknown => {
    try {
      return JSON.parse(text);
    } catch {
      throw notJson();
    }
  };
  const lists: unknown[][] = [];
  const frame = collectText(LONGEST_FRAME, () => new Fault("REQUEST_INVALID", `The ${names.body} has more than its lists and its settings.`));
  const entry = collectText(limits.entry, () => {
    const place = `Entry ${(lists.at(-1)?.length ?? 0) + 1} of list ${lists.length}`;
    return new Fault("REQUEST_INVALID", `${place} of the ${names.body} is longer than ${limits.entry} bytes. ${names.shorten}`);
  });
  let size = 0;
  let depth = 0;
  let isInString = false;
  let isEscaped = false;
  let isInList = false;
  let isInEntry = false;
  /** In a list, outside its entries. */
  let expected: "entry or end" | "entry" | "comma or end" = "entry or end";

  const addEntry = () => {
    const list = lists.at(-1) ?? [];
    if (list.length >= limits.entries)
      throw new Fault("REQUEST_INVALID", `A list of the ${names.body} has more than ${limits.entries} entries. ${names.split}`);
    list.push(keep(parse(entry.take())));
    isInEntry = false;
    expected = "comma or end";
  };
  const read = (bytes: Buffer): void => {
    /** Where that begins in these bytes which is to be collected. */
    let from = 0;
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0;
      if (isInString) {
        if (isEscaped) isEscaped = false;
        else if (byte === BACKSLASH) isEscaped = true;
        else if (byte === QUOTE) isInString = false;
        continue;
      }
      if (isSpace(byte)) continue;
      if (isInList && depth === 2 && (byte === COMMA || isClosing(byte))) {
        if (isInEntry) {
          entry.add(bytes.subarray(from, at));
          addEntry();
        }
        if (expected === "entry" || (byte === COMMA && expected !== "comma or end")) throw notJson();
        expected = "entry";
        if (byte === COMMA) continue;
        isInList = false;
        from = at;
      }
      if (isInList && !isInEntry) {
        if (expected === "comma or end") throw notJson();
        isInEntry = true;
        from = at;
      }
      if (byte === QUOTE) isInString = true;
      else if (isClosing(byte)) depth--;
      else if (isOpening(byte) && ++depth === 2 && byte === LIST) {
        // The frame has the number of the list in its place.
        frame.add(bytes.subarray(from, at + 1));
        frame.add(Buffer.from(String(lists.length)));
        lists.push([]);
        isInList = true;
        expected = "entry or end";
      }
    }
    if (isInEntry) entry.add(bytes.subarray(from));
    else if (!isInList) frame.add(bytes.subarray(from));
  };

  return {
    read: (bytes: Buffer): void => {
      size += bytes.length;
      if (size > limits.body) throw new Fault("BODY_TOO_LARGE", `The ${names.body} is longer than ${limits.body} bytes. ${names.split}`);
      read(bytes);
    },
    end: (): unknown => {
      const object = parse(frame.take());
      if (typeof object !== "object" || object === null || Array.isArray(object)) return object;
      return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, Array.isArray(value) ? lists[Number(value[0])] : value]));
    },
  };
}

function collectText(longest: number, excess: () => Fault): CollectedText {
  let pieces: Buffer[] = [];
  let length = 0;
  return {
    add: (bytes) => {
      length += bytes.length;
      if (length > longest) throw excess();
      pieces.push(bytes);
    },
    take: () => {
      const text = Buffer.concat(pieces).toString("utf8");
      pieces = [];
      length = 0;
      return text;
    },
  };
}
