import { Fault } from "../../../lib/fault.ts";

/** Credentials by name: text mostly, but whatever JSON holds is kept as it is. */
export type Values = Record<string, unknown>;

const MOST_NAMES = 100;
const LONGEST_NAME = 200;
/** Linux takes 128 KiB for one variable, its name and what stands around a credential in it included. */
const LONGEST_VALUE = 64 * 1_024;

/** No sentence here may hold a value. Faults: REQUEST_INVALID. */
export function requireValues(values: unknown): asserts values is Values {
  const refuse = (why: string) => new Fault("REQUEST_INVALID", why);
  if (typeof values !== "object" || values === null || Array.isArray(values))
    throw refuse('A JSON object of names and values is needed, such as {"login":"…","password":"…"}.');
  const entries = Object.entries(values);
  if (entries.length > MOST_NAMES) throw refuse(`There are ${entries.length} credentials; ${MOST_NAMES} are allowed.`);
  for (const [name, value] of entries) {
    if (!isName(name)) throw refuse(`A credential's name has 1 to ${LONGEST_NAME} characters, none of them a control character or "=".`);
    const text = JSON.stringify(value);
    if (value === null || text === undefined) throw refuse(`The credential ${name} has no value.`);
    if (Buffer.byteLength(text) > LONGEST_VALUE) throw refuse(`The credential ${name} is longer than ${LONGEST_VALUE} bytes.`);
    if (text.includes("\\u0000")) throw refuse(`The credential ${name} holds a zero character, which no variable can.`);
  }
}

function isName(name: string): boolean {
  // eslint-disable-next-line no-control-regex -- control characters are what it looks for
  return name.length > 0 && name.length <= LONGEST_NAME && !/[\u0000-\u001f\u007f=]/.test(name);
}
