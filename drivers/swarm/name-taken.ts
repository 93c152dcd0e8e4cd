import { Fault } from "../../lib/fault.ts";
import { answered } from "../engine/faults.ts";

/** That somebody has made one of this name: 409, or where two were at it in the same moment, the store's own words in a 500. */
export function isNameTaken(error: unknown): boolean {
  return answered(error, 409) || (error instanceof Fault && /name conflicts with an existing object/.test(error.message));
}
