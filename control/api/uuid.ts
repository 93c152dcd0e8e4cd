import { Fault } from "../../lib/fault.ts";

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** As it is stored, in lower case. Faults: ID_INVALID. */
export function readUuid(text: string): string {
  if (!UUID.test(text)) throw new Fault("ID_INVALID", `${JSON.stringify(text.slice(0, 100))} is not a UUID.`);
  return text.toLowerCase();
}
