import { isIP } from "node:net";
import { isZone } from "../control/model/warm-hours.ts";
import { parseJson } from "../lib/parse-json.ts";
import { suggestion } from "./suggestion.ts";

/**
 * Parses the text of a variable, or a scalar or list of the settings file, into the type that the program uses.
 * `read` returns undefined for a value that is not allowed; `allowed` describes allowed values in messages and docs.
 */
export type Parser<T> = {
  allowed: string;
  read(raw: unknown): T | undefined;
  /** Of a long value that is not allowed: what in it is wrong, without the value itself. */
  explain?(raw: unknown): string | undefined;
  /** The same as JSON Schema, for editors. */
  schema: Record<string, unknown>;
};

export function text(allowed = "text", pattern: RegExp = /^[^\0\r\n]+$/): Parser<string> {
  return {
    allowed,
    read: (raw) => {
      const value = scalar(raw);
      return value !== undefined && pattern.test(value) ? value : undefined;
    },
    schema: { type: ["string", "number"] },
  };
}

export function wholeNumber(least: number, most: number, unit = ""): Parser<number> {
  return {
    allowed: `a whole number${unit && ` of ${unit}`} from ${least} to ${most}`,
    read: (raw) => {
      const value = scalar(raw) ?? "";
      return /^\d{1,15}$/.test(value) && Number(value) >= least && Number(value) <= most ? Number(value) : undefined;
    },
    schema: { type: "integer", minimum: least, maximum: most },
  };
}

export function quantity(least: number, most: number, unit: string): Parser<number> {
  return {
    allowed: `a number of ${unit} from ${least} to ${most}`,
    read: (raw) => {
      const value = scalar(raw) ?? "";
      return /^\d{1,15}(\.\d{1,9})?$/.test(value) && Number(value) >= least && Number(value) <= most ? Number(value) : undefined;
    },
    schema: { type: "number", minimum: least, maximum: most },
  };
}

export function oneOf<const T extends string>(...choices: readonly T[]): Parser<T> {
  return {
    allowed: choices.length === 1 ? `only ${choices[0]}` : `one of ${choices.join(", ")}`,
    read: (raw) => choices.find((choice) => choice === scalar(raw)?.toLowerCase()),
    schema: { enum: choices },
  };
}

/** One of `choices`, or another program's word for one of them. */
export function oneOfOrSynonym<const T extends string>(choices: readonly T[], synonyms: ReadonlyMap<string, T>): Parser<T> {
  const parser = oneOf(...choices);
  return { ...parser, read: (raw) => parser.read(raw) ?? synonyms.get(scalar(raw)?.toLowerCase() ?? "") };
}

const FLAGS = new Map(Object.entries({ on: true, true: true, yes: true, "1": true, off: false, false: false, no: false, "0": false }));

export function flag(): Parser<boolean> {
  return {
    allowed: "on or off (true or false)",
    read: (raw) => FLAGS.get(scalar(raw)?.toLowerCase() ?? ""),
    schema: { enum: [true, false, "on", "off"] },
  };
}

/** Port 0 is any free one, for tests. */
export function port(): Parser<number> {
  return { ...wholeNumber(0, 65_535), allowed: "a port from 0 to 65535" };
}

/** A name or an IP address, IPv6 without brackets. */
export function host(): Parser<string> {
  return text("a host name or an IP address", /^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$|^[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9_.-]+)?$/);
}

export function url(allowed: string, ...schemes: string[]): Parser<string> {
  return {
    allowed,
    read: (raw) => {
      const value = scalar(raw) ?? "";
      return URL.canParse(value) && schemes.includes(new URL(value).protocol.slice(0, -1)) ? value : undefined;
    },
    schema: { type: "string" },
  };
}

/** `a, b`, or a JSON array, as the variables of deployments in the field have it; in the settings file a YAML list. */
export function list(of: Parser<string>): Parser<readonly string[]> {
  return {
    allowed: `a list, each of which is ${of.allowed}`,
    read: (raw) => {
      const given = Array.isArray(raw) ? raw : split(scalar(raw));
      const values = given?.map((one) => of.read(one));
      return values?.every((one) => one !== undefined) ? values : undefined;
    },
    schema: { type: ["array", "string"], items: of.schema },
  };
}

/** `a=b, c=d`, or a JSON object; in the settings file a YAML map. */
export function textMap(of: string, pair: RegExp = /^[^\0\r\n]+$/): Parser<Readonly<Record<string, string>>> {
  return {
    allowed: `${of}, such as a=b, c=d, or a JSON object`,
    read: (raw) => {
      const entries = entriesOf(raw);
      if (!entries || entries.length === 0) return undefined;
      return entries.every(([name, value]) => typeof value === "string" && pair.test(`${name}=${value}`))
        ? (Object.fromEntries(entries) as Record<string, string>)
        : undefined;
    },
    schema: { type: ["object", "string"], additionalProperties: { type: "string" } },
  };
}

function entriesOf(raw: unknown): [string, unknown][] | undefined {
  if (typeof raw === "string" && !raw.trim().startsWith("{")) {
    const pairs = raw.split(",").filter((one) => one.trim() !== "");
    return pairs.every((one) => one.includes("="))
      ? pairs.map((one) => [one.slice(0, one.indexOf("=")).trim(), one.slice(one.indexOf("=") + 1).trim()])
      : undefined;
  }
  const value = typeof raw === "string" ? parseJson(raw) : raw;
  return typeof value === "object" && value !== null && !Array.isArray(value) ? Object.entries(value) : undefined;
}

/** A field's type, or its choices. */
type FieldRule = "text" | "number" | "object" | "list" | readonly string[];

/** A JSON array of objects, in the settings file a YAML list, with these fields and no others. */
export function objectList<T>(of: string, fields: Readonly<Record<string, FieldRule>>, required: readonly string[] = []): Parser<readonly T[]> {
  const isField = (rule: FieldRule | undefined, value: unknown): boolean => {
    if (rule === undefined) return false;
    if (typeof rule !== "string") return rule.includes(value as string);
    if (rule === "text") return typeof value === "string";
    if (rule === "number") return Number.isInteger(value);
    return typeof value === "object" && value !== null && Array.isArray(value) === (rule === "list");
  };
  const isOne = (one: unknown): boolean =>
    typeof one === "object" &&
    one !== null &&
    !Array.isArray(one) &&
    required.every((name) => Object.hasOwn(one, name)) &&
    Object.entries(one).every(([name, value]) => isField(Object.hasOwn(fields, name) ? fields[name] : undefined, value));
  return {
    allowed: `a JSON array of ${of}`,
    read: (raw) => {
      const values = typeof raw === "string" ? parseJson(raw) : raw;
      return Array.isArray(values) && values.every(isOne) ? (values as T[]) : undefined;
    },
    schema: { type: ["array", "string"], items: { type: "object" } },
  };
}

/** What one field of an entry may be, and what it is without one. */
type EntryField = { parse: Parser<unknown>; default: unknown };
type EntryValues<Fields> = {
  readonly [K in keyof Fields]: Fields[K] extends { parse: Parser<infer T>; default: infer D } ? (undefined extends D ? T | undefined : T) : never;
};

/** A JSON array of objects, in the settings file a YAML list. Each field is parsed by a row as a setting is; `required` ones have no default. */
export function entryList<Fields extends Readonly<Record<string, EntryField>>>(
  of: string,
  most: number,
  fields: Fields,
  required: readonly (keyof Fields & string)[],
): Parser<readonly EntryValues<Fields>[]> {
  const names = Object.keys(fields);
  const entriesIn = (raw: unknown): unknown[] | undefined => {
    const values = typeof raw === "string" ? parseJson(raw) : raw;
    return Array.isArray(values) ? values : undefined;
  };
  /** The value of a field that is given; null counts as not given, as in the settings file. */
  const given = (entry: object, name: string): unknown =>
    Object.hasOwn(entry, name) ? ((entry as Record<string, unknown>)[name] ?? undefined) : undefined;
  const faultOf = (entry: unknown): string | undefined => {
    if (typeof entry !== "object" || entry === null || Array.isArray(entry)) return "is no object";
    for (const name of Object.keys(entry))
      if (!names.includes(name)) return `has an unknown field ${JSON.stringify(name.slice(0, 40))}${suggestion(name, names)}`;
    for (const name of required) if (given(entry, name) === undefined) return `has no ${name}`;
    for (const [name, field] of Object.entries(fields)) {
      const value = given(entry, name);
      if (value !== undefined && field.parse.read(value) === undefined) return `has a wrong ${name}: it takes ${field.parse.allowed}`;
    }
    return undefined;
  };
  const explain = (raw: unknown): string | undefined => {
    const entries = entriesIn(raw);
    if (entries === undefined) return `is no JSON array of ${of}`;
    if (entries.length > most) return `has ${entries.length} ${of}, more than ${most}`;
    const fault = entries.map(faultOf).findIndex((one) => one !== undefined);
    return fault < 0 ? undefined : `entry ${fault + 1} ${faultOf(entries[fault])}`;
  };
  return {
    allowed: `a JSON array of at most ${most} ${of}`,
    explain,
    read: (raw) => {
      if (explain(raw) !== undefined) return undefined;
      return entriesIn(raw)?.map((entry) => {
        const values = Object.entries(fields).map(([name, field]) => {
          const value = given(entry as object, name);
          return [name, value === undefined ? field.default : field.parse.read(value)];
        });
        return Object.fromEntries(values) as EntryValues<Fields>;
      });
    },
    schema: {
      type: ["array", "string"],
      items: {
        type: "object",
        additionalProperties: false,
        required,
        properties: Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.parse.schema])),
      },
    },
  };
}

/** Words for the addresses that never leave a machine, or a private network. */
const ADDRESS_WORDS = ["loopback", "private"];

/** IP addresses: one, a block in CIDR form, or one of the words. */
export function addressBlock(): Parser<string> {
  return {
    allowed: "an IP address, a block such as 10.0.0.0/8, `loopback` or `private`",
    read: (raw) => {
      const value = scalar(raw)?.toLowerCase() ?? "";
      if (ADDRESS_WORDS.includes(value)) return value;
      const [, address = "", bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(value) ?? [];
      const family = isIP(address);
      return family !== 0 && !address.includes("%") && Number(bits ?? 0) <= (family === 6 ? 128 : 32) ? value : undefined;
    },
    schema: { type: "string" },
  };
}

/** An IPv4 network that others are cut from. */
export function subnet(): Parser<string> {
  return {
    allowed: "an IPv4 network from /8 to /20, such as 10.201.0.0/16",
    read: (raw) => {
      const value = scalar(raw) ?? "";
      const [address = "", bits = ""] = value.split("/");
      return isIP(address) === 4 && /^\d{1,2}$/.test(bits) && Number(bits) >= 8 && Number(bits) <= 20 ? value : undefined;
    },
    schema: { type: "string" },
  };
}

/** The first and the last port. */
export function portRange(): Parser<string> {
  return {
    allowed: "two ports, such as 32768-60999",
    read: (raw) => {
      const value = scalar(raw) ?? "";
      const [, first, last] = /^(\d{1,5})-(\d{1,5})$/.exec(value) ?? [];
      return Number(first) >= 1 && Number(first) <= Number(last) && Number(last) <= 65_535 ? value : undefined;
    },
    schema: { type: "string" },
  };
}

/** Scheme, host and port as a browser sends them in `Origin`, normalised. */
export function origin(): Parser<string> {
  return {
    allowed: "an origin such as https://example.org",
    read: (raw) => {
      const value = scalar(raw) ?? "";
      if (!/^https?:\/\/[^/?#@]+\/?$/.test(value) || !URL.canParse(value)) return undefined;
      return new URL(value).origin;
    },
    schema: { type: "string" },
  };
}

function scalar(raw: unknown): string | undefined {
  if (typeof raw === "string") return raw.trim();
  return typeof raw === "number" || typeof raw === "boolean" ? String(raw) : undefined;
}

function split(value: string | undefined): unknown[] | undefined {
  if (value === undefined) return undefined;
  if (!value.startsWith("[")) {
    const items = value.split(",").filter((one) => one.trim() !== "");
    // Commas alone are a mistake: an empty list may mean that everything is allowed.
    return items.length === 0 && value !== "" ? undefined : items;
  }
  const parsed = parseJson(value);
  return Array.isArray(parsed) ? parsed : undefined;
}

/** As `keep_warm` has it. */
export function timeZone(): Parser<string> {
  return {
    allowed: "a time zone such as UTC or Europe/Berlin",
    read: (raw) => {
      const value = scalar(raw) ?? "";
      return value !== "" && isZone(value) ? value : undefined;
    },
    schema: { type: "string" },
  };
}
